//! A full disk, at any step: file systems in memory of every size, for everything or for one of the three folders.

use std::fs;

use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::folders;
use crate::support::history::Toll;
use crate::support::mounts::{Mount, possible};

#[derive(Default)]
struct Count {
    sizes: u64,
    stopped: u64,
    went_on: u64,
    toll: Toll,
}

impl Count {
    /// `part`: only this folder is full; else all of it is.
    fn fills(&mut self, seed: u64, part: Option<&str>, kib: u64) {
        let input = Input::new(seed);
        let story = format!("MILLRACE_SEED={seed}, {kib} KiB for {}", part.unwrap_or("everything"));
        let folder = folders::quick();
        let place = folder.path().to_path_buf();
        let at = part.map_or(place.clone(), |part| place.join(part));
        fs::create_dir_all(&at).unwrap();
        let disk = Mount::memory_at(&at, kib, folder).unwrap();
        let said = input.run(&place, &[]);
        let told = Told { story: &story, may_be_damage: false };
        self.sizes += 1;
        match told.ended(&said, &mut self.toll) {
            true => self.stopped += 1,
            false => self.went_on += u64::from(said.err.contains("behind") || said.err.contains("broke")),
        }
        disk.remount("size=64m");
        input.ends_right(&place, &story, &mut self.toll);
    }
}

#[test]
fn row_04_a_full_disk_at_any_step() {
    if !possible("a full disk") {
        return;
    }
    let mut count = Count::default();
    for seed in seeds(1, 1) {
        // Everything together takes about 1.5 MB.
        for kib in (8..1600).step_by(pick(400, 24)) {
            count.fills(seed, None, kib);
        }
        for kib in (40..400).step_by(pick(300, 24)) {
            count.fills(seed, Some("database"), kib);
        }
        for kib in (8..64).step_by(pick(60, 4)) {
            count.fills(seed, Some("checkpoint"), kib);
        }
        for kib in (300..900).step_by(pick(1000, 50)) {
            count.fills(seed, Some("tables"), kib);
        }
    }
    let Count { sizes, stopped, went_on, toll } = count;
    let counted = [("sizes", sizes), ("stopped", stopped), ("went on", went_on)];
    tell(4, "disk full", &[&counted[..], &toll.paid()].concat());
    assert!(stopped > 0, "the disk was never full");
}
