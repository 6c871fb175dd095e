//! Recorded durable calls, cut off after any of them: unsynced names lost, kept or partly lost, the file that was being
//! written missing, empty, half, zeros or whole.
//!
//! `MILLRACE_FAULTS` sets how many calls are tried in each history; more than there are: all.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::batch::Unread;
use millrace::clock;
use millrace::repair::{self, Outcome};
use millrace::report::BatchReport;
use millrace::run::{Ended, Found, Observer, Quiet};
use millrace::tables::{Disk, LocalDisk};

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::folders;
use crate::support::history::{History, Toll, spread};
use crate::support::power::{RecordingDisk, TORN, Torn, UNSYNCED, Unsynced};

fn tries(otherwise: usize) -> usize {
    std::env::var("MILLRACE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(otherwise)
}

/// Tells the disk which batches were reported as done.
struct Acknowledging(Arc<RecordingDisk>);

impl Observer for Acknowledging {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, report: &BatchReport, _: u64) {
        self.0.acknowledge(report.batch);
    }
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}

/// One of the cuts of a history.
struct Cut<'a> {
    disk: &'a RecordingDisk,
    n: usize,
    unsynced: Unsynced,
    torn: Torn,
    seed: u64,
}

impl Cut<'_> {
    fn story(&self) -> String {
        let Cut { n, unsynced, torn, seed, .. } = self;
        format!(
            "MILLRACE_SEED={seed}, cut after call {n}, unsynced names {unsynced:?}, a write in hand {torn:?}"
        )
    }

    /// What it leaves, and what was acknowledged.
    fn made(&self) -> (tempfile::TempDir, u64) {
        let after = folders::quick();
        let acknowledged = self.disk.cut(self.n, self.unsynced, self.torn, after.path());
        (after, acknowledged)
    }
}

/// Cuts a recorded history off at many places; every way of cutting comes round.
fn cuts(disk: &RecordingDisk, seed: u64, tries: usize) -> impl Iterator<Item = Cut<'_>> {
    spread(disk.calls(), tries).enumerate().map(move |(turn, n)| {
        let turn = turn + seed as usize;
        let (unsynced, torn) = (UNSYNCED[turn % UNSYNCED.len()], TORN[turn % TORN.len()]);
        Cut { disk, n, unsynced, torn, seed }
    })
}

#[derive(Default)]
struct Count {
    cuts: u64,
    acknowledged: u64,
    again: u64,
    toll: Toll,
}

impl Count {
    fn every_cut(&mut self, history: &History, seed: u64, short: usize) {
        let folder = history.copy();
        let before = history.open(folder.path()).map_or(0, |root| root.record.batch);
        let disk = Arc::new(RecordingDisk::over(folder.path()));
        history.take(folder.path(), disk.clone(), &mut Acknowledging(disk.clone())).unwrap();
        for cut in cuts(&disk, seed, tries(pick(short, usize::MAX))) {
            let (story, (after, acknowledged)) = (cut.story(), cut.made());
            self.cuts += 1;
            self.acknowledged += u64::from(acknowledged > before);
            if cut.n % 3 == 0 {
                self.cut_again(history, after.path(), acknowledged, &cut);
                continue;
            }
            self.keeps(history, after.path(), acknowledged, &story);
            history.finish(after.path(), &story, &mut self.toll);
        }
    }

    fn keeps(&mut self, history: &History, folder: &Path, acknowledged: u64, story: &str) {
        match history.open(folder) {
            Ok(root) => {
                if root.record.batch < acknowledged {
                    self.toll.lost(1, &format!("{story}: batch {acknowledged}"));
                }
                self.toll.sound(&root, story);
            }
            Err(e) => self.toll.unopenable(&format!("{story}: does not open: {e}")),
        }
    }

    /// The start after a cut is cut off as well, early: while it looks, carries out and sweeps.
    fn cut_again(&mut self, history: &History, folder: &Path, acknowledged: u64, first: &Cut<'_>) {
        self.again += 1;
        let disk = Arc::new(RecordingDisk::over(folder));
        if let Err(e) = history.take(folder, disk.clone(), &mut Acknowledging(disk.clone())) {
            return self.toll.unopenable(&format!("{}: {e}", first.story()));
        }
        let n = first.n * 7 % disk.calls().min(40);
        let second = Cut { disk: &disk, n, ..*first };
        let (after, later) = second.made();
        let story = format!("{}; then {}", first.story(), second.story());
        self.keeps(history, after.path(), acknowledged.max(later), &story);
        history.finish(after.path(), &story, &mut self.toll);
    }
}

#[test]
fn row_03_recorded_cuts_lose_nothing_that_was_acknowledged() {
    let mut count = Count::default();
    for seed in seeds(1, 1) {
        count.every_cut(&History::new(seed, 0, 18), seed, 7);
        count.every_cut(&History::new(seed, 18, 12), seed + 1, 4);
    }
    let Count { cuts, acknowledged, again, toll } = count;
    assert!(acknowledged > 0 && again > 0, "no cut came after an acknowledged batch");
    let counted = [("cuts", cuts), ("after an acknowledged batch", acknowledged), ("cut twice", again)];
    tell(3, "recorded calls of a run", &[&counted[..], &toll.paid()].concat());
}

// -------------------------------------------------------------------------------------------------- repair

fn repairs(history: &History, folder: &Path, disk: Arc<dyn Disk>) -> millrace::error::Result<Outcome> {
    repair::repair(&history.places(folder), history.pipeline.clone(), disk, clock::system(), &mut |_| {})
}

/// Right after the folders are exchanged, and around it, in every way.
fn exchange(disk: &RecordingDisk, seed: u64) -> Vec<Cut<'_>> {
    let torn = Torn::Missing;
    let cut = |n, unsynced| Cut { disk, n, unsynced, torn, seed };
    let near =
        |n: &usize| (n - pick(0, 6)..n + pick(3, 8)).filter(|n| *n <= disk.calls()).collect::<Vec<_>>();
    let ways = |n: usize| UNSYNCED.iter().take(pick(1, 4)).map(move |unsynced| cut(n, *unsynced));
    disk.moves().iter().flat_map(near).flat_map(ways).collect()
}

#[derive(Default)]
struct Repairs {
    cuts: u64,
    finished: u64,
    toll: Toll,
}

impl Repairs {
    /// Damages full tables, records their repair, and cuts it off: the tables are then the old ones, whole, or the new.
    fn every_cut(&mut self, seed: u64, inputs_gone: bool, short: usize) {
        let history = History::new(seed, 18, 3);
        let folder = history.copy();
        history.take(folder.path(), Arc::new(LocalDisk), &mut Quiet).unwrap();
        history.is_complete(folder.path(), "before any damage", &mut self.toll);
        if inputs_gone {
            fs::remove_file(history.source().join("before-1.ndjson")).unwrap();
        }
        fs::write(folder.path().join("tables/_millrace/root.json"), b"{").unwrap();
        let damaged = folders::bytes(&folder.path().join("tables"));
        let disk = Arc::new(RecordingDisk::over(folder.path()));
        let outcome = repairs(&history, folder.path(), disk.clone()).unwrap();
        assert_eq!(matches!(outcome, Outcome::FromRows { .. }), inputs_gone, "{outcome:?}");
        disk.acknowledge(1);
        history.is_complete(folder.path(), "the undisturbed repair", &mut self.toll);
        assert_eq!(disk.moves().len(), 2, "old tables aside, new ones in");
        for cut in cuts(&disk, seed, tries(pick(short, 60))).chain(exchange(&disk, seed)) {
            let story = format!("{}, inputs gone: {inputs_gone}", cut.story());
            let (after, acknowledged) = cut.made();
            self.cuts += 1;
            if acknowledged > 0 {
                let told = format!("{story}: after the repair was reported");
                history.is_complete(after.path(), &told, &mut self.toll);
            }
            match repairs(&history, after.path(), Arc::new(LocalDisk)) {
                Ok(outcome) => self.finished += u64::from(matches!(outcome, Outcome::Sound)),
                Err(e) => self.toll.unopenable(&format!("{story}: repair failed: {e}")),
            }
            history.is_complete(after.path(), &story, &mut self.toll);
            self.keeps_the_old(after.path(), &damaged, &story);
        }
    }

    fn keeps_the_old(&mut self, folder: &Path, damaged: &BTreeMap<PathBuf, Vec<u8>>, story: &str) {
        let old = folders::bytes(&folder.join("tables.damaged-1"));
        let kept = damaged.iter().filter(|(path, _)| !path.starts_with("_millrace"));
        for (path, _) in kept.filter(|(path, bytes)| old.get(*path) != Some(*bytes)) {
            self.toll.lost(1, &format!("{story}: {} of the old tables", path.display()));
        }
        for left in ["tables.repairing", "tables.damaged-2"].iter().filter(|name| folder.join(name).exists())
        {
            self.toll.other(&format!("{story}: {left} is there"));
        }
    }
}

#[test]
fn row_03_recorded_cuts_of_a_repair_leave_the_old_tables_or_the_new() {
    let mut all = Repairs::default();
    for seed in seeds(1, 1) {
        all.every_cut(seed, false, 2);
        all.every_cut(seed, true, 2);
    }
    assert!(0 < all.finished && all.finished < all.cuts, "every cut came on one side of the exchange");
    let counted = [("cuts", all.cuts), ("already exchanged", all.finished)];
    tell(3, "recorded calls of a repair", &[&counted[..], &all.toll.paid()].concat());
}
