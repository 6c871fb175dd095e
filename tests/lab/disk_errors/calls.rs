//! Every durable call fails once: refused, misreported, half done, or the last that this process makes.
//!
//! `MILLRACE_FAULTS` sets how many calls are tried in each history; more than there are: all.

use std::sync::Arc;

use millrace::error::Error;
use millrace::run::Quiet;

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::faults::{FAULTS, FaultyDisk};
use crate::support::history::{History, Toll, spread};

/// The record is in place, or may be: nobody knows whether the batch happens.
fn is_undecided(failed: &str) -> bool {
    let commit =
        failed.starts_with("publish") && failed.ends_with(".json") && !failed.ends_with("000000.json");
    commit || failed.starts_with("replace") && failed.ends_with("/decision")
}

#[derive(Default)]
struct Count {
    errors: u64,
    undecided: u64,
    toll: Toll,
}

impl Count {
    fn every_call_fails_once(&mut self, history: &History, seed: u64, creates: bool, short: usize) {
        let folder = history.copy();
        let undisturbed = Arc::new(FaultyDisk::new(u64::MAX, FAULTS[0]));
        history.take(folder.path(), undisturbed.clone(), &mut Quiet).unwrap();
        let asked = std::env::var("MILLRACE_FAULTS").ok().and_then(|n| n.parse().ok());
        let tries = asked.unwrap_or(pick(short, usize::MAX));
        for (turn, n) in spread(undisturbed.calls() as usize, tries).enumerate() {
            let fault = FAULTS[(turn + seed as usize) % FAULTS.len()];
            let folder = history.copy();
            let disk = Arc::new(FaultyDisk::new(n as u64, fault));
            let ended = history.take(folder.path(), disk.clone(), &mut Quiet);
            let Some(failed) = disk.failed() else { continue };
            self.errors += 1;
            let story = format!("MILLRACE_SEED={seed}, {fault:?} at call {n}, {failed}");
            match ended {
                Ok(_) => self.toll.other(&format!("{story}: the run went on")),
                Err(error) if is_undecided(&failed) && !creates => {
                    self.undecided += 1;
                    if !matches!(error, Error::Unknown(_)) {
                        self.toll.other(&format!("{story}: {error}"));
                    }
                }
                Err(_) => {}
            }
            history.finish(folder.path(), &story, &mut self.toll);
        }
    }
}

#[test]
fn row_04_every_durable_call_may_fail() {
    let mut count = Count::default();
    for seed in seeds(1, 1) {
        count.every_call_fails_once(&History::new(seed, 0, 9), seed, true, 5);
        count.every_call_fails_once(&History::new(seed, 12, 12), seed, false, 9);
    }
    let Count { errors, undecided, toll } = count;
    assert!(undecided > 0, "no call after a decision failed: try more calls");
    let counted = [("errors", errors), ("of unknown outcome", undecided)];
    tell(4, "durable calls", &[&counted[..], &toll.paid()].concat());
}
