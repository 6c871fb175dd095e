//! What somebody did to the mirror while nobody was running, and what `verify` says of a mirror that is behind.

use std::path::Path;

use rusqlite::Connection;

use super::{Score, base};
use crate::figures::tell;
use crate::support::mirror;
use crate::support::taking::{Told, database};

fn sql(folder: &Path, statements: &str) {
    let conn = Connection::open(database(folder)).unwrap();
    conn.execute_batch("PRAGMA foreign_keys = off").unwrap();
    conn.execute_batch(statements).unwrap_or_else(|e| panic!("{statements}: {e}"));
}

#[test]
fn row_07_what_somebody_did_with_sqlite_is_put_right_or_told() {
    let mut score = Score::default();
    for statements in [
        "VACUUM",
        "PRAGMA journal_mode = delete; PRAGMA auto_vacuum = full; VACUUM",
        "ANALYZE",
        "DELETE FROM order_item",
        "DELETE FROM customer WHERE rowid = (SELECT min(rowid) FROM customer)",
        "DELETE FROM _files",
        "INSERT INTO seller (id, name) VALUES ('mine', 'mine')",
        "UPDATE order_item SET order_status = 'LOST'",
        "UPDATE _files SET file = 'x' WHERE rowid = 1",
        "UPDATE _millrace SET batch_id = 1",
        "UPDATE _millrace SET batch_id = 900",
        "UPDATE _millrace SET batch_id = NULL",
        "DELETE FROM _millrace",
        "DROP TABLE _millrace",
        "DROP TABLE order_item",
        "ALTER TABLE item ADD COLUMN mine",
        "ALTER TABLE delivery_address DROP COLUMN complement",
        "ALTER TABLE seller RENAME TO sellers",
        "CREATE TABLE mine (a); CREATE VIEW my_view AS SELECT * FROM item",
        "CREATE TRIGGER t AFTER INSERT ON _files BEGIN DELETE FROM seller; END",
    ] {
        let folder = base().copy();
        sql(folder.path(), statements);
        score.judge(folder.path(), statements);
    }
    score.tell("changed with sqlite");
}

/// A batch is in the tables first. What a kill in between leaves is no contradiction, and told as what it is; what
/// somebody changed in a mirror that is behind is found all the same.
#[test]
fn row_07_verify_tells_a_mirror_that_is_behind_from_one_that_is_different() {
    let base = base();
    let (mut behind, mut different) = (0, 0);
    let folder = base.copy();
    let folder = folder.path();
    base.taking.without_mirror().take(folder, &mut Told::default()).unwrap();
    let (tables, findings) = base.taking.look(folder);
    assert!(tables == base.expected);
    assert!(findings.mirror_behind && findings.mirror_batch < Some(findings.batch), "{findings:?}");
    assert_eq!(findings.differences, Vec::<String>::new());
    behind += 1;

    // Of the addresses the last batch touched a few; the others must be what they were.
    for change in [
        "UPDATE delivery_address SET street = 'mine'",
        "DELETE FROM delivery_address",
        "INSERT INTO item (id) VALUES ('mine')",
        "DELETE FROM _files WHERE _batch_id = 1",
    ] {
        let copy = crate::support::folders::quick();
        crate::support::folders::copy(folder, copy.path());
        sql(copy.path(), change);
        let (_, findings) = base.taking.look(copy.path());
        assert!(findings.mirror_behind, "{change}");
        assert!(findings.differences.iter().any(|d| d.starts_with("mirror: ")), "{change}: {findings:?}");
        different += 1;
    }

    let mut told = Told::default();
    base.taking.take(folder, &mut told).unwrap();
    let (_, findings) = base.taking.look(folder);
    assert!(!findings.mirror_behind && findings.differences.is_empty(), "{findings:?}");
    assert_eq!(mirror::differences(&database(folder), &base.expected), Vec::<String>::new());
    tell(7, "behind or different", &[("behind told", behind), ("changed while behind, told", different)]);
}
