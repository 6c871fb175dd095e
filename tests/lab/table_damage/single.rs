//! One damage at a time: every kind, in some tables (short form) or in every table.

use super::base;
use super::catalogue::{KINDS, OF_THE_ROOT, Tally, all_tables};
use crate::scale::{is_long, pick};

/// Every kind whose place in the list leaves `turn` when divided by `turns`.
fn every_kind(turn: usize, turns: usize) -> Tally {
    let mut tally = Tally::default();
    let tables = all_tables(&base().0.tables());
    for (at, (what, deed)) in KINDS.iter().enumerate().filter(|(at, _)| at % turns == turn) {
        let before = tally.damages;
        for (step, _) in tables.iter().enumerate() {
            // The short form takes another table for every kind, the next one that has something of the kind.
            let table = &tables[(at * 5 + step) % tables.len()];
            tally.attempt(base(), what, table, *deed);
            if !is_long() && tally.damages > before {
                break;
            }
        }
        assert!(tally.damages > before, "no table has what `{what}` damages");
    }
    tally
}

#[test]
fn row_06_damage_to_a_table_is_noticed_and_repaired_1() {
    every_kind(0, 2).end("single damages, first half");
}

#[test]
fn row_06_damage_to_a_table_is_noticed_and_repaired_2() {
    every_kind(1, 2).end("single damages, second half");
}

#[test]
fn row_06_damage_to_the_roots_own_files_is_noticed_and_repaired() {
    let mut tally = Tally::default();
    for (what, deed) in OF_THE_ROOT.iter().step_by(pick(1, 1)) {
        tally.attempt(base(), what, "item", *deed);
    }
    tally.end("the root's own files");
}
