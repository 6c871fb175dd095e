//! A repair that is killed or fails at any moment: done again or finished, and the old tables stay as they were.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use millrace::clock;
use millrace::repair::{self, Outcome};

use super::gone::Gone;
use super::live_vector;
use crate::figures::tell;
use crate::scale::pick;
use crate::support::faults::{FAULTS, FaultyDisk};
use crate::support::site::{Contents, Site};
use crate::support::{command, folders};

/// Damaged tables with gone inputs, to be copied; what the tables must hold in the end.
fn interrupted() -> (Gone, Contents) {
    let gone = Gone::new();
    fs::remove_file(live_vector(&gone.site.tables(), "order_item")).unwrap();
    let whole = gone.site.path().join("whole");
    folders::copy(&gone.site.tables(), &whole);
    gone.site.ok(&["repair"]);
    let expected = gone.site.contents();
    gone.nothing_is_lost("the undisturbed repair");
    for made in ["tables", "tables.damaged-1", "checkpoint", "database"] {
        fs::remove_dir_all(gone.site.path().join(made)).unwrap();
    }
    fs::rename(&whole, gone.site.tables()).unwrap();
    (gone, expected)
}

fn ends_right(folder: &Site, damaged: &BTreeMap<PathBuf, Vec<u8>>, expected: &Contents, story: &str) {
    let said = folder.ok(&["repair"]);
    assert!(folder.contents() == *expected, "{story}: other contents\n{said}");
    let old = folders::bytes(&folder.path().join("tables.damaged-1"));
    for (path, bytes) in damaged.iter().filter(|(p, _)| !p.starts_with("_millrace")) {
        assert!(old.get(path) == Some(bytes), "{story}: {} of the old tables", path.display());
    }
    assert!(!folder.path().join("tables.repairing").exists(), "{story}");
    assert!(!folder.path().join("tables.damaged-2").exists(), "{story}");
    folder.verified(story);
    let said = folder.ok(&["run", "--once"]);
    assert!(said.contains("nothing new"), "{story}: {said}");
}

fn restore(folder: &Site, whole: &Path) {
    for made in ["tables", "tables.damaged-1", "tables.repairing", "checkpoint", "database"] {
        let _ = fs::remove_dir_all(folder.path().join(made));
    }
    folders::copy(whole, &folder.tables());
}

#[test]
fn row_06_a_killed_repair_is_done_again_or_finished() {
    let (gone, expected) = interrupted();
    let folder = &gone.site;
    let whole = folder.path().join("whole");
    folders::copy(&folder.tables(), &whole);
    let damaged = folders::bytes(&whole);
    let (rounds, mut kills, mut torn) = (pick(1, 12u64), 0, 0);
    for round in 0..rounds {
        restore(folder, &whole);
        let mut story = String::new();
        for again in 0..2 {
            let after = Duration::from_millis(100 + (round * 2 + again) * 977 % 1500);
            let mut child = command(folder.path(), &["-p", "pipeline.toml", "repair"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(after);
            // It may be done already; then there is nothing to kill.
            let _ = child.kill();
            kills += u64::from(child.wait().unwrap().code().is_none());
            let said = folder.does(&["run", "--once"]);
            let refused = said.code == Some(1) && said.err.contains("millrace repair");
            assert!(refused || said.code == Some(0), "{story}: {said:?}");
            torn += u64::from(refused);
            story += &format!("killed after {after:?}, run said {:?}; ", said.code);
        }
        ends_right(folder, &damaged, &expected, &story);
    }
    let figures =
        [("kills", kills), ("run refused meanwhile", torn), ("finished right", rounds), ("lost", 0)];
    tell(6, "killed repairs", &figures);
}

#[test]
fn row_06_a_repair_that_dies_at_any_durable_call_is_done_again_or_finished() {
    let (gone, expected) = interrupted();
    let folder = &gone.site;
    let whole = folder.path().join("whole");
    folders::copy(&folder.tables(), &whole);
    let damaged = folders::bytes(&whole);
    let places = folder.places();
    let repair = |disk: Arc<FaultyDisk>| {
        repair::repair(&places, folder.pipeline.clone(), disk, clock::system(), &mut |_| {})
    };
    let undisturbed = Arc::new(FaultyDisk::new(u64::MAX, FAULTS[0]));
    assert!(matches!(repair(undisturbed.clone()).unwrap(), Outcome::FromRows { .. }));
    let total = undisturbed.calls();
    let tries = pick(1, 50u64);
    // The exchange of the tables comes near the end: every call of it, and some of the others.
    let last = pick(5, 24.min(total));
    let mut faults = 0;
    let early = (0..total - last).step_by(((total - last) / tries.max(1)).max(1) as usize);
    for (turn, n) in early.chain(total - last..total).enumerate() {
        restore(folder, &whole);
        let disk = Arc::new(FaultyDisk::new(n, FAULTS[turn % FAULTS.len()]));
        let outcome = repair(disk.clone());
        let Some(failed) = disk.failed() else { continue };
        let story = format!("{:?} at call {n}: {failed}", FAULTS[turn % FAULTS.len()]);
        assert!(outcome.is_err(), "{story}: it went on");
        ends_right(folder, &damaged, &expected, &story);
        faults += 1;
    }
    tell(6, "repairs with a failing disk", &[("durable calls", total), ("faults", faults), ("lost", 0)]);
}
