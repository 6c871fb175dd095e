//! The ledger in memory: which files were taken, up to where.
//!
//! The truth is the table `_files`; this is what of it must be at hand to tell a new file from a seen one.
//! Names are kept as hashes only, so a million files cost less than 70 MB. A collision of two names could
//! hide nothing: both would need the same size, times and inode too.

use hashbrown::HashMap;
use xxhash_rust::xxh3::xxh3_128;

use crate::batch::{FileRange, Fingerprint, Resume};
use crate::dense::{Dense, Keyed};

/// Names a file in the ledger: xxh3-128 of [`crate::batch::Input::name`].
pub fn file_key(name: &str) -> u128 {
    xxh3_128(name.as_bytes())
}

/// A commit of the ledger table: whoever holds the same one has the same history up to its batch. A batch number
/// alone does not say so: tables that were put back to an older state go on with the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Mark {
    /// The batch that made it.
    pub batch: u64,
    /// Its version of `_files`.
    pub version: u64,
    /// xxh3-128 of the commit's bytes, which carry the time, the batch, and each file with its size and statistics.
    pub hash: u128,
}

impl Mark {
    /// `batch version hash`
    pub fn text(&self) -> String {
        format!("{} {} {:032x}", self.batch, self.version, self.hash)
    }

    pub fn from_text(text: &str) -> Option<Mark> {
        let mut parts = text.split(' ');
        let (batch, version, hash) = (parts.next()?, parts.next()?, parts.next()?);
        let hash = u128::from_str_radix(hash, 16).ok()?;
        Some(Mark { batch: batch.parse().ok()?, version: version.parse().ok()?, hash })
    }
}

/// What the ledger says about one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerEntry {
    pub fingerprint: Fingerprint,
    /// Where reading goes on. All zero when `done`: nothing goes on there.
    pub resume: Resume,
    pub done: bool,
    /// The batch that committed this.
    pub batch: u64,
}

impl LedgerEntry {
    /// What the committed range says about its file.
    pub fn of(batch: u64, range: &FileRange) -> Self {
        let resume = if range.last { Resume::default() } else { range.end };
        LedgerEntry { fingerprint: range.fingerprint, resume, done: range.last, batch }
    }

    /// Rows of `_files` come in any order: a later batch wins, in one batch the range that got further.
    fn replaces(&self, old_batch: u64, old_resume: Option<&Resume>) -> bool {
        if self.batch != old_batch {
            return self.batch > old_batch;
        }
        self.done || old_resume.is_some_and(|old| old.offset <= self.resume.offset)
    }
}

/// What discovery has to know about a file that was taken before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    pub fingerprint: Fingerprint,
    pub resume: Resume,
    pub done: bool,
}

/// The ledger, as discovery sees it.
pub trait Seen {
    /// By [`file_key`].
    fn known(&self, key: u128) -> Option<Known>;

    fn look(&self, name: &str) -> Option<Known> {
        self.known(file_key(name))
    }
}

/// Which files were taken, up to where.
#[derive(Debug, Default)]
pub struct Ledger {
    files: Dense<Row>,
    /// Where the files that are not done go on: few at any time, so they don't burden the others.
    partial: HashMap<u128, Resume>,
    watermark: u64,
}

/// Packed, or the alignment of the key would cost eight bytes a file.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed(8))]
struct Row {
    key: u128,
    fingerprint: Fingerprint,
    batch: u64,
}

impl Keyed for Row {
    fn key(&self) -> u128 {
        self.key
    }
}

impl Ledger {
    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// The highest batch applied so far; 0 when none.
    pub fn watermark(&self) -> u64 {
        self.watermark
    }

    /// Every batch up to `batch` is in here, also those that had no file.
    pub fn advance(&mut self, batch: u64) {
        self.watermark = self.watermark.max(batch);
    }

    pub fn reserve(&mut self, files: usize) {
        self.files.reserve(files, &(0..=u128::MAX));
    }

    /// Takes in the files of a committed batch. In any order, and again, with the same result.
    pub fn apply(&mut self, batch: u64, ranges: &[FileRange]) {
        for range in ranges {
            self.insert(file_key(&range.name), LedgerEntry::of(batch, range));
        }
        self.advance(batch);
    }

    /// Memory that it takes, free slots included.
    pub fn bytes(&self) -> usize {
        self.files.bytes() + self.partial.allocation_size()
    }

    /// Takes in one entry, unless a newer one is there.
    pub fn insert(&mut self, key: u128, entry: LedgerEntry) {
        let row = Row { key, fingerprint: entry.fingerprint, batch: entry.batch };
        let (partial, mut newest) = (&self.partial, true);
        self.files.put(row, |old| {
            newest = entry.replaces(old.batch, partial.get(&key));
            newest
        });
        if newest && entry.done {
            self.partial.remove(&key);
        } else if newest {
            self.partial.insert(key, entry.resume);
        }
    }

    pub fn get(&self, key: u128) -> Option<LedgerEntry> {
        self.files.get(key).map(|row| self.entry(row))
    }

    /// What batches after `batch` say about files, in no order. `since(0)` is everything.
    pub fn since(&self, batch: u64) -> impl Iterator<Item = (u128, LedgerEntry)> + '_ {
        let later = self.files.iter().filter(move |row| batch == 0 || row.batch > batch);
        later.map(|row| (row.key, self.entry(row)))
    }

    fn entry(&self, row: &Row) -> LedgerEntry {
        let partial = self.partial.get(&{ row.key });
        LedgerEntry {
            fingerprint: row.fingerprint,
            resume: partial.copied().unwrap_or_default(),
            done: partial.is_none(),
            batch: row.batch,
        }
    }
}

impl Seen for Ledger {
    fn known(&self, key: u128) -> Option<Known> {
        let entry = self.get(key)?;
        Some(Known { fingerprint: entry.fingerprint, resume: entry.resume, done: entry.done })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(name: &str, end: u64, last: bool) -> FileRange {
        FileRange {
            name: name.into(),
            fingerprint: Fingerprint { size: 9, mtime_ns: -1, ctime_ns: 2, inode: 3 },
            start: Resume::default(),
            end: Resume { offset: end, line: 1, element: 2, in_array: true },
            last,
            content_hash: 0,
            changed: false,
            events: 0,
            quarantined: 0,
            duplicate_keys: 0,
        }
    }

    #[test]
    fn remembers_what_was_taken_and_how_far() {
        let mut ledger = Ledger::default();
        ledger.apply(1, &[range("a.json", 5, false), range("b.json", 9, true)]);
        let a = ledger.look("a.json").unwrap();
        assert!(!a.done && a.resume.offset == 5 && a.resume.in_array);
        let b = ledger.look("b.json").unwrap();
        assert!(b.done && b.resume == Resume::default() && b.fingerprint.mtime_ns == -1);
        assert_eq!(ledger.look("c.json"), None);
        ledger.apply(2, &[range("a.json", 9, true)]);
        assert!(ledger.look("a.json").unwrap().done);
        assert_eq!((ledger.len(), ledger.watermark()), (2, 2));
    }

    #[test]
    fn the_order_of_rows_does_not_matter() {
        let rows = [
            (1, range("a", 3, false)),
            (2, range("a", 5, false)),
            (2, range("a", 7, false)),
            (3, range("a", 9, true)),
            (4, range("a", 2, false)),
            (4, range("a", 4, true)),
        ];
        for cut in 1..=rows.len() {
            let mut forward = Ledger::default();
            let mut backward = Ledger::default();
            rows[..cut].iter().for_each(|(b, r)| forward.apply(*b, std::slice::from_ref(r)));
            rows[..cut].iter().rev().for_each(|(b, r)| backward.apply(*b, std::slice::from_ref(r)));
            let (f, b) = (forward.get(file_key("a")), backward.get(file_key("a")));
            assert_eq!(f, b, "first {cut} rows");
            assert_eq!(f.unwrap().batch, rows[cut - 1].0);
            assert_eq!(f.unwrap().done, rows[cut - 1].1.last);
        }
    }

    #[test]
    fn tells_what_came_since() {
        let mut ledger = Ledger::default();
        ledger.apply(1, &[range("a", 1, true)]);
        ledger.apply(2, &[range("b", 1, false)]);
        let since: Vec<_> = ledger.since(1).collect();
        assert_eq!(since.len(), 1);
        assert_eq!(since[0], (file_key("b"), LedgerEntry::of(2, &range("b", 1, false))));
        assert_eq!(ledger.since(0).count(), 2);
    }

    #[test]
    fn a_file_costs_less_than_70_bytes() {
        let mut ledger = Ledger::default();
        (0..200_000)
            .for_each(|n| ledger.insert(file_key(&n.to_string()), LedgerEntry::of(1, &range("", 1, true))));
        assert!(ledger.bytes() < 200_000 * 70, "{}", ledger.bytes() / 200_000);
    }
}
