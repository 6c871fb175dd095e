//! The tables are put back to an older state and go another way, while the mirror stays: batch numbers and row counts
//! agree again, rows do not.

use std::fs;

use crate::figures::tell;
use crate::support::folders;
use crate::support::place::{Place, order};

/// An order of one line; all of them make as many rows in each table.
fn one(id: &str) -> String {
    order(id, "10:00:00", "PAID", &[&format!("I{id}")])
}

#[test]
fn row_07_a_mirror_of_another_history_is_filled_again() {
    let mut cases = 0;
    for later in [&[][..], &["6", "7"]] {
        let place = Place::quick();
        place.put("1.json", one("1"));
        place.run_once(0);
        for part in ["tables", "checkpoint"] {
            folders::copy(&place.path(part), &place.path(&format!("kept-{part}")));
        }
        place.put("2.json", one("2"));
        place.run_once(0);
        for part in ["tables", "checkpoint"] {
            fs::remove_dir_all(place.path(part)).unwrap();
            folders::copy(&place.path(&format!("kept-{part}")), &place.path(part));
        }
        fs::remove_file(place.input("2.json")).unwrap();
        // As many batches and rows as the mirror knows of; then some more, which a mirror that is behind would take.
        for id in ["3"].iter().chain(later) {
            place.put(&format!("{id}.json"), one(id));
            place.expect(&["run", "--once", "--no-mirror"], 0);
        }
        let said = place.run_once(0);
        assert!(said.err.contains("filled again"), "{}", said.err);
        let there: Vec<_> = (1..9).map(|id| place.lines(&id.to_string()).len()).collect();
        let wanted: Vec<_> =
            (1..9).map(|id| usize::from(place.input(&format!("{id}.json")).exists())).collect();
        assert_eq!(there, wanted, "later: {later:?}");
        place.expect(&["verify"], 0);
        assert!(!place.run_once(0).err.contains("filled again"), "level once, it stays so");
        cases += 1;
    }
    tell(7, "a mirror of another history", &[("mutations", cases), ("silently wrong", 0)]);
}
