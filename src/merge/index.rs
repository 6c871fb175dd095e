//! The key index: for every owner, the newest event it was stated by and where its rows stand.
//!
//! It is truth, not cache: moved-on sequences and empty sets stand nowhere else.

use std::hash::{BuildHasherDefault, Hasher};
use std::ops::RangeInclusive;

use hashbrown::HashMap;

use crate::batch::{Deletion, Entry, EventOrder, FileId, Sequence};
use crate::dense::{Dense, Keyed};

/// The owner's key is a hash already: taking its low half is enough.
#[derive(Default, Clone, Copy)]
pub struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for b in bytes {
            self.0 = (self.0 << 8) | u64::from(*b);
        }
    }
    fn write_u128(&mut self, n: u128) {
        self.0 = n as u64;
    }
}

pub type OwnerMap<V> = HashMap<u128, V, BuildHasherDefault<Identity>>;

/// An owner and its [`Entry`] without the twelve bytes that alignment would cost.
#[derive(Debug, Clone, Copy)]
#[repr(C, packed(4))]
struct Row {
    owner: u128,
    sequence: Sequence,
    event: u128,
    content: u64,
    file: FileId,
    first: u32,
    count: u32,
}

impl Keyed for Row {
    fn key(&self) -> u128 {
        self.owner
    }
}

impl Row {
    fn new(owner: u128, e: &Entry) -> Row {
        Row {
            owner,
            sequence: e.order.sequence,
            event: e.order.hash,
            content: e.content,
            file: e.file,
            first: e.first,
            count: e.count,
        }
    }

    fn entry(&self) -> Entry {
        Entry {
            order: EventOrder { sequence: self.sequence, hash: self.event },
            content: self.content,
            file: self.file,
            first: self.first,
            count: self.count,
        }
    }
}

/// One table's index.
#[derive(Debug, Clone, Default)]
pub struct KeyIndex {
    rows: Dense<Row>,
}

impl KeyIndex {
    pub fn get(&self, owner: u128) -> Option<Entry> {
        self.rows.get(owner).map(Row::entry)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Memory that the entries take, free slots included.
    pub fn bytes(&self) -> usize {
        self.rows.bytes()
    }

    /// Ranges of owners whose entries can be loaded beside each other; [`KeyIndex::join`] puts them together.
    pub fn ranges(count: usize) -> Vec<RangeInclusive<u128>> {
        Dense::<Row>::ranges(count)
    }

    pub fn join(&mut self, other: KeyIndex) {
        self.rows.join(other.rows);
    }

    /// Makes room for the owners of a range where there are so many in all.
    pub fn reserve(&mut self, owners: usize, range: &RangeInclusive<u128>) {
        self.rows.reserve(owners, range);
    }

    pub fn apply(&mut self, changes: &[(u128, Entry)]) {
        for (owner, entry) in changes {
            self.rows.put(Row::new(*owner, entry), |_| true);
        }
    }

    /// Adds an entry unless the owner has one: for loading files newest first. Whether it was added.
    pub fn insert_older(&mut self, owner: u128, entry: Entry) -> bool {
        let mut is_new = true;
        self.rows.put(Row::new(owner, &entry), |_| {
            is_new = false;
            false
        });
        is_new
    }

    pub fn iter(&self) -> impl Iterator<Item = (u128, Entry)> {
        self.rows.iter().map(|row| (row.owner, row.entry()))
    }

    /// Rows that the index says are in the table.
    pub fn rows(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.count)).sum()
    }

    /// Owners whose rows changed after `batch`, emptied ones included.
    pub fn changed_since(&self, batch: FileId) -> impl Iterator<Item = (u128, Entry)> {
        self.rows.iter().filter(move |row| row.file > batch).map(|row| (row.owner, row.entry()))
    }
}

impl Entry {
    /// The rows to delete when the owner's set is replaced.
    pub fn deletion(&self) -> Option<Deletion> {
        (self.count > 0).then_some(Deletion { file: self.file, first: self.first, count: self.count })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_comes_back_and_takes_68_bytes() {
        let order = EventOrder { sequence: [i64::MIN, -3], hash: u128::MAX - 1 };
        let entry = Entry { order, content: u64::MAX, file: 7, first: 3, count: 9 };
        assert_eq!(Row::new(5, &entry).entry(), entry);
        assert_eq!(size_of::<Row>(), 68);
    }
}
