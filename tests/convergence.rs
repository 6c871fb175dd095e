//! Promise 1: the tables are a pure function of the set of events ever seen. Arrival order, batch size, restarts,
//! repeated and renamed files change nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::path::Path;
use std::sync::Arc;

use millrace::clock;
use millrace::maintain::{self, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::run::{Options, Places, Quiet, Session, Stop, run};
use millrace::tables::LocalDisk;
use millrace::verify::verify;
use proptest::prelude::*;
use support::generate::{Kind, event_sets};
use support::{contents, oracle};

/// How one history of arrivals is cut.
#[derive(Debug, Clone)]
struct History {
    /// Events in the order of arrival, repeats included.
    arrivals: Vec<Vec<u8>>,
    /// Events per file, and files per run (each run is a restart).
    per_file: usize,
    files_per_run: usize,
    batch_files: usize,
    batch_bytes: u64,
    /// Maintenance as eager as it gets.
    eager: bool,
}

fn histories() -> impl Strategy<Value = History> {
    let events = event_sets(Kind { one_line: true, malformed: true });
    let cut = (1usize..6, 1usize..8, 1usize..5, prop_oneof![Just(1u64 << 20), 200u64..3000], any::<bool>());
    (events, cut).prop_flat_map(|(events, (per_file, files_per_run, batch_files, batch_bytes, eager))| {
        // Every event arrives at least once, some again.
        let mut all = events.clone();
        all.extend(events.iter().step_by(3).cloned());
        Just(all).prop_shuffle().prop_map(move |arrivals| History {
            arrivals,
            per_file,
            files_per_run,
            batch_files,
            batch_bytes,
            eager,
        })
    })
}

fn pipeline_for(folder: &Path, history: &History) -> Arc<Pipeline> {
    let mut pipeline = pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap();
    pipeline.source.path = folder.join("input_events");
    pipeline.source.settle_ms = 0;
    pipeline.source.batch_files = history.batch_files;
    pipeline.source.batch_bytes = history.batch_bytes;
    Arc::new(pipeline)
}

fn policy(eager: bool) -> maintain::Policy {
    if !eager {
        return maintain::Policy::default();
    }
    maintain::Policy {
        compact: compact::Policy { fan_in: 2, ..compact::Policy::default() },
        retention: clean::Retention {
            checkpoint_every: 3,
            keep_commits: 1,
            keep_ms: 0,
            ..clean::Retention::default()
        },
        ..maintain::Policy::default()
    }
}

fn open(folder: &Path, pipeline: &Arc<Pipeline>, eager: bool) -> Session {
    let places = Places {
        tables: folder.join("tables"),
        checkpoint: folder.join("checkpoint"),
        database: Some(folder.join("database/orders.db")),
    };
    Session::open(&places, pipeline.clone(), Arc::new(LocalDisk), clock::system(), policy(eager)).unwrap()
}

/// Plays a history and returns the root's folder's contents, verified on the way.
fn play(history: &History) -> std::collections::BTreeMap<&'static str, Vec<oracle::Row>> {
    let folder = tempfile::tempdir().unwrap();
    let pipeline = pipeline_for(folder.path(), history);
    let input = &pipeline.source.path;
    std::fs::create_dir_all(input).unwrap();
    let files: Vec<&[Vec<u8>]> = history.arrivals.chunks(history.per_file).collect();
    for (turn, group) in files.chunks(history.files_per_run).enumerate() {
        for (at, events) in group.iter().enumerate() {
            let text = [events.join(&b'\n'), b"\n".to_vec()].concat();
            std::fs::write(input.join(format!("{turn}-{at}.ndjson")), text).unwrap();
        }
        // A file that was read comes back under another name.
        if turn > 0 && turn % 2 == 0 {
            std::fs::rename(input.join("0-0.ndjson"), input.join(format!("again-{turn}.ndjson"))).ok();
        }
        let session = open(folder.path(), &pipeline, history.eager);
        let options = Options { source: input.clone(), once: true, threads: 2 };
        let ended = run(session, &options, &Stop::default(), &mut Quiet).unwrap();
        assert!(ended.unread.is_empty() && ended.waiting.is_empty(), "{ended:?}");
    }
    let session = open(folder.path(), &pipeline, false);
    let findings = verify(&session.root, &folder.path().join("database/orders.db")).unwrap();
    assert_eq!(findings.differences, Vec::<String>::new());
    contents::tables(&session.root)
}

/// `MILLRACE_CASES` histories, or a few.
fn cases(few: u32) -> ProptestConfig {
    let cases = std::env::var("MILLRACE_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(few);
    ProptestConfig { cases, max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn any_history_of_the_same_events_gives_the_same_tables(history in histories()) {
        let expected = oracle::tables(&history.arrivals);
        prop_assert_eq!(play(&history), expected.tables);
    }
}
