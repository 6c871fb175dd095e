//! Two faults at one place, files that are mended, and that neither shows how a batch was cut.

use super::archives::packed;
use crate::support::place::{Place, order};

/// Runs once; the mirror must be level and everything must agree afterwards.
fn run(place: &Place, code: i32) {
    place.run_once(code);
    place.expect(&["verify"], 0);
}

#[test]
fn row_11_two_faults_at_one_place_stop_nothing() {
    let place = Place::quick();
    place.put("a.json", b"[\n{\"x\":1}\n{\"y\":2}\n]");
    place.put("b.ndjson", b"[{\"x\":1}\nfoo");
    place.put("good.json", order("O1", "10:00:00", "PAID", &["I1"]));
    run(&place, 3);
    run(&place, 0);
    assert_eq!(place.lines("O1").len(), 1);
    assert!(place.quarantine().len() >= 4);
}

#[test]
fn row_11_a_file_that_was_mended_leaves_quarantine() {
    let place = Place::quick();
    let good = order("O1", "10:00:00", "PAID", &[]);
    let lines = || place.quarantine().iter().map(|(_, line, _)| *line).collect::<Vec<i64>>();
    place.put("a.ndjson", b"{\"x\":1}\n{\"x\":2}\n");
    run(&place, 3);
    assert_eq!(lines(), [1, 2]);
    place.put("a.ndjson", format!("{{\"x\":1}}\n{good}\n"));
    run(&place, 3);
    assert_eq!(lines(), [1]);
    place.put("a.ndjson", format!("{good}\n"));
    run(&place, 0);
    assert!(lines().is_empty());
}

#[test]
fn row_11_quarantine_does_not_show_how_a_file_was_cut() {
    let bad: String = (0..40_000).map(|n| format!("{{\"bad\":{n},\"pad\":\"{:060}\"}}\n", 0)).collect();
    let text = bad.clone();
    let bad = packed("bad.ndjson.gz", bad.as_bytes());
    let contents = |beside: usize| {
        let place = Place::quick();
        place.put("bad.ndjson.gz", &bad);
        run(&place, 3);
        // Read again, in other company.
        for n in 0..beside {
            place.put(&format!("{n}.json"), order(&format!("O{n}"), "10:00:00", "PAID", &[]));
        }
        place.put("bad.ndjson.gz", &bad);
        run(&place, 3);
        let sql =
            "select file, byte_offset, line, reason, content_hash, documents from _quarantine order by 1, 2";
        place.expect(&["query", "--csv", sql], 0).out
    };
    let alone = contents(0);
    // One by one up to the cap, the rest in one row that counts them.
    assert_eq!(alone.lines().count(), 10_002);
    let offset: usize = text.split_inclusive('\n').take(10_000).map(str::len).sum();
    let last = format!("bad.ndjson.gz,{offset},10001,30000 more from byte {offset} on: ");
    assert!(alone.lines().last().unwrap().starts_with(&last), "{last}\n{:?}", alone.lines().last());
    assert!(alone.trim_end().ends_with(",30000"));
    assert!(alone == contents(50), "quarantine depends on the cut");
}
