//! What `verify` sees: whatever does not hold together in tables, indexes, ledger and mirror.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use millrace::batch::{Entry, EventOrder, FileRange, Plan, Resume, TableRows};
use millrace::root::Root;
use millrace::{system, verify};

use super::{Damage, copy_of_base, live_data_file};
use crate::figures::tell;

#[test]
fn row_06_verify_finds_what_was_changed_by_hand() {
    let changes: [Damage; 5] = [
        ("mirror: order_item has other rows", |folder| {
            sqlite(
                folder,
                "update order_item set order_status = 'MINE' where id = (select min(id) from order_item)",
            );
        }),
        ("mirror: seller has other rows", |folder| {
            sqlite(folder, "delete from seller where id = (select min(id) from seller)");
        }),
        ("mirror: _files has other rows", |folder| sqlite(folder, "update _files set events = events + 1")),
        ("item: ", |folder| {
            // The same number of rows and bytes, but not the rows that were written.
            let dir = folder.join("tables/item");
            let file = live_data_file(&folder.join("tables"), "item");
            assert_eq!(file.parent(), Some(dir.as_path()));
            let mut bytes = fs::read(&file).unwrap();
            bytes[40] ^= 0x55;
            bytes[60] ^= 0x55;
            fs::write(&file, bytes).unwrap();
        }),
        ("mirror: it is at batch", |folder| sqlite(folder, "update _millrace set batch_id = 1000")),
    ];
    let mut seen = 0;
    let (mirrored, _) = copy_of_base();
    mirrored.ok(&["run", "--once"]);
    mirrored.verified("a sound root");
    for (expected, change) in changes {
        let folder = mirrored.copy();
        change(folder.path());
        let said = folder.does(&["verify"]);
        assert_eq!(said.code, Some(1), "{expected}: {said:?}");
        assert!(said.out.contains(&format!("DIFFERENCE: {expected}")), "{expected}: {said:?}");
        seen += 1;
    }
    tell(6, "changed by hand", &[("changes", 5), ("seen by verify", seen)]);
}

fn sqlite(folder: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(folder.join("database/orders.db")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

/// Opens the root of a folder, lets `change` commit something that does not hold together, and verifies.
fn verified_after(change: impl FnOnce(&mut Root, &mut Vec<Plan>) -> Vec<FileRange>) -> Vec<String> {
    let (folder, _) = copy_of_base();
    let mut root = folder.root();
    let mut plans = vec![Plan::default(); root.states.len() - 1];
    let files = change(&mut root, &mut plans);
    let ledger = system::files_rows(&files, root.next_batch, 1).unwrap();
    root.commit_batch(&plans, ledger).unwrap();
    drop(root);
    verify::tables_only(&folder.root()).unwrap().differences
}

#[test]
fn row_06_verify_finds_an_index_that_names_other_rows() {
    let found = verified_after(|root, plans| {
        // Two owners of one file whose places are exchanged: the counts still agree.
        let state = &root.states[0];
        let mut entries: Vec<(u128, Entry)> = state.index.iter().collect();
        entries.sort_unstable_by_key(|(owner, e)| (e.file, e.count, *owner));
        let pair = entries.windows(2).find(|w| (w[0].1.file, w[0].1.count) == (w[1].1.file, w[1].1.count));
        let [(a, at_a), (b, at_b)] = pair.unwrap() else { unreachable!() };
        plans[0].index = vec![(*a, *at_b), (*b, *at_a)];
        vec![FileRange { name: "made-up".into(), last: true, ..FileRange::default() }]
    });
    assert!(found.iter().any(|d| d.contains("in other rows than the table")), "{found:?}");
}

#[test]
fn row_06_verify_finds_a_gap_in_the_ledger() {
    let range = |from: u64, to: u64, last: bool| FileRange {
        name: "made-up.ndjson".into(),
        start: Resume { offset: from, ..Resume::default() },
        end: Resume { offset: to, ..Resume::default() },
        last,
        ..FileRange::default()
    };
    let gap = verified_after(|_, _| vec![range(0, 100, false), range(150, 200, true)]);
    assert!(gap.iter().any(|d| d.contains("goes on at byte 150, but 100 bytes")), "{gap:?}");
    assert_eq!(
        verified_after(|_, _| vec![range(0, 100, false), range(100, 200, true)]),
        Vec::<String>::new()
    );
}

#[test]
fn row_06_verify_finds_rows_of_a_batch_that_the_ledger_does_not_know() {
    let found = verified_after(|root, plans| {
        let at = root.pipeline.tables.iter().position(|t| t.name == "warehouse").unwrap();
        let (table, file) = (&root.states[at].table, *root.states[at].table.files.keys().next().unwrap());
        let rows = table.read(file).unwrap().next().unwrap().unwrap().rows.slice(0, 1);
        let mut columns = rows.columns().to_vec();
        let batch = rows.schema().index_of("_batch_id").unwrap();
        columns[0] = Arc::new(arrow::array::StringArray::from(vec!["made-up"]));
        columns[batch] = Arc::new(arrow::array::Int64Array::from(vec![4711]));
        let rows = arrow::array::RecordBatch::try_new(rows.schema(), columns).unwrap();
        let owner = millrace::key::owner_of(&[rows.column(0).clone()], 0);
        let content = millrace::cell::content_of(&rows.columns()[..1], 0, 1);
        let order = EventOrder { sequence: [1, 1], hash: 1 };
        let file = millrace::root::file_id(root.next_batch).unwrap();
        plans[at].index = vec![(owner, Entry { order, content, file, first: 0, count: 1 })];
        plans[at].append = Some(TableRows { rows, owners: Vec::new() });
        vec![FileRange { name: "made-up".into(), last: true, ..FileRange::default() }]
    });
    assert_eq!(found, ["_files: rows are of batch 4711, of which it knows no file"]);
}
