//! Reports as lines: one tidy line a batch, and the table at the end of a replay.

use super::{BatchReport, Rejection};
use crate::text::shown;

/// `batch 12 · 3 files · 5 events · +2 ~7 -1 =14 · 1 stale · 41 ms (read 1, merge 2, stage 20, commit 15, mirror 3)`
pub fn batch(r: &BatchReport) -> String {
    let c = r.counts();
    let mut line = format!("batch {} · {} · {}", r.batch, count(r.files, "file"), count(r.events, "event"));
    line += &format!(
        " · {} inserted, {} updated, {} deleted, {} unchanged",
        c.inserted, c.updated, c.deleted, c.unchanged
    );
    let extras = [
        (c.stale, "stale"),
        (c.repeated, "repeated"),
        (c.duplicate, "duplicate"),
        (r.duplicate_keys, "duplicate JSON keys"),
        (r.changed, "changed"),
        (r.quarantined, "quarantined"),
    ];
    for (n, what) in extras.iter().filter(|(n, _)| *n > 0) {
        line += &format!(" · {n} {what}");
    }
    let t = &r.ms;
    line += &format!(
        " · {:.0} ms (read {:.0}, merge {:.0}, stage {:.0}, commit {:.0}, mirror {:.0})",
        t.total, t.read, t.merge, t.stage, t.commit, t.mirror
    );
    line
}

/// What was quarantined, a line each, and how much more there is: `  a.json:3: ends in the middle of a string`
pub fn quarantined(r: &BatchReport) -> Vec<String> {
    let mut lines: Vec<String> = r.rejected.iter().map(rejection).collect();
    let more = r.quarantined.saturating_sub(lines.len() as u64);
    if more > 0 {
        let query = "millrace query 'select file, line, reason from _quarantine'";
        lines.push(format!("  and {} more in the table _quarantine: {query}", thousands(more)));
    }
    lines
}

fn rejection(r: &Rejection) -> String {
    let element = r.element.map_or(String::new(), |e| format!(" element {e}:"));
    format!("  {}:{}:{element} {}", shown(&r.file), r.line, shown(&r.reason))
}

/// `1 file`, `2 files`
pub fn count(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", thousands(n))
}

/// `1,234,567`
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (at, d) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// One row per table: its counts, aligned.
pub fn tables(r: &BatchReport) -> String {
    let width = r.tables.keys().map(String::len).max().unwrap_or(0).max("table".len());
    let mut text = format!(
        "{:<width$} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
        "table", "inserted", "updated", "deleted", "unchanged", "stale", "repeated"
    );
    for (name, c) in &r.tables {
        text += &format!(
            "{name:<width$} {:>10} {:>10} {:>10} {:>10} {:>10} {:>10}\n",
            thousands(c.inserted),
            thousands(c.updated),
            thousands(c.deleted),
            thousands(c.unchanged),
            thousands(c.stale),
            thousands(c.repeated)
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(
            (thousands(0), thousands(999), thousands(1_234_567)),
            ("0".into(), "999".into(), "1,234,567".into())
        );
        assert_eq!((count(1, "file"), count(1000, "file")), ("1 file".into(), "1,000 files".into()));
    }
}
