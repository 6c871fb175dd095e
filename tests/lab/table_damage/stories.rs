//! Damages with a story of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::clock;
use millrace::commit::Paths;
use millrace::error::Error;
use millrace::maintain::{self, clean, compact};
use millrace::root::Root;
use millrace::tables::{Disk, LocalDisk};
use millrace::verify;

use super::catalogue::{KINDS, Tally, all_tables, checkpoints, live};
use super::{changed_and_quiet, cleaned, copy_of_base, cut, ending, flip, log, newest_commit};
use crate::figures::tell;
use crate::scale::pick;
use crate::support::folders;
use crate::support::site::{Site, simulate};

#[test]
fn row_06_a_deleted_newest_commit_that_the_record_holds_is_published_again() {
    let (folder, expected) = copy_of_base();
    let changed = changed_and_quiet(&folder.tables()).0;
    let newest = newest_commit(&folder.tables(), &changed);
    let bytes = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    folder.ok(&["run", "--once"]);
    assert_eq!(fs::read(&newest).unwrap(), bytes);
    assert!(folder.contents() == *expected);
    folder.verified("newest commit deleted");
}

#[test]
fn row_06_an_older_record_is_noticed_before_anything_is_swept() {
    let source = folders::quick();
    let paths = simulate(source.path(), 7, 12);
    let folder = Site::new(source.path());
    let later: Vec<(PathBuf, Vec<u8>)> =
        paths.iter().skip(20).map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    later.iter().for_each(|(p, _)| fs::remove_file(p).unwrap());
    folder.ok(&["run", "--once"]);
    let record = folder.tables().join("_millrace/decision");
    let old = fs::read(&record).unwrap();
    later.iter().for_each(|(p, bytes)| fs::write(p, bytes).unwrap());
    folder.ok(&["run", "--once"]);
    let expected = folder.contents();
    fs::write(&record, old).unwrap();
    folder.is_stopped("an older record");
    folder.ok(&["repair"]);
    assert!(folder.contents() == expected);
    folder.verified("an older record");
}

#[test]
fn row_06_a_torn_log_checkpoint_is_moved_aside_by_run() {
    let (folder, expected) = copy_of_base();
    for table in ["order_item", "_files"] {
        cut(checkpoints(&folder.tables(), table).last().unwrap());
        assert!(log(&folder.tables(), table).join("_last_checkpoint").exists());
    }
    let said = folder.does(&["run", "--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("log checkpoint of order_item"), "{said:?}");
    assert!(said.err.contains("log checkpoint of _files"), "{said:?}");
    assert!(folder.tables().join("_millrace/aside/order_item/_last_checkpoint").exists());
    assert!(folder.contents() == *expected);
    folder.verified("after a torn log checkpoint");
    let said = folder.does(&["run", "--once"]);
    assert!(!said.err.contains("log checkpoint"), "said again: {said:?}");
}

#[test]
fn row_06_a_torn_log_checkpoint_without_the_commits_behind_it_is_repaired() {
    let mut tally = Tally::default();
    for table in ["order_item", "item", "_files"].into_iter().take(pick(1, 3)) {
        for (what, deed) in KINDS.iter().filter(|(what, _)| what.starts_with("log checkpoint ")) {
            tally.attempt(cleaned(), what, table, *deed);
        }
    }
    tally.end("log checkpoints with nothing behind them");
}

/// The disk takes a log checkpoint and loses half of it, but not its length. It is read again before anything is removed behind it.
#[derive(Debug)]
struct LosesCheckpoints(LocalDisk);

impl Disk for LosesCheckpoints {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut bytes = bytes.to_vec();
        if bytes.starts_with(b"PAR1") && !path.to_string_lossy().contains("/part-") {
            let half = bytes.len() / 2;
            bytes[half..].fill(0);
        }
        self.0.write(path, &bytes)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.0.sync_dir(dir)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.0.sync_file(path)
    }
    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.0.publish(temp, target)
    }
    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.0.replace(temp, target)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.read(path)
    }
}

#[test]
fn row_06_a_log_checkpoint_that_was_not_written_right_removes_nothing() {
    let source = folders::quick();
    simulate(source.path(), 7, 8);
    let folder = Site::with(source.path(), "batch_files = 3");
    let retention =
        clean::Retention { checkpoint_every: 2, keep_commits: 0, keep_ms: 0, ..clean::Retention::default() };
    // A checkpoint of before, which could be cut at; and compactions, which would be written again.
    let policy = |retention| maintain::Policy {
        compact: compact::Policy { fan_in: 1000, rest_parts: usize::MAX, ..compact::Policy::default() },
        retention,
        ..maintain::Policy::default()
    };
    folder.take_with(3, Arc::new(LocalDisk), policy(retention)).unwrap();
    let disk = Arc::new(LosesCheckpoints(LocalDisk));
    let (mut lives, mut refused) = (0, 0);
    for _ in 0..40 {
        lives += 1;
        match folder.take_with(1, disk.clone(), policy(retention)) {
            Err(e) => {
                assert!(e.to_string().contains("repair") || e.to_string().contains("log"), "{e}");
                refused += 1;
            }
            Ok(ended) if !ended.stopped => break,
            Ok(_) => {}
        }
    }
    assert!(refused > 0, "no log checkpoint was written in {lives} lives");
    // Whatever the disk lost: no commit went that was still needed.
    folder.ok(&["run", "--once"]);
    assert!(folder.contents() == folder.expected());
    folder.verified("log checkpoints lost");
    tell(
        6,
        "log checkpoints that were not written right",
        &[("lives", lives), ("refused", refused), ("lost", 0)],
    );
}

#[test]
fn row_06_every_damaged_file_is_named_at_once() {
    let (folder, _) = copy_of_base();
    let tables = folder.tables();
    let mut victims = Vec::new();
    for table in ["customer", "item", "order_item", "_files"] {
        let (mut files, _) = live(&tables, table);
        victims.extend(files.pop());
        victims.extend(files.pop());
    }
    victims.extend(ending(&tables.join("seller/_key_index"), ".arrow").pop());
    for victim in &victims {
        fs::remove_file(victim).unwrap();
    }
    let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    for arguments in [["verify"].as_slice(), &["run", "--once"]] {
        let said = folder.does(arguments);
        assert_eq!(said.code, Some(1), "{said:?}");
        for victim in &victims {
            assert!(
                said.err.contains(&name(victim)),
                "{arguments:?} does not name {}: {said:?}",
                victim.display()
            );
        }
        assert_eq!(said.err.matches("millrace repair").count(), 1, "{said:?}");
    }
    let said = folder.ok(&["repair"]);
    assert!(!said.contains("millrace repair"), "repair advises itself: {said}");
    assert!(victims.iter().all(|v| said.contains(&name(v))), "{said}");
    let (folder, _) = copy_of_base();
    let mut flipped = Vec::new();
    for table in ["customer", "item", "_files", "_quarantine"] {
        flipped.extend(live(&folder.tables(), table).0);
    }
    flipped.iter().for_each(|path| flip(path));
    let said = folder.does(&["verify"]);
    assert_eq!(said.code, Some(1), "{said:?}");
    let name = |path: &Path| path.strip_prefix(folder.path()).unwrap().display().to_string();
    assert!(flipped.iter().all(|path| said.out.contains(&name(path))), "{said:?}");
    tell(6, "named at once", &[("files", (victims.len() + flipped.len()) as u64), ("not named", 0)]);
}

/// Any byte of a data file or deletion vector: `verify` sees every one.
#[test]
fn row_06_any_flipped_byte_of_rows_is_seen_by_verify() {
    let (folder, _) = copy_of_base();
    let tables = folder.tables();
    let (mut flips, mut unseen) = (0u64, Vec::new());
    for (at, table) in all_tables(&tables).iter().enumerate() {
        let (files, vectors) = live(&tables, table);
        for path in files.iter().rev().take(1).chain(vectors.iter().rev().take(1)) {
            let sound = fs::read(path).unwrap();
            let tries = pick(2, 15).min(sound.len());
            for turn in 0..tries {
                let mut bytes = sound.clone();
                let place = (turn * sound.len() / tries + at * 7 + turn * 13) % sound.len();
                bytes[place] ^= 1 << (turn % 8);
                fs::write(path, bytes).unwrap();
                flips += 1;
                if !is_seen(&folder) {
                    unseen.push(format!("{} byte {place} ^ {:#x}", path.display(), 1 << (turn % 8)));
                }
            }
            fs::write(path, sound).unwrap();
        }
    }
    tell(6, "flipped bytes of rows", &[("flips", flips), ("unseen", unseen.len() as u64)]);
    assert!(unseen.is_empty(), "{unseen:#?}");
    assert!(verify::tables_only(&folder.root()).unwrap().differences.is_empty());
}

/// Any byte of an index file: the very start sees it, because what the index says is believed.
#[test]
fn row_06_any_flipped_byte_of_an_index_file_stops_run() {
    let (folder, _) = copy_of_base();
    let (mut flips, mut unseen) = (0u64, Vec::new());
    for table in all_tables(&folder.tables()).iter().filter(|t| *t != "_files") {
        let path = ending(&folder.tables().join(table).join("_key_index"), ".arrow").pop().unwrap();
        let sound = fs::read(&path).unwrap();
        for turn in 0..pick(4, 24) {
            let place = (turn * 104_729 + sound.len() / 2) % sound.len();
            let mut bytes = sound.clone();
            bytes[place] ^= 1 << (turn % 8);
            fs::write(&path, bytes).unwrap();
            flips += 1;
            if !matches!(opened(&folder), Err(Error::Corrupt(_))) {
                unseen.push(format!("{} byte {place} ^ {:#x}", path.display(), 1 << (turn % 8)));
            }
        }
        fs::write(&path, sound).unwrap();
    }
    tell(6, "flipped bytes of index files", &[("flips", flips), ("unseen", unseen.len() as u64)]);
    assert!(unseen.is_empty(), "{unseen:#?}");
}

fn opened(site: &Site) -> millrace::error::Result<Root> {
    Root::open(Paths::new(site.tables()), site.pipeline.clone(), Arc::new(LocalDisk), clock::system())
}

fn is_seen(site: &Site) -> bool {
    match opened(site) {
        Err(e) => matches!(e, Error::Corrupt(_) | Error::Foreign(_)),
        Ok(root) => !verify::tables_only(&root).unwrap().differences.is_empty(),
    }
}

#[test]
fn row_06_inputs_that_were_put_back_from_a_copy_are_the_same_inputs() {
    let source = folders::quick();
    let paths = simulate(source.path(), 7, 8);
    let folder = Site::new(source.path());
    folder.ok(&["run", "--once"]);
    let expected = folder.contents();
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::remove_file(folder.tables().join("_millrace/decision")).unwrap();
    let said = folder.ok(&["repair"]);
    assert!(said.contains("exact"), "{said}");
    assert!(folder.contents() == expected);
    folder.verified("inputs put back");
}
