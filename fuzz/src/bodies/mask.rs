//! Quarantined text: what is masked never shows, and the rest stays as it was.

use std::sync::OnceLock;

use millrace::decode::decode_all;
use millrace::flatten::Flattener;
use millrace::pipeline::{self, Pipeline};

use crate::support::json::{Json, parse};

const PIPELINE: &str = r#"version = 1
name = "masks"
[source]
path = "in"
[event]
key = "$.id"
sequence = { path = "$.v", type = "int64" }
[tables.person]
key = ["id"]
[tables.person.columns]
id = "$.id"
token = { path = "$.auth.token", mask = "sha256" }
[tables.line]
each = "$.lines[*]"
key = ["sku"]
[tables.line.columns]
sku = "@.sku"
card = { path = "@.card.number", type = "int64", mask = "drop" }
tag = { path = "@.tags[0]", mask = "redact" }
"#;

/// What is secret of a value.
enum Secret {
    Open,
    All,
    Members(&'static [(&'static str, Secret)]),
    Elements(&'static Secret),
}

/// The same as the pipeline says, by hand.
static SECRETS: Secret = Secret::Members(&[
    ("auth", Secret::Members(&[("token", Secret::All)])),
    (
        "lines",
        Secret::Elements(&Secret::Members(&[
            ("card", Secret::Members(&[("number", Secret::All)])),
            ("tags", Secret::Elements(&Secret::All)),
        ])),
    ),
]);

pub fn run(data: &[u8]) {
    static READY: OnceLock<(Pipeline, Flattener)> = OnceLock::new();
    let (pipeline, flattener) = READY.get_or_init(|| {
        let pipeline = pipeline::parse(PIPELINE, "fuzz").unwrap_or_else(|p| panic!("{}", p[0]));
        let flattener = Flattener::new(&pipeline);
        (pipeline, flattener)
    });
    let Some((&cap, text)) = data.split_first() else { return };
    for chunk in decode_all(&pipeline.shape, pipeline.limits, "x.ndjson", text.to_vec()).unwrap().chunks {
        for (at, document) in (0..).zip(&chunk.documents) {
            let text = &chunk.text[document.start as usize..document.end as usize];
            let shown = flattener.masked_text(&chunk, at, usize::MAX - 1);
            let part = flattener.masked_text(&chunk, at, cap.into());
            assert!(shown.starts_with(&part) && part.len() <= cap.into(), "cut to {cap}: {part}");
            // Half of a surrogate pair is no text to the plain reader.
            if let Some(json) = parse(text) {
                assert_eq!(parse(shown.as_bytes()), Some(masked(json, &SECRETS)), "{shown}");
            }
        }
    }
}

/// What stands where a secret belongs, or where the way to one leads through, becomes `***`; null stays.
fn masked(json: Json, secret: &Secret) -> Json {
    match (json, secret) {
        (Json::Null, _) => Json::Null,
        (json, Secret::Open) => json,
        (Json::Object(members), Secret::Members(secrets)) => {
            let of = |name: &str| secrets.iter().find(|(n, _)| *n == name).map_or(&Secret::Open, |(_, s)| s);
            let member = |(name, value): (String, Json)| {
                let value = masked(value, of(&name));
                (name, value)
            };
            Json::Object(members.into_iter().map(member).collect())
        }
        (Json::Array(elements), Secret::Elements(secret)) => {
            Json::Array(elements.into_iter().map(|e| masked(e, secret)).collect())
        }
        _ => Json::Text("***".to_owned()),
    }
}
