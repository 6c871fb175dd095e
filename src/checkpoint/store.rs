//! The checkpoint in sled, opened with suspicion and closed for good at the first sign of trouble.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::codec::{self, GROUP, Item, META_KEY, Meta};
use super::pool;
use super::{Checkpoint, Lost, aside};
use crate::batch::FileRange;
use crate::clock;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::guard::guard;
use crate::ledger::{Ledger, Mark};
use crate::threads;

/// Beside `.gitkeep` and what was set aside, sled has a folder to itself.
const NAME: &str = "sled";
/// sled's own default is 1 GiB; ours is read once, in one scan.
const CACHE_BYTES: u64 = 32 << 20;
/// sled gives up its lock some time after it was dropped.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const CHUNK: usize = 4096;
/// Files that are taken in at a time.
const AT_ONCE: usize = 1 << 16;
/// Files that room is made for before they are read.
const MOST_EXPECTED: usize = 1 << 22;

/// Where the next file goes: groups are filled one after the other.
#[derive(Debug, Default)]
struct End {
    /// Full groups.
    groups: u64,
    /// Files of the group that is not full.
    last: Vec<Item>,
}

pub struct SledCheckpoint {
    /// `None` once it broke.
    db: Option<sled::Db>,
    meta: Meta,
    end: End,
}

/// A checkpoint, and what it knew. The ledger lacks every batch after its watermark: apply the rows of `_files`
/// with a later batch (all, when it is 0), then call [`Checkpoint::refill`].
pub struct Opened {
    pub checkpoint: SledCheckpoint,
    pub ledger: Ledger,
    /// What there is to tell the user.
    pub notes: Vec<String>,
}

/// The tables that a checkpoint is held against.
pub struct Tables<'a> {
    pub root_id: u128,
    /// Their newest ledger commit.
    pub mark: Mark,
    /// Whether that commit is in their log.
    pub has: &'a dyn Fn(&Mark) -> bool,
}

/// Why an existing checkpoint was not taken.
enum Fault {
    /// Set it aside and make a new one.
    Useless(String),
    /// Nothing wrong with it: the place is.
    Place(Error),
}

/// A checkpoint on its way, in three steps: sled is opened (which starts threads), what is in it is read (which can be done
/// beside something else), and only then is one that is of no use set aside.
pub struct Opening {
    dir: PathBuf,
    db: std::result::Result<sled::Db, Fault>,
}

/// One that was read.
pub struct Scanned {
    dir: PathBuf,
    found: std::result::Result<(SledCheckpoint, Ledger), Fault>,
}

impl Opening {
    pub fn begin(dir: &Path) -> Opening {
        let made = fs::create_dir_all(dir).at("making", dir).map_err(Fault::Place);
        fault::point("sled.folder_made");
        Opening { dir: dir.to_owned(), db: made.and_then(|()| open_db(&dir.join(NAME))) }
    }

    /// Reads it; changes nothing but one that was just made.
    pub fn scan(self, tables: &Tables<'_>) -> Scanned {
        Scanned { dir: self.dir, found: self.db.and_then(|db| scan(db, tables)) }
    }
}

impl Scanned {
    /// The checkpoint, or a new one in the place of one that is of no use.
    ///
    /// # Errors
    /// As [`SledCheckpoint::open`].
    pub fn finish(self, tables: &Tables<'_>) -> Result<Opened> {
        let Scanned { dir, found } = self;
        let mut notes = Vec::new();
        let why = match found {
            Ok((checkpoint, ledger)) => return Ok(Opened { checkpoint, ledger, notes }),
            Err(Fault::Place(e)) => return Err(e),
            Err(Fault::Useless(why)) => why,
        };
        let to = aside::set_aside(&dir, NAME)?;
        fault::point("sled.aside");
        notes.push(format!(
            "checkpoint set aside as {}: {why}. It is only a cache: a new one is filled from the tables",
            to.display()
        ));
        match open_db(&dir.join(NAME)).and_then(|db| scan(db, tables)) {
            Ok((checkpoint, ledger)) => Ok(Opened { checkpoint, ledger, notes }),
            Err(Fault::Place(e)) => Err(e),
            Err(Fault::Useless(why)) => Err(Error::Corrupt(format!(
                "a new checkpoint in {} could not be opened either: {why}. Look at the disk",
                dir.display()
            ))),
        }
    }
}

impl SledCheckpoint {
    /// Opens or makes the checkpoint in `dir` of these tables. The caller holds the root's lock, so that nobody else
    /// has it open.
    ///
    /// # Errors
    /// Only of the place: no permission, disk full, held by another process. What is damaged, foreign, newer than the
    /// tables or of another history of theirs is set aside with a note.
    pub fn open(dir: &Path, tables: &Tables<'_>) -> Result<Opened> {
        Opening::begin(dir).scan(tables).finish(tables)
    }

    #[cfg(test)]
    pub(super) fn raw(&self) -> &sled::Db {
        self.db.as_ref().unwrap()
    }

    /// One call into sled; the first failure is the last call, or a batch would be missing below a watermark.
    fn call(&mut self, change: impl FnOnce(&sled::Db) -> sled::Result<()>) -> std::result::Result<(), Lost> {
        let Some(db) = self.db.take() else { return Ok(()) };
        match guard("sled", || change(&db)) {
            Ok(Ok(())) => {
                self.db = Some(db);
                Ok(())
            }
            Ok(Err(e)) => Err(lost(db, told(&e))),
            Err(panic) => Err(lost(db, panic)),
        }
    }
}

impl Checkpoint for SledCheckpoint {
    fn watermark(&self) -> u64 {
        self.meta.watermark
    }

    fn put(&mut self, mark: Mark, ranges: &[FileRange]) -> std::result::Result<(), Lost> {
        let batch = mark.batch;
        if batch <= self.meta.watermark {
            let text = format!("batch {batch} came after batch {}", self.meta.watermark);
            return self.db.take().map_or(Ok(()), |db| Err(lost(db, text)));
        }
        let mut step = Ledger::default();
        step.apply(batch, ranges);
        let meta = Meta { watermark: batch, mark, ..self.meta };
        let mut changes = sled::Batch::default();
        self.end.push(step.since(0), &mut changes);
        changes.insert(META_KEY, codec::encode_meta(meta));
        fault::point("sled.putting");
        self.call(|db| db.apply_batch(changes))?;
        fault::point("sled.put");
        if self.db.is_some() {
            self.meta = meta;
        }
        Ok(())
    }

    fn refill(&mut self, ledger: &Ledger, mark: Mark) -> std::result::Result<(), Lost> {
        if mark.batch <= self.meta.watermark {
            return Ok(());
        }
        // What is in here already belongs to the same history: opening looked.
        let filling = codec::encode_meta(Meta { mark, ..self.meta });
        self.call(|db| db.insert(META_KEY, filling).map(|_| ()))?;
        if self.meta.watermark == 0 {
            // What an earlier filling left is written over, so that being cut short again and again adds nothing.
            self.end = End::default();
        }
        let mut items = ledger.since(self.meta.watermark).peekable();
        while items.peek().is_some() {
            let mut changes = sled::Batch::default();
            self.end.push(items.by_ref().take(CHUNK), &mut changes);
            self.call(|db| db.apply_batch(changes))?;
            fault::point("sled.chunk_refilled");
        }
        self.put(mark, &[])
    }
}

impl Drop for SledCheckpoint {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            let _ = guard("sled", || drop(db));
        }
    }
}

impl End {
    /// A file that was there before is there twice then: reading takes the newer one. So there are as many in all as
    /// `_files` has rows.
    fn push(&mut self, items: impl Iterator<Item = Item>, changes: &mut sled::Batch) {
        for item in items {
            self.last.push(item);
            if self.last.len() >= GROUP {
                self.write(changes);
                self.groups += 1;
                self.last.clear();
            }
        }
        if !self.last.is_empty() {
            self.write(changes);
        }
    }

    fn write(&self, changes: &mut sled::Batch) {
        changes.insert(&self.groups.to_be_bytes(), codec::encode_group(self.groups, &self.last));
    }

    /// The groups are read in their order.
    fn follow(&mut self, items: Vec<Item>) {
        self.groups += u64::from(items.len() >= GROUP);
        self.last = if items.len() >= GROUP { Vec::new() } else { items };
    }
}

/// sled hands its I/O errors on as programmers' text, with the system's message in it.
fn told(e: &sled::Error) -> String {
    let text = e.to_string();
    let message = text.split_once("message: ").map(|(_, rest)| rest.trim_start_matches(['\\', '"']));
    match message.and_then(|m| m.split(['\\', '"']).next()) {
        Some(message) => message.to_owned(),
        None => text,
    }
}

/// A broken sled is left where it is: dropping it after a panic could wait for ever for a thread that is gone.
fn lost(db: sled::Db, why: String) -> Lost {
    std::mem::forget(db);
    Lost(why)
}

fn open_db(path: &Path) -> std::result::Result<sled::Db, Fault> {
    remove_torn_snapshots(path)?;
    let db = open_sled(path)?;
    fault::point("sled.opened");
    Ok(db)
}

fn scan(db: sled::Db, tables: &Tables<'_>) -> std::result::Result<(SledCheckpoint, Ledger), Fault> {
    match guard("sled", || load(&db, tables)) {
        Ok(Ok((meta, ledger, end))) => Ok((SledCheckpoint { db: Some(db), meta, end }, ledger)),
        // It did not panic, so it can be closed: its files are about to be renamed.
        Ok(Err(why)) => match guard("sled", || drop(db)) {
            Ok(()) => Err(Fault::Useless(why)),
            Err(panic) => Err(Fault::Useless(format!("{why}; {panic}"))),
        },
        Err(panic) => Err(Fault::Useless(lost(db, panic).0)),
    }
}

/// A kill while sled opens leaves `snap.*.generating`, after which it would never open again. They are drafts:
/// the log has everything.
fn remove_torn_snapshots(path: &Path) -> std::result::Result<(), Fault> {
    let entries = match fs::read_dir(path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(fault_of(path, e)),
    };
    for entry in entries {
        let entry = entry.map_err(|e| fault_of(path, e))?;
        let name = entry.file_name();
        let draft = name.to_str().is_some_and(|n| n.starts_with("snap.") && n.ends_with(".generating"));
        if draft {
            fs::remove_file(entry.path()).map_err(|e| fault_of(&entry.path(), e))?;
            fault::point("sled.draft_removed");
        }
    }
    Ok(())
}

fn open_sled(path: &Path) -> std::result::Result<sled::Db, Fault> {
    // sled panics then, before it has looked at anything.
    if clock::system().now_micros() < 0 {
        let told = "the clock of this machine says that it is before 1970: set it and start again";
        return Err(Fault::Place(Error::Config(told.into())));
    }
    // Without some of its threads sled would look damaged.
    let refused = |source| Fault::Place(Error::System { doing: "opening the checkpoint", source });
    threads::may_start().map_err(refused)?;
    let started = Instant::now();
    loop {
        match pool::open(path, CACHE_BYTES).map_err(refused)? {
            Ok(Ok(db)) => return Ok(db),
            Ok(Err(sled::Error::Io(e))) if is_locked(&e) => {
                if started.elapsed() > LOCK_PATIENCE {
                    return Err(Fault::Place(held(path)));
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Ok(Err(sled::Error::Io(e))) => return Err(fault_of(path, e)),
            Ok(Err(e)) => return Err(Fault::Useless(e.to_string())),
            Err(panic) => {
                // It may have been a thread that it was refused.
                threads::may_start().map_err(refused)?;
                return Err(Fault::Useless(panic));
            }
        }
    }
}

fn is_locked(e: &std::io::Error) -> bool {
    e.to_string().contains("could not acquire lock")
}

fn held(path: &Path) -> Error {
    Error::Busy(format!("the checkpoint {} is held open by another process", path.display()))
}

/// What the place does not allow would not be mended by a new checkpoint.
fn fault_of(path: &Path, e: std::io::Error) -> Fault {
    use ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    // EMFILE, ENFILE: too many open files.
    let crowded = matches!(e.raw_os_error(), Some(24 | 23));
    match e.kind() {
        PermissionDenied | ReadOnlyFilesystem | StorageFull | QuotaExceeded => {
            Fault::Place(Error::io("opening the checkpoint", path, e))
        }
        _ if crowded => Fault::Place(Error::io("opening the checkpoint", path, e)),
        _ => Fault::Useless(format!("{}: {e}", path.display())),
    }
}

/// Reads everything in one scan, believing nothing. `Err` says why it is of no use.
fn load(db: &sled::Db, tables: &Tables<'_>) -> std::result::Result<(Meta, Ledger, End), String> {
    let (mut ledger, mut end) = (Ledger::default(), End::default());
    let meta = match db.get(META_KEY).map_err(|e| e.to_string())? {
        Some(bytes) => codec::decode_meta(&bytes).map_err(|e| e.to_string())?,
        None => return begin(db, tables).map(|meta| (meta, ledger, end)),
    };
    check(&meta, tables)?;
    ledger.reserve(expected(db)?);
    let mut waiting = Vec::new();
    for item in db.iter() {
        let (key, value) = item.map_err(|e| e.to_string())?;
        if &key[..] == META_KEY {
            continue;
        }
        let group = u64::from_be_bytes(key[..].try_into().map_err(|_| "a key has a wrong length")?);
        // A damaged tree can lead in circles, or have lost a branch.
        if group != end.groups || !end.last.is_empty() {
            return Err("its keys are out of order".into());
        }
        let items = codec::decode_group(group, &value).map_err(|e| e.to_string())?;
        for (_, entry) in &items {
            // A refill that was cut short leaves entries above the watermark; above the mark there are none.
            if entry.batch > meta.mark.batch {
                return Err(format!("it knows batch {}, but is at {}", entry.batch, meta.mark.batch));
            }
        }
        waiting.extend_from_slice(&items);
        if waiting.len() >= AT_ONCE {
            take_in(&mut ledger, &mut waiting);
        }
        end.follow(items);
    }
    take_in(&mut ledger, &mut waiting);
    ledger.advance(meta.watermark);
    Ok((meta, ledger, end))
}

/// In the order of keys, or each would wait for memory that no cache has.
fn take_in(ledger: &mut Ledger, waiting: &mut Vec<Item>) {
    waiting.sort_unstable_by_key(|(key, _)| *key);
    waiting.drain(..).for_each(|(key, entry)| ledger.insert(key, entry));
}

/// About how many files it knows, told by the number of its last group. A damaged one must not ask for any amount.
fn expected(db: &sled::Db) -> std::result::Result<usize, String> {
    // The record about itself stands behind the groups.
    for key in db.iter().keys().rev().take(2) {
        let key = key.map_err(|e| e.to_string())?;
        if let Ok(last) = <[u8; 8]>::try_from(&key[..]) {
            let groups = usize::try_from(u64::from_be_bytes(last)).unwrap_or(0);
            return Ok(groups.saturating_mul(GROUP).min(MOST_EXPECTED));
        }
    }
    Ok(0)
}

/// It is a cache of these tables, as they are now or were earlier.
fn check(meta: &Meta, tables: &Tables<'_>) -> std::result::Result<(), String> {
    if meta.root_id != tables.root_id {
        return Err("it belongs to other tables".into());
    }
    let (ours, theirs) = (meta.mark.batch, tables.mark.batch);
    if ours > theirs || meta.watermark > ours {
        return Err(format!("it is at batch {}, the tables are at {theirs}", ours.max(meta.watermark)));
    }
    // The same batch numbers, but perhaps other files in them: a file that only it knows would never be read.
    if !(tables.has)(&meta.mark) {
        return Err(format!("batch {ours} of the tables is not the one it knows, or too long ago to tell"));
    }
    Ok(())
}

/// The record about itself is the first thing written, so entries without it are what damage left.
fn begin(db: &sled::Db, tables: &Tables<'_>) -> std::result::Result<Meta, String> {
    if db.iter().next().is_some() {
        return Err("its own record is missing".into());
    }
    let fresh = Meta { root_id: tables.root_id, watermark: 0, mark: tables.mark };
    db.insert(META_KEY, codec::encode_meta(fresh)).map_err(|e| e.to_string())?;
    fault::point("sled.begun");
    Ok(fresh)
}
