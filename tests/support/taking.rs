//! Runs of the library in this process: everything that lies in a source folder is taken, in small batches, and what
//! was told meanwhile is kept.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millrace::batch::Unread;
use millrace::clock::{self, Clock};
use millrace::commit::Paths;
use millrace::error::Result;
use millrace::maintain;
use millrace::pipeline::{self, model::Pipeline};
use millrace::report::BatchReport;
use millrace::root::Root;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run};
use millrace::tables::LocalDisk;
use millrace::verify::{Findings, verify};

use super::contents;
use super::generate::{Kind, events};
use super::oracle::Row;

pub const ONE_LINE: Kind = Kind { one_line: true, malformed: false };

pub type Contents = std::collections::BTreeMap<&'static str, Vec<Row>>;

/// Adds files of `each` events to a source folder.
pub fn add(source: &Path, name: &str, seed: u64, count: usize, each: usize) {
    fs::create_dir_all(source).unwrap();
    for (at, group) in events(seed, count, ONE_LINE).chunks(each).enumerate() {
        fs::write(source.join(format!("{name}-{at:03}.ndjson")), group.join(&b'\n')).unwrap();
    }
}

/// The default pipeline over `source`, `batch_files` at a time, no file waited for.
pub fn pipeline_of(source: &Path, batch_files: usize) -> Arc<Pipeline> {
    let mut pipeline = pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap();
    pipeline.source.path = source.to_path_buf();
    pipeline.source.batch_files = batch_files;
    pipeline.source.settle_ms = 0;
    Arc::new(pipeline)
}

/// What was told while taking, and after each batch something that the test wants done.
#[derive(Default)]
pub struct Told<'a> {
    pub notes: Vec<String>,
    pub batches: u64,
    pub after_batch: Option<&'a mut dyn FnMut(u64)>,
}

impl Observer for Told<'_> {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, report: &BatchReport, _: u64) {
        self.batches += 1;
        if let Some(after) = &mut self.after_batch {
            after(report.batch);
        }
    }
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, line: &str) {
        self.notes.push(line.to_owned());
    }
    fn caught_up(&mut self, _: &Ended) {}
}

/// How a root is opened.
#[derive(Clone)]
pub struct Taking {
    pub pipeline: Arc<Pipeline>,
    pub mirror: bool,
    pub clock: Arc<dyn Clock>,
    pub policy: maintain::Policy,
}

impl Taking {
    pub fn new(source: &Path, batch_files: usize) -> Taking {
        let pipeline = pipeline_of(source, batch_files);
        Taking { pipeline, mirror: true, clock: clock::system(), policy: maintain::Policy::default() }
    }

    pub fn without_mirror(&self) -> Taking {
        Taking { mirror: false, ..self.clone() }
    }

    pub fn open(&self, folder: &Path) -> Result<Session> {
        let places = Places {
            tables: folder.join("tables"),
            checkpoint: folder.join("checkpoint"),
            database: self.mirror.then(|| database(folder)),
        };
        let disk = Arc::new(LocalDisk);
        Session::open(&places, self.pipeline.clone(), disk, self.clock.clone(), self.policy)
    }

    /// Takes everything that is in the source folder into the root at `folder`.
    pub fn take(&self, folder: &Path, told: &mut Told<'_>) -> Result<Ended> {
        let session = self.open(folder)?;
        let options = Options { source: self.pipeline.source.path.clone(), once: true, threads: 1 };
        run(session, &options, &Stop::default(), told)
    }

    pub fn root(&self, folder: &Path) -> Root {
        let paths = Paths::new(folder.join("tables"));
        Root::open(paths, self.pipeline.clone(), Arc::new(LocalDisk), self.clock.clone()).unwrap()
    }

    /// What the tables hold, and what `verify` says of everything.
    pub fn look(&self, folder: &Path) -> (Contents, Findings) {
        let root = self.root(folder);
        (contents::tables(&root), verify(&root, &database(folder)).unwrap())
    }

    /// Ranges of files that more than one batch committed, and all ranges.
    pub fn doubled(&self, folder: &Path) -> (u64, u64) {
        let rows = self.root(folder).ledger_rows(0).unwrap();
        let ranges: std::collections::BTreeSet<_> =
            rows.iter().map(|(_, r)| (r.name.clone(), r.start.offset, r.content_hash)).collect();
        ((rows.len() - ranges.len()) as u64, rows.len() as u64)
    }
}

/// How many of the rows that should be there are not.
pub fn lost(expected: &Contents, found: &Contents) -> u64 {
    let missing = |table: &&str, rows: &[Row]| {
        let mut left: Vec<&Row> = found.get(*table).into_iter().flatten().collect();
        let gone = rows.iter().filter(|row| match left.iter().position(|other| other == row) {
            Some(at) => {
                left.swap_remove(at);
                false
            }
            None => true,
        });
        gone.count() as u64
    };
    expected.iter().map(|(table, rows)| missing(table, rows)).sum()
}

pub fn database(folder: &Path) -> std::path::PathBuf {
    folder.join("database/orders.db")
}
