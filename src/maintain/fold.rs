//! Folding: keeps the files of a key index few. Eight files of one level become one of the next, the newest entry
//! of each owner staying.
//!
//! Files are immutable, so a fold reads and writes beside the batches; the next decision record names its result
//! in place of its sources.

use crate::error::Result;
use crate::merge::KeyIndex;
use crate::root::{Root, read_index};
use crate::stage::write_index;
use crate::tables::index_file::IndexFile;
use crate::tables::names;

/// Files of one level that become one of the next.
const FAN_IN: usize = 8;

/// Folds one level of one index, if one is full. The result takes effect with the next record.
pub fn step(root: &mut Root) -> Result<bool> {
    for at in 0..root.states.len() {
        if let Some((from, level)) = choose(&root.states[at].index_files) {
            fold(root, at, from, level)?;
            return Ok(true);
        }
    }
    Ok(false)
}

/// The first of [`FAN_IN`] neighbouring files of one level. Oldest first, levels never rise along the list, so
/// neighbours of a level hold neighbouring batches.
fn choose(files: &[IndexFile]) -> Option<(usize, u32)> {
    let level = |f: &IndexFile| names::index_file_id(&f.name).map_or(0, |(_, level)| level);
    files
        .windows(FAN_IN)
        .position(|w| w.iter().all(|f| level(f) == level(&w[0])))
        .map(|at| (at, level(&files[at])))
}

fn fold(root: &mut Root, at: usize, from: usize, level: u32) -> Result<()> {
    let state = &root.states[at];
    let sources = &state.index_files[from..from + FAN_IN];
    let mut newest = KeyIndex::default();
    for file in sources.iter().rev() {
        for (owner, entry) in read_index(root.disk.as_ref(), &state.table.def, file)? {
            newest.insert_older(owner, entry);
        }
    }
    let mut entries: Vec<_> = newest.iter().map(|(owner, entry)| (owner, *entry)).collect();
    entries.sort_unstable_by_key(|(owner, _)| *owner);
    let last = sources.last().and_then(|f| names::index_file_id(&f.name)).map_or(0, |(batch, _)| batch);
    let folded = write_index(root.disk.as_ref(), &state.table.def.dir, last, level + 1, &entries)?;
    root.states[at].index_files.splice(from..from + FAN_IN, [folded]);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(batch: u32, level: u32) -> IndexFile {
        IndexFile { name: names::index_file(batch, level), bytes: 0, checksum: String::new(), entries: 0 }
    }

    #[test]
    fn a_full_level_is_folded_the_oldest_first() {
        let mut files = vec![file(8, 1)];
        files.extend((9..16).map(|b| file(b, 0)));
        assert_eq!(choose(&files), None);
        files.push(file(16, 0));
        assert_eq!(choose(&files), Some((1, 0)));
    }
}
