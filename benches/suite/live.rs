//! Live latency: from a file's rename into the source folder until its rows are visible in Delta and in SQLite.
//!
//! Visible in Delta: every commit of the file's batch has its name in a table's log (told by inotify). Visible in
//! SQLite: a reader of the mirror finds the file in `_files`, which is written in the batch's own transaction.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use millrace::simulate::{Options, Shop, write_atomically};
use notify::{RecursiveMode, Watcher};
use rusqlite::{Connection, OpenFlags};
use rustix::process::{Pid, Signal, kill_process};

use crate::common::{cpu, memory};
use crate::figures::Figure;
use crate::place::{Layout, Place, Root};

/// Files a second.
const RATE: f64 = 10.0;
/// How often the mirror is asked whether it changed.
const ASK: Duration = Duration::from_millis(1);
/// How long the last file may take.
const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(place: &Place) -> Vec<Figure> {
    let files = place.size(600, 50) as usize;
    let root = place.root();
    // Tables that hold something already.
    root.once(&place.input(place.size(10_000, 500), Layout::Lines), &[]);
    let source = root.path().join("live");
    fs::create_dir(&source).unwrap();
    let mut child = Running::start(&root, &source);
    let seen = watch(root.path(), &source, files);
    let (user, system) = cpu(&child.0.id().to_string());
    let peak = memory(&child.0.id().to_string()).1;
    child.stop();
    vec![
        Figure::new("p50, Delta", "ms", vec![seen.delta.part(0.5)]),
        Figure::new("p99, Delta", "ms", vec![seen.delta.part(0.99)]),
        Figure::one("p50, Delta and SQLite", "ms", seen.both.part(0.5)).at_most(150.0),
        Figure::one("p99, Delta and SQLite", "ms", seen.both.part(0.99)).at_most(300.0),
        Figure::one("slowest, Delta and SQLite", "ms", seen.both.part(1.0)),
        Figure::one("processor, of one core", "%", 100.0 * (user + system) / (files as f64 / RATE)),
        Figure::one("peak memory", "MB", peak),
    ]
}

/// `millrace run`, watching.
struct Running(Child);

impl Running {
    fn start(root: &Root<'_>, source: &Path) -> Running {
        let mut command = root.command(source);
        let mut child = command.args(["--json", "run"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let watching = lines.by_ref().any(|line| line.is_ok_and(|l| l.contains("\"caught_up\"")));
        assert!(watching, "it ended before it watched");
        // What it says has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Running(child)
    }

    fn stop(&mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|ended| ended.is_none()) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Sorted milliseconds.
struct Latency(Vec<f64>);

impl Latency {
    fn of(all: impl Iterator<Item = Duration>) -> Latency {
        let mut all: Vec<f64> = all.map(|d| d.as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        Latency(all)
    }

    /// The smallest that this share does not exceed.
    fn part(&self, share: f64) -> f64 {
        let at = (share * self.0.len() as f64).ceil() as usize;
        self.0[at.clamp(1, self.0.len()) - 1]
    }
}

struct Seen {
    delta: Latency,
    both: Latency,
}

/// Writes the files at their times and watches them arrive.
fn watch(root: &Path, source: &Path, files: usize) -> Seen {
    let (tell, told) = mpsc::channel();
    let told_by = move |event: notify::Result<notify::Event>| {
        event.into_iter().flat_map(|e| e.paths).for_each(|path| _ = tell.send((path, Instant::now())));
    };
    let mut watcher = notify::recommended_watcher(told_by).unwrap();
    for table in fs::read_dir(root.join("tables")).unwrap() {
        let log = table.unwrap().path().join("_delta_log");
        if log.exists() {
            watcher.watch(&log, RecursiveMode::NonRecursive).unwrap();
        }
    }
    let ended = AtomicBool::new(false);
    let (renamed, mirrored) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| ask_mirror(root, files, &ended));
        let renamed = write(source, files);
        let mirrored = reader.join().unwrap();
        (renamed, mirrored)
    });
    std::thread::sleep(Duration::from_secs(1));
    drop(watcher);
    let commits = commits(told.into_iter());
    let delta = |file: &String| commits[&mirrored[file].0] - renamed[file];
    let mirror = |file: &String| mirrored[file].1 - renamed[file];
    Seen {
        delta: Latency::of(renamed.keys().map(delta)),
        both: Latency::of(renamed.keys().map(|f| delta(f).max(mirror(f)))),
    }
}

/// When each file got its name.
fn write(source: &Path, files: usize) -> HashMap<String, Instant> {
    let shop = Shop::new(77, Options::default());
    let begin = Instant::now();
    let mut renamed = HashMap::new();
    for (at, event) in shop.take(files).enumerate() {
        let due = Duration::from_secs_f64(at as f64 / RATE);
        std::thread::sleep(due.saturating_sub(begin.elapsed()));
        // The name follows at once; writing is no part of the latency, but renaming is.
        write_atomically(source, &format!("{}.part", event.name), &event.text).unwrap();
        let now = Instant::now();
        fs::rename(source.join(format!("{}.part", event.name)), source.join(&event.name)).unwrap();
        renamed.insert(event.name, now);
    }
    renamed
}

/// Of each file the batch that took it, and when a reader of the mirror first saw that.
fn ask_mirror(root: &Path, files: usize, ended: &AtomicBool) -> HashMap<String, (u64, Instant)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY;
    let mirror = Connection::open_with_flags(root.join("database/orders.db"), flags).unwrap();
    let mut version = mirror.prepare("PRAGMA data_version").unwrap();
    let mut new = mirror.prepare("SELECT file, _batch_id FROM _files WHERE _batch_id > ?1").unwrap();
    let (mut last, mut known, mut seen) = (0u64, -1i64, HashMap::new());
    last = last.max(mirror.query_row("SELECT max(_batch_id) FROM _files", [], |r| r.get(0)).unwrap());
    let begin = Instant::now();
    let patience = Duration::from_secs_f64(files as f64 / RATE) + PATIENCE;
    while seen.len() < files && !ended.load(Ordering::SeqCst) {
        assert!(begin.elapsed() < patience, "{} of {files} files arrived", seen.len());
        let now: i64 = version.query_row([], |r| r.get(0)).unwrap();
        if now == known {
            std::thread::sleep(ASK);
            continue;
        }
        known = now;
        let rows = new.query_map([last], |r| Ok((r.get::<_, String>(0)?, r.get::<_, u64>(1)?))).unwrap();
        let rows: Vec<(String, u64)> = rows.map(Result::unwrap).collect();
        let at = Instant::now();
        for (file, batch) in rows {
            last = last.max(batch);
            seen.insert(file, (batch, at));
        }
    }
    seen
}

/// Of each batch, when the last of its commits had its name.
fn commits(told: impl Iterator<Item = (PathBuf, Instant)>) -> BTreeMap<u64, Instant> {
    let mut first: BTreeMap<PathBuf, Instant> = BTreeMap::new();
    for (path, at) in told.filter(|(path, _)| path.extension().is_some_and(|e| e == "json")) {
        first.entry(path).or_insert(at);
    }
    let mut batches: BTreeMap<u64, Instant> = BTreeMap::new();
    for (path, at) in first {
        let Some(batch) = fs::read_to_string(&path).ok().as_deref().and_then(batch) else { continue };
        let last = batches.entry(batch).or_insert(at);
        *last = at.max(*last);
    }
    batches
}

/// The batch that a commit names as its transaction.
fn batch(commit: &str) -> Option<u64> {
    let actions = commit.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok());
    actions.into_iter().find_map(|action| action["txn"]["version"].as_u64())
}
