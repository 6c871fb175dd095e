//! A short life of some tables, to be lived through again and again with something going wrong at each of its durable
//! calls: a source folder, tables that hold the first part of it, and what they have to hold in the end.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::clock;
use millrace::commit::Paths;
use millrace::error::Result;
use millrace::maintain::{self, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::root::Root;
use millrace::run::{Ended, Observer, Options, Places, Quiet, Session, Stop, run};
use millrace::tables::{Disk, LocalDisk};
use millrace::verify;

use super::generate::{Kind, events};
use super::{contents, files, folders, oracle};

const KIND: Kind = Kind { one_line: true, malformed: false };

/// Adds files of `each` events to a source folder.
pub fn add(source: &Path, name: &str, seed: u64, count: usize, each: usize) {
    fs::create_dir_all(source).unwrap();
    for (at, group) in events(seed, count, KIND).chunks(each).enumerate() {
        fs::write(source.join(format!("{name}-{at}.ndjson")), group.join(&b'\n')).unwrap();
    }
}

/// The built-in pipeline with another source: batches of `batch_files` files, taken as soon as they are there.
pub fn pipeline_text(source: &Path, batch_files: u64) -> String {
    let source =
        format!("[source]\npath = \"{}\"\nbatch_files = {batch_files}\nsettle = \"0s\"", source.display());
    let lines = pipeline::DEFAULT.lines().filter(|line| !line.starts_with("path ="));
    lines.map(|line| if line == "[source]" { source.as_str() } else { line }).collect::<Vec<_>>().join("\n")
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
        retention: clean::Retention {
            checkpoint_every: 3,
            keep_commits: 1,
            keep_ms: 0,
            ..clean::Retention::default()
        },
        ..maintain::Policy::default()
    }
}

pub type Contents = BTreeMap<&'static str, Vec<oracle::Row>>;

pub struct History {
    _dir: tempfile::TempDir,
    pub pipeline: Arc<Pipeline>,
    pub base: PathBuf,
    pub expected: Contents,
}

impl History {
    /// `before`: events that the tables have before the history begins; 0: there are no tables. `after`: those that
    /// come in it.
    pub fn new(seed: u64, before: usize, after: usize) -> History {
        let dir = folders::quick();
        let (source, base) = (dir.path().join("input_events"), dir.path().join("base"));
        let pipeline = pipeline_of(&source);
        fs::create_dir_all(&base).unwrap();
        let expected = BTreeMap::new();
        let mut history = History { _dir: dir, pipeline, base, expected };
        if before > 0 {
            add(&source, "before", seed, before, 3);
            let base = history.base.clone();
            history.take(&base, Arc::new(LocalDisk), &mut Quiet).unwrap();
        }
        add(&source, "later", seed + 1, after, 3);
        history.expected = oracle::tables(&files::event_texts(&source)).tables;
        history
    }

    pub fn copy(&self) -> tempfile::TempDir {
        let folder = folders::quick();
        folders::copy(&self.base, folder.path());
        folder
    }

    pub fn source(&self) -> &Path {
        &self.pipeline.source.path
    }

    pub fn places(&self, folder: &Path) -> Places {
        Places { tables: folder.join("tables"), checkpoint: folder.join("checkpoint"), database: None }
    }

    /// Takes everything that is in the source folder.
    pub fn take(&self, folder: &Path, disk: Arc<dyn Disk>, observer: &mut dyn Observer) -> Result<Ended> {
        let places = self.places(folder);
        let session = Session::open(&places, self.pipeline.clone(), disk, clock::system(), policy())?;
        let options = Options { source: self.source().to_path_buf(), once: true, threads: 1 };
        run(session, &options, &Stop::default(), observer)
    }

    pub fn open(&self, folder: &Path) -> Result<Root> {
        let paths = Paths::new(folder.join("tables"));
        Root::open(paths, self.pipeline.clone(), Arc::new(LocalDisk), clock::system())
    }

    /// The next start on an undisturbed disk takes the rest, and the tables are as if nothing had happened.
    pub fn finish(&self, folder: &Path, story: &str, toll: &mut Toll) {
        match self.take(folder, Arc::new(LocalDisk), &mut Quiet) {
            Ok(_) => self.is_complete(folder, story, toll),
            Err(e) => toll.unopenable(&format!("{story}: the next start failed: {e}")),
        }
    }

    pub fn is_complete(&self, folder: &Path, story: &str, toll: &mut Toll) {
        match self.open(folder) {
            Ok(root) => {
                toll.sound(&root, story);
                toll.compare(&self.expected, &contents::tables(&root), story);
            }
            Err(e) => toll.unopenable(&format!("{story}: {e}")),
        }
    }
}

/// What went wrong, counted; told and failed on at the end.
#[derive(Debug, Default)]
pub struct Toll {
    pub lost: u64,
    pub doubled: u64,
    pub unopenable: u64,
    pub other: u64,
    stories: Vec<String>,
}

impl Toll {
    pub fn lost(&mut self, rows: u64, story: &str) {
        self.lost += rows;
        self.stories.push(format!("{story}: {rows} lost"));
    }

    pub fn unopenable(&mut self, story: &str) {
        self.unopenable += 1;
        self.stories.push(story.to_owned());
    }

    pub fn other(&mut self, story: &str) {
        self.other += 1;
        self.stories.push(story.to_owned());
    }

    pub fn sound(&mut self, root: &Root, story: &str) {
        let differences = verify::tables_only(root).unwrap().differences;
        differences.iter().for_each(|d| self.other(&format!("{story}: {d}")));
    }

    /// Rows that should be there and are not, and rows that are there once too often.
    pub fn compare(&mut self, expected: &Contents, actual: &Contents, story: &str) {
        for (name, expected) in expected {
            let mut left: BTreeMap<&oracle::Row, i64> = BTreeMap::new();
            expected.iter().for_each(|row| *left.entry(row).or_default() += 1);
            actual[name].iter().for_each(|row| *left.entry(row).or_default() -= 1);
            let lost = left.values().filter(|n| **n > 0).sum::<i64>() as u64;
            let doubled = -left.values().filter(|n| **n < 0).sum::<i64>() as u64;
            if lost + doubled > 0 {
                (self.lost, self.doubled) = (self.lost + lost, self.doubled + doubled);
                self.stories.push(format!("{story}: {name}: {lost} rows lost, {doubled} too many"));
            }
        }
    }

    /// Fails the test if anything went wrong; the counts, for the page.
    #[track_caller]
    pub fn paid(&self) -> [(&'static str, u64); 3] {
        assert!(self.stories.is_empty(), "{} failures:\n{}", self.stories.len(), self.stories.join("\n"));
        assert_eq!((self.lost, self.doubled, self.unopenable, self.other), (0, 0, 0, 0));
        [("lost", self.lost), ("doubled", self.doubled), ("unopenable", self.unopenable)]
    }
}

/// `count` of the numbers below `total`, spread evenly, the last one included.
pub fn spread(total: usize, count: usize) -> impl Iterator<Item = usize> {
    let count = count.min(total).max(1);
    (1..=count).map(move |n| n * total / count - 1)
}
