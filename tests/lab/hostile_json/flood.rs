//! Very many bad documents in one file: told one by one up to a cap, the rest in one row, however the file is cut.

use std::fs;
use std::sync::Arc;

use millrace::batch::Unread;
use millrace::report::BatchReport;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run as run_session};
use millrace::tables::LocalDisk;
use millrace::{clock, maintain, pipeline};

use crate::support::place::{Place, order};

/// Stops a run after some batches.
struct After {
    batches: u64,
    stop: Stop,
}

impl Observer for After {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, _: &BatchReport, _: u64) {
        // What was read ahead is committed too.
        self.batches = self.batches.saturating_sub(1);
        if self.batches == 0 {
            self.stop.set();
        }
    }
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}

/// Takes the file `m.ndjson` with a cap of `most`, in ranges of `bytes`, stopped and started again every `batches`.
/// Returns what is in quarantine, file by file, and how many runs it took.
fn capped(text: &[u8], most: u64, bytes: u64, batches: u64) -> (Vec<serde_json::Value>, usize) {
    let place = Place::quick();
    let folder = place.folder();
    place.put("m.ndjson", text);
    let mut pipeline = pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap();
    (pipeline.limits.quarantine_documents, pipeline.source.batch_bytes) = (most, bytes);
    let pipeline = Arc::new(pipeline);
    let places = Places {
        tables: folder.join("tables"),
        checkpoint: folder.join("checkpoint"),
        database: Some(folder.join("database/orders.db")),
    };
    let mut runs = 0;
    loop {
        let (disk, clock, policy) = (Arc::new(LocalDisk), clock::system(), maintain::Policy::default());
        let session = Session::open(&places, pipeline.clone(), disk, clock, policy).unwrap();
        let options = Options { source: folder.join("input_events"), once: true, threads: 2 };
        let stop = Stop::default();
        run_session(session, &options, &stop, &mut After { batches, stop: stop.clone() }).unwrap();
        runs += 1;
        assert!(runs < 1000);
        if !stop.is_set() {
            break;
        }
    }
    place.expect(&["verify"], 0);
    assert_eq!(place.rows("select * from order_item").len(), 1, "the good one between them");
    let sql = "select byte_offset, line, element, reason, text, content_hash, documents from _quarantine order by 1, 2";
    (place.rows(sql), runs)
}

#[test]
fn row_11_a_file_has_so_many_rows_in_quarantine_and_the_rest_in_one_however_it_is_cut() {
    // Of both kinds, malformed and misfit, some on the same line; 1.5 MB, of which a first range takes one.
    let mut text = Vec::new();
    for n in 0..1500 {
        let pad = "x".repeat(1000);
        match n % 3 {
            0 => text.extend(format!("{{\"bad\":{n},\"pad\":\"{pad}\"}}\n").bytes()),
            1 => text.extend(format!("nonsense {n} {pad}\n").bytes()),
            _ => text.extend(format!("{{\"x\":1}} {{\"y\": {pad}\n").bytes()),
        }
        if n == 700 {
            text.extend(order("O1", "10:00:00", "PAID", &["I1"]).bytes());
            text.push(b'\n');
        }
    }
    let (whole, runs) = capped(&text, u64::MAX, 1 << 30, 99);
    assert_eq!((runs, whole.len() > 1600), (1, true), "{}", whole.len());
    for most in [1, 1100, whole.len() as u64] {
        let expected = capped(&text, most, 1 << 30, 99).0;
        let (told, rest) = expected.split_at(whole.len().min(most as usize));
        assert_eq!(told, &whole[..told.len()], "the first {most}");
        let left = whole.len() - told.len();
        assert_eq!(rest.len(), usize::from(left > 0));
        if let [rest] = rest {
            let first = &whole[told.len()];
            assert_eq!((&rest["byte_offset"], &rest["line"]), (&first["byte_offset"], &first["line"]));
            assert_eq!(rest["documents"], left);
            let reason = format!(
                "{left} more from byte {} on: of one file the first {most} are told one by one",
                first["byte_offset"]
            );
            assert_eq!(rest["reason"], reason);
        }
        for batches in [1, 4, 99] {
            let (found, runs) = capped(&text, most, 1, batches);
            assert!(found == expected, "cap {most}, stopped every {batches} batches");
            assert!(runs > 1 || batches == 99, "{runs} runs");
        }
    }
}

#[test]
fn row_11_a_mended_file_leaves_no_rest_in_quarantine() {
    let place = Place::quick();
    fs::write(
        place.path("p.toml"),
        pipeline::DEFAULT.replace("[source]", "[limits]\nquarantine_documents = 2\n[source]"),
    )
    .unwrap();
    let run = |code| {
        let said = place.expect(&["-p", "p.toml", "run", "--once"], code);
        place.expect(&["-p", "p.toml", "verify"], 0);
        said.out
    };
    let sql = "select line, documents from _quarantine order by line";
    let found = || {
        place
            .rows(sql)
            .iter()
            .map(|r| (r["line"].as_i64().unwrap(), r["documents"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    place.put("a.ndjson", b"1\n2\n3\n4\n5\n");
    assert!(run(3).contains("5 quarantined"), "all are counted");
    assert_eq!(found(), [(1, 1), (2, 1), (3, 3)]);
    place.put("a.ndjson", b"1\n2\n3\n44\n");
    run(3);
    assert_eq!(found(), [(1, 1), (2, 1), (3, 2)]);
    place.put("a.ndjson", b"1\n2\n");
    run(3);
    assert_eq!(found(), [(1, 1), (2, 1)]);
    // The tables can be built again from the files: the same is in quarantine.
    place.put("b.ndjson", b"1\n2\n3\n4\n");
    run(3);
    let before = place.rows("select file, line, reason, documents from _quarantine order by 1, 2, 3");
    place.expect(&["-p", "p.toml", "repair"], 0);
    run(0);
    assert_eq!(place.rows("select file, line, reason, documents from _quarantine order by 1, 2, 3"), before);
}
