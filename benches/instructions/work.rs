//! What is counted, each in a function of its own that is never inlined: callgrind begins and ends there.
//!
//! Both on this thread alone. No closure may stand in a counted function: its name would have the function's in it,
//! and end the counting.

use std::hint::black_box;
use std::sync::Arc;

use millrace::batch::{Chunk, Claims, TableRows};
use millrace::decode;
use millrace::flatten::{Flattener, gather};
use millrace::merge::{self, KeyIndex};
use millrace::pipeline::{self, model::Pipeline};
use millrace::simulate::{Options, Shop};

/// Events of the input: about 2 MB of lines.
const EVENTS: usize = 400;
/// Events of the two batches that are merged.
const MERGED: usize = 1_000;

pub fn run(function: &str) {
    let bench = Bench::new();
    match function {
        "counted_decode_and_flatten" => {
            let text = lines(0, EVENTS);
            black_box(counted_decode_and_flatten(&bench, text));
        }
        "counted_merge" => {
            // Into an index that knows many of the owners: of the events, half are told again, half are later ones.
            let mut indexes: Vec<KeyIndex> = bench.tables().map(|_| KeyIndex::default()).collect();
            let known = bench.batch(&indexes, lines(0, MERGED));
            merge_all(&mut indexes, known, 1);
            let new = bench.batch(&indexes, lines(MERGED / 2, MERGED));
            assert!(counted_merge(&mut indexes, new, 2) > MERGED);
        }
        other => panic!("nothing counts {other}"),
    }
}

/// The same lines each time: a shop's events from a certain one on.
fn lines(from: usize, events: usize) -> Vec<u8> {
    let shop = Shop::new(5, Options::default());
    shop.skip(from).take(events).flat_map(|e| e.text.into_iter().chain([b'\n'])).collect()
}

struct Bench {
    pipeline: Arc<Pipeline>,
    flattener: Flattener,
}

/// A batch before merging: its claims, and the rows of those that will win.
struct Batch {
    claims: Claims,
    rows: Vec<TableRows>,
}

#[inline(never)]
fn counted_decode_and_flatten(bench: &Bench, text: Vec<u8>) -> Batch {
    bench.alone(text)
}

#[inline(never)]
fn counted_merge(indexes: &mut [KeyIndex], batch: Batch, id: u32) -> usize {
    merge_all(indexes, batch, id)
}

impl Bench {
    fn new() -> Bench {
        let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
        let flattener = Flattener::new(&pipeline);
        Bench { pipeline, flattener }
    }

    fn tables(&self) -> impl Iterator<Item = usize> {
        0..self.pipeline.tables.len()
    }

    /// A batch into empty tables.
    fn alone(&self, text: Vec<u8>) -> Batch {
        let indexes: Vec<KeyIndex> = self.tables().map(|_| KeyIndex::default()).collect();
        self.batch(&indexes, text)
    }

    /// From bytes to claims, and the rows of those that win against the indexes.
    fn batch(&self, indexes: &[KeyIndex], text: Vec<u8>) -> Batch {
        let (shape, limits) = (&self.pipeline.shape, self.pipeline.limits);
        let chunks: Vec<Chunk> = decode::decode_all(shape, limits, "events.ndjson", text).unwrap().chunks;
        let parts = (0..).zip(&chunks).map(|(at, chunk)| self.flattener.check(chunk, at).claims);
        let claims = gather(parts.collect::<Vec<_>>());
        let build = |table: usize| {
            let (claims, index) = (&claims.tables[table], &indexes[table]);
            let winners = merge::choose(index, claims);
            self.flattener.build(table, &chunks, &winners.claims).unwrap()
        };
        let rows = self.tables().map(build).collect();
        Batch { claims, rows }
    }
}

/// Chooses against the indexes, plans what to write, and takes the plans into the indexes. How many entries moved.
fn merge_all(indexes: &mut [KeyIndex], batch: Batch, id: u32) -> usize {
    let mut moved = 0;
    for ((index, claims), rows) in indexes.iter_mut().zip(&batch.claims.tables).zip(batch.rows) {
        let winners = merge::choose(index, claims);
        let plan = merge::plan(index, rows, id, winners.counts(0)).unwrap();
        index.apply(&plan.index);
        moved += plan.index.len();
    }
    moved
}
