//! A repair from many old rows: more than are read, taken and written at once.

use std::collections::BTreeSet;
use std::fs;

use super::{Damage, cut};
use crate::figures::tell;
use crate::scale::pick;
use crate::support::folders;
use crate::support::oracle::Row;
use crate::support::place::order;
use crate::support::site::Site;

const LINES: usize = 60;

/// Two versions of every order, the second with fewer lines, in files of their own; some of the files are gone.
#[test]
fn row_06_many_rows_of_gone_inputs_are_kept() {
    // A batch of rows in memory is 8,192.
    let orders = pick(160, 3000);
    let damages: [Damage; 2] = [
        ("identity torn", |t| cut(&t.join("_millrace/root.json"))),
        ("decision record missing", |t| fs::remove_file(t.join("_millrace/decision")).unwrap()),
    ];
    for (what, damage) in damages.into_iter().skip(pick(1, 0)) {
        let source = folders::quick();
        let lines: Vec<String> = (0..LINES).map(|n| format!("I{n}")).collect();
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let texts = |time: &str, lines: &[&str], orders: std::ops::Range<usize>| {
            orders.map(|n| order(&format!("O{n:05}"), time, "NEW", lines)).collect::<Vec<_>>().join("\n")
        };
        let third = orders / 3;
        fs::write(source.path().join("1-gone.ndjson"), texts("10:00:00", &lines, 0..orders)).unwrap();
        fs::write(source.path().join("2-gone.ndjson"), texts("11:00:00", &lines[..55], 0..third)).unwrap();
        fs::write(source.path().join("3-there.ndjson"), texts("12:00:00", &lines[..50], third..2 * third))
            .unwrap();
        let site = Site::with(source.path(), "batch_files = 1");
        site.ok(&["run", "--once", "--no-mirror"]);
        let before = site.contents();
        // Without the oracle, which compares every row with every other.
        let expected = (orders - 2 * third) * LINES + third * 55 + third * 50;
        assert_eq!(before["order_item"].len(), expected, "before any damage");
        ["1-gone.ndjson", "2-gone.ndjson"]
            .iter()
            .for_each(|f| fs::remove_file(source.path().join(f)).unwrap());
        damage(&site.tables());
        let said = site.ok(&["repair"]);
        assert!(said.contains("2 inputs are gone"), "{what}: {said}");
        let after = site.contents();
        let rows = before["order_item"].len();
        assert!(rows > 8192, "{rows} rows are not many");
        let there: BTreeSet<&Row> = after["order_item"].iter().collect();
        let kept = before["order_item"].iter().filter(|row| there.contains(row)).count();
        tell(6, &format!("many rows, {what}"), &[("rows", rows as u64), ("lost", (rows - kept) as u64)]);
        assert!(after == before, "{what}: {kept} of {rows} rows kept, {} there", after["order_item"].len());
        site.verified(what);
        assert!(site.ok(&["run", "--once", "--no-mirror"]).contains("nothing new"), "{what}");
    }
}
