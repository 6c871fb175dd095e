//! Growth is bounded: whatever number of batches went by, a table has few files, a short log and a short list of
//! index files, and opens quickly.
//!
//! `MILLRACE_GROWTH` sets the number of batches (120 if not set).

#![allow(clippy::unwrap_used)]

mod support;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Instant;

use millrace::batch::{Fingerprint, Input, Resume};
use millrace::clock::Clock;
use millrace::maintain::{self, Cancel, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::run::intake::Worker;
use millrace::run::{Places, Session};
use millrace::simulate::{Options, Shop};
use millrace::tables::names;
use millrace::verify;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use support::hasty::Hasty;
use support::{contents, oracle};

/// A minute goes by with every batch.
const MINUTE: i64 = 60_000_000;
/// Events of a batch.
const EVENTS: usize = 6;

#[derive(Debug)]
struct TestClock(AtomicI64);

impl Clock for TestClock {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

fn policy() -> maintain::Policy {
    maintain::Policy {
        // The end of a run does here what only a longer rest does otherwise.
        compact: compact::Policy { fan_in: 4, end_parts: 0, ..compact::Policy::default() },
        // Ten batches' worth of time.
        retention: clean::Retention {
            checkpoint_every: 5,
            keep_commits: 5,
            keep_ms: 10 * MINUTE / 1000,
            end_commits: 0,
            ..clean::Retention::default()
        },
        ..maintain::Policy::default()
    }
}

struct Place {
    folder: tempfile::TempDir,
    pipeline: Arc<Pipeline>,
    clock: Arc<TestClock>,
    files: u64,
    /// Microseconds that go by with every batch.
    step: i64,
}

impl Place {
    fn new() -> Place {
        Place::of(pipeline::DEFAULT, MINUTE)
    }

    fn of(text: &str, step: i64) -> Place {
        Place {
            step,
            folder: tempfile::tempdir().unwrap(),
            pipeline: Arc::new(pipeline::parse(text, "orders.toml").unwrap()),
            clock: Arc::new(TestClock(AtomicI64::new(1_700_000_000_000_000))),
            files: 0,
        }
    }

    fn tables(&self) -> PathBuf {
        self.folder.path().join("tables")
    }

    fn open(&self) -> Session {
        self.open_with(policy())
    }

    fn open_with(&self, policy: maintain::Policy) -> Session {
        let places = Places {
            tables: self.tables(),
            checkpoint: self.folder.path().join("checkpoint"),
            database: None,
        };
        Session::open(&places, self.pipeline.clone(), Arc::new(Hasty), self.clock.clone(), policy).unwrap()
    }

    fn batch(&mut self, session: &mut Session, events: &[Vec<u8>]) {
        self.clock.0.fetch_add(self.step, Ordering::SeqCst);
        self.files += 1;
        let path = self.folder.path().join(format!("{}.ndjson", self.files));
        fs::write(&path, events.join(&b'\n')).unwrap();
        let file = File::open(&path).unwrap();
        let stat = file.metadata().unwrap();
        let fingerprint = Fingerprint {
            size: stat.len(),
            mtime_ns: stat.mtime() * 1_000_000_000 + stat.mtime_nsec(),
            ctime_ns: stat.ctime() * 1_000_000_000 + stat.ctime_nsec(),
            inode: stat.ino(),
        };
        let name = format!("{}.ndjson", self.files).into();
        let input = Input { name, path, file, fingerprint, resume: Resume::default(), changed: false };
        let flattener = session.flattener.clone();
        let (intake, _) = Worker::new(&self.pipeline, &flattener, 1).files(vec![input], 1 << 20).unwrap();
        assert!(intake.unread.is_empty(), "{:?}", intake.unread);
        session.run_batch(intake).unwrap();
    }

    /// What lies in every table's folders, by kind.
    fn sizes(&self, session: &Session) -> BTreeMap<String, Size> {
        let of = |state: &millrace::root::State| {
            let dir = &state.table.def.dir;
            let size = Size {
                live: state.table.files.len(),
                files: entries(dir),
                log: entries(&names::log_dir(dir)),
                index: entries(&names::index_dir(dir)),
            };
            (state.table.def.name.clone(), size)
        };
        session.root.states.iter().map(of).collect()
    }

    fn assert_small(&self, session: &Session, batches: usize) {
        for (table, size) in self.sizes(session) {
            // Live: a tier is late with 16 files, and there are two tiers at most. Removed ones stay for about ten
            // batches and until the log is cut: with one data file and one vector a commit, fewer than 45 commits.
            // Index: a level is late with 32 files.
            let bound = Size { live: 24, files: 24 + 2 * 45, log: 60, index: 40 };
            assert!(size.within(&bound), "after {batches} batches {table} has {size:?}, over {bound:?}");
        }
        let temporary = entries(&session.root.paths.temp);
        assert!(temporary <= 12, "{temporary} temporary files");
    }

    /// Everything agrees, nothing is lost, and what is left on disk is what is named.
    fn assert_right(&self, events: &[Vec<u8>]) {
        let begin = Instant::now();
        let session = self.open();
        let opened = begin.elapsed();
        assert!(opened.as_secs() < 3, "opening took {opened:?}");
        assert_eq!(verify::tables_only(&session.root).unwrap().differences, Vec::<String>::new());
        assert!(contents::tables(&session.root) == oracle::tables(events).tables);
    }
}

#[derive(Debug, Clone, Copy)]
struct Size {
    live: usize,
    files: usize,
    log: usize,
    index: usize,
}

impl Size {
    fn within(&self, o: &Size) -> bool {
        self.live <= o.live && self.files <= o.files && self.log <= o.log && self.index <= o.index
    }
}

fn entries(dir: &Path) -> usize {
    fs::read_dir(dir).unwrap().count()
}

/// A shop whose few orders are told again and again, so that rows are replaced all the time.
fn events(batches: usize) -> Vec<Vec<u8>> {
    let options = Options { customers: 40, items: 30, sellers: 5, disorder: 60, ..Options::default() };
    let shop = Shop::new(7, options);
    shop.take(batches * EVENTS).map(|e| e.text).collect()
}

fn number(name: &str, or: usize) -> usize {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

#[test]
fn files_stay_few_however_many_batches_went_by() {
    let batches = number("MILLRACE_GROWTH", 120);
    let events = events(batches);
    let mut place = Place::new();
    let mut session = place.open();
    for (at, events) in events.chunks(EVENTS).enumerate() {
        place.batch(&mut session, events);
        session.maintain().unwrap();
        place.assert_small(&session, at + 1);
        // A restart in between must not forget what is due.
        if at % 50 == 49 {
            drop(session);
            session = place.open();
        }
    }
    session.finish().unwrap();
    assert_well_read(&session);
    drop(session);
    place.assert_right(&events);
}

/// What a reader opens and goes through is little: data files, deletion vectors, commits behind the newest log
/// checkpoint, and in that nothing but what is.
fn assert_well_read(session: &Session) {
    for state in &session.root.states {
        let table = &state.table;
        let name = &table.def.name;
        let vectors = table.files.values().filter(|f| !f.deleted.is_empty()).count();
        assert!(table.files.len() + vectors <= 3, "{name}: {} files, {vectors} vectors", table.files.len());
        if table.version <= 4 {
            continue;
        }
        let last = fs::read(names::log_dir(&table.def.dir).join("_last_checkpoint")).unwrap();
        let last: serde_json::Value = serde_json::from_slice(&last).unwrap();
        let version = last["version"].as_u64().unwrap();
        assert!(table.version - version <= 4, "{name}: {version} of {}", table.version);
        // Protocol, metadata, and the number of the last batch.
        let others = last["size"].as_u64().unwrap() - last["numOfAddFiles"].as_u64().unwrap();
        assert!(others <= 3, "{name}: {last}");
        // Columns for these, and none of actions that no table of ours has.
        let path = names::log_dir(&table.def.dir).join(names::log_checkpoint(version));
        assert_eq!(fs::metadata(&path).unwrap().len(), last["sizeInBytes"].as_u64().unwrap(), "{name}");
        let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap()).unwrap();
        let columns: Vec<&str> = reader.schema().fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(columns, ["add", "remove", "metaData", "protocol", "txn"], "{name}");
    }
}

/// Somebody waits for the end of a run: what is little is left for a rest, what is much is not.
#[test]
fn the_end_of_a_run_puts_in_order_what_is_worth_it() {
    let events = events(40);
    for (batches, is_worth_it) in [(6, false), (40, true)] {
        let mut place = Place::new();
        let mut session = place.open_with(maintain::Policy::default());
        for events in events.chunks(EVENTS).take(batches) {
            place.batch(&mut session, events);
        }
        let before = log_of(&session).1;
        let files: usize = session.root.states.iter().map(|s| s.table.files.len()).sum();
        session.finish().unwrap();
        let now: usize = session.root.states.iter().map(|s| s.table.files.len()).sum();
        assert_eq!(log_of(&session).1 != before, is_worth_it, "{batches} batches: log checkpoints");
        assert_eq!(now < files, is_worth_it, "{batches} batches: {files} files before, {now} after");
    }
}

/// Beside forty batches it is little work to leave small tables as a rest would.
#[test]
fn a_long_run_ends_as_at_rest() {
    let mut place = Place::new();
    let mut session = place.open_with(maintain::Policy::default());
    for events in events(40).chunks(EVENTS) {
        place.batch(&mut session, events);
        session.maintain().unwrap();
    }
    session.finish().unwrap();
    assert_well_read(&session);
}

/// What was put in order is not touched again.
#[test]
fn at_rest_nothing_is_done_twice() {
    let events = events(12);
    let mut place = Place::new();
    let mut session = place.open();
    for events in events.chunks(EVENTS) {
        place.batch(&mut session, events);
    }
    session.finish().unwrap();
    assert_well_read(&session);
    let before = (session.root.record.batch, log_of(&session));
    session.finish().unwrap();
    assert_eq!((session.root.record.batch, log_of(&session)), before);
    drop(session);
    let mut session = place.open();
    session.finish().unwrap();
    assert_eq!((session.root.record.batch, log_of(&session)), before);
    drop(session);
    place.assert_right(&events);
}

#[test]
fn files_stay_few_when_every_run_takes_one_batch() {
    let batches = number("MILLRACE_GROWTH", 120) / 3;
    let events = events(batches);
    let mut place = Place::new();
    for (at, events) in events.chunks(EVENTS).enumerate() {
        let mut session = place.open();
        place.batch(&mut session, events);
        session.maintain().unwrap();
        session.finish().unwrap();
        place.assert_small(&session, at + 1);
    }
    place.assert_right(&events);
}

/// Versions of the ledger's log, oldest first, and which of them have a log checkpoint.
fn log_of(session: &Session) -> (Vec<u64>, Vec<u64>) {
    let dir = names::log_dir(&session.root.states[session.root.files()].table.def.dir);
    let (mut commits, mut checkpoints) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(dir).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let version: Option<u64> = name.split('.').next().and_then(|v| v.parse().ok());
        let of = if name.ends_with(".json") { &mut commits } else { &mut checkpoints };
        of.extend(version);
    }
    commits.sort();
    checkpoints.sort();
    (commits, checkpoints)
}

/// All commits are young, so all stay. Of log checkpoints only some do.
#[test]
fn log_checkpoints_stay_few_while_no_commit_may_go() {
    let batches = number("MILLRACE_GROWTH", 120) * 2;
    let events = events(batches);
    let mut place = Place::of(pipeline::DEFAULT, 0);
    let mut session = place.open();
    for events in events.chunks(EVENTS) {
        place.batch(&mut session, events);
        session.maintain().unwrap();
        let (commits, checkpoints) = log_of(&session);
        assert_eq!(commits[0], 0, "a commit went");
        // The spread ones, the first, the newest.
        assert!(checkpoints.len() <= 16 + 2 + 4, "{checkpoints:?}");
    }
    session.finish().unwrap();
    // Every version can still be read, those between two log checkpoints too: a commit a batch and its rows.
    let table = &session.root.states[session.root.files()].table;
    let (commits, checkpoints) = log_of(&session);
    assert!(checkpoints.len() * 2 < commits.len() / 5, "none went: {checkpoints:?}");
    for version in commits.into_iter().step_by(13) {
        let read = session.root.kernel.open_at(&table.def.dir, Some(version)).unwrap();
        let rows: u64 = read.files.iter().map(|(f, _)| records(&f.stats)).sum();
        assert!(rows <= version, "version {version} has {rows} rows");
        assert!(rows * 2 >= version, "version {version} has {rows} rows");
        assert!(read.files.iter().all(|(f, _)| table.def.dir.join(&f.path).exists()), "version {version}");
    }
    drop(session);
    place.assert_right(&events);
}

fn records(stats: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(stats).unwrap()["numRecords"].as_u64().unwrap()
}

/// Of many commits those beyond the newest stay for a shorter time: here twenty, and ten minutes.
#[test]
fn of_many_commits_the_older_go_sooner() {
    let events = events(number("MILLRACE_GROWTH", 120));
    let mut place = Place::new();
    let retention = clean::Retention {
        keep_ms: 24 * 60 * MINUTE / 1000,
        many_commits: 20,
        many_ms: 10 * MINUTE / 1000,
        ..policy().retention
    };
    let mut session = place.open_with(maintain::Policy { retention, ..policy() });
    let mut most = 0;
    for (at, events) in events.chunks(EVENTS).enumerate() {
        // Nobody waits a minute: the newest twenty stay for a day, however old the others are.
        place.step = if at.is_multiple_of(40) { 3 * 60 * MINUTE } else { MINUTE };
        place.batch(&mut session, events);
        session.maintain().unwrap();
        let (commits, _) = log_of(&session);
        assert!(commits.len() > at.min(20), "after {at}: only {} commits", commits.len());
        most = most.max(commits.len());
    }
    assert!(most <= 20 + 40, "{most} commits");
    session.finish().unwrap();
    drop(session);
    place.assert_right(&events);
}

/// However young they are, if the pipeline says so: files are bounded also where batches come faster than time goes.
#[test]
fn history_is_bounded_by_number_if_the_pipeline_says_so() {
    let events = events(number("MILLRACE_GROWTH", 120));
    let text = format!("{}\n[history]\ncommits = 20\n", pipeline::DEFAULT);
    let mut place = Place::of(&text, 0);
    let mut session = place.open();
    for (at, events) in events.chunks(EVENTS).enumerate() {
        place.batch(&mut session, events);
        session.maintain().unwrap();
        place.assert_small(&session, at + 1);
        let (commits, _) = log_of(&session);
        // A cut is made at a log checkpoint, and one table at a time has one made.
        assert!(commits.len() <= 20 + 40, "{} commits", commits.len());
        assert!(at < 60 || commits.len() >= 20, "{} commits", commits.len());
    }
    session.finish().unwrap();
    drop(session);
    place.assert_right(&events);
}

/// Batches commit while files are rewritten: what they replaced must be gone from the new file too.
#[test]
fn rows_replaced_while_they_are_rewritten_stay_replaced() {
    let events = events(30);
    let mut place = Place::new();
    let mut session = place.open();
    let mut batches = events.chunks(EVENTS);
    let mut dead = 0;
    while batches.len() > 0 {
        batches.by_ref().take(5).for_each(|events| place.batch(&mut session, events));
        let jobs = compact::due(&session.root, &policy().compact);
        assert!(!jobs.is_empty());
        let rewritten: Vec<_> = jobs.into_iter().map(|job| job.go(&Cancel::default()).unwrap()).collect();
        batches.by_ref().take(3).for_each(|events| place.batch(&mut session, events));
        let id = u32::try_from(session.root.next_batch).unwrap();
        compact::take_up(&mut session.root, rewritten).unwrap();
        let tables = session.root.states.iter().map(|s| &s.table);
        dead += tables.filter_map(|t| t.files.get(&id)).map(|f| f.deleted.len()).sum::<u64>();
    }
    assert!(dead > 0, "nothing was replaced meanwhile: this test tests nothing");
    drop(session);
    place.assert_right(&events);
}
