//! Promise 2 at the level of single durable calls: whichever of them fails, dies half way or is the last before a
//! power cut, the next start finds its way, and what was reported as done is there.
//!
//! `MILLRACE_FAULTS` sets how many calls are tried in each history (36 if not set); more than there are: all.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millrace::batch::Unread;
use millrace::clock;
use millrace::commit::Paths;
use millrace::error::{Error, Result};
use millrace::maintain::{self, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::report::BatchReport;
use millrace::root::Root;
use millrace::run::{Ended, Found, Observer, Options, Places, Quiet, Session, Stop, run};
use millrace::tables::{Disk, LocalDisk};
use millrace::verify;
use support::faults::{FAULTS, FaultyDisk, RecordingDisk, Unsynced};
use support::generate::{Kind, events};
use support::place::{Place, order};
use support::{contents, files, folders, oracle};

fn tries() -> usize {
    std::env::var("MILLRACE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(36)
}

/// About [`tries`] of the numbers below `total`, spread evenly, the last one included.
fn spread(total: usize) -> impl Iterator<Item = usize> {
    let tries = tries().min(total).max(1);
    (1..=tries).map(move |n| n * total / tries - 1)
}

const KIND: Kind = Kind { one_line: true, malformed: false };

/// Adds files of `each` events to a source folder.
fn add(source: &Path, name: &str, seed: u64, count: usize, each: usize) {
    fs::create_dir_all(source).unwrap();
    for (at, group) in events(seed, count, KIND).chunks(each).enumerate() {
        fs::write(source.join(format!("{name}-{at}.ndjson")), group.join(&b'\n')).unwrap();
    }
}

fn pipeline_of(source: &Path) -> Arc<Pipeline> {
    let mut pipeline = pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap();
    pipeline.source.path = source.to_path_buf();
    pipeline.source.batch_files = 2;
    pipeline.source.settle_ms = 0;
    Arc::new(pipeline)
}

/// Maintenance as eager as it gets: it has durable calls of its own.
fn policy() -> maintain::Policy {
    maintain::Policy {
        compact: compact::Policy { fan_in: 2, ..compact::Policy::default() },
        retention: clean::Retention { checkpoint_every: 3, keep_commits: 1, keep_ms: 0 },
    }
}

/// Takes everything that is in the source folder.
fn take(
    folder: &Path,
    pipeline: &Arc<Pipeline>,
    disk: Arc<dyn Disk>,
    observer: &mut dyn Observer,
) -> Result<Ended> {
    let places =
        Places { tables: folder.join("tables"), checkpoint: folder.join("checkpoint"), database: None };
    let session = Session::open(&places, pipeline.clone(), disk, clock::system(), policy())?;
    let options = Options { source: pipeline.source.path.clone(), once: true, threads: 1 };
    run(session, &options, &Stop::default(), observer)
}

fn open(folder: &Path, pipeline: &Arc<Pipeline>) -> Root {
    let paths = Paths::new(folder.join("tables"));
    Root::open(paths, pipeline.clone(), Arc::new(LocalDisk), clock::system()).unwrap()
}

fn assert_sound(root: &Root, story: &str) {
    assert_eq!(verify::tables_only(root).unwrap().differences, Vec::<String>::new(), "{story}");
}

/// A source folder, and tables that hold the first part of it.
struct History {
    _dir: tempfile::TempDir,
    pipeline: Arc<Pipeline>,
    base: std::path::PathBuf,
    expected: std::collections::BTreeMap<&'static str, Vec<oracle::Row>>,
}

impl History {
    /// `before`: events that the tables have before the history begins; 0: there are no tables.
    fn new(before: usize, after: usize) -> History {
        let dir = folders::quick();
        let (source, base) = (dir.path().join("input_events"), dir.path().join("base"));
        let pipeline = pipeline_of(&source);
        fs::create_dir_all(&base).unwrap();
        if before > 0 {
            add(&source, "before", 1, before, 3);
            take(&base, &pipeline, Arc::new(LocalDisk), &mut Quiet).unwrap();
        }
        add(&source, "later", 2, after, 3);
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        History { _dir: dir, pipeline, base, expected }
    }

    fn copy(&self) -> tempfile::TempDir {
        let folder = folders::quick();
        folders::copy(&self.base, folder.path());
        folder
    }

    fn finish(&self, folder: &Path, story: &str) {
        let ended = take(folder, &self.pipeline, Arc::new(LocalDisk), &mut Quiet);
        ended.unwrap_or_else(|e| panic!("{story}: the next start failed: {e}"));
        let root = open(folder, &self.pipeline);
        assert_sound(&root, story);
        assert!(contents::tables(&root) == self.expected, "{story}: other contents");
    }
}

/// The record is in place, or may be: nobody knows whether the batch happens.
fn is_undecided(failed: &str) -> bool {
    let commit =
        failed.starts_with("publish") && failed.ends_with(".json") && !failed.ends_with("000000.json");
    commit || failed.starts_with("replace") && failed.ends_with("/decision")
}

fn every_call_fails_once(history: &History, creates: bool) {
    let folder = history.copy();
    let undisturbed = Arc::new(FaultyDisk::new(u64::MAX, FAULTS[0]));
    take(folder.path(), &history.pipeline, undisturbed.clone(), &mut Quiet).unwrap();
    let mut undecided = 0;
    for (turn, n) in spread(undisturbed.calls() as usize).enumerate() {
        let fault = FAULTS[turn % FAULTS.len()];
        let folder = history.copy();
        let disk = Arc::new(FaultyDisk::new(n as u64, fault));
        let ended = take(folder.path(), &history.pipeline, disk.clone(), &mut Quiet);
        let Some(failed) = disk.failed() else { continue };
        let story = format!("{fault:?} at call {n}, {failed}");
        let error = ended.map(|_| ()).expect_err(&format!("{story}: the run went on"));
        if is_undecided(&failed) && !creates {
            undecided += 1;
            assert!(matches!(error, Error::Unknown(_)), "{story}: {error}");
        }
        history.finish(folder.path(), &story);
    }
    assert!(undecided > 0 || creates, "no call after a decision failed: try more calls");
}

#[test]
fn every_durable_call_of_a_new_root_may_fail() {
    every_call_fails_once(&History::new(0, 12), true);
}

#[test]
fn every_durable_call_of_later_batches_may_fail() {
    every_call_fails_once(&History::new(18, 18), false);
}

/// Tells the disk which batches were reported as done.
struct Acknowledging(Arc<RecordingDisk>);

impl Observer for Acknowledging {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, report: &BatchReport, _: u64) {
        self.0.acknowledge(report.batch);
    }
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_that_was_acknowledged() {
    let history = History::new(0, 30);
    let folder = history.copy();
    let disk = Arc::new(RecordingDisk::default());
    take(folder.path(), &history.pipeline, disk.clone(), &mut Acknowledging(disk.clone())).unwrap();
    let ends = [Unsynced::Lost, Unsynced::Kept, Unsynced::Some(7), Unsynced::Some(77)];
    let mut cuts = 0;
    for (turn, n) in spread(disk.calls()).enumerate() {
        let unsynced = ends[turn % ends.len()];
        let story = format!("cut after call {n}, unsynced names {unsynced:?}");
        let after = folders::quick();
        let acknowledged = disk.cut(n, unsynced, folder.path(), after.path());
        let root = open(after.path(), &history.pipeline);
        assert!(root.record.batch >= acknowledged, "{story}: batch {acknowledged} is gone");
        assert_sound(&root, &story);
        drop(root);
        cuts += usize::from(acknowledged > 0);
        history.finish(after.path(), &story);
    }
    assert!(cuts > 0, "no cut came after an acknowledged batch");
}

// ------------------------------------------------------------------------------------------- a record that is not it

#[test]
fn a_record_of_another_moment_destroys_nothing() {
    let place = Place::quick();
    let decision = place.path("tables/_millrace/decision");
    place.put("1.json", order("O1", "10:00:00", "PAID", &["I1"]));
    place.run_once(0);
    let old = fs::read(&decision).unwrap();
    place.put("2.json", order("O2", "10:00:00", "PAID", &["I2"]));
    place.run_once(0);
    let new = fs::read(&decision).unwrap();
    for wrong in [Some(old), None] {
        match wrong {
            Some(bytes) => fs::write(&decision, bytes).unwrap(),
            None => fs::remove_file(&decision).unwrap(),
        }
        let said = place.run_once(1);
        assert!(said.err.contains("millrace repair"), "{}", said.err);
    }
    fs::write(&decision, new).unwrap();
    place.run_once(0);
    place.expect(&["verify"], 0);
    assert_eq!(place.rows("select * from order_item").len(), 2);
}
