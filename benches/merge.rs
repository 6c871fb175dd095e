//! Promise 3, measured: merging 10,000 events costs the same into tables of 100 thousand and of 5 million rows.
//!
//! `cargo bench --bench merge -- [--rows 100000,5000000] [--batches 20] [--mirror] [--keep DIR]`
//!
//! The whole way of a batch is timed, from bytes to visible rows, with every sync. Each size runs in a process of its
//! own, so that one's memory says nothing about the other's. Rows are those of `order_item`; the other eight tables
//! grow with it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, clippy::print_stderr)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use millrace::batch::{Fingerprint, Input, Resume};
use millrace::clock;
use millrace::maintain;
use millrace::pipeline::{self, model::Pipeline};
use millrace::run::intake::Worker;
use millrace::run::{Intake, Places, Session};
use millrace::simulate::{Options, Shop};
use millrace::tables::LocalDisk;

/// Events of a measured batch, and how many of a hundred are about orders that the tables have.
const EVENTS: u64 = 10_000;
const UPDATES: u64 = 70;
/// Events of a batch that fills.
const FILL: u64 = 20_000;
/// The steps of a batch, as printed.
const STEPS: [&str; 7] = ["read", "merge", "stage", "commit", "mirror", "maintain", "batch"];

type Medians = BTreeMap<String, f64>;

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
    let batches = value("--batches").map_or(20, |n| n.parse().unwrap());
    let mirror = arguments.iter().any(|a| a == "--mirror");
    if let Some(rows) = value("--one") {
        return one(rows.parse().unwrap(), batches, mirror, value("--keep").map(PathBuf::from));
    }
    let rows = value("--rows").unwrap_or_else(|| "100000,5000000".into());
    let sizes: Vec<u64> = rows.split(',').map(|n| n.trim().replace('_', "").parse().unwrap()).collect();
    let measured: Vec<Medians> = sizes.iter().map(|&rows| in_a_child(rows, &arguments)).collect();
    let Some((first, rest)) = measured.split_first() else { return };
    for (found, rows) in rest.iter().zip(&sizes[1..]) {
        println!("\n{rows} rows against {}:", sizes[0]);
        for step in STEPS.iter().filter(|s| first[**s] > 0.0) {
            println!(
                "  {step:<9} {:8.1} ms / {:8.1} ms = {:.2}",
                found[*step],
                first[*step],
                found[*step] / first[*step]
            );
        }
    }
}

/// One size in a process of its own; its report goes to the terminal, its medians come back.
fn in_a_child(rows: u64, arguments: &[String]) -> Medians {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(arguments).args(["--one", &rows.to_string()]).stdout(Stdio::piped());
    let output = child.spawn().unwrap().wait_with_output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let (report, medians) = text.trim_end().rsplit_once('\n').unwrap();
    println!("{report}");
    serde_json::from_str(medians).unwrap()
}

fn one(rows: u64, batches: usize, mirror: bool, keep: Option<PathBuf>) {
    let temporary = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let folder = keep.map_or_else(|| temporary.path().to_path_buf(), |k| k.join(rows.to_string()));
    fs::create_dir_all(&folder).unwrap();
    let mut bench = Bench::new(&folder, rows);
    bench.fill(rows);
    bench.reopen(mirror);
    let times: Vec<BTreeMap<&str, f64>> = (0..batches).map(|_| bench.measure()).collect();
    println!("  {batches} batches of {EVENTS} events, milliseconds:");
    println!("    {:<9} {:>8} {:>8} {:>8}", "step", "median", "worst", "mean");
    let mut medians = Medians::new();
    for step in STEPS {
        let mut all: Vec<f64> = times.iter().map(|t| t[step]).collect();
        all.sort_by(f64::total_cmp);
        let (median, worst) = (all[all.len() / 2], all[all.len() - 1]);
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        println!("    {step:<9} {median:>8.1} {worst:>8.1} {mean:>8.1}");
        medians.insert(step.to_owned(), median);
    }
    println!("  batch: from the first byte read to visible rows; maintenance comes after it. {}", memory());
    println!("{}", serde_json::to_string(&medians).unwrap());
}

struct Bench {
    folder: PathBuf,
    pipeline: Arc<Pipeline>,
    session: Option<Session>,
    shop: Shop,
    /// Of every order, the moment that was told last.
    told: Vec<u8>,
    rng: u64,
    files: u64,
}

impl Bench {
    fn new(folder: &Path, rows: u64) -> Bench {
        let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
        // Dimensions grow with the facts, or the larger tables would be large in name only.
        let options =
            Options { customers: rows / 4, items: rows / 10, sellers: rows / 100, ..Options::default() };
        let (folder, shop) = (folder.to_path_buf(), Shop::new(1, options));
        let mut bench = Bench { folder, pipeline, session: None, shop, told: Vec::new(), rng: 1, files: 0 };
        bench.session = Some(bench.open(false));
        bench
    }

    fn open(&self, mirror: bool) -> Session {
        let places = Places {
            tables: self.folder.join("tables"),
            checkpoint: self.folder.join("checkpoint"),
            database: mirror.then(|| self.folder.join("database/orders.db")),
        };
        let policy = maintain::Policy::default();
        Session::open(&places, self.pipeline.clone(), Arc::new(LocalDisk), clock::system(), policy).unwrap()
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
        println!(
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
            println!(
                "  {name:<17} {rows:>9} rows {files:>4} files {:>7.1} MB {folded:>4} index files",
                size as f64 / 1e6
            );
        }
        println!(
            "  opened in {opened:.0} ms; {keys} keys, {:.1} bytes a key; {}",
            bytes as f64 / keys as f64,
            memory()
        );
        if mirror {
            self.session = None;
            let begin = Instant::now();
            self.session = Some(self.open(true));
            println!("  opened with a new mirror in {:.0} ms", ms(begin));
        }
    }

    fn measure(&mut self) -> BTreeMap<&'static str, f64> {
        let known = self.told.len() as u64;
        let mut events = Vec::new();
        while (events.len() as u64) < EVENTS {
            if self.below(100) < UPDATES {
                let order = self.below(known);
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
        let report = self.session().run_batch(intake).unwrap();
        let begin = Instant::now();
        self.session().maintain().unwrap();
        let t = report.ms;
        [t.read, t.merge, t.stage, t.commit, t.mirror, ms(begin), t.total]
            .into_iter()
            .zip(STEPS)
            .map(|(ms, step)| (step, ms))
            .collect()
    }

    /// Writes the events to a file of lines and reads it as `run` would.
    fn intake(&mut self, events: &[(u64, usize)]) -> Intake {
        let path = self.folder.join("events.ndjson");
        let mut out = BufWriter::new(File::create(&path).unwrap());
        for &(order, step) in events {
            out.write_all(self.shop.moment(order, step).unwrap().as_bytes()).unwrap();
            out.write_all(b"\n").unwrap();
        }
        out.flush().unwrap();
        self.files += 1;
        let file = File::open(&path).unwrap();
        let fingerprint = fingerprint(&file);
        let size = fingerprint.size;
        let input = Input {
            name: format!("{:08}.ndjson", self.files).into(),
            file,
            path,
            fingerprint,
            resume: Resume::default(),
            changed: false,
        };
        let flattener = self.session().flattener.clone();
        let pipeline = self.pipeline.clone();
        let (intake, left) =
            Worker::new(&pipeline, &flattener, 2).files(vec![input], size).expect("readable");
        assert!(
            intake.unread.is_empty() && left.readers.is_empty() && left.inputs.is_empty(),
            "{:?}",
            intake.unread
        );
        assert_eq!(intake.claims.valid, events.len() as u64);
        intake
    }

    fn below(&mut self, n: u64) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn fingerprint(file: &File) -> Fingerprint {
    let stat = file.metadata().unwrap();
    Fingerprint {
        size: stat.len(),
        mtime_ns: stat.mtime() * 1_000_000_000 + stat.mtime_nsec(),
        ctime_ns: stat.ctime() * 1_000_000_000 + stat.ctime_nsec(),
        inode: stat.ino(),
    }
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Resident memory of this process, now and at its highest.
fn memory() -> String {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find(|l| l.starts_with(name)).unwrap_or_default();
        line.split_whitespace().nth(1).and_then(|n| n.parse::<u64>().ok()).unwrap_or(0) / 1024
    };
    format!("memory {} MB, at most {} MB", of("VmRSS:"), of("VmHWM:"))
}
