//! A folder of events that are taken in small batches, its tables to be copied and broken; and what must be in them in
//! the end, by the oracle.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::clock;
use millrace::commit::Paths;
use millrace::pipeline::{self, model::Pipeline};
use millrace::root::Root;
use millrace::simulate::{Options, Shop};
use millrace::tables::LocalDisk;
use millrace::verify::verify;

use super::generate::{Kind, events};
use super::oracle::{self, Row};
use super::{Said, contents, files, folders};

pub const RUN: &[&str] = &["run", "--once"];
pub const REPAIR: &[&str] = &["repair"];

/// How long any run here may take: beyond, it hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Events in files of their own, outside every folder that is copied: a copied file would be another file.
pub struct Source {
    dir: tempfile::TempDir,
    text: String,
    pub pipeline: Arc<Pipeline>,
}

impl Source {
    /// An empty one, with settings of how much a batch takes.
    pub fn new(batch: &str) -> Source {
        let dir = folders::quick();
        let path = format!("path = \"{}\"", dir.path().display());
        let settings = format!("{path}\n{batch}\nsettle = \"0s\"");
        let text = pipeline::DEFAULT.replacen("path = \"input_events\"", &settings, 1);
        let pipeline = Arc::new(pipeline::parse(&text, "pipeline.toml").unwrap());
        assert_eq!(pipeline.source.path, dir.path());
        Source { dir, text, pipeline }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Adds the files `numbers`: what a small shop tells, so that later files change and take away rows of earlier
    /// ones, with a nasty event in each, some of which do not fit.
    pub fn add(&self, seed: u64, numbers: std::ops::Range<usize>) {
        let shop = Options { customers: 20, items: 30, sellers: 5, disorder: 30, ..Options::default() };
        let mut shop = Shop::new(seed, shop).map(|event| event.text).skip(numbers.start * 5);
        let nasty = events(seed, numbers.end, Kind { one_line: true, malformed: false });
        for (at, nasty) in nasty.into_iter().enumerate().skip(numbers.start) {
            let mut lines: Vec<Vec<u8>> = shop.by_ref().take(5).collect();
            lines.push(nasty);
            fs::write(self.path().join(file_name(at)), lines.join(&b'\n')).unwrap();
        }
    }

    /// A folder to run in: a copy of `base`, if there is one.
    pub fn folder(&self, base: Option<&Path>) -> tempfile::TempDir {
        let folder = folders::quick();
        if let Some(base) = base {
            folders::copy(base, folder.path());
        }
        fs::write(folder.path().join("pipeline.toml"), &self.text).unwrap();
        folder
    }
}

pub fn file_name(number: usize) -> String {
    format!("{number:03}.ndjson")
}

/// The binary in such a folder, with maintenance that is due after every few batches.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = super::command(folder, &[&["-p", "pipeline.toml"], arguments].concat());
    command.env("MILLRACE_EAGER", "1");
    command
}

/// Runs it to its end, which need not be a good one.
pub fn said(folder: &Path, arguments: &[&str]) -> Said {
    let output = command(folder, arguments).output().unwrap();
    Said {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs it and insists that it ends well; something in quarantine is well.
#[track_caller]
pub fn ok(folder: &Path, arguments: &[&str]) {
    let said = said(folder, arguments);
    assert!(matches!(said.code, Some(0 | 3)), "{arguments:?}: {said:?}");
}

/// Waits for a silent run to end or to be killed.
#[track_caller]
pub fn ended(mut command: Command) -> ExitStatus {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begin.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("a run hangs: {command:?}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the tables and the ledger must hold once every file is taken.
#[derive(Clone)]
pub struct Expected {
    tables: BTreeMap<&'static str, Vec<Row>>,
    /// By file: events that fit, and those that do not.
    files: BTreeMap<String, (u64, u64)>,
}

/// How it ended, counted.
#[derive(Debug, Default)]
pub struct Verdict {
    pub unopenable: u64,
    pub lost: u64,
    pub doubled: u64,
    /// Everything that is wrong, `verify`'s findings included.
    pub told: Vec<String>,
}

impl Expected {
    pub fn of(source: &Source) -> Expected {
        let count = |path: &PathBuf| {
            let texts = files::texts_of(path);
            let good = texts.iter().filter(|t| oracle::is_valid(t)).count() as u64;
            (path.file_name().unwrap().to_string_lossy().into_owned(), (good, texts.len() as u64 - good))
        };
        let found = files::event_files(source.path());
        let tables = oracle::tables(&files::event_texts(source.path())).tables;
        Expected { tables, files: found.iter().map(count).collect() }
    }

    /// Looks at tables, ledger, quarantine and mirror below `folder`, in which nobody is running.
    pub fn judge(&self, folder: &Path, pipeline: &Arc<Pipeline>) -> Verdict {
        let mut verdict = Verdict::default();
        let paths = Paths::new(folder.join("tables"));
        let root = match Root::open(paths, pipeline.clone(), Arc::new(LocalDisk), clock::system()) {
            Ok(root) => root,
            Err(e) => {
                verdict.unopenable = 1;
                verdict.told.push(format!("it cannot be opened: {e}"));
                return verdict;
            }
        };
        let found = contents::tables(&root);
        for (name, rows) in &self.tables {
            verdict.compare(name, rows, &found[name]);
        }
        self.judge_ledger(&root, &mut verdict);
        match verify(&root, &folder.join("database/orders.db")) {
            Ok(findings) if findings.mirror_batch.is_none() => verdict.told.push("there is no mirror".into()),
            Ok(findings) => verdict.told.extend(findings.differences),
            Err(e) => verdict.told.push(format!("verify: {e}")),
        }
        verdict
    }

    /// Every file was taken whole, and once; what did not fit is in quarantine.
    fn judge_ledger(&self, root: &Root, verdict: &mut Verdict) {
        let mut taken: BTreeMap<String, (u64, u64, u64)> = BTreeMap::new();
        for (_, range) in root.ledger_rows(0).unwrap() {
            let file = taken.entry(range.name.to_string()).or_default();
            *file = (file.0 + range.events, file.1 + range.quarantined, file.2 + u64::from(range.last));
        }
        let mut bad = 0;
        for (name, (good, unfit)) in &self.files {
            bad += unfit;
            let (events, quarantined, times) = taken.remove(name).unwrap_or_default();
            verdict.lost += u64::from(events + quarantined < good + unfit);
            verdict.doubled += u64::from(times > 1);
            if (events, quarantined, times) != (*good, *unfit, 1) {
                verdict.told.push(format!(
                    "{name} has {good} events and {unfit} bad ones; the ledger has it {times} times, with {events} \
                     and {quarantined}"
                ));
            }
        }
        verdict.doubled += taken.len() as u64;
        verdict.told.extend(taken.keys().map(|name| format!("the ledger knows {name}, which never was")));
        let quarantined = root.quarantined(&|_| true).unwrap().len() as u64;
        if quarantined != bad {
            verdict.told.push(format!("quarantine has {quarantined} rows, not {bad}"));
        }
    }
}

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.told.is_empty() && self.unopenable + self.lost + self.doubled == 0
    }

    pub fn add(&mut self, other: &Verdict) {
        self.unopenable += other.unopenable;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.told.extend(other.told.iter().cloned());
    }

    /// Rows as a multiset: what is missing is lost, what is too much is doubled.
    fn compare(&mut self, table: &str, expected: &[Row], found: &[Row]) {
        let mut counts: BTreeMap<&Row, i64> = BTreeMap::new();
        expected.iter().for_each(|row| *counts.entry(row).or_default() += 1);
        found.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
        let sum = |sign: i64| counts.values().map(|n| (n * sign).max(0) as u64).sum::<u64>();
        let (lost, doubled) = (sum(1), sum(-1));
        if lost + doubled > 0 {
            self.told.push(format!("{table}: {lost} rows are missing, {doubled} are too many"));
        }
        self.lost += lost;
        self.doubled += doubled;
    }
}
