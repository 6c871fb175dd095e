//! Any text as a path: refused with a place, or it finds the value that stands there.

use millrace::decode::decode_all;
use millrace::flatten::Flattener;
use millrace::merge::{KeyIndex, choose};
use millrace::pipeline::parse;

use super::pipeline::points_into;

const NEEDLE: &str = "the needle";

pub fn run(data: &[u8]) {
    let path = String::from_utf8_lossy(data);
    let text = format!(
        "version = 1\nname = \"p\"\nsource = {{ path = \"in\" }}\n\
         event = {{ key = \"$.id\", sequence = {{ path = \"$.v\", type = \"int64\" }} }}\n\
         [tables.t]\nkey = [\"id\"]\ncolumns = {{ id = \"$.id\", found = {} }}\n",
        toml(&path)
    );
    let pipeline = match parse(&text, "fuzz.toml") {
        Err(problems) => return problems.iter().for_each(|p| points_into(&text, p)),
        Ok(pipeline) => pipeline,
    };
    let Some(steps) = steps(&path) else { panic!("taken, but no path: {path:?}") };
    // What a path through the key's own places would find is not this test's business.
    let own = |s: &Step| matches!(s, Step::Name(n) if n == "id" || n == "v");
    if steps.first().is_none_or(|s| own(s) || matches!(s, Step::Index(_))) || steps.len() > 100 {
        return;
    }
    if steps.iter().any(|s| matches!(s, Step::Index(i) if *i > 100)) {
        return;
    }
    let inner = nested(&steps);
    let event = format!("{{\"id\":\"1\",\"v\":1,{}", &inner[1..]);
    let chunks =
        decode_all(&pipeline.shape, pipeline.limits, "x.ndjson", event.clone().into_bytes()).unwrap().chunks;
    let flattener = Flattener::new(&pipeline);
    let checked = flattener.check(&chunks[0], 0);
    assert!(checked.bad.is_empty(), "{:?}: {event}", checked.bad);
    let winners = choose(&KeyIndex::default(), &checked.claims.tables[0]);
    let rows = flattener.build(0, &chunks, &winners.claims).unwrap().rows;
    let found = rows.column(1).as_any().downcast_ref::<arrow::array::StringArray>().unwrap();
    assert_eq!(found.value(0), NEEDLE, "{path:?} in {event}");
}

fn toml(text: &str) -> String {
    let escaped: String = text.chars().map(|c| format!("\\U{:08X}", u32::from(c))).collect();
    format!("\"{escaped}\"")
}

/// The event that has the needle there.
fn nested(steps: &[Step]) -> String {
    match steps.split_first() {
        None => format!("\"{NEEDLE}\""),
        Some((Step::Name(name), rest)) => {
            format!("{{{}:{}}}", serde_json::to_string(name).unwrap(), nested(rest))
        }
        Some((Step::Index(at), rest)) => format!("[{}{}]", "null,".repeat(*at), nested(rest)),
    }
}

#[derive(Debug)]
enum Step {
    Name(String),
    Index(usize),
}

/// A second reading of the subset of RFC 9535, in as few words as possible.
fn steps(path: &str) -> Option<Vec<Step>> {
    let mut rest = path.strip_prefix(['$', '@', '^'])?;
    let mut steps = Vec::new();
    while !rest.is_empty() {
        if let Some(after) = rest.strip_prefix('.') {
            let other = |c: char| !(c.is_ascii_alphanumeric() || c == '_' || !c.is_ascii());
            let (name, after) = after.split_at(after.find(other).unwrap_or(after.len()));
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                return None;
            }
            steps.push(Step::Name(name.to_owned()));
            rest = after;
        } else {
            let after = rest.strip_prefix('[')?.trim_start_matches([' ', '\t', '\n', '\r']);
            let (step, after) = match after.chars().next()? {
                quote @ ('\'' | '"') => quoted(after, quote)?,
                _ => {
                    let end = after.find(|c: char| !c.is_ascii_digit())?;
                    (Step::Index(after[..end].parse().ok()?), &after[end..])
                }
            };
            steps.push(step);
            rest = after.trim_start_matches([' ', '\t', '\n', '\r']).strip_prefix(']')?;
        }
    }
    Some(steps)
}

/// A quoted name by way of serde_json: the other quote needs no escape, one's own and only that does.
fn quoted(text: &str, quote: char) -> Option<(Step, &str)> {
    let mut escaped = false;
    let end = text[1..].find(|c| {
        let ends = c == quote && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })? + 1;
    let inner = &text[1..end];
    let json = match quote {
        '\'' => inner.replace("\\'", "'").replace('"', "\\\""),
        _ => inner.to_owned(),
    };
    let name = serde_json::from_str(&format!("\"{json}\"")).ok()?;
    Some((Step::Name(name), &text[end + 1..]))
}
