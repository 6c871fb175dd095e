//! The part of docs/PERFORMANCE.md that is generated: a line a figure. What was not measured now stays as it was.

use std::path::Path;

use crate::figures::{Measured, Results, short};
use crate::machine;

const HEAD: &str = "| measurement | figure | median | lowest to highest | target | met | load | date | commit |\n\
                    |---|---|---|---|---|---|---|---|---|\n";

/// `order`: the measurements as the page has them.
pub fn refresh(file: &Path, results: &Results, order: &[&str]) {
    let page = std::fs::read_to_string(file).unwrap();
    let measured = |name: &str| results.all.iter().any(|m| !m.failed && m.name == name);
    let page = between(&page, "figures", |old| {
        let kept = old.lines().filter(|l| l.starts_with("| ") && !l.starts_with("| measurement"));
        let kept = kept.filter(|l| !measured(name(l))).map(str::to_owned);
        let new = results.all.iter().flat_map(|m| lines(m, results));
        let mut all: Vec<String> = kept.chain(new).collect();
        // Stable: the figures of one measurement stay as they came.
        all.sort_by_key(|l| order.iter().position(|n| *n == name(l)).unwrap_or(order.len()));
        HEAD.to_owned() + &all.iter().map(|l| format!("{l}\n")).collect::<String>()
    });
    let page = between(&page, "machine", |_| format!("{}.\n", machine::line()));
    std::fs::write(file, page).unwrap();
}

/// Replaces what stands between two marks.
fn between(page: &str, mark: &str, new: impl FnOnce(&str) -> String) -> String {
    let (begin, end) = (format!("<!-- {mark}:begin -->\n"), format!("<!-- {mark}:end -->"));
    let (before, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("the page has no {begin}"));
    let (old, after) = rest.split_once(&end).unwrap_or_else(|| panic!("the page has no {end}"));
    format!("{before}{begin}{}{end}{after}", new(old))
}

fn name(line: &str) -> &str {
    line.split('|').nth(1).unwrap_or_default().trim()
}

fn lines(measured: &Measured, results: &Results) -> Vec<String> {
    let (before, after) = measured.load;
    let of = |f: &crate::figures::Figure| {
        let range = match f.samples.len() {
            1 => String::new(),
            _ => format!("{} to {}", short(f.min()), short(f.max())),
        };
        let median = format!("{} {}", short(f.median()), f.unit);
        format!(
            "| {} | {} | {} | {range} | {} | {} | {before:.0} to {after:.0} | {} | {} |",
            measured.name,
            f.name,
            median.trim_end(),
            f.target.text(),
            f.met_text(),
            results.date,
            results.commit
        )
    };
    measured.figures.iter().map(of).collect()
}
