//! Tables that were damaged, or that somebody else wrote to: `run` stops before it writes, says so, and `repair`
//! makes them right again. The caches need no repair.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::pipeline;
use millrace::simulate::{Options, Shop};
use support::place::age;
use support::{contents, files, millrace, millrace_ok, oracle};

/// A root that was filled by three runs, so that it has updates and deletion vectors.
fn filled() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("input_events");
    fs::create_dir_all(&input).unwrap();
    let shop = Shop::new(3, Options { orders: Some(30), ..Options::default() });
    let events: Vec<_> = shop.collect();
    for (run, part) in events.chunks(events.len().div_ceil(3)).enumerate() {
        for (at, event) in part.iter().enumerate() {
            let path = input.join(format!("{run}-{at:04}.json"));
            fs::write(&path, &event.text).unwrap();
            age(&path);
        }
        millrace_ok(folder.path(), &["run", "--once"]);
    }
    folder
}

/// The file of `folder` whose name begins and ends so; the last by name.
fn find(folder: &Path, begins: &str, ends: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| {
            let name = p.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with(begins) && name.ends_with(ends)
        })
        .collect();
    found.sort();
    found.pop().unwrap()
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let at = bytes.len() / 2;
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

/// Another engine adds a copy of a data file.
fn foreign_commit(table: &Path) {
    let data = find(table, "part-", ".parquet");
    let size = fs::copy(&data, table.join("foreign.parquet")).unwrap();
    let newest = find(&table.join("_delta_log"), "0", ".json");
    let version: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let add = format!(
        "{{\"add\":{{\"path\":\"foreign.parquet\",\"partitionValues\":{{}},\"size\":{size},\"modificationTime\":1,\
         \"dataChange\":true,\"stats\":\"{{\\\"numRecords\\\":1}}\"}}}}\n"
    );
    fs::write(newest.with_file_name(format!("{:020}.json", version + 1)), add).unwrap();
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 13] = [
    ("the decision record is gone", |t| fs::remove_file(t.join("_millrace/decision")).unwrap()),
    ("the decision record is cut", |t| cut(&t.join("_millrace/decision"))),
    ("the decision record has a flipped bit", |t| flip(&t.join("_millrace/decision"))),
    ("an index file is gone", |t| {
        fs::remove_file(find(&t.join("item/_key_index"), "0", ".arrow")).unwrap();
    }),
    ("an index file has a flipped bit", |t| flip(&find(&t.join("shipment/_key_index"), "0", ".arrow"))),
    ("the newest commit is gone", |t| {
        fs::remove_file(find(&t.join("customer/_delta_log"), "0", ".json")).unwrap();
        // Of an older batch: the record of the newest could publish its own again.
        fs::remove_file(find(&t.join("customer/_delta_log"), "0", ".json")).unwrap();
    }),
    ("the newest commit is empty", |t| {
        fs::write(find(&t.join("order_item/_delta_log"), "0", ".json"), b"").unwrap();
    }),
    ("the newest commit is cut", |t| cut(&find(&t.join("order_item/_delta_log"), "0", ".json"))),
    ("a data file is gone", |t| fs::remove_file(find(&t.join("seller"), "part-", ".parquet")).unwrap()),
    ("a data file is cut", |t| cut(&find(&t.join("item_shipment"), "part-", ".parquet"))),
    ("a deletion vector is gone", |t| {
        fs::remove_file(find(&t.join("order_item"), "deletion_vector_", ".bin")).unwrap();
    }),
    ("a whole table is gone", |t| fs::remove_dir_all(t.join("promotion")).unwrap()),
    ("somebody else committed", |t| foreign_commit(&t.join("warehouse"))),
];

fn check_contents(folder: &Path, what: &str) {
    let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
    let expected = oracle::tables(&files::event_texts(&folder.join("input_events")));
    assert!(contents::of_folder(folder, &pipeline) == expected.tables, "{what}: other contents");
    let said = millrace(folder, &["verify"]);
    assert_eq!(said.code, Some(0), "{what}\n{}\n{}", said.out, said.err);
}

#[test]
fn damage_stops_the_run_and_repair_makes_it_right() {
    for (what, damage) in DAMAGES {
        let folder = filled();
        let folder = folder.path();
        damage(&folder.join("tables"));
        let said = millrace(folder, &["run", "--once"]);
        assert_eq!(said.code, Some(1), "{what}: {}\n{}", said.out, said.err);
        assert!(said.err.contains("millrace repair"), "{what}: {}", said.err);
        let said = millrace(folder, &["repair"]);
        assert_eq!(said.code, Some(0), "{what}: {}\n{}", said.out, said.err);
        assert!(folder.join("tables.damaged-1").is_dir(), "{what}");
        check_contents(folder, what);
        let again = millrace_ok(folder, &["run", "--once"]);
        assert!(again.contains("nothing new"), "{what}: {again}");
    }
}

#[test]
fn rows_of_inputs_that_are_gone_survive_a_repair() {
    let folder = filled();
    let folder = folder.path();
    let texts = files::event_texts(&folder.join("input_events"));
    let bad = folder.join("input_events/bad.json");
    fs::write(&bad, b"{\"x\":1}").unwrap();
    age(&bad);
    assert_eq!(millrace(folder, &["run", "--once"]).code, Some(3));
    for path in files::event_files(&folder.join("input_events")).iter().step_by(2) {
        fs::remove_file(path).unwrap();
    }
    fs::remove_file(folder.join("input_events/bad.json")).ok();
    cut(&folder.join("tables/_millrace/decision"));
    let said = millrace(folder, &["repair"]);
    assert_eq!(said.code, Some(0), "{}\n{}", said.out, said.err);
    let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
    assert!(contents::of_folder(folder, &pipeline) == oracle::tables(&texts).tables);
    millrace_ok(folder, &["verify"]);
    let bad = millrace_ok(folder, &["query", "--csv", "select file from _quarantine"]);
    assert!(bad.contains("bad.json"), "{bad}");
}

#[test]
fn sound_tables_are_left_alone() {
    let folder = filled();
    let said = millrace_ok(folder.path(), &["repair"]);
    assert!(said.contains("sound"), "{said}");
    assert!(!folder.path().join("tables.damaged-1").exists());
}
