//! Row 11: Hostile JSON, archives, names and columns.
//!
//! `cases` rebuilds the classes of the public JSONTestSuite; `grammar` puts each of them alone, among neighbours and in
//! arrays; `decided` says what becomes of what the grammar leaves open; `values` follows them into the tables;
//! `archives`, `names`, `large`, `streams` and `flood` are about what stands around the JSON.

mod archives;
mod cases;
mod decided;
mod flood;
mod grammar;
mod large;
mod names;
mod place;
mod streams;
mod tally;
mod values;

use std::panic::catch_unwind;

use millrace::decode::decode_all;
use millrace::pipeline;

use crate::support::json::{Json, parse};

/// A value that every type may try to take; what does not fit is null, so that each event arrives.
const PIPELINE: &str = r#"version = 1
name = "hostile"
[source]
path = "input_events"
[event]
key = "$.id"
sequence = { path = "$.n", type = "int64", optional = true }
[tables.value]
key = ["id"]
[tables.value.columns]
id = "$.id"
t = { path = "$.v", on_error = "null" }
i = { path = "$.v", type = "int64", on_error = "null" }
f = { path = "$.v", type = "float64", on_error = "null" }
m = { path = "$.v", type = "decimal(18,4)", on_error = "null" }
b = { path = "$.v", type = "bool", on_error = "null" }
"#;

/// What decoding a file gave.
#[derive(Debug, Default)]
struct Taken {
    /// The ids of its documents; `-` where there is none.
    ids: Vec<String>,
    /// Why parts of it were refused.
    bad: Vec<String>,
}

impl Taken {
    fn times(&self, id: &str) -> usize {
        self.ids.iter().filter(|i| *i == id).count()
    }
}

/// Decodes a file by the product; the ids are read by the plain reader.
fn taken(name: &str, bytes: &[u8]) -> Taken {
    let pipeline = compiled();
    let decode = || decode_all(&pipeline.shape, pipeline.limits, name, bytes.to_vec()).unwrap();
    let mut taken = Taken::default();
    let Ok(range) = catch_unwind(decode) else {
        tally::panicked();
        return taken;
    };
    for chunk in &range.chunks {
        for d in &chunk.documents {
            let text = &chunk.text[d.start as usize..d.end as usize];
            taken.ids.push(member(text, "id").unwrap_or_else(|| "-".to_owned()));
        }
        taken.bad.extend(chunk.bad.iter().map(|b| b.reason.clone()));
    }
    assert_eq!(range.range.quarantined as usize, taken.bad.len());
    taken
}

/// A text member of a document; of several by that name, the last.
fn member(text: &[u8], name: &str) -> Option<String> {
    // Halves of surrogate pairs are JSON, but no text: the plain reader gets other characters instead.
    let paired = || String::from_utf8_lossy(text).replace("\\ud", "\\u0").replace("\\uD", "\\u0");
    let Some(Json::Object(members)) = parse(text).or_else(|| parse(paired().as_bytes())) else { return None };
    match members.into_iter().rev().find(|(n, _)| n == name)?.1 {
        Json::Text(text) => Some(text),
        _ => None,
    }
}

fn compiled() -> &'static pipeline::Pipeline {
    static PIPE: std::sync::OnceLock<pipeline::Pipeline> = std::sync::OnceLock::new();
    PIPE.get_or_init(|| pipeline::parse(PIPELINE, "hostile.toml").unwrap_or_else(|p| panic!("{}", p[0])))
}
