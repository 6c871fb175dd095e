//! The key index: for every owner, the newest event it was stated by and where its rows stand.
//!
//! It is truth, not cache: moved-on sequences and empty sets stand nowhere else.

use std::hash::{BuildHasherDefault, Hasher};

use hashbrown::HashMap;

use crate::batch::{Deletion, Entry, FileId};

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

/// One table's index.
#[derive(Debug, Default, Clone)]
pub struct KeyIndex {
    entries: OwnerMap<Entry>,
}

impl KeyIndex {
    pub fn get(&self, owner: u128) -> Option<&Entry> {
        self.entries.get(&owner)
    }

    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that the entries take, free slots included.
    pub fn bytes(&self) -> usize {
        self.entries.allocation_size()
    }

    pub fn reserve(&mut self, more: usize) {
        self.entries.reserve(more);
    }

    pub fn apply(&mut self, changes: &[(u128, Entry)]) {
        for (owner, entry) in changes {
            self.entries.insert(*owner, *entry);
        }
    }

    /// Adds an entry unless the owner has one: for loading files newest first.
    pub fn insert_older(&mut self, owner: u128, entry: Entry) {
        self.entries.entry(owner).or_insert(entry);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u128, &Entry)> {
        self.entries.iter().map(|(owner, entry)| (*owner, entry))
    }

    /// Rows that the index says are in the table.
    pub fn rows(&self) -> u64 {
        self.entries.values().map(|e| u64::from(e.count)).sum()
    }

    /// Owners whose rows changed after `batch`, emptied ones included.
    pub fn changed_since(&self, batch: FileId) -> impl Iterator<Item = (u128, &Entry)> {
        self.iter().filter(move |(_, e)| e.file > batch)
    }
}

impl Entry {
    /// The rows to delete when the owner's set is replaced.
    pub fn deletion(&self) -> Option<Deletion> {
        (self.count > 0).then_some(Deletion { file: self.file, first: self.first, count: self.count })
    }
}
