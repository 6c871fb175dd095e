//! Input made to hurt: two faults at one place, little text that asks for much memory, archives that hold more than
//! they look like. None stops the stream, none shows how a batch was cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

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
        let sql = "select file, byte_offset, line, reason, content_hash from _quarantine order by 1, 2";
        millrace_ok(folder, &["query", "--csv", sql])
    };
    let alone = contents(0);
    assert_eq!(alone.lines().count(), 40_001);
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
