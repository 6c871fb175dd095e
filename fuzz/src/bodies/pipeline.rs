//! Any text as a pipeline file: an answer, with every mistake's place; what is taken can be worked with.

use millrace::flatten::Flattener;
use millrace::mirror::Ddl;
use millrace::pipeline::{Pipeline, Problem, parse};
use millrace::run::contents::system_tables;

pub fn run(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match parse(&text, "fuzz.toml") {
        Ok(pipeline) => works(&text, &pipeline),
        Err(problems) => {
            assert!(!problems.is_empty(), "refused without a reason");
            problems.iter().for_each(|problem| points_into(&text, problem));
        }
    }
}

/// The place is one of the text, or right behind it.
pub fn points_into(text: &str, problem: &Problem) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let line = text.split('\n').nth(problem.line.checked_sub(1).expect("lines count from 1"));
    let width = line.unwrap_or_else(|| panic!("no such line: {problem}")).chars().count();
    assert!((1..=width + 1).contains(&problem.column), "no such column: {problem}");
    assert!(!problem.message.is_empty());
}

fn works(text: &str, pipeline: &Pipeline) {
    let again = parse(text, "other.toml").unwrap();
    assert_eq!(again.fingerprint, pipeline.fingerprint, "the same text, another fingerprint");
    let flattener = Flattener::new(pipeline);
    let events = b"{}\n{\"id\":\"1\",\"at\":\"2024-01-01T00:00:00Z\",\"lines\":[{\"sku\":\"a\"}]}\n".to_vec();
    let range = millrace::decode::decode_all(&pipeline.shape, pipeline.limits, "x.ndjson", events).unwrap();
    for chunk in &range.chunks {
        flattener.check(chunk, 0);
    }
    // Names that only SQLite minds, and views that are wrong, are told, not hit.
    let _ = Ddl::of(pipeline, &system_tables()).check_views();
}
