//! Random moments, also of runs that recover; and caches that are meddled with between a kill and the next start.
//!
//! `MILLRACE_KILLS` sets how often (50 in the short form), `MILLRACE_SEED` where the randomness begins.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use millrace::simulate::{Options, Shop};

use crate::figures::tell;
use crate::scale::pick;
use crate::support::folders;
use crate::support::trial::{Expected, RUN, Source, Verdict, command, said};

/// Small batches, so that many of them can be interrupted.
const SMALL: &str = "batch_files = 20\nbatch_bytes = \"64 KiB\"";

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

/// A file that is larger than a batch, and many that are one event.
fn fill(seed: u64) -> Source {
    let source = Source::new(SMALL);
    let shop = Shop::new(seed, Options { orders: Some(60), ..Options::default() });
    let events: Vec<_> = shop.collect();
    let (large, small) = events.split_at(events.len() / 3);
    let lines: Vec<Vec<u8>> = large.iter().map(|e| e.text.clone()).collect();
    fs::write(source.path().join("large.ndjson"), lines.join(&b'\n')).unwrap();
    for (at, event) in small.iter().enumerate() {
        fs::write(source.path().join(format!("{at:04}.json")), &event.text).unwrap();
    }
    source
}

/// Starts a run and kills it after a while; `false` if it was done before.
fn run_and_kill(folder: &Path, after: Duration) -> bool {
    let mut run = command(folder, RUN);
    // Maintenance as it is usually.
    run.env_remove("MILLRACE_EAGER").stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = run.spawn().unwrap();
    std::thread::sleep(after);
    // It may be done already; then there is nothing to kill.
    let _ = child.kill();
    let status = child.wait().unwrap();
    assert!(status.success() || status.signal() == Some(9), "a run failed: {status}");
    !status.success()
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
fn row_01_killed_at_random_moments_nothing_is_lost_or_doubled() {
    let (wanted, seed) = (number("MILLRACE_KILLS", pick(50, 500)), number("MILLRACE_SEED", 1));
    let (mut kills, mut round, mut sum) = (0, seed, Verdict::default());
    // How long a run may live, at most: found out, because machines differ and are busy with other things.
    let mut most = Duration::from_millis(500);
    while kills < wanted {
        let source = fill(round);
        let folder = source.folder(None);
        let folder = folder.path();
        let mut rng = Rng(round);
        let mut story = Vec::new();
        loop {
            let after = Duration::from_micros(rng.below(most.as_micros() as u64));
            if kills >= wanted || !run_and_kill(folder, after) {
                most = most.mul_f64(0.6);
                break;
            }
            kills += 1;
            most = most.mul_f64(1.1);
            story.push(format!("killed after {after:?}, {}", meddle(folder, &mut rng)));
        }
        let end = said(folder, RUN);
        assert_eq!(end.code, Some(0), "MILLRACE_SEED={round}, {story:#?}\n{}\n{}", end.out, end.err);
        let verdict = Expected::of(&source).judge(folder, &source.pipeline);
        sum.add(&verdict);
        assert!(verdict.is_clean(), "MILLRACE_SEED={round}: {verdict:#?} after {story:#?}");
        round += 1;
    }
    let figures = [
        ("kills", kills),
        ("rounds", round - seed),
        ("lost", sum.lost),
        ("doubled", sum.doubled),
        ("unopenable", sum.unopenable),
    ];
    tell(1, "random moments", &figures);
}
