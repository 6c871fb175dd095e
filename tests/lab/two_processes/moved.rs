//! Folders that are moved, taken away or shared while a process works in them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Process, Yard};
use crate::figures::tell;
use crate::support::place::until;
use crate::support::taking::Taking;
use crate::support::{contents, files, folders, oracle};

/// The lock goes with the folder: by its new name it is taken, by the old one there is another root.
#[test]
fn row_09_a_root_that_is_moved_in_use_stays_locked_and_loses_nothing() {
    let outer = folders::quick();
    let yard = Yard::new(4);
    let mut holder = Process::watching(&yard);
    let (here, there) = (yard.folder().to_owned(), outer.path().join("moved"));
    fs::rename(&here, &there).unwrap();
    let run = |folder: &Path, arguments: &[&str]| crate::support::millrace(folder, arguments);
    let refused = run(&there, &["run", "--once"]);
    let told = format!("process {} is working on", holder.pid());
    assert!(refused.code == Some(1) && refused.err.contains(&told), "{refused:?}");
    // By the old name: another root.
    fs::create_dir(&here).unwrap();
    let fresh = run(&here, &["run", "--once"]);
    assert_eq!(fresh.code, Some(0), "{fresh:?}");
    fs::remove_dir_all(&here).unwrap();

    fs::rename(&there, &here).unwrap();
    yard.put("back.ndjson", 5);
    until("the holder goes on", 20, || holder.said().contains("batch 2 ").then_some(()));
    holder.stop();
    let doubled = yard.is_right("moved there and back");
    tell(9, "a root moved in use", &[("lost", yard.lost()), ("double batches", doubled)]);
    assert_eq!(doubled, 0);
}

/// What stands at the path then is somebody else's: the first must not write a byte into it.
#[test]
fn row_09_tables_moved_away_in_use_stop_the_first_before_it_writes_into_the_seconds() {
    let yard = Yard::new(6);
    let mut first = Process::watching(&yard);
    fs::rename(yard.path("tables"), yard.path("mine")).unwrap();
    let mut second = Process::start(yard.folder(), yard.path("second.log"), &["run", "--no-mirror"]);
    // The first still has checkpoint and mirror: the second waits for neither, or is refused and starts again.
    if let Some(()) = refused(&mut second) {
        second = Process::start(yard.folder(), yard.path("second.log"), &["run", "--no-mirror"]);
    }
    yard.put("both.ndjson", 7);
    let (code, said) = first.ended();
    assert!(code == 1 && said.contains("was moved away while it was worked on"), "{code}: {said}");
    if refused(&mut second).is_some() {
        second = Process::start(yard.folder(), yard.path("second.log"), &["run"]);
    }
    until("the second has everything", 30, || second.said().contains("watching").then_some(()));
    second.stop();
    yard.takes();
    let doubled = yard.is_right("the second's tables");
    // The first's are whole too, as of the moment when they were moved.
    let kept = Yard::new(6);
    fs::rename(yard.path("mine"), kept.path("tables")).unwrap();
    fs::copy(yard.path("input_events/both.ndjson"), kept.path("input_events/both.ndjson")).unwrap();
    let (code, said) = kept.run(&["run", "--once"]);
    assert!(matches!(code, Some(0 | 3)), "{said}");
    let expected = oracle::tables(&files::event_texts(&kept.path("input_events"))).tables;
    let pipeline = Taking::new(&kept.path("input_events"), 1).pipeline;
    assert!(contents::of_folder(kept.folder(), &pipeline) == expected);
    assert_eq!(kept.run(&["verify"]).0, Some(0));
    tell(
        9,
        "tables moved away in use",
        &[("roots", 2), ("lost", yard.lost() + kept.lost()), ("double batches", doubled)],
    );
    assert_eq!(doubled, 0);
}

/// Ended, because of what another process holds.
fn refused(process: &mut Process) -> Option<()> {
    until("it watches or ends", 30, || {
        (process.code().is_some() || process.said().contains("watching")).then_some(())
    });
    let code = process.code()?;
    assert!(
        code == 1 && process.said().contains("held open by another process"),
        "{code}: {}",
        process.said()
    );
    Some(())
}

#[test]
fn row_09_a_folder_of_its_own_deleted_in_use_stops_it_and_repair_brings_everything_back() {
    let yard = Yard::new(8);
    let mut holder = Process::watching(&yard);
    fs::remove_dir_all(yard.path("tables/_millrace")).unwrap();
    yard.put("more.ndjson", 9);
    let (code, said) = holder.ended();
    assert_eq!(code, 1, "{said}");
    let (code, said) = yard.run(&["run", "--once"]);
    assert!(code == Some(1) && said.contains("millrace repair"), "{code:?}: {said}");
    let (code, said) = yard.run(&["repair"]);
    assert_eq!(code, Some(0), "{said}");
    yard.takes();
    let doubled = yard.is_right("after the repair");
    tell(9, "tables/_millrace deleted in use", &[("lost", yard.lost()), ("double batches", doubled)]);
    assert_eq!(doubled, 0);
}

/// Two roots whose caches are one folder: the second is told, or does without, and neither loses anything.
#[test]
fn row_09_two_roots_that_share_a_checkpoint_or_a_mirror_harm_nobody() {
    let (mut doubled, mut lost) = (0, 0);
    for shared in [&["checkpoint"][..], &["database"], &["checkpoint", "database"]] {
        let (first, second) = (Yard::new(11), Yard::new(12));
        for part in shared {
            fs::create_dir(first.path(part)).unwrap();
            symlink(first.path(part), second.path(part)).unwrap();
        }
        let mut holder = Process::watching(&first);
        let (code, said) = second.run(&["run", "--once"]);
        if shared.contains(&"checkpoint") {
            assert!(
                code == Some(1) && said.contains("held open by another process"),
                "{shared:?}: {code:?} {said}"
            );
        } else {
            assert!(matches!(code, Some(0 | 3)), "{shared:?}: {code:?} {said}");
            assert!(said.contains("the mirror of another root"), "{shared:?}: {said}");
        }
        first.put("more.ndjson", 13);
        until("the first goes on", 20, || holder.said().contains("batch 2 ").then_some(()));
        holder.stop();
        doubled += first.is_right(&format!("the first, {shared:?}"));
        // One after the other: each makes the caches its own.
        second.takes();
        doubled += second.is_right(&format!("the second, {shared:?}"));
        first.takes();
        doubled += first.is_right(&format!("the first again, {shared:?}"));
        lost += first.lost() + second.lost();
    }
    tell(
        9,
        "two roots with one checkpoint or mirror",
        &[("cases", 3), ("lost", lost), ("double batches", doubled)],
    );
    assert_eq!(doubled, 0);
}
