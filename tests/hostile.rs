//! Input made to hurt: two faults at one place, little text that asks for much memory, archives that hold more than
//! they look like. None stops the stream, none shows how a batch was cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use millrace::batch::Unread;
use millrace::report::BatchReport;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run as run_session};
use millrace::tables::LocalDisk;
use millrace::{clock, maintain, pipeline};
use support::place::age;
use support::{millrace, millrace_ok};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("input_events")).unwrap();
    folder
}

fn put(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join("input_events").join(name);
    fs::write(&path, bytes).unwrap();
    age(&path);
}

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn rows(folder: &Path, sql: &str) -> Vec<serde_json::Value> {
    serde_json::from_str(&millrace_ok(folder, &["query", "--json", sql])).unwrap()
}

/// Runs once; the mirror must be level and everything must agree afterwards.
fn run(folder: &Path, code: i32) {
    let said = millrace(folder, &["run", "--once"]);
    assert_eq!(said.code, Some(code), "{}\n{}", said.out, said.err);
    let said = millrace(folder, &["verify"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
}

fn order(id: &str, members: &str) -> String {
    format!(r#"{{"txt_detl_idt_pedi_pgto":"{id}","dat_atui":"2024-03-01T10:00:00Z"{members}}}"#)
}

#[test]
fn two_faults_at_one_place_stop_nothing() {
    let folder = folder();
    let folder = folder.path();
    put(folder, "a.json", b"[\n{\"x\":1}\n{\"y\":2}\n]");
    put(folder, "b.ndjson", b"[{\"x\":1}\nfoo");
    put(folder, "good.json", order("O1", r#","list_item_pedi":[{"cod_vrne_prod":"I1"}]"#).as_bytes());
    run(folder, 3);
    run(folder, 0);
    assert_eq!(rows(folder, "select * from order_item").len(), 1);
    assert!(rows(folder, "select * from _quarantine").len() >= 4);
}

#[test]
fn a_file_that_was_mended_leaves_quarantine() {
    let folder = folder();
    let folder = folder.path();
    put(folder, "a.ndjson", b"{\"x\":1}\n{\"x\":2}\n");
    run(folder, 3);
    assert_eq!(rows(folder, "select * from _quarantine").len(), 2);
    put(folder, "a.ndjson", format!("{{\"x\":1}}\n{}\n", order("O1", "")).as_bytes());
    run(folder, 3);
    assert_eq!(rows(folder, "select line from _quarantine"), [serde_json::json!({"line": 1})]);
    put(folder, "a.ndjson", format!("{}\n", order("O1", "")).as_bytes());
    run(folder, 0);
    assert!(rows(folder, "select line from _quarantine").is_empty());
}

#[test]
fn quarantine_does_not_show_how_a_file_was_cut() {
    let bad: Vec<u8> =
        (0..40_000).flat_map(|n| format!("{{\"bad\":{n},\"pad\":\"{:060}\"}}\n", 0).into_bytes()).collect();
    let contents = |beside: usize| {
        let folder = folder();
        let folder = folder.path();
        put(folder, "bad.ndjson.gz", &gz(&bad));
        run(folder, 3);
        // Read again, in other company.
        for n in 0..beside {
            put(folder, &format!("{n}.json"), order(&format!("O{n}"), "").as_bytes());
        }
        put(folder, "bad.ndjson.gz", &gz(&bad));
        run(folder, 3);
        let sql =
            "select file, byte_offset, line, reason, content_hash, documents from _quarantine order by 1, 2";
        millrace_ok(folder, &["query", "--csv", sql])
    };
    let alone = contents(0);
    // One by one up to the cap, the rest in one row that counts them.
    assert_eq!(alone.lines().count(), 10_002);
    let offset = bad.split_inclusive(|b| *b == b'\n').take(10_000).map(<[u8]>::len).sum::<usize>();
    let last = format!("bad.ndjson.gz,{offset},10001,30000 more from byte {offset} on: ");
    assert!(alone.lines().last().unwrap().starts_with(&last), "{last}\n{:?}", alone.lines().last());
    assert!(alone.trim_end().ends_with(",30000"));
    assert!(alone == contents(50), "quarantine depends on the cut");
}

#[test]
fn events_that_ask_for_much_memory_are_taken_a_few_at_a_time() {
    let folder = folder();
    let folder = folder.path();
    // 40 items, each of which repeats 4 MB of the order: 160 MB of rows an event, 1.3 GB together.
    let items: Vec<String> = (0..40).map(|n| format!(r#"{{"cod_vrne_prod":"I{n}"}}"#)).collect();
    let long = "x".repeat(4 << 20);
    let lines: Vec<String> = (0..8)
        .map(|n| {
            order(
                &format!("O{n}"),
                &format!(r#","stat_pedi":"{n}{long}","list_item_pedi":[{}]"#, items.join(",")),
            )
        })
        .collect();
    put(folder, "large.ndjson", lines.join("\n").as_bytes());
    let said = millrace(folder, &["run", "--once", "--no-mirror", "--json"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(said.out.matches("\"type\":\"batch\"").count() > 1, "{}", said.out);
    let said = millrace(folder, &["status", "--json"]);
    assert_eq!(said.code, Some(0));
    let again = millrace_ok(folder, &["run", "--once", "--no-mirror"]);
    assert!(again.contains("nothing new"), "{again}");
    millrace_ok(folder, &["verify"]);
}

#[test]
fn a_record_of_another_moment_destroys_nothing() {
    let folder = folder();
    let folder = folder.path();
    let item = |n: u32| format!(r#","list_item_pedi":[{{"cod_vrne_prod":"I{n}"}}]"#);
    put(folder, "1.json", order("O1", &item(1)).as_bytes());
    run(folder, 0);
    let decision = folder.join("tables/_millrace/decision");
    let old = fs::read(&decision).unwrap();
    put(folder, "2.json", order("O2", &item(2)).as_bytes());
    run(folder, 0);
    let new = fs::read(&decision).unwrap();
    for wrong in [Some(old), None] {
        match wrong {
            Some(bytes) => fs::write(&decision, bytes).unwrap(),
            None => fs::remove_file(&decision).unwrap(),
        }
        let said = millrace(folder, &["run", "--once"]);
        assert_eq!(said.code, Some(1), "{}\n{}", said.out, said.err);
        assert!(said.err.contains("millrace repair"), "{}", said.err);
    }
    fs::write(&decision, new).unwrap();
    run(folder, 0);
    assert_eq!(rows(folder, "select * from order_item").len(), 2);
}

// ------------------------------------------------------------------------------- very many bad documents in a file

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
    let folder = folder();
    let folder = folder.path();
    put(folder, "m.ndjson", text);
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
    millrace_ok(folder, &["verify"]);
    assert_eq!(rows(folder, "select * from order_item").len(), 1, "the good one between them");
    let sql = "select byte_offset, line, element, reason, text, content_hash, documents from _quarantine order by 1, 2";
    (rows(folder, sql), runs)
}

#[test]
fn a_file_has_so_many_rows_in_quarantine_and_the_rest_in_one_however_it_is_cut() {
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
            text.extend(order("O1", r#","list_item_pedi":[{"cod_vrne_prod":"I1"}]"#).bytes());
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
fn a_mended_file_leaves_no_rest_in_quarantine() {
    let folder = folder();
    let folder = folder.path();
    fs::write(
        folder.join("p.toml"),
        pipeline::DEFAULT.replace("[source]", "[limits]\nquarantine_documents = 2\n[source]"),
    )
    .unwrap();
    let run = |code| {
        let said = millrace(folder, &["-p", "p.toml", "run", "--once"]);
        assert_eq!(said.code, Some(code), "{}\n{}", said.out, said.err);
        millrace_ok(folder, &["-p", "p.toml", "verify"]);
        said.out
    };
    let sql = "select line, documents from _quarantine order by line";
    let found = || {
        rows(folder, sql)
            .iter()
            .map(|r| (r["line"].as_i64().unwrap(), r["documents"].as_i64().unwrap()))
            .collect::<Vec<_>>()
    };
    put(folder, "a.ndjson", b"1\n2\n3\n4\n5\n");
    assert!(run(3).contains("5 quarantined"), "all are counted");
    assert_eq!(found(), [(1, 1), (2, 1), (3, 3)]);
    put(folder, "a.ndjson", b"1\n2\n3\n44\n");
    run(3);
    assert_eq!(found(), [(1, 1), (2, 1), (3, 2)]);
    put(folder, "a.ndjson", b"1\n2\n");
    run(3);
    assert_eq!(found(), [(1, 1), (2, 1)]);
    // The tables can be built again from the files: the same is in quarantine.
    put(folder, "b.ndjson", b"1\n2\n3\n4\n");
    run(3);
    let before = rows(folder, "select file, line, reason, documents from _quarantine order by 1, 2, 3");
    millrace_ok(folder, &["-p", "p.toml", "repair"]);
    run(0);
    assert_eq!(
        rows(folder, "select file, line, reason, documents from _quarantine order by 1, 2, 3"),
        before
    );
}
