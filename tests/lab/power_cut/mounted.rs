//! A real file system that loses its power: ext4 in a file, shut down at random moments without flushing its log, under
//! the real binary. What the binary had reported as done is there when the power is back.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::clock;
use millrace::commit::Paths;
use millrace::pipeline::{self, model::Pipeline};
use millrace::root::Root;
use millrace::tables::LocalDisk;
use serde_json::Value;

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::history::{Toll, add, pipeline_text};
use crate::support::mounts::{Mount, possible};
use crate::support::{Said, command, contents, files, folders, millrace, oracle};

/// How the file system is made to lose as much as it may: names only kept in its log's memory for long, bytes never
/// written before their names, or after.
const OPTIONS: [&str; 3] = ["data=ordered,commit=300", "data=writeback,commit=300", "data=ordered,commit=1"];

/// What a batch was reported with.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Done {
    files: u64,
    events: u64,
}

struct Machine {
    disk: Mount,
    /// On another file system: the input survives, and what the binary says.
    elsewhere: tempfile::TempDir,
    pipeline: Arc<Pipeline>,
    random: u64,
    more: u64,
    acknowledged: BTreeMap<u64, Done>,
    story: String,
}

#[derive(Default)]
struct Count {
    cuts: u64,
    early: u64,
    acknowledged: u64,
    ended_itself: u64,
    toll: Toll,
}

impl Machine {
    fn new(seed: u64, options: &str) -> Result<Machine, String> {
        let disk = Mount::ext4(64, options)?;
        let elsewhere = folders::quick();
        let source = elsewhere.path().join("input_events");
        let text = pipeline_text(&source, 2);
        fs::write(elsewhere.path().join("orders.toml"), &text).unwrap();
        let mut pipeline = pipeline::parse(&text, "orders.toml").unwrap();
        pipeline.source.path = source;
        let story = format!("MILLRACE_SEED={seed}, {options}");
        let (pipeline, acknowledged) = (Arc::new(pipeline), BTreeMap::new());
        let random = seed.wrapping_mul(OPTIONS.len() as u64) + options.len() as u64;
        let mut machine = Machine { disk, elsewhere, pipeline, random, more: 0, acknowledged, story };
        machine.more_events();
        Ok(machine)
    }

    fn below(&mut self, n: u64) -> u64 {
        // splitmix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }

    fn more_events(&mut self) {
        self.more += 1;
        add(&self.pipeline.source.path, &format!("part{}", self.more), self.more, 48, 3);
    }

    fn path(&self, name: &str) -> PathBuf {
        self.elsewhere.path().join(name)
    }

    fn arguments<'a>(&self, file: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
        [&["-p", file, "--json"], rest].concat()
    }

    fn millrace(&self, rest: &[&str]) -> Said {
        let file = self.path("orders.toml");
        millrace(self.disk.path(), &self.arguments(file.to_str().unwrap(), rest))
    }

    fn start(&self) -> Child {
        let file = self.path("orders.toml");
        let mut run = command(self.disk.path(), &self.arguments(file.to_str().unwrap(), &["run", "--once"]));
        let to = |name: &str| Stdio::from(File::create(self.path(name)).unwrap());
        run.stdout(to("out")).stderr(to("err")).spawn().unwrap()
    }

    /// The batches that the run at hand has reported.
    fn reported(&self) -> BTreeMap<u64, Done> {
        let said = fs::read_to_string(self.path("out")).unwrap();
        let lines = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let number = |line: &Value, name: &str| line[name].as_u64().unwrap();
        let batches = lines.filter(|line| line["type"] == "batch");
        let done = |l: &Value| Done { files: number(l, "files"), events: number(l, "events") };
        batches.map(|line| (number(&line, "batch"), done(&line))).collect()
    }

    /// Runs, cuts the power at some moment, and starts the machine again.
    fn cut(&mut self, count: &mut Count) {
        let mut run = self.start();
        // Some cuts come early: while the last one is still being recovered from.
        let batches = self.below(4) as usize;
        let after = Duration::from_micros(self.below(if batches == 0 { 250_000 } else { 60_000 }));
        let begin = Instant::now();
        let mut ended = None;
        while self.reported().len() < batches && ended.is_none() && begin.elapsed().as_secs() < 20 {
            std::thread::sleep(Duration::from_millis(1));
            ended = run.try_wait().unwrap();
        }
        std::thread::sleep(after);
        self.disk.cut();
        let lets_it_notice = self.below(3) == 0;
        if lets_it_notice {
            self.ends_by_itself(&mut run, count);
        }
        // It may have ended by itself; then there is nothing to kill.
        let _ = run.kill();
        run.wait().unwrap();
        let reported = self.reported();
        self.story += &format!("; cut {after:?} after {batches} batches, {} reported", reported.len());
        count.cuts += 1;
        count.early += u64::from(reported.is_empty());
        count.acknowledged += reported.len() as u64;
        if ended.is_some() {
            self.more_events();
        }
        self.acknowledged.extend(reported);
        self.disk.again();
    }

    /// A process whose disk went away says so and ends, in one line and without a panic.
    fn ends_by_itself(&self, run: &mut Child, count: &mut Count) {
        let begin = Instant::now();
        while run.try_wait().unwrap().is_none() {
            if begin.elapsed().as_secs() > 15 {
                return count.toll.other(&format!("{}: it goes on without a disk", self.story));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        count.ended_itself += 1;
        let err = fs::read_to_string(self.path("err")).unwrap();
        let code = run.wait().unwrap().code();
        if !matches!(code, Some(0 | 1 | 3)) || err.contains("panicked") || err.contains("bug:") {
            count.toll.other(&format!("{}: it ended with {code:?}: {err}", self.story));
        }
    }

    /// Every batch that was reported is there, with its files and events, and all is sound.
    fn keeps(&self, toll: &mut Toll) {
        let paths = Paths::new(self.disk.path().join("tables"));
        let root = match Root::open(paths, self.pipeline.clone(), Arc::new(LocalDisk), clock::system()) {
            Ok(root) => root,
            Err(e) => return toll.unopenable(&format!("{}: {e}", self.story)),
        };
        toll.sound(&root, &self.story);
        let mut there: BTreeMap<u64, Done> = BTreeMap::new();
        for (batch, range) in root.ledger_rows(0).unwrap() {
            let done = there.entry(batch).or_insert(Done { files: 0, events: 0 });
            done.files += u64::from(range.last);
            done.events += range.events;
        }
        for (batch, done) in &self.acknowledged {
            if there.get(batch) != Some(done) {
                toll.lost(1, &format!("{}: batch {batch}: {done:?}, but {:?}", self.story, there.get(batch)));
            }
        }
    }

    /// Left alone, it takes the rest; tables and mirror are as if the power had never gone.
    fn ends_right(&self, toll: &mut Toll) {
        let said = self.millrace(&["run", "--once"]);
        // The events are of the nasty kind: some are quarantined.
        if !matches!(said.code, Some(0 | 3)) {
            return toll.unopenable(&format!("{}: {:?}: {}", self.story, said.code, said.err));
        }
        let expected = oracle::tables(&files::event_texts(&self.pipeline.source.path)).tables;
        toll.compare(&expected, &contents::of_folder(self.disk.path(), &self.pipeline), &self.story);
        // The mirror too.
        let said = self.millrace(&["verify"]);
        if said.code != Some(0) {
            toll.other(&format!("{}: {said:?}", self.story));
        }
    }
}

#[test]
fn row_03_a_disk_that_loses_power_keeps_what_was_acknowledged() {
    if !possible("power cuts on a real file system") {
        return;
    }
    let mut count = Count::default();
    for seed in seeds(1, 4) {
        for options in &OPTIONS[..pick(2, 3)] {
            let mut machine = match Machine::new(seed, options) {
                Ok(machine) => machine,
                Err(why) => return println!("skipped: power cuts on a real file system: {why}"),
            };
            for _ in 0..pick(2, 12) {
                machine.cut(&mut count);
                machine.keeps(&mut count.toll);
            }
            machine.ends_right(&mut count.toll);
        }
    }
    let Count { cuts, early, acknowledged, ended_itself, toll } = count;
    let counted = [
        ("cuts", cuts),
        ("before any batch", early),
        ("batches acknowledged", acknowledged),
        ("ended by themselves", ended_itself),
    ];
    tell(3, "ext4 shut down", &[&counted[..], &toll.paid()].concat());
    assert!(acknowledged > 0, "nothing was acknowledged before a cut");
}
