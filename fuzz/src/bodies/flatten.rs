//! Events to rows: what `check` lets pass `build` can build, and the orders model's rows are those of the oracle.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use millrace::batch::{Chunk, Claim, EventOrder, TableRows};
use millrace::decode::decode_all;
use millrace::flatten::{Flattener, gather};
use millrace::merge::{KeyIndex, choose};
use millrace::pipeline::{self, Pipeline};

use crate::support::json::parse;
use crate::support::{cells, oracle};

/// Every type, masks, hashes, lookups, nested levels, lenient columns.
const TYPES: &str = r#"version = 1
name = "types"
[source]
path = "in"
[event]
key = [{ path = "$.id" }, { path = "$.n", type = "int64" }]
sequence = [{ path = "$.v", type = "int64", optional = true }]
[tables.line]
each = "$.l[*].m[*]"
owner = ["id", "n"]
key = ["id", "n", "x"]
[tables.line.columns]
id = "$.id"
n = { path = "$.n", type = "int64" }
x = "@.x"
i = { path = "@.i", type = "int64" }
f = { path = "@.f", type = "float64" }
b = { path = "^.b", type = "bool" }
m = { path = "^.d[1]", type = "decimal(38,10)", on_error = "null" }
h = { hash = ["x", "i"] }
s = { path = "@.s", mask = "sha256" }
[tables.line.columns.t]
lookup = { table = "thing", match = { id = "x" }, take = "t" }
[tables.thing]
each = "$.things[*]"
key = ["id"]
[tables.thing.columns]
id = "@.id"
t = { path = "@.t", type = "timestamp" }
d = { path = "@.d", type = "date", on_error = "null" }
r = { path = "@.r", type = "float64", mask = "redact" }
"#;

struct Ready {
    pipeline: Pipeline,
    flattener: Flattener,
}

fn ready(text: &str) -> Ready {
    let pipeline = pipeline::parse(text, "fuzz").unwrap_or_else(|p| panic!("{}", p[0]));
    Ready { flattener: Flattener::new(&pipeline), pipeline }
}

/// The first byte chooses the pipeline; the rest is a file of events.
pub fn run(data: &[u8]) {
    static ORDERS: OnceLock<Ready> = OnceLock::new();
    static OTHER: OnceLock<Ready> = OnceLock::new();
    let Some((&mode, text)) = data.split_first() else { return };
    let orders = mode & 1 == 0;
    let ready = match orders {
        true => ORDERS.get_or_init(|| ready(pipeline::DEFAULT)),
        false => OTHER.get_or_init(|| ready(TYPES)),
    };
    let shape = &ready.pipeline.shape;
    let chunks = decode_all(shape, ready.pipeline.limits, "x.ndjson", text.to_vec()).unwrap().chunks;
    let built = built(&ready.flattener, &chunks);
    if orders {
        as_the_oracle_says(ready, &chunks, &built);
    }
}

/// Checks, chooses and builds; what is said about the rows must be true of them.
fn built(flattener: &Flattener, chunks: &[Chunk]) -> Vec<TableRows> {
    let checked: Vec<_> = (0..).zip(chunks).map(|(i, chunk)| flattener.check(chunk, i)).collect();
    for (chunk, checked) in chunks.iter().zip(&checked) {
        assert_eq!(checked.bytes.len(), chunk.documents.len());
        assert_eq!(checked.claims.valid as usize, chunk.documents.len() - checked.bad.len());
    }
    let claims = gather(checked.into_iter().map(|c| c.claims));
    let table = |(at, claims): (usize, &Vec<Claim>)| {
        let winners = choose(&KeyIndex::default(), claims);
        let mut turned = claims.clone();
        turned.reverse();
        // The very same event may stand there twice: then either of the two is the winner.
        let chosen = |claims: &[Claim]| -> BTreeMap<u128, (EventOrder, u32)> {
            let winners = choose(&KeyIndex::default(), claims).claims;
            winners.iter().map(|c| (c.owner, (c.order, c.element))).collect()
        };
        assert_eq!(chosen(claims), chosen(&turned), "the order of claims shows");
        let rows = flattener.build(at, chunks, &winners.claims).unwrap();
        assert_eq!(rows.owners.len(), winners.claims.len());
        let mut next = 0;
        for owner in &rows.owners {
            assert!(owner.count == 0 || owner.first == next, "the rows of an owner stand apart");
            next += owner.count;
        }
        assert_eq!(next as usize, rows.rows.num_rows());
        rows
    };
    claims.tables.iter().enumerate().map(table).collect()
}

fn as_the_oracle_says(ready: &Ready, chunks: &[Chunk], built: &[TableRows]) {
    let mut events = Vec::new();
    for chunk in chunks {
        let bad = ready.flattener.check(chunk, 0).bad;
        for (at, document) in (0..).zip(&chunk.documents) {
            let text = &chunk.text[document.start as usize..document.end as usize];
            if parse(text).is_none() {
                return; // half of a surrogate pair: JSON, but not to the oracle
            }
            let refused = bad.iter().find(|(d, _)| *d == at).map(|(_, b)| b.reason.as_str());
            let shown = String::from_utf8_lossy(text);
            assert_eq!(refused.is_none(), oracle::is_valid(text), "{shown}\n{refused:?}");
            events.push(text.to_vec());
        }
    }
    let expected = oracle::tables(&events);
    for (table, built) in ready.pipeline.tables.iter().zip(built) {
        let mut rows = cells::rows(&table.name, &built.rows);
        cells::sort(&table.name, &mut rows);
        assert_eq!(rows, expected.tables[table.name.as_str()], "{}", table.name);
    }
}
