//! Rows under keys that are hashes already, for what grows with everything ever seen: small, never dropped, and
//! never moved but while a part has only a few.
//!
//! A hash map of whole rows keeps a quarter to more than half of its slots free. Here the slots hold only row
//! numbers, and the rows stand in blocks of their own, without gaps.

use std::ops::RangeInclusive;

use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

/// A row with its key. Best without padding: `#[repr(C, packed(4))]`.
pub trait Keyed: Copy {
    fn key(&self) -> u128;
}

/// A table of slots that grows moves all of them: one for five million rows would stop a batch for a good while.
const PARTS: usize = 256;
/// Rows of a block. A part's last one is half empty on the average.
const BLOCK: usize = 64;
/// Of a part's first few blocks each begins with so much room and grows: of few rows, half empty blocks would be most.
const SMALL: usize = 8;
const FEW: usize = 8;
/// Keys are told apart by so many leading bits when they are given to parts.
const BITS: u32 = 12;

#[derive(Debug, Clone)]
pub struct Dense<R> {
    parts: Box<[Part<R>]>,
    /// The part of a key by its leading bits.
    shares: Box<[u8]>,
}

#[derive(Debug, Clone)]
struct Part<R> {
    slots: HashTable<u32>,
    blocks: Vec<Vec<R>>,
    len: usize,
}

impl<R> Default for Dense<R> {
    fn default() -> Self {
        let part = |_| Part { slots: HashTable::new(), blocks: Vec::new(), len: 0 };
        Dense { parts: (0..PARTS).map(part).collect(), shares: (0..1 << BITS).map(share).collect() }
    }
}

/// The part for keys with these leading bits. The last part's share of the keys is twice the first one's, with all
/// steps between, so that they do not all grow in the same few batches. Rises with the key: index files are sorted by
/// key, so loading fills one part after the other.
fn share(leading: u32) -> u8 {
    let of_all = f64::from(leading) / f64::from(1u32 << BITS);
    ((1.0 + of_all).log2() * PARTS as f64) as u8
}

/// The key's low half; parts are chosen by its high end.
fn hash(key: u128) -> u64 {
    key as u64
}

impl<R: Keyed> Dense<R> {
    fn part(&self, key: u128) -> usize {
        usize::from(self.shares[(key >> (u128::BITS - BITS)) as usize])
    }

    pub fn get(&self, key: u128) -> Option<&R> {
        let part = &self.parts[self.part(key)];
        part.slots.find(hash(key), |at| part.row(*at).key() == key).map(|at| part.row(*at))
    }

    /// Puts a row where `replaces` says so of the one that is there, or where there is none.
    pub fn put(&mut self, row: R, replaces: impl FnOnce(&R) -> bool) {
        let at = self.part(row.key());
        self.parts[at].put(row, replaces);
    }

    pub fn len(&self) -> usize {
        self.parts.iter().map(|part| part.len).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|part| part.len == 0)
    }

    /// About so many ranges of keys, each of which has parts of its own: what holds the keys of one can be made beside what
    /// holds those of another, and [`Dense::join`] puts them together.
    pub fn ranges(count: usize) -> Vec<RangeInclusive<u128>> {
        let begins = |leading: usize| (leading as u128) << (u128::BITS - BITS);
        let shares: Vec<u8> = (0..1 << BITS).map(share).collect();
        let is_begin = |at: &usize| at.checked_sub(1).is_some_and(|before| shares[before] < shares[*at]);
        let count = count.clamp(1, shares.len());
        let near = |n: usize| (n * shares.len() / count..shares.len()).find(is_begin);
        let mut from: Vec<usize> = [0].into_iter().chain((1..count).filter_map(near)).collect();
        from.dedup();
        let until = from.iter().skip(1).map(|next| begins(*next) - 1).chain([u128::MAX]);
        from.iter().zip(until).map(|(from, until)| begins(*from)..=until).collect()
    }

    /// Takes over the rows of one that holds the keys of another range.
    pub fn join(&mut self, other: Dense<R>) {
        for (ours, theirs) in self.parts.iter_mut().zip(other.parts) {
            match ours.len {
                0 => *ours = theirs,
                _ => theirs.blocks.iter().flatten().for_each(|row| ours.put(*row, |_| false)),
            }
        }
    }

    /// Makes room for the keys of a range where there are so many rows in all, their keys being spread as those of hashes
    /// are.
    pub fn reserve(&mut self, rows: usize, range: &RangeInclusive<u128>) {
        let mut leading = [0; PARTS];
        let of = |key: &u128| (key >> (u128::BITS - BITS)) as usize;
        self.shares[of(range.start())..=of(range.end())]
            .iter()
            .for_each(|part| leading[usize::from(*part)] += 1);
        for (part, leading) in self.parts.iter_mut().zip(leading) {
            let expected = (rows as u64 * leading) >> BITS;
            part.reserve(expected as usize);
        }
    }

    /// Memory that it takes, free slots included.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(Part::bytes).sum()
    }

    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.parts.iter().flat_map(|part| part.blocks.iter().flatten())
    }
}

impl<R: Keyed> Part<R> {
    fn row(&self, at: u32) -> &R {
        row(&self.blocks, at)
    }

    fn put(&mut self, row: R, replaces: impl FnOnce(&R) -> bool) {
        let (blocks, key) = (&self.blocks, row.key());
        let is_it = |at: &u32| self::row(blocks, *at).key() == key;
        match self.slots.entry(hash(key), is_it, |at| hash(self::row(blocks, *at).key())) {
            Entry::Occupied(slot) => {
                let at = *slot.get() as usize;
                let old = &mut self.blocks[at / BLOCK][at % BLOCK];
                if replaces(old) {
                    *old = row;
                }
            }
            Entry::Vacant(slot) => {
                // Four billion rows of a part would be a trillion in all.
                slot.insert(self.len as u32);
                if self.len.is_multiple_of(BLOCK) {
                    let few = self.blocks.len() < FEW;
                    if few {
                        self.blocks.reserve_exact(1);
                    }
                    self.blocks.push(Vec::with_capacity(if few { SMALL } else { BLOCK }));
                }
                let block = &mut self.blocks[self.len / BLOCK];
                if block.len() == block.capacity() {
                    // By a quarter: doubled, a third of the room of a few thousand rows would be empty.
                    block.reserve_exact((block.len() / 4).max(4).min(BLOCK - block.len()));
                }
                block.push(row);
                self.len += 1;
            }
        }
    }

    fn reserve(&mut self, rows: usize) {
        let (blocks, more) = (&self.blocks, rows.saturating_sub(self.len));
        self.slots.reserve(more, |at| hash(row(blocks, *at).key()));
    }

    fn bytes(&self) -> usize {
        let blocks = self.blocks.capacity() * size_of::<Vec<R>>();
        let rows: usize = self.blocks.iter().map(Vec::capacity).sum();
        self.slots.allocation_size() + blocks + rows * size_of::<R>()
    }
}

fn row<R>(blocks: &[Vec<R>], at: u32) -> &R {
    &blocks[at as usize / BLOCK][at as usize % BLOCK]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, Copy, PartialEq)]
    struct Row(u128, u32);

    impl Keyed for Row {
        fn key(&self) -> u128 {
            self.0
        }
    }

    /// The low half of every third is the same: keys that only differ in their high half.
    fn key(n: u32) -> u128 {
        let half = u128::from(n.wrapping_mul(0x9e37_79b9));
        (half << 96) | if n.is_multiple_of(3) { 5 } else { half }
    }

    #[test]
    fn every_key_has_a_part_and_parts_follow_the_order_of_keys() {
        let dense = Dense::<Row>::default();
        let keys = (0..=1000u128).map(|n| u128::MAX / 1000 * n).chain([u128::MAX]);
        let parts: Vec<usize> = keys.map(|key| dense.part(key)).collect();
        assert!(parts.is_sorted());
        assert_eq!((parts[0], parts[parts.len() - 1]), (0, PARTS - 1));
        assert!((0..PARTS).all(|part| dense.shares.contains(&(part as u8))));
    }

    #[test]
    fn holds_what_a_map_holds() {
        let mut dense = Dense::default();
        let mut map = std::collections::HashMap::new();
        for n in 0..40_000 {
            let row = Row(key(n % 30_000), n);
            let replaces = n % 7 != 0;
            if n == 20_000 {
                dense.reserve(30_000, &(0..=u128::MAX));
            }
            dense.put(row, |old| *old == map[&row.0] && replaces);
            if replaces || !map.contains_key(&row.0) {
                map.insert(row.0, row);
            }
        }
        assert_eq!((dense.len(), dense.is_empty()), (map.len(), false));
        assert!(map.values().all(|row| dense.get(row.0) == Some(row)));
        assert!(dense.iter().all(|row| map[&row.0] == *row));
        assert_eq!(dense.iter().count(), map.len());
        assert_eq!(dense.get(key(30_000)), None);
    }

    #[test]
    fn what_holds_ranges_of_keys_is_put_together() {
        let keys: Vec<u128> = (0..20_000u32).map(|n| u128::from(n) * (u128::MAX / 20_000)).collect();
        for count in [1, 2, 3, 8, 5_000] {
            let ranges = Dense::<Row>::ranges(count);
            assert!(ranges.len() == count.min(PARTS), "{count}: {}", ranges.len());
            assert_eq!((*ranges[0].start(), *ranges[ranges.len() - 1].end()), (0, u128::MAX));
            assert!(ranges.windows(2).all(|two| *two[0].end() + 1 == *two[1].start()));
            let mut whole = Dense::default();
            for range in &ranges {
                let mut piece = Dense::default();
                piece.reserve(keys.len(), range);
                keys.iter()
                    .filter(|key| range.contains(key))
                    .for_each(|key| piece.put(Row(*key, 7), |_| false));
                let apart = (0..PARTS).all(|at| whole.parts[at].len == 0 || piece.parts[at].len == 0);
                assert!(apart, "two pieces share a part");
                whole.join(piece);
            }
            // What both have stays as it is.
            let mut other = Dense::default();
            keys.iter().chain([&1]).for_each(|key| other.put(Row(*key, 8), |_| false));
            whole.join(other);
            assert_eq!(whole.len(), keys.len() + 1);
            assert!(keys.iter().all(|key| whole.get(*key) == Some(&Row(*key, 7))));
        }
    }

    #[test]
    fn a_row_costs_little_more_than_itself() {
        for rows in [20_000, 50_000, 300_000u32, 400_000, 500_000] {
            let mut dense = Dense::default();
            (0..rows).for_each(|n| dense.put(Row(u128::from(n) * (u128::MAX / 500_000), 0), |_| false));
            let more = dense.bytes() as f64 / f64::from(rows) - size_of::<Row>() as f64;
            assert!(more < 14.0, "{rows} rows: {more} bytes more than its own for each");
        }
        // Of so few, what each part has of its own weighs more.
        for rows in [2_000, 5_000, 10_000u32] {
            let mut dense = Dense::default();
            (0..rows).for_each(|n| dense.put(Row(u128::from(n) * (u128::MAX / 10_000), 0), |_| false));
            let more = dense.bytes() as f64 / f64::from(rows) - size_of::<Row>() as f64;
            assert!(more < 18.0, "{rows} rows: {more} bytes more than its own for each");
        }
    }
}
