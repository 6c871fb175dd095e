//! The rows that one event makes in a table: its elements, and which of them are duplicates.

use super::plan::TablePlan;
use super::value::{Misfit, View};
use crate::batch::{Kind, ValueId};

/// Where a row comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `@`
    pub element: ValueId,
    /// `^`
    pub parent: ValueId,
}

/// Something other than an array where a level of `each` wants one: under which element of the level before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoArray {
    pub level: usize,
    pub parent: u32,
    pub misfit: Misfit,
}

/// Room for rows, used again from event to event.
#[derive(Debug, Default)]
pub struct Rows {
    pub rows: Vec<Row>,
    spare: Vec<Row>,
}

impl Rows {
    /// Fills `rows` with the table's elements in document order; what is no array goes to `wrong`.
    pub fn find(&mut self, view: View<'_>, table: &TablePlan, root: ValueId, mut wrong: impl FnMut(NoArray)) {
        self.rows.clear();
        self.rows.push(Row { element: root, parent: root });
        for (level, steps) in table.levels.iter().enumerate() {
            std::mem::swap(&mut self.rows, &mut self.spare);
            self.rows.clear();
            for (parent, row) in (0..).zip(&self.spare) {
                let element = row.element;
                let found = view.resolve(element, steps).and_then(|v| match v {
                    Some(v) if v.kind != Kind::Array => {
                        Err(Misfit::Blocked { found: v.kind, wanted: Kind::Array })
                    }
                    array => Ok(array),
                });
                match found {
                    Ok(None) => {}
                    Ok(Some(array)) => {
                        let rows = view.elements(array).map(|id| Row { element: id, parent: element });
                        self.rows.extend(rows);
                    }
                    Err(misfit) => wrong(NoArray { level, parent, misfit }),
                }
            }
        }
    }
}

/// Of rows with the same key keeps the last; leaves them in the order of the document. `keys` are (hash of the
/// row's key, ordinal). Returns how many went.
pub fn resolve_duplicates(keys: &mut Vec<(u128, u32)>) -> u64 {
    let before = keys.len();
    if before < 2 {
        return 0;
    }
    keys.sort_unstable_by_key(|(key, ordinal)| (*key, std::cmp::Reverse(*ordinal)));
    keys.dedup_by_key(|(key, _)| *key);
    keys.sort_unstable_by_key(|(_, ordinal)| *ordinal);
    (before - keys.len()) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_later_duplicate_wins_at_its_own_place() {
        let mut keys = vec![(7, 0), (5, 1), (7, 2), (9, 3), (5, 4), (7, 5)];
        assert_eq!(resolve_duplicates(&mut keys), 3);
        assert_eq!(keys, [(9, 3), (5, 4), (7, 5)]);
        assert_eq!(resolve_duplicates(&mut keys), 0);
    }
}
