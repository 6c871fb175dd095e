//! What a name says about a file: how it is compressed, and how its documents are told apart.

use super::skip::Rule;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// What a name says about a file; `None` if it names no event file. Case does not matter.
pub fn format(name: &str) -> Option<(Rule, Packing)> {
    let (stem, packing) = match strip(name, ".gz") {
        Some(stem) => (stem, Packing::Gzip),
        None => strip(name, ".zst").map_or((name, Packing::Plain), |stem| (stem, Packing::Zstd)),
    };
    if strip(stem, ".json").is_some() {
        return Some((Rule::Braces, packing));
    }
    let lines = strip(stem, ".ndjson").or_else(|| strip(stem, ".jsonl")).is_some();
    lines.then_some((Rule::Lines, packing))
}

fn strip<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, tail) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    tail.eq_ignore_ascii_case(ending).then_some(stem)
}

/// `.json`, `.ndjson`, `.jsonl`, each also with `.gz` or `.zst` behind it.
pub fn is_event_file(name: &str) -> bool {
    format(name).is_some()
}

/// How documents of a file with this name are told apart. Names that say nothing count as `.json`.
pub fn rule(name: &str) -> Rule {
    format(name).map_or(Rule::Braces, |(rule, _)| rule)
}
