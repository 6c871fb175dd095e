//! Which files of a table are worth joining: few files for readers, without writing the same rows again and again.

use std::collections::BTreeMap;

use crate::batch::FileId;
use crate::tables::{LiveFile, Table};

/// How eagerly files are rewritten.
#[derive(Debug, Clone, Copy)]
pub struct Policy {
    /// Files of one size tier that make a step.
    pub fan_in: usize,
    /// Bytes that one step writes at most.
    pub step_bytes: u64,
    /// Rows that one step moves at most: a batch waits while their index entries move along. A file with half of
    /// that is left alone unless it is mostly deleted.
    pub step_rows: u64,
    /// Files smaller than this are all of the lowest tier.
    pub small_bytes: u64,
    /// What a table at rest may have besides its log: data files and deletion vectors, each of which a reader opens.
    pub rest_parts: usize,
    /// The same at the end of a run, which somebody waits for, for tables that are large for that run: a bulk load of
    /// a few batches is not written twice.
    pub end_parts: usize,
    /// Bytes of a table that the end of a long run rewrites for each of its batches: far less work than they were.
    pub end_bytes: u64,
    /// Bytes that one step at rest writes at most of a table; so a small table becomes one file.
    pub rest_bytes: u64,
}

/// A file is rewritten along with smaller ones that have a part of its bytes, no less: or what a thousand batches wrote
/// would be written again for every few rows. In a tier of small files that was 65 times for each row; with a fourth it
/// is eight times, for one or two files more that readers open.
const SHARE: u64 = 4;
/// The same at rest, where few files count for more, but old versions stay for as long as history does.
const REST_SHARE: u64 = 8;

impl Default for Policy {
    fn default() -> Self {
        Policy {
            fan_in: 8,
            step_bytes: 128 << 20,
            step_rows: 400_000,
            small_bytes: 256 << 10,
            rest_parts: 3,
            end_parts: 15,
            end_bytes: 32 << 10,
            rest_bytes: 16 << 20,
        }
    }
}

/// The files that the next step would rewrite: the oldest of the smallest tier that is full, or those of which more
/// than half is deleted, once they are many or large.
pub fn choose(table: &Table, policy: &Policy) -> Option<Vec<FileId>> {
    let mut tiers = tiers(table, policy).into_values();
    let full = tiers.find_map(|files| {
        let files = by_size(files.iter().map(|id| (*id, &table.files[id])));
        let files = together(&files, SHARE);
        let most = files.len().min(policy.fan_in * LATE);
        (files.len() >= policy.fan_in).then(|| in_order(&files[..most]))
    });
    let files = full.or_else(|| hollow(table, policy))?;
    let (mut bytes, mut rows) = (0, 0);
    let fits = files.iter().enumerate().take_while(|(at, id)| {
        let file = &table.files[id];
        (bytes, rows) = (bytes + size(file), rows + file.alive());
        *at == 0 || (bytes <= policy.step_bytes && rows <= policy.step_rows)
    });
    Some(fits.map(|(_, id)| *id).take(policy.fan_in * LATE).collect())
}

/// The small files of a table that a reader has to open too many files for: as one they are read faster.
pub fn choose_at_rest(table: &Table, policy: &Policy) -> Option<Vec<FileId>> {
    if parts(table) <= policy.rest_parts {
        return None;
    }
    let mut files = by_size(table.files.iter().map(|(id, file)| (*id, file)));
    let (mut bytes, mut rows) = (0, 0);
    let fits = files.iter().take_while(|file| {
        (bytes, rows) = (bytes + file.bytes, rows + file.rows);
        bytes <= policy.rest_bytes && rows <= policy.step_rows
    });
    files.truncate(fits.count());
    let ids = in_order(together(&files, REST_SHARE));
    (ids.len() > 1).then_some(ids)
}

/// A file and what a step would write of it.
struct Small {
    bytes: u64,
    rows: u64,
    id: FileId,
}

/// Smallest first.
fn by_size<'t>(files: impl Iterator<Item = (FileId, &'t LiveFile)>) -> Vec<Small> {
    let mut files: Vec<Small> =
        files.map(|(id, file)| Small { bytes: size(file), rows: file.alive(), id }).collect();
    files.sort_unstable_by_key(|file| (file.bytes, file.rows, file.id));
    files
}

/// Those that smaller ones have the `share`-th part of, with all that are smaller.
fn together(files: &[Small], share: u64) -> &[Small] {
    let (mut bytes, mut take) = (0, 0);
    for (at, file) in files.iter().enumerate() {
        if file.bytes <= bytes * share {
            take = at + 1;
        }
        bytes += file.bytes;
    }
    &files[..take]
}

/// Oldest first.
fn in_order(files: &[Small]) -> Vec<FileId> {
    let mut ids: Vec<FileId> = files.iter().map(|file| file.id).collect();
    ids.sort_unstable();
    ids
}

/// The same, unless the run that ends was short for that much work and the files are not that many.
pub fn choose_at_end(table: &Table, policy: &Policy, batches: u64) -> Option<Vec<FileId>> {
    let files = choose_at_rest(table, policy)?;
    // All that the steps up to rest may write, not only the first one.
    let bytes: u64 = table.files.values().map(size).filter(|size| *size <= policy.rest_bytes).sum();
    let is_little = bytes <= batches.saturating_mul(policy.end_bytes);
    (is_little || parts(table) > policy.end_parts).then_some(files)
}

/// Files that a reader opens.
fn parts(table: &Table) -> usize {
    table.files.len() + table.files.values().filter(|f| !f.deleted.is_empty()).count()
}

/// A tier is late once it has so many times what makes it full.
const LATE: usize = 4;

pub fn is_late(table: &Table, policy: &Policy) -> bool {
    let many = policy.fan_in * LATE;
    table.files.len() >= many && tiers(table, policy).values().any(|files| files.len() >= many)
}

fn hollow(table: &Table, policy: &Policy) -> Option<Vec<FileId>> {
    let hollow: Vec<(FileId, u64)> = table
        .files
        .iter()
        .filter(|(_, f)| f.deleted.len() * 2 > f.rows && f.alive() < policy.step_rows)
        .map(|(id, f)| (*id, f.deleted.len()))
        .collect();
    let dead: u64 = hollow.iter().map(|(_, dead)| dead).sum();
    (hollow.len() >= policy.fan_in || dead > policy.step_rows / 8)
        .then(|| hollow.into_iter().map(|(id, _)| id).collect())
}

/// Bytes of the rows that are alive, about.
fn size(file: &LiveFile) -> u64 {
    let bytes = file.action.size.max(0) as u128 * u128::from(file.alive()) / u128::from(file.rows.max(1));
    bytes as u64
}

/// Files that are worth joining, oldest first. One of half a step's size would only be copied with each step.
fn tiers(table: &Table, policy: &Policy) -> BTreeMap<u32, Vec<FileId>> {
    let mut tiers: BTreeMap<u32, Vec<FileId>> = BTreeMap::new();
    for (id, file) in &table.files {
        if size(file) < policy.step_bytes / 2 && file.alive() < policy.step_rows / 2 {
            tiers.entry(tier(size(file), policy)).or_default().push(*id);
        }
    }
    tiers
}

fn tier(bytes: u64, policy: &Policy) -> u32 {
    (bytes / policy.small_bytes.max(1) + 1).ilog(policy.fan_in.max(2) as u64)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::tables::TableDef;
    use crate::tables::log::FileAction;
    use arrow::datatypes::Schema;
    use roaring::RoaringTreemap;

    /// A table with files of these sizes; of each row takes a hundred bytes. `dead` of a hundred rows are deleted.
    fn table(sizes: &[u64], dead: u64) -> Table {
        table_of(sizes.iter().map(|size| (*size, size / 100)), dead)
    }

    /// Of bytes and rows.
    fn table_of(sizes: impl Iterator<Item = (u64, u64)>, dead: u64) -> Table {
        let def = TableDef {
            name: "t".into(),
            dir: PathBuf::new(),
            schema: Arc::new(Schema::empty()),
            stats: Vec::new(),
        };
        let file = |(size, rows): (u64, u64)| {
            let action = FileAction {
                path: String::new(),
                size: size as i64,
                modification_time: 0,
                stats: String::new(),
                dv: None,
                checksum: None,
            };
            let mut deleted = RoaringTreemap::new();
            deleted.insert_range(0..rows * dead / 100);
            LiveFile { action, rows, deleted }
        };
        let files = (1..).zip(sizes.map(file)).collect();
        Table { def, version: 0, files, checkpoint: 0 }
    }

    fn at_rest(sizes: &[u64], dead: u64) -> Vec<FileId> {
        choose_at_rest(&table(sizes, dead), &Policy::default()).unwrap_or_default()
    }

    const NONE: [FileId; 0] = [];
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;

    #[test]
    fn at_rest_a_small_table_becomes_one_file() {
        let sizes = [2 * MIB, 2 * MIB, MIB, 30 * KIB, 30 * KIB, 30 * KIB, 30 * KIB, 30 * KIB];
        assert_eq!(at_rest(&sizes, 0), [1, 2, 3, 4, 5, 6, 7, 8]);
        // Three files, or two of which one has a vector, are few.
        assert_eq!(at_rest(&[KIB, KIB, KIB], 0), NONE);
        assert_eq!(at_rest(&[KIB, KIB, KIB, KIB], 0), [1, 2, 3, 4]);
        assert_eq!(at_rest(&[KIB, KIB], 10), [1, 2]);
    }

    #[test]
    fn at_the_end_of_a_run_a_table_is_rewritten_if_that_is_little_beside_its_batches() {
        let at_end = |sizes: &[u64], batches| choose_at_end(&table(sizes, 0), &Policy::default(), batches);
        let (small, large) = ([10 * KIB; 6], [MIB; 6]);
        assert_eq!(at_end(&small, 0), None);
        assert_eq!(at_end(&small, 40).unwrap().len(), 6);
        assert_eq!(at_end(&large, 40), None);
        assert_eq!(at_end(&large, 1_000).unwrap().len(), 6);
        // So many are too many for anybody.
        assert_eq!(at_end(&[MIB; 16], 0).unwrap().len(), 16);
        assert_eq!(at_end(&[10 * KIB; 3], 1_000), None);
    }

    /// What batches wrote is joined as they come: in few files, and without writing it again and again.
    #[test]
    fn of_many_small_batches_each_row_is_written_a_few_times() {
        let policy = Policy::default();
        // Joined, they take as many bytes as before, or are compressed to a fifth.
        for (small, rows, shrinks) in [(2 * KIB, 20, 1), (60 * KIB, 60, 5)] {
            let size = |rows_of: u64| match rows_of == rows {
                true => (small, rows),
                false => (rows_of * small / rows / shrinks, rows_of),
            };
            let (mut files, mut written, mut most) = (Vec::new(), 0, 0);
            for _ in 0..5_000 {
                files.push(rows);
                while let Some(ids) = choose(&table_of(files.iter().map(|rows| size(*rows)), 0), &policy) {
                    let one: u64 = ids.iter().map(|id| files[*id as usize - 1]).sum();
                    let left = (1..).zip(&files).filter(|(id, _)| !ids.contains(id)).map(|(_, rows)| *rows);
                    files = left.chain([one]).collect();
                    written += one;
                }
                most = most.max(files.len());
            }
            let times = written / (5_000 * rows);
            assert!(times <= 12 && most <= 20, "{small}: {times} times, {most} files");
        }
    }

    #[test]
    fn at_rest_a_large_file_is_not_written_again_for_a_few_rows() {
        // The four small ones alone.
        assert_eq!(at_rest(&[4 * MIB, 10 * KIB, 10 * KIB, 10 * KIB, 10 * KIB], 0), [2, 3, 4, 5]);
        assert_eq!(at_rest(&[300 * KIB, 10 * KIB, 10 * KIB, 10 * KIB, 10 * KIB], 0), [1, 2, 3, 4, 5]);
        // Too small to weigh anything, but along with others of one size it is taken.
        assert_eq!(at_rest(&[KIB, 100 * KIB, 100 * KIB, 100 * KIB], 0), [1, 2, 3, 4]);
        assert_eq!(at_rest(&[40 * MIB, 4 * MIB, 400 * KIB, 40 * KIB], 0), NONE);
    }

    #[test]
    fn at_rest_no_step_writes_more_than_its_bound() {
        let sizes: Vec<u64> = (1..=30).map(|n| n * MIB).collect();
        // 1 to 5 are 15 MiB.
        assert_eq!(at_rest(&sizes, 0), [1, 2, 3, 4, 5]);
        // 160,000 rows each, of which two fit into a step.
        let policy = Policy { rest_bytes: u64::MAX, ..Policy::default() };
        assert_eq!(choose_at_rest(&table(&[16_000_000; 6], 0), &policy).unwrap(), [1, 2]);
    }
}
