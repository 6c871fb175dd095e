//! Repair where it is awkward: the tables are a mount point, or lie behind a link; a file was taken in parts, twice.

use std::fs;
use std::os::unix::fs::symlink;

use crate::figures::tell;
use crate::support::mounts::{self, Mount};
use crate::support::place::{Place, age, order};

fn damage(place: &Place) {
    fs::write(place.path("tables/_millrace/root.json"), b"{").unwrap();
}

/// Tables with a line of the order `A`, and what `repair` must bring back.
fn filled(place: &Place) {
    place.put("a.json", order("A", "10:00:00", "PAID", &["I"]));
    place.run_once(0);
}

fn is_whole(place: &Place) {
    place.run_once(0);
    assert_eq!(place.lines("A"), [("I".to_owned(), "PAID".to_owned())]);
    place.expect(&["verify"], 0);
}

/// No other folder can take the place of a mount point. It must be said before anything is changed, and must not keep
/// the root from opening.
#[test]
fn row_06_tables_that_are_a_mount_point_are_not_repaired_and_not_lost() {
    if !mounts::possible("tables on a mount point") {
        return;
    }
    let mut refused = 0;
    for bind in [false, true] {
        let place = Place::quick();
        fs::create_dir(place.path("tables")).unwrap();
        let keep = tempfile::tempdir().unwrap();
        let mounted = match bind {
            false => Mount::memory_at(&place.path("tables"), 32 << 10, keep),
            true => Mount::bound(&place.path("tables"), keep),
        };
        let mounted = mounted.unwrap();
        filled(&place);
        let sound = fs::read(place.path("tables/_millrace/root.json")).unwrap();
        for _ in 0..2 {
            damage(&place);
            let said = place.expect(&["repair"], 2);
            assert!(said.err.contains("is a mount point"), "{}", said.err);
            refused += 1;
            // Whoever can mend it by hand finds everything as it was.
            fs::write(place.path("tables/_millrace/root.json"), &sound).unwrap();
            is_whole(&place);
        }
        drop(mounted);
    }
    tell(6, "tables on a mount point", &[("repairs refused", refused), ("lost", 0)]);
}

/// The new tables take the place of the old ones where those are, not where the link is.
#[test]
fn row_06_tables_behind_a_link_are_repaired_where_they_are() {
    for target in ["elsewhere/tables", "beside"] {
        let place = Place::quick();
        fs::create_dir_all(place.path(target)).unwrap();
        symlink(target, place.path("tables")).unwrap();
        filled(&place);
        damage(&place);
        place.expect(&["repair"], 0);
        assert_eq!(fs::read_link(place.path("tables")).unwrap().to_str(), Some(target));
        assert!(
            place.path(&format!("{target}.damaged-1")).is_dir() && !place.path("tables.damaged-1").exists()
        );
        is_whole(&place);
    }
}

/// Its first parts read the same both times; only the old end is gone.
#[test]
fn row_06_a_file_that_was_taken_in_parts_and_then_grew_is_repaired() {
    let place = Place::quick();
    let pipeline = millrace::pipeline::DEFAULT.replacen("[source]", "[source]\nbatch_bytes = \"1 MiB\"", 1);
    fs::write(place.path("pipeline.toml"), pipeline).unwrap();
    let line = |n: u64| {
        order(&format!("O{n}"), "10:00:00", "PAID", &[&format!("I{n}")]) + &" ".repeat(100_000) + "\n"
    };
    let mut text: String = (0..35).map(line).collect();
    place.put("big.ndjson", &text);
    place.expect(&["-p", "pipeline.toml", "run", "--once"], 0);
    text.extend((35..50).map(line));
    fs::write(place.input("big.ndjson"), &text).unwrap();
    age(&place.input("big.ndjson"));
    place.expect(&["-p", "pipeline.toml", "run", "--once"], 0);
    let parts = place.rows("select count(*) as n, sum(range_start = 0) as whole from _files");
    assert!(parts[0]["n"].as_i64() > Some(5) && parts[0]["whole"] == 2, "{parts:?}");
    damage(&place);
    place.expect(&["-p", "pipeline.toml", "repair"], 0);
    place.expect(&["-p", "pipeline.toml", "run", "--once"], 0);
    assert_eq!(place.rows("select count(distinct order_id) as n from order_item")[0]["n"], 50);
    place.expect(&["verify"], 0);
}
