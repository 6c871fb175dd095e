//! Row 14, a long time: a shop writes events at a rate, `run` takes them and is killed at random, caches are deleted,
//! readers look on. In the end the tables hold what the events say, and nothing has grown that had no reason to.
//!
//! `MILLRACE_SOAK_SECONDS` sets how long (7; 600 in the long form), `MILLRACE_SOAK_RATE` the events a second,
//! `MILLRACE_SEED` where the randomness begins.

mod reader;
mod sample;

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::pipeline;
use rustix::process::{Pid, Signal, kill_process};

use crate::support::pieces::Contents;
use crate::support::{command, contents, files, folders, millrace, oracle};
use crate::{figures, scale};
use reader::Reader;
use sample::Sample;

const RUN: [&str; 3] = ["-p", "pipeline.toml", "run"];

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

#[derive(Debug, Default)]
struct Told {
    restarts: u64,
    checkpoints_deleted: u64,
    mirrors_deleted: u64,
    slowest_start: f64,
}

#[test]
fn row_14_a_long_time_with_kills_loses_nothing_and_grows_by_nothing_but_data() {
    let seconds = number("MILLRACE_SOAK_SECONDS", scale::pick(7, 600));
    let seed = number("MILLRACE_SEED", 1);
    // The real disk where there is time for it.
    let folder = if scale::is_long() { tempfile::tempdir().unwrap() } else { folders::quick() };
    let mut soak = Soak::new(folder.path(), seed, seconds as f64);
    soak.go();
    let told = soak.finish();
    let end = *soak.samples.last().unwrap();
    let growth = growth(&soak.samples, soak.calm_from, soak.seconds);
    let outcome = check(folder.path());
    let readings: u64 = soak.seen.iter().map(|s| s.reads).sum();
    let wrong: Vec<&String> = soak.seen.iter().flat_map(|s| &s.wrong).collect();
    figures::tell(
        14,
        "soak",
        &[
            ("seconds", seconds),
            ("events", outcome.events),
            ("bad events", outcome.bad),
            ("batches", outcome.batches),
            ("kills", told.restarts),
            ("checkpoints deleted", told.checkpoints_deleted),
            ("mirrors deleted", told.mirrors_deleted),
            ("slowest start ms", (told.slowest_start * 1e3) as u64),
            ("readings of the mirror", readings),
            ("wrong readings", wrong.len() as u64),
            ("lost", outcome.lost),
            ("doubled or wrong", outcome.wrong),
        ],
    );
    figures::tell(14, "soak, at the end", &at_the_end(&end));
    soak.print();
    growth.iter().for_each(|line| println!("{}", line.0));
    assert!(wrong.is_empty(), "seed {seed}: {wrong:#?}");
    assert_eq!(outcome.trouble, "", "seed {seed}");
    assert_eq!((outcome.lost, outcome.wrong), (0, 0), "seed {seed}");
    assert!(told.restarts > 0, "nothing was killed: this test tests little");
    let grown: Vec<&String> = growth.iter().filter(|(_, fits)| !fits).map(|(line, _)| line).collect();
    assert!(grown.is_empty(), "seed {seed}: {grown:#?}");
}

fn at_the_end(s: &Sample) -> [(&'static str, u64); 14] {
    [
        ("RSS MB", s.rss >> 20),
        ("handles", s.handles),
        ("threads", s.threads),
        ("checkpoint KB", s.sled >> 10),
        ("mirror KB", s.mirror >> 10),
        ("WAL KB", s.wal >> 10),
        ("commits of all tables", s.commits),
        ("log entries", s.log),
        ("log checkpoints", s.log_checkpoints),
        ("their KB", s.log_checkpoint_bytes >> 10),
        ("table files", s.files),
        ("index files", s.index),
        ("temporary files", s.temporary),
        ("input files", s.inputs),
    ]
}

// ------------------------------------------------------------------------------------------------ what happens

struct Soak<'a> {
    folder: &'a Path,
    rng: u64,
    seconds: f64,
    begin: Instant,
    shop: Option<Child>,
    run: Option<Child>,
    readers: Vec<Reader>,
    seen: Vec<reader::Seen>,
    samples: Vec<Sample>,
    /// From here on nothing is killed: what one process takes is judged.
    calm_from: f64,
    told: Told,
}

impl<'a> Soak<'a> {
    fn new(folder: &'a Path, seed: u64, seconds: f64) -> Self {
        fs::create_dir(folder.join("input_events")).unwrap();
        fs::write(folder.join("pipeline.toml"), pipeline::DEFAULT).unwrap();
        let mut soak = Soak {
            folder,
            rng: seed,
            seconds,
            begin: Instant::now(),
            shop: None,
            run: None,
            readers: Vec::new(),
            seen: Vec::new(),
            samples: Vec::new(),
            calm_from: seconds * 0.55,
            told: Told::default(),
        };
        let (rate, seed) = (number("MILLRACE_SOAK_RATE", 20).to_string(), seed.to_string());
        let shop = ["-p", "pipeline.toml", "simulate", "--rate", &rate, "--seed", &seed, "--bad", "0.02"];
        soak.shop = Some(soak.spawn(&shop));
        let database = folder.join("database/orders.db");
        let holds = [Duration::from_millis(5), Duration::from_millis(300), Duration::from_secs(3)];
        soak.readers = holds.into_iter().map(|hold| Reader::start(database.clone(), hold)).collect();
        soak
    }

    fn below(&mut self, n: f64) -> f64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64 * n
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let log = File::options().append(true).create(true).open(self.folder.join("out.log")).unwrap();
        let err = File::options().append(true).create(true).open(self.folder.join("err.log")).unwrap();
        let mut command = command(self.folder, arguments);
        command.stdin(Stdio::null()).stdout(log).stderr(err).spawn().unwrap()
    }

    fn now(&self) -> f64 {
        self.begin.elapsed().as_secs_f64()
    }

    fn go(&mut self) {
        // Most lives are short, so that starts are killed too.
        while self.now() < self.calm_from {
            let longest = if self.below(4.0) < 1.0 { self.seconds / 15.0 } else { self.seconds / 60.0 };
            let life = self.below(longest.clamp(1.0, 90.0));
            self.start();
            self.live_until((self.now() + life).min(self.calm_from));
            self.kill();
        }
        self.start();
        self.live_until(self.seconds);
    }

    fn start(&mut self) {
        let begin = Instant::now();
        let before = self.starts_told();
        self.run = Some(self.spawn(&RUN));
        // Some are killed before they are there: they are not waited for.
        if self.below(2.0) < 1.0 {
            while self.starts_told() == before {
                self.must_run();
                assert!(begin.elapsed() < Duration::from_secs(300), "a start took five minutes");
                std::thread::sleep(Duration::from_millis(5));
            }
            self.told.slowest_start = self.told.slowest_start.max(begin.elapsed().as_secs_f64());
        }
    }

    fn starts_told(&self) -> usize {
        let log = fs::read(self.folder.join("out.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).matches("watching ").count()
    }

    /// Nobody but us ends it.
    fn must_run(&mut self) {
        let ended = self.run.as_mut().and_then(|run| run.try_wait().unwrap());
        let err = || fs::read_to_string(self.folder.join("err.log")).unwrap();
        assert!(ended.is_none(), "the run ended by itself: {ended:?}\n{}", err());
        let shop = self.shop.as_mut().and_then(|shop| shop.try_wait().unwrap());
        assert!(shop.is_none(), "the shop ended by itself: {shop:?}\n{}", err());
    }

    fn live_until(&mut self, end: f64) {
        let step = (self.seconds / 200.0).clamp(0.1, 5.0);
        while self.now() < end {
            let next = self.samples.last().map_or(0.0, |s| s.second + step);
            if self.now() >= next {
                self.must_run();
                let pid = self.run.as_ref().map_or(0, Child::id);
                self.samples.push(Sample::take(self.folder, self.now(), pid));
            }
            std::thread::sleep(
                Duration::from_millis(20).min(Duration::from_secs_f64((end - self.now()).max(0.0))),
            );
        }
    }

    fn kill(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        run.kill().unwrap();
        run.wait().unwrap();
        self.told.restarts += 1;
        if self.below(5.0) < 1.0 {
            let _ = fs::remove_dir_all(self.folder.join("checkpoint"));
            self.told.checkpoints_deleted += 1;
        }
        if self.below(12.0) < 1.0 {
            let _ = fs::remove_dir_all(self.folder.join("database"));
            self.told.mirrors_deleted += 1;
        }
    }

    /// The shop ends, the rest is taken.
    fn finish(&mut self) -> Told {
        let mut shop = self.shop.take().unwrap();
        shop.kill().unwrap();
        shop.wait().unwrap();
        self.seen = std::mem::take(&mut self.readers).into_iter().map(Reader::stop).collect();
        let mut run = self.run.take().unwrap();
        kill_process(Pid::from_child(&run), Signal::INT).unwrap();
        let status = run.wait().unwrap();
        let err = fs::read_to_string(self.folder.join("err.log")).unwrap();
        assert_eq!(status.code(), Some(0), "{err}");
        std::mem::take(&mut self.told)
    }

    /// Twelve samples, spread evenly.
    fn print(&self) {
        println!(
            "second   RSS MB  handles threads  sled KB   WAL KB  commits  log  checkpoints KB    files  index"
        );
        for s in self.samples.iter().step_by(self.samples.len().div_ceil(12)) {
            println!(
                "{:>6.1} {:>8} {:>8} {:>7} {:>8} {:>8} {:>8} {:>4} {:>8} {:>6} {:>8} {:>6}",
                s.second,
                s.rss >> 20,
                s.handles,
                s.threads,
                s.sled >> 10,
                s.wal >> 10,
                s.commits,
                s.log,
                s.log_checkpoints,
                s.log_checkpoint_bytes >> 10,
                s.files,
                s.index
            );
        }
    }
}

impl Drop for Soak<'_> {
    fn drop(&mut self) {
        for child in [&mut self.shop, &mut self.run].into_iter().flatten() {
            // It may have ended by itself; then there is nothing to kill.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

// ------------------------------------------------------------------------------------------------ what it grew by

/// What was compared, in words, and whether it keeps its bound.
type Judged = (String, bool);

/// The last third against the middle third: of the calm time for what one process takes, of all the time for what
/// lies on disk. What grows with data may grow by so much for each new input file.
fn growth(samples: &[Sample], calm_from: f64, seconds: f64) -> Vec<Judged> {
    // A short soak is all beginning: buffers fill, pools start their threads.
    let calm = if seconds >= 60.0 { calm_from } else { seconds };
    let of_process: Vec<&Sample> = samples.iter().filter(|s| s.second > calm + 1.0 && s.pid != 0).collect();
    let all: Vec<&Sample> = samples.iter().collect();
    let hold = |name: &str,
                of: &[&Sample],
                value: fn(&Sample) -> u64,
                pick: fn(&[u64]) -> u64,
                slack: u64,
                per_file: u64| {
        let (middle, last) = (of.len() / 3..of.len() * 2 / 3, of.len() * 2 / 3..of.len());
        let picked = |range: std::ops::Range<usize>| {
            let mut values: Vec<u64> = of[range].iter().map(|s| value(s)).collect();
            values.sort_unstable();
            pick(&values)
        };
        let new = of.last().map_or(0, |s| s.inputs) - of.get(of.len() / 2).map_or(0, |s| s.inputs);
        let (before, after) = (picked(middle), picked(last));
        let bound = before + before / 10 + slack + per_file * new;
        (
            format!("{name}: {before} in the middle third, {after} in the last (at most {bound})"),
            after <= bound,
        )
    };
    let most = |values: &[u64]| values.last().copied().unwrap_or(0);
    let median = |values: &[u64]| values.get(values.len() / 2).copied().unwrap_or(0);
    let judge =
        |name: &str, of: &[&Sample], value, slack, per_file| hold(name, of, value, most, slack, per_file);
    vec![
        // An event brings about ten keys of 100 bytes, and its file 120 bytes of ledger.
        judge("RSS", &of_process, |s| s.rss, 16 << 20, 2000),
        // The files of a batch are open at once, and a batch that waited for a reader has many.
        hold("handles, median", &of_process, |s| s.handles, median, 4, 0),
        judge("threads", &of_process, |s| s.threads, 4, 0),
        judge("checkpoint bytes", &all, |s| s.sled, 2 << 20, 1000),
        // It goes up while readers overlap, and down when they were waited for.
        judge("WAL bytes", &all, |s| s.wal, 256 << 20, 0),
        judge("index files of a table", &all, |s| s.most_index, 16, 0),
        judge("temporary files", &all, |s| s.temporary, 8, 0),
        judge("log checkpoints", &all, |s| s.log_checkpoints, 110, 0),
    ]
}

// ------------------------------------------------------------------------------------------------ what is there

struct Outcome {
    events: u64,
    bad: u64,
    batches: u64,
    lost: u64,
    wrong: u64,
    trouble: String,
}

/// Takes the rest, and compares all of it with what the events say.
fn check(folder: &Path) -> Outcome {
    let mut trouble = String::new();
    let rest = millrace(folder, &["-p", "pipeline.toml", "run", "--once"]);
    if !matches!(rest.code, Some(0 | 3)) {
        trouble += &format!("the last run: {rest:?}\n");
    }
    let verified = millrace(folder, &["-p", "pipeline.toml", "--json", "verify"]);
    if verified.code != Some(0) {
        trouble += &format!("verify: {verified:?}\n");
    }
    let batches =
        serde_json::from_str::<serde_json::Value>(&verified.out).ok().and_then(|v| v["batch"].as_u64());
    let (mut events, mut bad) = (Vec::new(), 0);
    for path in files::event_files(&folder.join("input_events")) {
        let name = path.file_name().unwrap().to_str().unwrap();
        for piece in Contents::of(name, &fs::read(&path).unwrap()).pieces {
            match piece.event {
                Some(event) => events.push(event),
                None => bad += 1,
            }
        }
    }
    let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
    let found = contents::of_folder(folder, &pipeline);
    let (mut lost, mut wrong) = (0, 0);
    for (table, rows) in &oracle::tables(&events).tables {
        let (wanted, all): (BTreeSet<_>, BTreeSet<_>) =
            (rows.iter().collect(), found[table].iter().collect());
        lost += wanted.difference(&all).count() as u64;
        wrong += (all.difference(&wanted).count() + found[table].len() - all.len()) as u64;
    }
    let sql = "select count(*) as n from _quarantine";
    let quarantined = millrace(folder, &["-p", "pipeline.toml", "query", "--json", sql]);
    if !quarantined.out.contains(&format!("\"n\":{bad}}}")) {
        trouble += &format!("{bad} bad events, in quarantine: {quarantined:?}\n");
    }
    Outcome { events: events.len() as u64 + bad, bad, batches: batches.unwrap_or(0), lost, wrong, trouble }
}
