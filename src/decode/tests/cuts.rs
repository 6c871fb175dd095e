//! However a file is cut into ranges, blocks and threads, it holds the same documents and the same bad parts.

use proptest::prelude::*;
use xxhash_rust::xxh3::xxh3_128;

use super::bytes::{gz, zst};
use super::{Item, LIMITS, decode, items, ranges};
use crate::pipeline::model::Limits;

const PIECES: &[&str] = &[
    "{\"a\":1}",
    "{\"a\":1}\n",
    "{\"a\":\"x\",\"a\":2}\n",
    "{\n  \"b\": {\n    \"c\": 1\n  }\n}\n",
    "{\"l\":[{\"x\":1}]}\n",
    "[",
    "]",
    ",",
    ",\n",
    "[{\"a\":1},\n{\"a\":2},\n",
    "{\"a\":3}]\n",
    "\n",
    " ",
    "{\"a\":",
    "{\"l\":[\n",
    "{\n",
    "}\n",
    "bad\n",
    "{\"a\":bad}\n",
    "42 ",
    "\"s\n",
    "\"s\"",
    "\u{e9}",
    "{\"a\":\"\u{1f600}\"}\n",
    "[[[[[[[[[[[[[[[[[[",
    "nul",
    "-",
    "\r\n",
    "{\"z\":\"................................................................................\"}\n",
    "\n\n\n\n\n\n\n\n                                                                                             \n",
];

fn text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => prop::sample::select(PIECES).prop_map(|p| p.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..3),
    ];
    prop::collection::vec(piece, 0..40).prop_map(|p| p.concat())
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["x.json", "x.ndjson", "x.json.gz", "x.jsonl.zst"])
}

fn packed(name: &str, text: &[u8]) -> Vec<u8> {
    match name.rsplit('.').next() {
        Some("gz") => gz(text),
        Some("zst") => zst(text),
        _ => text.to_vec(),
    }
}

/// What must hold for the ranges of any text.
fn check(name: &str, text: &[u8], limits: Limits, budget: u64, threads: usize) -> Result<(), TestCaseError> {
    let bytes = packed(name, text);
    let whole = decode(name, &bytes, limits);
    let parts = ranges(name, &bytes, limits, budget, threads);
    let found: Vec<Item> = parts.iter().flat_map(|p| items(&p.chunks)).collect();
    let expected = items(&whole.chunks);
    prop_assert_eq!(&found, &expected);
    prop_assert_eq!(whole.range.end.offset, text.len() as u64);
    let duplicates: u64 = parts.iter().map(|p| p.range.duplicate_keys).sum();
    prop_assert_eq!(duplicates, whole.range.duplicate_keys);
    let mut at = Default::default();
    for (i, part) in parts.iter().enumerate() {
        let r = &part.range;
        prop_assert_eq!(r.start, at);
        at = r.end;
        let decoded = &text[r.start.offset as usize..r.end.offset as usize];
        prop_assert_eq!(r.content_hash, xxh3_128(decoded));
        prop_assert_eq!(r.last, i + 1 == parts.len());
        prop_assert!(r.last || r.events + r.quarantined > 0);
        prop_assert_eq!(r.events, part.chunks.iter().map(|c| c.documents.len() as u64).sum::<u64>());
        prop_assert!(part.chunks.iter().all(|c| c.file == 7));
        let lines = decoded.iter().filter(|b| **b == b'\n').count() as u64;
        prop_assert_eq!(r.end.line, r.start.line + lines);
    }
    prop_assert_eq!(at.offset, text.len() as u64);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn budgets(name in name(), text in text(), budget in 1..400u64, most in 20..200u64) {
        check(name, &text, Limits { document_bytes: most, ..LIMITS }, budget, 1)?;
    }

    /// With blocks as small as they come, so that every text is many of them.
    #[test]
    fn blocks_and_threads(name in name(), text in text(), size in 1..200usize, threads in 1..4usize, most in 20..200u64) {
        let limits = Limits { document_bytes: most, ..LIMITS };
        let bytes = packed(name, &text);
        let expected = items(&decode(name, &bytes, limits).chunks);
        let guide = super::Guide::new(&super::shape());
        let mut reader = super::Reader::in_memory(name, bytes, limits).unwrap();
        let mut found = Vec::new();
        while !reader.is_done() {
            let range = reader.next_in_blocks(&guide, 0, 1000, size, threads).unwrap();
            let end = range.range.end.offset as usize;
            prop_assert_eq!(range.range.content_hash, xxh3_128(&text[range.range.start.offset as usize..end]));
            found.extend(items(&range.chunks));
        }
        prop_assert_eq!(found, expected);
    }
}

#[test]
fn large_files_by_several_threads() {
    let line = |i: usize| format!("{{\"a\":{i},\"b\":{{\"c\":\"{}\"}}}}", "y".repeat(i % 90));
    let pretty = |i: usize| format!("{{\n  \"a\": {i},\n  \"l\": [\n{{\"x\":1}}\n  ]\n}}\n");
    let lines: String = (0..12_000).map(|i| line(i) + "\n").collect();
    let odd: String = (0..9_000).map(|i| if i % 1000 == 7 { pretty(i) } else { line(i) + "\n" }).collect();
    let array: String = (0..12_000).map(|i| line(i) + ",\n").collect();
    for text in [lines, odd, format!("[\n{array}{{}}]\n{{}}")] {
        for (budget, threads) in [(u64::MAX, 3), (400_000, 2), (70_000, 2)] {
            check("x.ndjson", text.as_bytes(), LIMITS, budget, threads).unwrap();
            check("x.json.gz", text.as_bytes(), LIMITS, budget, threads).unwrap();
        }
    }
}

/// Guessing must in fact save walking twice: all chunks of a plain file come from one round.
#[test]
fn guesses_hold_on_plain_files() {
    let text: String = (0..40_000).map(|i| format!("{{\"a\":{i}}}\n")).collect();
    for name in ["x.json", "x.ndjson"] {
        let guide = super::Guide::new(&super::shape());
        let mut reader = super::Reader::in_memory(name, text.clone().into_bytes(), LIMITS).unwrap();
        let range = reader.next_in_blocks(&guide, 0, u64::MAX, 10_000, 2).unwrap();
        assert!(reader.is_guessing());
        assert_eq!(range.range.events, 40_000);
        assert!(range.chunks.len() > 20);
    }
}
