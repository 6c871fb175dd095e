//! Merge on small plans: who wins, what is written, what is only counted.

use std::sync::Arc;

use arrow::array::{Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};

use super::*;
use crate::batch::{Deletion, EventOrder, EventRef, KeyPart, OwnerRows, TableRows};

fn order(n: i64) -> EventOrder {
    EventOrder { sequence: [n, 0], hash: n as u128 }
}

fn claim(owner: u128, n: i64, document: u32) -> Claim {
    Claim { owner, order: order(n), event: EventRef { chunk: 0, document }, element: 0, twins: false }
}

fn built(owners: &[(u128, i64, u64, u32)]) -> TableRows {
    let mut values = Vec::new();
    let mut out = Vec::new();
    for &(owner, n, content, count) in owners {
        let first = values.len() as u32;
        values.extend((0..count).map(|_| n));
        let key = vec![KeyPart::Int(owner as i64)];
        out.push(OwnerRows { owner, order: order(n), file: 0, content, first, count, key });
    }
    let schema = Arc::new(Schema::new(vec![Field::new("v", DataType::Int64, true)]));
    let rows = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from(values))]).unwrap();
    TableRows { rows, owners: out }
}

#[test]
fn the_newest_claim_of_an_owner_wins_whatever_the_order_of_arrival() {
    let index = KeyIndex::default();
    let w = choose(&index, &[claim(1, 5, 0), claim(1, 9, 1), claim(1, 7, 2), claim(1, 9, 3), claim(2, 1, 4)]);
    assert_eq!(w.claims, vec![claim(1, 9, 1), claim(2, 1, 4)]);
    assert_eq!((w.stale, w.repeated), (2, 1));
}

#[test]
fn claims_older_than_the_index_never_win() {
    let mut index = KeyIndex::default();
    let p = plan(&index, built(&[(1, 5, 10, 1)]), 1, Counts::default()).unwrap();
    index.apply(&p.index);
    let w = choose(&index, &[claim(1, 5, 0), claim(2, 1, 1)]);
    assert_eq!((w.claims.len(), w.repeated), (1, 1));
    assert_eq!(choose(&index, &[claim(1, 4, 0)]).stale, 1);
    assert_eq!(choose(&index, &[claim(1, 6, 0)]).claims.len(), 1);
}

#[test]
fn a_plan_appends_replaces_empties_and_leaves_alone() {
    let mut index = KeyIndex::default();
    let p =
        plan(&index, built(&[(1, 1, 10, 2), (2, 1, 20, 1), (3, 1, 30, 0)]), 1, Counts::default()).unwrap();
    assert_eq!(p.counts, Counts { inserted: 3, ..Counts::default() });
    assert!(p.delete.is_empty() && p.index.len() == 3 && p.replaced.is_empty());
    index.apply(&p.index);
    // 1 grows, 2 says the same again, 3 stays empty with another event.
    let p =
        plan(&index, built(&[(1, 2, 11, 3), (2, 2, 20, 1), (3, 2, 30, 0)]), 2, Counts::default()).unwrap();
    assert_eq!(p.counts, Counts { inserted: 1, updated: 2, unchanged: 1, ..Counts::default() });
    assert_eq!(p.delete, vec![Deletion { file: 1, first: 0, count: 2 }]);
    assert_eq!(p.append.as_ref().unwrap().rows.num_rows(), 3);
    assert_eq!(p.replaced, vec![0]);
    index.apply(&p.index);
    assert_eq!(index.get(2).unwrap().file, 1);
    assert_eq!(index.get(2).unwrap().order, order(2));
    // 1 is emptied: its rows go, its key is told.
    let p = plan(&index, built(&[(1, 3, 0, 0)]), 3, Counts::default()).unwrap();
    assert_eq!(p.counts, Counts { deleted: 3, ..Counts::default() });
    assert_eq!(p.emptied, vec![vec![KeyPart::Int(1)]]);
    assert!(p.append.is_none() && p.replaced.is_empty());
    index.apply(&p.index);
    assert_eq!(index.rows(), 1);
    assert_eq!(index.changed_since(2).count(), 1);
}

#[test]
fn owners_that_had_rows_are_named_by_their_first_new_row() {
    let mut index = KeyIndex::default();
    let p =
        plan(&index, built(&[(2, 1, 20, 1), (3, 1, 30, 2), (5, 1, 50, 0)]), 1, Counts::default()).unwrap();
    index.apply(&p.index);
    // 1 is new, 2 and 3 had rows, 4 is new, 5 had none.
    let owners = [(1, 7, 1, 2), (2, 8, 21, 3), (3, 9, 31, 1), (4, 9, 4, 1), (5, 9, 51, 1)];
    let p = plan(&index, built(&owners), 2, Counts::default()).unwrap();
    assert_eq!(p.replaced, vec![2, 5]);
}

#[test]
fn rows_are_packed_when_some_are_dropped() {
    let mut index = KeyIndex::default();
    let p = plan(&index, built(&[(2, 1, 20, 1)]), 1, Counts::default()).unwrap();
    index.apply(&p.index);
    let p = plan(&index, built(&[(1, 7, 1, 1), (2, 8, 20, 1), (3, 9, 3, 2)]), 2, Counts::default()).unwrap();
    let rows = p.append.unwrap();
    assert_eq!(rows.rows.num_rows(), 3);
    assert_eq!(
        rows.owners.iter().map(|o| (o.owner, o.first, o.count)).collect::<Vec<_>>(),
        vec![(1, 0, 1), (3, 1, 2)]
    );
    index.apply(&p.index);
    assert_eq!(index.get(3).unwrap().first, 1);
}

#[test]
fn a_move_is_refused_when_the_index_has_the_rows_elsewhere() {
    let mut index = KeyIndex::default();
    let p = plan(&index, built(&[(1, 1, 10, 2)]), 1, Counts::default()).unwrap();
    index.apply(&p.index);
    let run = Run { owner: 1, file: 1, first: 0, count: 2, to: 5 };
    let moves = moved(&index, &[run], 9, 2).unwrap();
    assert_eq!((moves.entries[0].1.file, moves.entries[0].1.first, moves.dead.len()), (9, 5, 0));
    assert!(moved(&index, &[Run { first: 1, ..run }], 9, 2).is_none());
    assert!(moved(&index, &[Run { owner: 4, ..run }], 9, 2).is_none());
    // A batch that came while the rows were rewritten has the last word.
    let p = plan(&index, built(&[(1, 2, 11, 1)]), 2, Counts::default()).unwrap();
    index.apply(&p.index);
    let moves = moved(&index, &[run], 9, 2).unwrap();
    assert_eq!((moves.entries.len(), moves.dead), (0, vec![Deletion { file: 9, first: 5, count: 2 }]));
    assert!(moved(&index, &[run], 9, 3).is_none());
}
