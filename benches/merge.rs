//! Promise 3, measured: merging 10,000 events costs the same into tables of 100 thousand and of 5 million rows.
//!
//! `cargo bench --bench merge -- [--rows 100000,5000000] [--batches 40] [--mirror] [--json]`
//!
//! The whole way of a batch is timed, from bytes to visible rows, with every sync. Each size runs in a process of its
//! own, so that one's memory says nothing about the other's. Rows are those of `order_item`; the other eight tables
//! grow with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

#[path = "common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write, stdin};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Instant;

use millrace::maintain;
use millrace::run::{Intake, Session};
use millrace::simulate::{Options, Shop};

use common::{Dice, cpu, memory, ms};

/// Events of a measured batch, and how many of a hundred are about orders that the tables have.
const EVENTS: u64 = 10_000;
const UPDATES: u64 = 70;
/// Events of a batch that fills.
const FILL: u64 = 20_000;
/// What is printed of a batch: its steps; `work`, the steps that look at tables; all of it, from the first byte read to
/// visible rows; the maintenance after it; the processor time of all threads, work beside the batches included.
const STEPS: [&str; 9] = ["read", "merge", "stage", "commit", "mirror", "work", "batch", "maintain", "cpu"];

type Times = BTreeMap<String, f64>;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // `cargo bench` says `--bench`; `cargo test --benches` does not, and must not take minutes.
    if !arguments.iter().any(|a| a == "--bench") {
        return;
    }
    let value = |name: &str| {
        let at = arguments.iter().position(|a| a == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(rows) = value("--one") {
        return one(rows.parse().unwrap(), arguments.iter().any(|a| a == "--mirror"));
    }
    let batches: usize = value("--batches").map_or(40, |n| n.parse().unwrap());
    let rows = value("--rows").unwrap_or_else(|| "100000,5000000".into());
    let mut sizes: Vec<One> =
        rows.split(',').map(|n| One::start(n.trim().replace('_', "").parse().unwrap(), &arguments)).collect();
    for _ in 0..batches {
        sizes.iter_mut().for_each(One::measure);
    }
    if arguments.iter().any(|a| a == "--json") {
        let all: BTreeMap<String, &Vec<Times>> =
            sizes.iter().map(|s| (s.rows.to_string(), &s.times)).collect();
        return println!("{}", serde_json::to_string(&all).unwrap());
    }
    sizes.iter().for_each(One::tell);
    for larger in sizes.iter().skip(1) {
        larger.against(&sizes[0]);
    }
}

/// One size in a process of its own. The sizes take turns, so that whatever else the machine does hits them alike.
struct One {
    rows: u64,
    child: Child,
    answers: BufReader<ChildStdout>,
    times: Vec<Times>,
}

impl One {
    /// Returns once the tables are filled.
    fn start(rows: u64, arguments: &[String]) -> One {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(arguments).args(["--one", &rows.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        let mut one = One { rows, child, answers, times: Vec::new() };
        assert_eq!(one.answer(), "ready");
        one
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn measure(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        let times = self.answer();
        self.times.push(serde_json::from_str(&times).unwrap());
    }

    fn sorted(&self, step: &str) -> Vec<f64> {
        let mut all: Vec<f64> = self.times.iter().map(|t| t[step]).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn median(&self, step: &str) -> f64 {
        self.sorted(step)[self.times.len() / 2]
    }

    fn tell(&self) {
        println!("\n{} rows, {} batches of {EVENTS} events, milliseconds:", self.rows, self.times.len());
        println!("  {:<9} {:>8} {:>8} {:>8}", "step", "median", "worst", "mean");
        for step in STEPS {
            let all = self.sorted(step);
            let mean = all.iter().sum::<f64>() / all.len() as f64;
            println!("  {step:<9} {:>8.1} {:>8.1} {mean:>8.1}", self.median(step), all[all.len() - 1]);
        }
        let last = &self.times[self.times.len() - 1];
        println!("  memory {:.0} MB, at most {:.0} MB", last["memory"], last["most memory"]);
    }

    fn against(&self, small: &One) {
        println!("\n{} rows against {}, medians:", self.rows, small.rows);
        for step in STEPS.iter().filter(|s| small.median(s) > 0.0) {
            let (large, small) = (self.median(step), small.median(step));
            println!("  {step:<9} {large:8.1} ms / {small:8.1} ms = {:.2}", large / small);
        }
    }
}

impl Drop for One {
    fn drop(&mut self) {
        // The end of its input ends the child, which removes its folder.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The child: fills, then measures a batch for every line it is sent.
fn one(rows: u64, mirror: bool) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut bench = Bench::new(folder.path(), rows);
    bench.fill(rows);
    bench.reopen(mirror);
    println!("ready");
    for _ in stdin().lines() {
        let mut times = bench.measure();
        let (now, most) = memory("self");
        times.extend([("memory".to_owned(), now), ("most memory".to_owned(), most)]);
        println!("{}", serde_json::to_string(&times).unwrap());
    }
}

struct Bench {
    folder: PathBuf,
    session: Option<Session>,
    shop: Shop,
    /// Of every order, the moment that was told last.
    told: Vec<u8>,
    dice: Dice,
    files: u64,
}

impl Bench {
    fn new(folder: &Path, rows: u64) -> Bench {
        // Dimensions grow with the facts, or the larger tables would be large in name only.
        let options =
            Options { customers: rows / 4, items: rows / 10, sellers: rows / 100, ..Options::default() };
        let (folder, shop) = (folder.to_path_buf(), Shop::new(1, options));
        let mut bench = Bench { folder, session: None, shop, told: Vec::new(), dice: Dice(1), files: 0 };
        bench.session = Some(bench.open(false));
        bench
    }

    fn open(&self, mirror: bool) -> Session {
        common::open(&self.folder, mirror, maintain::Policy::default())
    }

    fn session(&mut self) -> &mut Session {
        self.session.as_mut().unwrap()
    }

    fn rows(&self) -> u64 {
        let states = &self.session.as_ref().unwrap().root.states;
        states.iter().find(|s| s.table.def.name == "order_item").unwrap().table.rows_alive()
    }

    fn fill(&mut self, rows: u64) {
        let begin = Instant::now();
        let mut worst: f64 = 0.0;
        while self.rows() < rows {
            let from = self.told.len() as u64;
            self.told.resize(self.told.len() + FILL as usize, 0);
            let events: Vec<(u64, usize)> = (from..from + FILL).map(|order| (order, 0)).collect();
            let intake = self.intake(&events);
            let one = Instant::now();
            self.session().run_batch(intake).unwrap();
            self.session().maintain().unwrap();
            worst = worst.max(ms(one));
        }
        eprintln!(
            "{rows} rows: {} orders in {:.0} s, worst batch of {FILL} with maintenance {worst:.0} ms",
            self.told.len(),
            begin.elapsed().as_secs_f64()
        );
    }

    /// The measured batches start as after a restart.
    fn reopen(&mut self, mirror: bool) {
        self.session = None;
        let begin = Instant::now();
        self.session = Some(self.open(false));
        let opened = ms(begin);
        let states = &self.session().root.states;
        let keys: usize = states.iter().map(|s| s.index.len()).sum();
        let bytes: usize = states.iter().map(|s| s.index.bytes()).sum();
        for state in states.iter().filter(|s| s.table.rows_alive() > 0) {
            let (table, folded) = (&state.table, state.index_files.len());
            let (name, rows, files) = (&table.def.name, table.rows_alive(), table.files.len());
            let size: i64 = table.files.values().map(|f| f.action.size).sum();
            eprintln!(
                "  {name:<17} {rows:>9} rows {files:>4} files {:>7.1} MB {folded:>4} index files",
                size as f64 / 1e6
            );
        }
        eprintln!(
            "  opened in {opened:.0} ms; {keys} keys, {:.1} bytes a key; memory {:.0} MB",
            bytes as f64 / keys as f64,
            memory("self").0
        );
        if mirror {
            self.session = None;
            let begin = Instant::now();
            self.session = Some(self.open(true));
            eprintln!("  opened with a new mirror in {:.0} ms", ms(begin));
        }
    }

    fn measure(&mut self) -> Times {
        let known = self.told.len() as u64;
        let mut events = Vec::new();
        while (events.len() as u64) < EVENTS {
            if self.dice.below(100) < UPDATES {
                let order = self.dice.below(known);
                let step = usize::from(self.told[order as usize]) + 1;
                if self.shop.moment(order, step).is_some() {
                    self.told[order as usize] = step as u8;
                    events.push((order, step));
                }
            } else {
                events.push((self.told.len() as u64, 0));
                self.told.push(0);
            }
        }
        let intake = self.intake(&events);
        let before = cpu_ms();
        let report = self.session().run_batch(intake).unwrap();
        let begin = Instant::now();
        self.session().maintain().unwrap();
        let (maintain, t) = (ms(begin), report.ms);
        let work = t.merge + t.stage + t.commit;
        [t.read, t.merge, t.stage, t.commit, t.mirror, work, t.total, maintain, cpu_ms() - before]
            .into_iter()
            .zip(STEPS)
            .map(|(ms, step)| (step.to_owned(), ms))
            .collect()
    }

    /// Reads the events as `run` would.
    fn intake(&mut self, events: &[(u64, usize)]) -> Intake {
        self.files += 1;
        let texts = events.iter().map(|&(order, step)| self.shop.moment(order, step).unwrap());
        common::intake(self.session.as_ref().unwrap(), &self.folder, self.files, texts)
    }
}

fn cpu_ms() -> f64 {
    let (user, system) = cpu("self");
    (user + system) * 1e3
}
