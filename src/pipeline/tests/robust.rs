//! Loading, and that no text makes the parser panic.

use std::path::Path;

use proptest::prelude::*;

use super::SMALL;
use crate::error::Error;
use crate::pipeline::{DEFAULT, load, parse};

#[test]
fn load_lists_every_problem_and_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mine.toml");
    let message = |path: &Path| match load(Some(path)).unwrap_err() {
        error @ Error::Config(_) => (error.exit_code(), error.to_string()),
        other => panic!("{other}"),
    };
    let (code, text) = message(&path);
    assert!(code == 2 && text.contains("mine.toml"), "{text}");
    std::fs::write(&path, b"version = 1\n\xff").unwrap();
    assert!(message(&path).1.ends_with("mine.toml: not UTF-8 in line 2"));
    std::fs::write(&path, "").unwrap();
    let text = message(&path).1;
    assert!(
        text.lines().count() == 5 && text.lines().all(|l| l.contains("mine.toml:1:1: missing key")),
        "{text}"
    );
    std::fs::write(&path, SMALL).unwrap();
    assert_eq!(load(Some(&path)).unwrap().name, "shop");
}

#[test]
fn cut_anywhere_it_never_panics() {
    // The small file at every character; the large one, which costs far more, at every 7th.
    let cuts =
        |text: &'static str, step: usize| text.char_indices().step_by(step).map(move |(at, _)| &text[..at]);
    for text in cuts(SMALL, 1).chain(cuts(DEFAULT, 7)) {
        for problem in parse(text, "t").err().unwrap_or_default() {
            assert!(problem.line >= 1 && problem.line <= text.split('\n').count(), "{problem}");
            let line = text.split('\n').nth(problem.line - 1).unwrap();
            assert!(problem.column >= 1 && problem.column <= line.chars().count() + 1, "{problem}: {line}");
        }
    }
}

#[test]
fn deep_nesting_is_refused() {
    for deep in [format!("x = {}", "[".repeat(100_000)), format!("[{}a]", "a.".repeat(100_000))] {
        assert!(parse(&deep, "t").is_err());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Some bytes replaced, a piece copied elsewhere: whatever it becomes, it is an answer and no panic.
    #[test]
    fn changed_anyhow_it_never_panics(
        text in prop::sample::select(vec![SMALL, SMALL, DEFAULT]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        (from, to) in any::<(prop::sample::Index, prop::sample::Index)>(),
        len in 0..40usize,
    ) {
        let mut bytes = text.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let piece: Vec<u8> = bytes[from.index(bytes.len())..].iter().take(len).copied().collect();
        let to = to.index(bytes.len());
        bytes.splice(to..to, piece);
        let _ = parse(&String::from_utf8_lossy(&bytes), "t");
    }
}
