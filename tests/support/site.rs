//! A root with input, tables and checkpoint, to be damaged: run by the binary or in this process, held against the
//! oracle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use millrace::batch::Unread;
use millrace::clock;
use millrace::commit::Paths;
use millrace::error::Result;
use millrace::maintain;
use millrace::pipeline::{self, model::Pipeline};
use millrace::report::BatchReport;
use millrace::root::Root;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run};
use millrace::simulate::{Options as ShopOptions, Shop};
use millrace::tables::{Disk, LocalDisk};

use super::oracle::Row;
use super::{Said, contents, files, folders, millrace, oracle};

pub type Contents = BTreeMap<&'static str, Vec<Row>>;

pub struct Site {
    pub dir: tempfile::TempDir,
    pub pipeline: Arc<Pipeline>,
}

impl Site {
    /// `source`: where the input lies, may be shared by several sites.
    pub fn new(source: &Path) -> Site {
        Site::with(source, "batch_files = 20")
    }

    /// `settings`: further lines of the pipeline's `[source]`.
    pub fn with(source: &Path, settings: &str) -> Site {
        let dir = folders::quick();
        let source_table = format!("[source]\npath = \"{}\"\nsettle = \"0s\"\n{settings}", source.display());
        let text = pipeline::DEFAULT
            .lines()
            .filter(|line| !line.starts_with("path ="))
            .map(|line| if line == "[source]" { source_table.as_str() } else { line })
            .collect::<Vec<_>>()
            .join("\n");
        fs::write(dir.path().join("pipeline.toml"), &text).unwrap();
        let mut pipeline = pipeline::parse(&text, "pipeline.toml").unwrap();
        pipeline.source.path = source.to_path_buf();
        Site { dir, pipeline: Arc::new(pipeline) }
    }

    /// Another site with the same source and the same state.
    pub fn copy(&self) -> Site {
        let dir = folders::quick();
        folders::copy(self.path(), dir.path());
        Site { dir, pipeline: self.pipeline.clone() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn tables(&self) -> PathBuf {
        self.path().join("tables")
    }

    pub fn checkpoint(&self) -> PathBuf {
        self.path().join("checkpoint")
    }

    pub fn source(&self) -> &Path {
        &self.pipeline.source.path
    }

    pub fn places(&self) -> Places {
        Places { tables: self.tables(), checkpoint: self.checkpoint(), database: None }
    }

    /// The binary, on this site.
    pub fn does(&self, arguments: &[&str]) -> Said {
        let ours = format!("process {} is working", std::process::id());
        loop {
            let said = millrace(self.path(), &[&["-p", "pipeline.toml"], arguments].concat());
            // A lock that this process let go of lives on for a moment in what another test is just starting.
            if !said.err.contains(&ours) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    #[track_caller]
    pub fn ok(&self, arguments: &[&str]) -> String {
        let said = self.does(arguments);
        assert!(matches!(said.code, Some(0 | 3)), "{arguments:?}: {said:?}");
        said.out + &said.err
    }

    #[track_caller]
    pub fn verified(&self, what: &str) {
        let said = self.does(&["verify"]);
        assert_eq!(said.code, Some(0), "{what}: {said:?}");
    }

    /// A query's answer, one line a row.
    pub fn query(&self, sql: &str) -> BTreeSet<String> {
        self.ok(&["query", "--csv", sql]).lines().skip(1).map(str::to_owned).collect()
    }

    pub fn contents(&self) -> Contents {
        contents::of_folder(self.path(), &self.pipeline)
    }

    /// What the tables must hold once every file of the source is taken.
    pub fn expected(&self) -> Contents {
        oracle::tables(&files::event_texts(self.source())).tables
    }

    /// Opens the root in this process.
    pub fn root(&self) -> Root {
        let paths = Paths::new(self.tables());
        Root::open(paths, self.pipeline.clone(), Arc::new(LocalDisk), clock::system()).unwrap()
    }

    pub fn session(&self, disk: Arc<dyn Disk>, policy: maintain::Policy) -> Result<Session> {
        Session::open(&self.places(), self.pipeline.clone(), disk, clock::system(), policy)
    }

    /// Takes at most so many batches of what there is, in this process.
    pub fn take(&self, batches: u64) -> Result<Ended> {
        self.take_with(batches, Arc::new(LocalDisk), maintain::Policy::default())
    }

    pub fn take_with(&self, batches: u64, disk: Arc<dyn Disk>, policy: maintain::Policy) -> Result<Ended> {
        let session = self.session(disk, policy)?;
        let options = Options { source: self.source().to_path_buf(), once: true, threads: 1 };
        let stop = Stop::default();
        run(session, &options, &stop, &mut StopsAfter { left: batches, stop: stop.clone() })
    }
}

/// Stops a run after some batches.
struct StopsAfter {
    left: u64,
    stop: Stop,
}

impl Observer for StopsAfter {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, _: &BatchReport, _: u64) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.stop.set();
        }
    }
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}

/// Writes the events of some orders, a file each, in the order in which they come.
pub fn simulate(source: &Path, seed: u64, orders: u64) -> Vec<PathBuf> {
    fs::create_dir_all(source).unwrap();
    let mut paths = Vec::new();
    for (at, text) in shop(seed, orders).into_iter().enumerate() {
        let path = source.join(format!("{at:04}.json"));
        fs::write(&path, &text).unwrap();
        paths.push(path);
    }
    paths
}

/// The events of some orders.
pub fn shop(seed: u64, orders: u64) -> Vec<Vec<u8>> {
    let options = ShopOptions { orders: Some(orders), items: 40, customers: 20, ..ShopOptions::default() };
    Shop::new(seed, options).map(|event| event.text).collect()
}
