//! The checkpoint under every kind of bad luck: whatever comes back must be true, and opening must go on.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Checkpoint, Opened, SledCheckpoint, Tables};
use crate::batch::{FileRange, Fingerprint, Resume};
use crate::ledger::{Ledger, Mark, Seen};

const ROOT: u128 = 0x0123_4567_89ab_cdef;
const BATCHES: u64 = 12;

/// File `f<n>` is begun in batch n and finished in batch n + 1.
fn ranges(batch: u64) -> Vec<FileRange> {
    let range = |n: u64, last: bool| FileRange {
        name: format!("f{n}").into(),
        fingerprint: Fingerprint { size: n, mtime_ns: -5, ctime_ns: 6, inode: n + 1 },
        start: Resume::default(),
        end: Resume { offset: n * 10, line: n, element: 0, in_array: false },
        last,
        content_hash: 1,
        changed: false,
        events: 1,
        quarantined: 0,
        duplicate_keys: 0,
    };
    vec![range(batch, false), range(batch - 1, true)]
}

fn truth(upto: u64) -> Ledger {
    let mut ledger = Ledger::default();
    (1..=upto).for_each(|b| ledger.apply(b, &ranges(b)));
    ledger
}

fn mark(batch: u64) -> Mark {
    Mark { batch, version: batch + 1, hash: u128::from(batch) << 70 }
}

fn tables(committed: u64) -> Tables<'static> {
    Tables { root_id: ROOT, mark: mark(committed), has: &|m| *m == mark(m.batch) }
}

fn open(dir: &Path, committed: u64) -> Opened {
    SledCheckpoint::open(dir, &tables(committed)).unwrap()
}

/// What a start does: open, apply the missing rows of `_files`, refill.
fn start(dir: &Path, committed: u64) -> Opened {
    let mut opened = open(dir, committed);
    assert!(opened.ledger.watermark() <= committed);
    for batch in (opened.ledger.watermark() + 1..=committed).rev() {
        opened.ledger.apply(batch, &ranges(batch));
    }
    opened.checkpoint.refill(&opened.ledger, mark(committed)).unwrap();
    assert_eq!(opened.checkpoint.watermark(), committed);
    assert_same(&opened.ledger, &truth(committed));
    opened
}

fn assert_same(a: &Ledger, b: &Ledger) {
    for n in 0..=BATCHES * 2 {
        let name = format!("f{n}");
        assert_eq!(a.look(&name), b.look(&name), "{name}");
    }
    assert_eq!(a.len(), b.len());
}

fn filled() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path(), 0);
    (1..=BATCHES).for_each(|b| opened.checkpoint.put(mark(b), &ranges(b)).unwrap());
    drop(opened);
    dir
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(dir.join("sled")).unwrap().map(|e| e.unwrap().path()).filter(|p| p.is_file()).collect();
    all.sort();
    all
}

fn asides(dir: &Path) -> usize {
    let names = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    names.filter(|n| n.starts_with("sled.damaged-")).count()
}

#[test]
fn a_missing_folder_is_made_and_filled() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("deep/checkpoint");
    let opened = start(&at, BATCHES);
    assert!(opened.notes.is_empty());
    drop(opened);
    let opened = open(&at, BATCHES);
    assert_eq!(opened.ledger.watermark(), BATCHES);
    assert_same(&opened.ledger, &truth(BATCHES));
}

#[test]
fn comes_back_with_its_batches() {
    let dir = filled();
    fs::write(dir.path().join(".gitkeep"), "").unwrap();
    let opened = open(dir.path(), BATCHES);
    assert_eq!((opened.ledger.watermark(), opened.notes.len()), (BATCHES, 0));
    assert_same(&opened.ledger, &truth(BATCHES));
    assert!(dir.path().join(".gitkeep").exists());
}

#[test]
fn behind_the_tables_is_brought_level() {
    let dir = filled();
    assert!(start(dir.path(), BATCHES + 5).notes.is_empty());
    let opened = open(dir.path(), BATCHES + 5);
    assert_same(&opened.ledger, &truth(BATCHES + 5));
}

#[test]
fn an_old_copy_put_back_is_brought_level() {
    let dir = filled();
    let old = tempfile::tempdir().unwrap();
    copy(dir.path(), old.path());
    drop(start(dir.path(), BATCHES + 3));
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy(old.path(), dir.path());
    let opened = open(dir.path(), BATCHES + 3);
    assert_eq!(opened.ledger.watermark(), BATCHES);
    drop(opened);
    assert!(start(dir.path(), BATCHES + 3).notes.is_empty());
}

#[test]
fn newer_than_the_tables_is_not_believed() {
    let dir = filled();
    let opened = open(dir.path(), BATCHES - 1);
    assert_eq!((opened.ledger.len(), opened.ledger.watermark()), (0, 0));
    assert!(opened.notes[0].contains("it is at batch 12, the tables are at 11"), "{:?}", opened.notes);
    assert_eq!(asides(dir.path()), 1);
}

#[test]
fn a_refill_cut_short_is_not_believed_by_older_tables() {
    let dir = tempfile::tempdir().unwrap();
    {
        let opened = open(dir.path(), BATCHES);
        // All entries, but not the watermark: what a kill in the middle leaves.
        let entries = truth(BATCHES);
        let items: Vec<_> = entries.since(0).collect();
        opened.checkpoint.raw().insert([0; 8], super::codec::encode_group(0, &items)).unwrap();
    }
    {
        let opened = open(dir.path(), BATCHES);
        assert_eq!((opened.ledger.watermark(), opened.notes.len()), (0, 0));
    }
    drop(start(dir.path(), BATCHES));
    let opened = open(dir.path(), 3);
    assert_eq!(opened.ledger.len(), 0);
    assert_eq!(opened.notes.len(), 1);
}

#[test]
fn of_other_tables_is_not_believed() {
    let dir = filled();
    let opened = SledCheckpoint::open(dir.path(), &Tables { root_id: ROOT + 1, ..tables(BATCHES) }).unwrap();
    assert_eq!(opened.ledger.len(), 0);
    assert!(opened.notes[0].contains("other tables"), "{:?}", opened.notes);
}

#[test]
fn of_another_history_is_not_believed() {
    for committed in [BATCHES, BATCHES + 5] {
        let dir = filled();
        // The tables have a batch of that number, but it is another one.
        let tables = Tables { has: &|_| false, ..tables(committed) };
        let opened = SledCheckpoint::open(dir.path(), &tables).unwrap();
        assert_eq!((opened.ledger.len(), opened.ledger.watermark()), (0, 0));
        assert!(
            opened.notes[0].contains("batch 12 of the tables is not the one it knows"),
            "{:?}",
            opened.notes
        );
    }
}

#[test]
fn a_torn_snapshot_does_not_keep_it_shut() {
    let dir = filled();
    for name in ["snap.0000000000000000.generating", "snap.00000000000AF012.generating"] {
        fs::write(dir.path().join("sled").join(name), [1, 2, 3]).unwrap();
    }
    let opened = open(dir.path(), BATCHES);
    assert_eq!((opened.ledger.watermark(), opened.notes.len()), (BATCHES, 0));
}

#[test]
fn one_rotten_value_condemns_the_whole() {
    for rot in ["value", "key", "meta", "no meta"] {
        let dir = filled();
        {
            let opened = open(dir.path(), BATCHES);
            let db = opened.checkpoint.raw();
            let (key, value) = db.iter().next().unwrap().unwrap();
            let mut bytes = value.to_vec();
            bytes[20] ^= 4;
            match rot {
                "value" => db.insert(key, bytes).unwrap(),
                "key" => db.insert([7; 16], value).unwrap(),
                "meta" => db.insert("meta", "rot").unwrap(),
                _ => db.remove("meta").unwrap(),
            };
        }
        let opened = start(dir.path(), BATCHES);
        assert_eq!((opened.notes.len(), asides(dir.path())), (1, 1), "{rot}: {:?}", opened.notes);
    }
}

#[test]
fn files_in_its_place_are_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("sled"), "not a folder").unwrap();
    assert_eq!(start(dir.path(), 3).notes.len(), 1);
    assert_eq!(fs::read(dir.path().join("sled.damaged-1")).unwrap(), b"not a folder");

    let dir = filled();
    fs::remove_file(dir.path().join("sled/db")).unwrap();
    fs::create_dir(dir.path().join("sled/db")).unwrap();
    assert_eq!(start(dir.path(), BATCHES).notes.len(), 1);
}

#[test]
fn a_batch_that_goes_back_ends_it_quietly() {
    let dir = filled();
    let mut opened = open(dir.path(), BATCHES);
    let lost = opened.checkpoint.put(mark(BATCHES), &ranges(BATCHES)).unwrap_err();
    assert!(lost.to_string().contains("batch 12 came after batch 12"), "{lost}");
    // Said once, and nothing is kept any more: a later watermark would hide the batch that is missing.
    assert_eq!(opened.checkpoint.put(mark(BATCHES + 1), &ranges(BATCHES + 1)), Ok(()));
    assert_eq!(opened.checkpoint.watermark(), BATCHES);
}

#[test]
fn held_by_someone_else_is_busy_and_left_alone() {
    let dir = filled();
    let _held = open(dir.path(), BATCHES);
    let second = SledCheckpoint::open(dir.path(), &tables(BATCHES));
    assert!(matches!(second.err(), Some(crate::error::Error::Busy(_))));
    assert_eq!(asides(dir.path()), 0);
}

/// Opening ends, what it believes is true, and afterwards it works: for every way to spoil a file.
fn survives(origin: &Path, spoil: impl Fn(&Path)) {
    let dir = tempfile::tempdir().unwrap();
    copy(origin, dir.path());
    spoil(dir.path());
    drop(start(dir.path(), BATCHES));
    let opened = open(dir.path(), BATCHES);
    assert_eq!(opened.notes, Vec::<String>::new(), "the new one is sound");
    assert_same(&opened.ledger, &truth(BATCHES));
}

#[test]
fn truncations_of_every_file() {
    let origin = filled();
    for file in files(origin.path()) {
        let name = file.file_name().unwrap().to_owned();
        let length = fs::metadata(&file).unwrap().len();
        let used = used(&file);
        let cuts = [0, 1, 4, 8, 9, 20, 21, used / 4, used / 2, used - 1, used, length / 2, length - 1];
        for cut in cuts {
            survives(origin.path(), |dir| {
                let file = fs::File::options().write(true).open(dir.join("sled").join(&name)).unwrap();
                file.set_len(cut.min(length)).unwrap();
            });
        }
    }
}

#[test]
fn flipped_bytes_in_every_file() {
    let origin = filled();
    for file in files(origin.path()) {
        let name = file.file_name().unwrap().to_owned();
        let used = used(&file);
        let step = (used / 60).max(1);
        for at in (0..used).step_by(usize::try_from(step).unwrap()) {
            survives(origin.path(), |dir| {
                let path = dir.join("sled").join(&name);
                let mut bytes = fs::read(&path).unwrap();
                bytes[usize::try_from(at).unwrap()] ^= 0xff >> (at % 7);
                fs::write(path, bytes).unwrap();
            });
        }
    }
}

/// Up to the last byte that is not zero.
fn used(file: &Path) -> u64 {
    let bytes = fs::read(file).unwrap();
    bytes.iter().rposition(|&b| b != 0).map_or(1, |at| at as u64 + 1)
}

/// `MILLRACE_FILES=1000000 cargo test --lib million -- --ignored --nocapture`
#[test]
#[ignore = "a measurement: makes a large checkpoint"]
fn a_million_files_in_the_checkpoint() {
    let files: u64 = std::env::var("MILLRACE_FILES").map_or(200_000, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mut opened = open(dir.path(), 1);
    for n in 0..files {
        let entry = crate::ledger::LedgerEntry::of(1, &ranges(n + 1)[1]);
        opened.ledger.insert(crate::ledger::file_key(&format!("orders/order-{n}.json")), entry);
    }
    let timed = std::time::Instant::now();
    opened.checkpoint.refill(&opened.ledger, mark(1)).unwrap();
    println!("{files} files: refilled in {:?}", timed.elapsed());
    let timed = std::time::Instant::now();
    opened.checkpoint.put(mark(2), &(0..1000).map(|n| ranges(n + 1).remove(0)).collect::<Vec<_>>()).unwrap();
    println!("a batch of 1000 files put in {:?}", timed.elapsed());
    drop(opened);
    let timed = std::time::Instant::now();
    let opened = open(dir.path(), 2);
    println!("opened in {:?}", timed.elapsed());
    drop(opened);
    let timed = std::time::Instant::now();
    let opened = open(dir.path(), 2);
    println!("opened again in {:?}", timed.elapsed());
    assert!(opened.notes.is_empty());
    assert_eq!(opened.ledger.len() as u64, files + 1000);
    let bytes: u64 = files_of(dir.path());
    println!("{} MB on disk", bytes >> 20);
}

fn files_of(dir: &Path) -> u64 {
    files(dir).iter().map(|f| fs::metadata(f).unwrap().len()).sum()
}
