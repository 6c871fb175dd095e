//! Names: which ones are events, which are none of our business, and how any name is written as text.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Component, Path, PathBuf};

/// A path relative to the source folder as text, `/` between parts: bytes that are not UTF-8 appear as `\xHH`,
/// a backslash as `\\`. Two names never look alike, and [`raw_path`] finds the way back.
pub fn display_name(relative: &OsStr) -> String {
    let mut text = String::with_capacity(relative.len());
    push_display(&mut text, relative.as_bytes());
    text
}

pub(super) fn push_display(text: &mut String, raw: &[u8]) {
    for chunk in raw.utf8_chunks() {
        let mut parts = chunk.valid().split('\\');
        text.push_str(parts.next().unwrap_or_default());
        for part in parts {
            text.push_str("\\\\");
            text.push_str(part);
        }
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
}

/// The path that [`display_name`] wrote as `name`.
pub fn raw_path(name: &str) -> PathBuf {
    if !name.contains('\\') {
        return PathBuf::from(name);
    }
    let mut raw = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let (byte, after) = if byte == b'\\' { escaped(after) } else { (byte, after) };
        raw.push(byte);
        rest = after;
    }
    PathBuf::from(OsString::from_vec(raw))
}

/// What follows a backslash; anything that was not written by us stays as it is.
fn escaped(after: &[u8]) -> (u8, &[u8]) {
    match after {
        [b'\\', rest @ ..] => (b'\\', rest),
        [b'x', high, low, rest @ ..] => match (hex(*high), hex(*low)) {
            (Some(high), Some(low)) => (high << 4 | low, rest),
            _ => (b'\\', after),
        },
        _ => (b'\\', after),
    }
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|d| u8::try_from(d).ok())
}

/// A path relative to the source folder, or `None` if it lies outside or some part of it is to be ignored.
pub(super) fn name_below(root: &Path, path: &Path) -> Option<String> {
    let relative = path.strip_prefix(root).ok()?;
    let wanted = |part: Component| matches!(part, Component::Normal(n) if !is_ignored(n.as_bytes()));
    relative.components().all(wanted).then(|| display_name(relative.as_os_str()))
}

/// Hidden, or on its way: `.x`, `_x`, `x.tmp`, `x.part`. Files and folders alike.
pub(super) fn is_ignored(name: &[u8]) -> bool {
    matches!(name.first(), Some(b'.' | b'_')) || has_suffix(name, ".tmp") || has_suffix(name, ".part")
}

/// `.json`, `.ndjson`, `.jsonl`, each also `.gz` or `.zst`, in either case.
pub(super) fn is_event_file(name: &[u8]) -> bool {
    let plain = [".gz", ".zst"].iter().find(|s| has_suffix(name, s)).map_or(name, |s| strip(name, s.len()));
    [".json", ".ndjson", ".jsonl"].iter().any(|s| has_suffix(plain, s))
}

/// As [`is_event_file`].
pub fn is_event_name(name: &OsStr) -> bool {
    is_event_file(name.as_bytes())
}

fn has_suffix(name: &[u8], suffix: &str) -> bool {
    let at = name.len().checked_sub(suffix.len());
    at.and_then(|at| name.get(at..)).is_some_and(|end| end.eq_ignore_ascii_case(suffix.as_bytes()))
}

fn strip(name: &[u8], bytes: usize) -> &[u8] {
    name.get(..name.len().saturating_sub(bytes)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_event_files() {
        for yes in ["a.json", "a.JSON", "a.ndjson", "a.jsonl.gz", "a.b.Json.ZST", "a.NdJson.zst"] {
            assert!(is_event_file(yes.as_bytes()), "{yes}");
        }
        for no in ["json", "a.jso", "a.json.bz2", "a.csv", "a.json.gz.gz", "a.gz", "", ".g", "a.json "] {
            assert!(!is_event_file(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn ignores_hidden_and_unfinished() {
        for yes in [".json", "_a.json", "a.json.tmp", "a.PART", ".git", "_work", "x.tmp"] {
            assert!(is_ignored(yes.as_bytes()), "{yes}");
        }
        for no in ["a.json", "a_b", "tmp", "part", "a.tmp.json", ""] {
            assert!(!is_ignored(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn writes_names_so_that_no_two_look_alike() {
        let shown = |raw: &[u8]| display_name(OsStr::from_bytes(raw));
        assert_eq!(shown("d/café.json".as_bytes()), "d/café.json");
        assert_eq!(shown(b"a\\b"), "a\\\\b");
        assert_eq!(shown(b"a\xff\xc3.json"), "a\\xff\\xc3.json");
        assert_eq!(shown(b"a\\xff"), "a\\\\xff");
    }

    proptest::proptest! {
        #[test]
        fn every_name_finds_its_way_back(raw: Vec<u8>) {
            let name = display_name(OsStr::from_bytes(&raw));
            let path = raw_path(&name);
            proptest::prop_assert_eq!(path.as_os_str().as_bytes(), &raw[..]);
        }

        #[test]
        fn any_text_is_some_path(text: String) {
            raw_path(&text);
        }
    }
}
