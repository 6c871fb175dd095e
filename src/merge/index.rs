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

/// Parts of an index. A map that grows moves all its entries at once: one map of 5 million would stop a batch for a
/// quarter of a second and hold half as much again meanwhile.
const PARTS: usize = 256;

/// One table's index.
#[derive(Debug, Clone)]
pub struct KeyIndex {
    parts: Box<[OwnerMap<Entry>]>,
}

impl Default for KeyIndex {
    fn default() -> Self {
        KeyIndex { parts: vec![OwnerMap::default(); PARTS].into() }
    }
}

/// The part that holds an owner. The last part's share of the keys is twice the first one's, with all steps between,
/// so that they do not all grow in the same few batches. Rises with the owner: files are sorted by owner, so loading
/// fills one part after the other.
fn part(owner: u128) -> usize {
    let share = ((owner >> 96) as f64) / 4_294_967_296.0;
    (((1.0 + share).log2() * PARTS as f64) as usize).min(PARTS - 1)
}

impl KeyIndex {
    pub fn get(&self, owner: u128) -> Option<&Entry> {
        self.parts[part(owner)].get(&owner)
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(HashMap::len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(HashMap::is_empty)
    }

    /// Memory that the entries take, free slots included.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(HashMap::allocation_size).sum()
    }

    pub fn apply(&mut self, changes: &[(u128, Entry)]) {
        for (owner, entry) in changes {
            self.parts[part(*owner)].insert(*owner, *entry);
        }
    }

    /// Adds an entry unless the owner has one: for loading files newest first.
    pub fn insert_older(&mut self, owner: u128, entry: Entry) {
        self.parts[part(owner)].entry(owner).or_insert(entry);
    }

    pub fn iter(&self) -> impl Iterator<Item = (u128, &Entry)> {
        self.parts.iter().flatten().map(|(owner, entry)| (*owner, entry))
    }

    /// Rows that the index says are in the table.
    pub fn rows(&self) -> u64 {
        self.iter().map(|(_, e)| u64::from(e.count)).sum()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_owner_has_a_part_and_parts_follow_the_order_of_owners() {
        let owners = (0..=1000u128).map(|n| u128::MAX / 1000 * n).chain([u128::MAX]);
        let parts: Vec<usize> = owners.map(part).collect();
        assert!(parts.is_sorted());
        assert_eq!((parts[0], parts[parts.len() - 1]), (0, PARTS - 1));
    }
}
