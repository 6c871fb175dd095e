//! Promise 2: killed with SIGKILL at any moment, then started again: nothing lost, nothing doubled, `verify` clean.
//!
//! `MILLRACE_KILLS` sets how often (50 if not set), `MILLRACE_SEED` where the randomness begins.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::pipeline;
use millrace::simulate::{Options, Shop};
use support::{command, contents, files, folders, millrace, oracle};

/// The default pipeline with small batches, so that many of them can be interrupted.
const SMALL: &str = "[source]\nbatch_files = 20\nbatch_bytes = \"64 KiB\"\nsettle = \"0s\"";

struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

fn number(name: &str, or: u64) -> u64 {
    std::env::var(name).ok().and_then(|n| n.parse().ok()).unwrap_or(or)
}

fn fill(folder: &Path, seed: u64) {
    let input = folder.join("input_events");
    fs::create_dir_all(&input).unwrap();
    let shop = Shop::new(seed, Options { orders: Some(90), ..Options::default() });
    let events: Vec<_> = shop.collect();
    let (large, small) = events.split_at(events.len() / 3);
    let lines: Vec<Vec<u8>> = large.iter().map(|e| e.text.clone()).collect();
    fs::write(input.join("large.ndjson"), lines.join(&b'\n')).unwrap();
    for (at, event) in small.iter().enumerate() {
        fs::write(input.join(format!("{at:04}.json")), &event.text).unwrap();
    }
    fs::write(folder.join("pipeline.toml"), pipeline::DEFAULT.replacen("[source]", SMALL, 1)).unwrap();
}

const RUN: [&str; 4] = ["-p", "pipeline.toml", "run", "--once"];

/// Starts a run and kills it after a while; `false` if it was done before.
fn run_and_kill(folder: &Path, after: Duration) -> bool {
    let mut child = command(folder, &RUN).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while begin.elapsed() < after {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "a run failed: {status}");
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// What may happen to the caches between a kill and the next start.
fn meddle(folder: &Path, rng: &mut Rng) -> &'static str {
    let (live, old) = (folder.join("checkpoint"), folder.join("old-checkpoint"));
    match rng.below(6) {
        0 => {
            let _ = fs::remove_dir_all(&live);
            "checkpoint deleted"
        }
        1 if old.exists() => {
            let _ = fs::remove_dir_all(&live);
            copy(&old, &live);
            "old checkpoint put back"
        }
        2 => {
            let _ = fs::remove_dir_all(&old);
            copy(&live, &old);
            "checkpoint copied"
        }
        3 => {
            let _ = fs::remove_dir_all(folder.join("database"));
            "mirror deleted"
        }
        _ => "nothing",
    }
}

/// A checkpoint that was deleted is not there to be copied.
fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        folders::copy(from, to);
    }
}

#[test]
fn killed_at_random_moments_nothing_is_lost_or_doubled() {
    let (wanted, seed) = (number("MILLRACE_KILLS", 50), number("MILLRACE_SEED", 1));
    let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
    let (mut kills, mut round) = (0, seed);
    let mut usual = Duration::from_millis(1500);
    while kills < wanted {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        fill(folder, round);
        let mut rng = Rng(round);
        let mut story = Vec::new();
        loop {
            let after = Duration::from_micros(rng.below(usual.as_micros() as u64));
            if kills >= wanted || !run_and_kill(folder, after) {
                break;
            }
            kills += 1;
            story.push(format!("killed after {after:?}, {}", meddle(folder, &mut rng)));
        }
        let begin = Instant::now();
        let said = millrace(folder, &RUN);
        assert_eq!(said.code, Some(0), "seed {round}, {story:#?}\n{}\n{}", said.out, said.err);
        usual = usual.min(begin.elapsed().max(Duration::from_millis(300)) * 2);
        let said = millrace(folder, &["-p", "pipeline.toml", "verify"]);
        assert_eq!(said.code, Some(0), "seed {round}, {story:#?}\n{}\n{}", said.out, said.err);
        let expected = oracle::tables(&files::event_texts(&folder.join("input_events")));
        let found = contents::of_folder(folder, &pipeline);
        assert!(found == expected.tables, "seed {round}: other contents after {story:#?}");
        round += 1;
    }
    println!("{kills} kills in {} rounds: lost 0, doubled 0", round - seed);
}
