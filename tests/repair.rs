//! Damage of every kind: `run` stops before anything wrong is written and says what to do, `repair` does it, and
//! what only the old tables knew is kept.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use millrace::batch::{Entry, EventOrder, FileRange, Plan, Resume, TableRows};
use millrace::clock;
use millrace::commit::Paths;
use millrace::maintain::{self, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::repair::{self, Outcome};
use millrace::root::Root;
use millrace::run::{Options, Places, Quiet, Session, Stop, run};
use millrace::simulate::{Options as ShopOptions, Shop};
use millrace::system;
use millrace::tables::LocalDisk;
use millrace::verify;
use support::faults::{FAULTS, FaultyDisk};
use support::oracle::Row;
use support::{Said, command, contents, files, folders, millrace, oracle};

type Contents = BTreeMap<&'static str, Vec<Row>>;

/// A folder with input, tables, checkpoint and mirror.
struct Folder {
    dir: tempfile::TempDir,
    pipeline: Arc<Pipeline>,
}

impl Folder {
    /// `source`: where the input lies.
    fn new(source: &Path) -> Folder {
        let dir = folders::quick();
        let settings = format!(
            "[source]\npath = \"{}\"\nbatch_files = 20\nsettle = \"0s\"",
            source.strip_prefix(dir.path()).unwrap_or(source).display()
        );
        let text = pipeline::DEFAULT
            .lines()
            .filter(|line| !line.starts_with("path ="))
            .map(|line| if line == "[source]" { settings.as_str() } else { line })
            .collect::<Vec<_>>()
            .join("\n");
        fs::write(dir.path().join("pipeline.toml"), &text).unwrap();
        let mut pipeline = pipeline::parse(&text, "pipeline.toml").unwrap();
        pipeline.source.path = source.to_path_buf();
        Folder { dir, pipeline: Arc::new(pipeline) }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn tables(&self) -> PathBuf {
        self.path().join("tables")
    }

    fn does(&self, arguments: &[&str]) -> Said {
        let ours = format!("process {} is working", std::process::id());
        loop {
            let said = millrace(self.path(), &[&["-p", "pipeline.toml"], arguments].concat());
            // A lock that this process let go of lives on for a moment in what another test is just starting.
            if !said.err.contains(&ours) {
                return said;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ok(&self, arguments: &[&str]) -> String {
        let said = self.does(arguments);
        assert!(matches!(said.code, Some(0 | 3)), "{arguments:?}: {said:?}");
        said.out + &said.err
    }

    fn contents(&self) -> Contents {
        contents::of_folder(self.path(), &self.pipeline)
    }

    /// A query's answer, one line a row.
    fn query(&self, sql: &str) -> BTreeSet<String> {
        self.ok(&["query", "--csv", sql]).lines().skip(1).map(str::to_owned).collect()
    }

    /// `run` stops, says what to do, and has changed nothing.
    fn is_stopped(&self, what: &str) {
        let changes = |path: &Path| !path.starts_with("_millrace/lock") && !path.starts_with("_millrace/tmp");
        let before = folders::bytes(&self.tables());
        let said = self.does(&["run", "--once"]);
        assert_eq!(said.code, Some(1), "{what}: {said:?}");
        assert!(said.err.contains("millrace repair"), "{what}: {said:?}");
        let after = folders::bytes(&self.tables());
        for (path, bytes) in before.iter().filter(|(path, _)| changes(path)) {
            assert!(after.get(path) == Some(bytes), "{what}: run changed {}", path.display());
        }
        for path in after.keys().filter(|path| changes(path)) {
            let own = path.starts_with("_millrace") || path.ends_with("00000000000000000000.json");
            assert!(own || before.contains_key(path), "{what}: run made {}", path.display());
        }
    }

    fn verified(&self, what: &str) {
        let said = self.does(&["verify"]);
        assert_eq!(said.code, Some(0), "{what}: {said:?}");
    }
}

/// Writes a hundred events, a file each, in the order in which they come.
fn simulate(source: &Path, orders: u64) -> Vec<PathBuf> {
    fs::create_dir_all(source).unwrap();
    let options = ShopOptions { orders: Some(orders), items: 40, customers: 20, ..ShopOptions::default() };
    let mut paths = Vec::new();
    for (at, event) in Shop::new(7, options).enumerate() {
        let path = source.join(format!("{at:04}.json"));
        fs::write(&path, &event.text).unwrap();
        paths.push(path);
    }
    paths
}

/// Input and filled tables, made once; the input is shared and stays as it is.
fn base() -> &'static (Folder, Contents) {
    static BASE: OnceLock<(Folder, Contents)> = OnceLock::new();
    BASE.get_or_init(|| {
        let source = folders::quick().keep();
        simulate(&source, 30);
        let folder = Folder::new(&source);
        folder.ok(&["run", "--once"]);
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        assert!(folder.contents() == expected, "before any damage");
        (folder, expected)
    })
}

fn copy_of_base() -> (Folder, &'static Contents) {
    let (base, expected) = base();
    let folder = Folder::new(&base.pipeline.source.path);
    for part in ["tables", "checkpoint", "database"] {
        folders::copy(&base.path().join(part), &folder.path().join(part));
    }
    (folder, expected)
}

/// Files of a folder whose names end so, sorted.
fn ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.to_string_lossy().ends_with(end));
    found.sort();
    assert!(!found.is_empty(), "nothing like {end} in {}", dir.display());
    found
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn newest_commit(tables: &Path, table: &str) -> PathBuf {
    ending(&tables.join(table).join("_delta_log"), ".json").pop().unwrap()
}

/// A commit as another engine would write it: these actions, and nothing of ours.
fn foreign_commit(tables: &Path, table: &str, actions: &[serde_json::Value]) {
    let newest = newest_commit(tables, table);
    let version: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let info =
        serde_json::json!({"commitInfo": {"timestamp": 1, "operation": "WRITE", "engineInfo": "another"}});
    let text: Vec<String> = [&info].into_iter().chain(actions).map(|a| a.to_string()).collect();
    fs::write(newest.with_file_name(format!("{:020}.json", version + 1)), text.join("\n") + "\n").unwrap();
}

fn add_action(file: &Path, rows: usize) -> serde_json::Value {
    serde_json::json!({"add": {
        "path": file.file_name().unwrap().to_str().unwrap(), "partitionValues": {}, "dataChange": true,
        "size": fs::metadata(file).unwrap().len(), "modificationTime": 1,
        "stats": format!("{{\"numRecords\":{rows}}}"),
    }})
}

fn remove_action(file: &Path) -> serde_json::Value {
    serde_json::json!({"remove": {
        "path": file.file_name().unwrap().to_str().unwrap(), "deletionTimestamp": 1, "dataChange": true,
    }})
}

/// Live data files by the newest add actions: one that the table still has.
fn live_data_file(tables: &Path, table: &str) -> PathBuf {
    let newest = newest_commit(tables, table);
    let text = fs::read_to_string(newest).unwrap();
    let actions = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let path = actions.filter_map(|a| a["add"]["path"].as_str().map(str::to_owned)).next_back().unwrap();
    tables.join(table).join(path)
}

/// A deletion vector file that the newest commit names.
fn live_vector(tables: &Path, table: &str) -> PathBuf {
    ending(&tables.join(table), ".bin").pop().unwrap()
}

/// A table whose newest commit the decision record holds, and one that the last batch did not change.
fn changed_and_quiet(tables: &Path) -> (String, String) {
    let record = fs::read_to_string(tables.join("_millrace/decision")).unwrap();
    let record: serde_json::Value = serde_json::from_str(record.split_once('\n').unwrap().1).unwrap();
    let changed: BTreeSet<&str> =
        record["commits"].as_array().unwrap().iter().map(|c| c["table"].as_str().unwrap()).collect();
    let versions = record["versions"].as_object().unwrap();
    let quiet = versions.iter().find(|(name, v)| !changed.contains(name.as_str()) && v.as_u64() > Some(1));
    let quiet = quiet.expect("every table was changed by the last batch").0;
    (changed.first().unwrap().to_string(), quiet.clone())
}

type Damage = (&'static str, fn(&Path));

const DAMAGES: [Damage; 23] = [
    ("decision record deleted", |t| fs::remove_file(t.join("_millrace/decision")).unwrap()),
    ("decision record truncated", |t| cut(&t.join("_millrace/decision"))),
    ("decision record flipped", |t| flip(&t.join("_millrace/decision"))),
    ("identity damaged", |t| cut(&t.join("_millrace/root.json"))),
    ("identity deleted", |t| fs::remove_file(t.join("_millrace/root.json")).unwrap()),
    ("own folder deleted", |t| fs::remove_dir_all(t.join("_millrace")).unwrap()),
    ("index file missing", |t| fs::remove_file(&ending(&t.join("item/_key_index"), ".arrow")[1]).unwrap()),
    ("index file flipped", |t| flip(&ending(&t.join("shipment/_key_index"), ".arrow")[0])),
    ("index file replaced by an older one", |t| {
        let index = ending(&t.join("customer/_key_index"), ".arrow");
        fs::copy(&index[0], &index[1]).map(|_| ()).unwrap();
    }),
    ("quarantine index missing folder", |t| fs::remove_dir_all(t.join("_quarantine/_key_index")).unwrap()),
    ("newest commit empty", |t| fs::write(newest_commit(t, &changed_and_quiet(t).0), b"").unwrap()),
    ("newest commit torn", |t| cut(&newest_commit(t, &changed_and_quiet(t).0))),
    ("newest commit of a quiet table torn", |t| cut(&newest_commit(t, &changed_and_quiet(t).1))),
    ("newest commit of a quiet table deleted", |t| {
        fs::remove_file(newest_commit(t, &changed_and_quiet(t).1)).unwrap();
    }),
    ("newest commit of a quiet table empty", |t| {
        fs::write(newest_commit(t, &changed_and_quiet(t).1), b"").unwrap();
    }),
    ("older commit missing", |t| fs::remove_file(&ending(&t.join("item/_delta_log"), ".json")[2]).unwrap()),
    ("older commit of the ledger empty", |t| {
        fs::write(&ending(&t.join("_files/_delta_log"), ".json")[2], b"").unwrap();
    }),
    ("data file missing", |t| fs::remove_file(live_data_file(t, "order_item")).unwrap()),
    ("data file truncated", |t| cut(&live_data_file(t, "seller"))),
    ("deletion vector missing", |t| fs::remove_file(live_vector(t, "order_item")).unwrap()),
    ("foreign file added", |t| {
        let dir = t.join("item");
        let copy = dir.join("part-00000-6e1f.snappy.parquet");
        fs::copy(live_data_file(t, "item"), &copy).unwrap();
        foreign_commit(t, "item", &[add_action(&copy, 1)]);
    }),
    ("foreign file removed", |t| {
        foreign_commit(t, "customer", &[remove_action(&live_data_file(t, "customer"))])
    }),
    ("table folder deleted", |t| fs::remove_dir_all(t.join("shipment")).unwrap()),
];

fn every_damage(turn: usize) {
    for (what, damage) in DAMAGES.iter().skip(turn).step_by(2) {
        let (folder, expected) = copy_of_base();
        damage(&folder.tables());
        folder.is_stopped(what);
        let damaged = folders::bytes(&folder.tables());
        let said = folder.ok(&["repair"]);
        assert!(said.contains("found: ") && said.contains("exact"), "{what}: {said}");
        assert!(folder.contents() == *expected, "{what}: other contents after repair");
        let old = folders::bytes(&folder.path().join("tables.damaged-1"));
        let lost = damaged.keys().find(|p| !p.starts_with("_millrace") && !old.contains_key(*p));
        assert_eq!(lost, None, "{what}: the old tables were not kept whole");
        folder.verified(what);
        let said = folder.ok(&["run", "--once"]);
        assert!(said.contains("nothing new"), "{what}: {said}");
        assert!(folder.ok(&["repair"]).contains("nothing to repair"), "{what}");
    }
}

#[test]
fn damage_stops_run_and_repair_is_exact_1() {
    every_damage(0);
}

#[test]
fn damage_stops_run_and_repair_is_exact_2() {
    every_damage(1);
}

#[test]
fn a_deleted_newest_commit_that_the_record_holds_is_published_again() {
    let (folder, expected) = copy_of_base();
    let changed = changed_and_quiet(&folder.tables()).0;
    let newest = newest_commit(&folder.tables(), &changed);
    let bytes = fs::read(&newest).unwrap();
    fs::remove_file(&newest).unwrap();
    folder.ok(&["run", "--once"]);
    assert_eq!(fs::read(&newest).unwrap(), bytes);
    assert!(folder.contents() == *expected);
    folder.verified("newest commit deleted");
}

#[test]
fn an_older_record_is_noticed_before_anything_is_swept() {
    let source = folders::quick();
    let paths = simulate(source.path(), 12);
    let folder = Folder::new(source.path());
    let later: Vec<(PathBuf, Vec<u8>)> =
        paths.iter().skip(20).map(|p| (p.clone(), fs::read(p).unwrap())).collect();
    later.iter().for_each(|(p, _)| fs::remove_file(p).unwrap());
    folder.ok(&["run", "--once"]);
    let record = folder.tables().join("_millrace/decision");
    let old = fs::read(&record).unwrap();
    later.iter().for_each(|(p, bytes)| fs::write(p, bytes).unwrap());
    folder.ok(&["run", "--once"]);
    let expected = folder.contents();
    fs::write(&record, old).unwrap();
    folder.is_stopped("an older record");
    folder.ok(&["repair"]);
    assert!(folder.contents() == expected);
    folder.verified("an older record");
}

#[test]
fn a_torn_log_checkpoint_is_moved_aside_by_run() {
    let (folder, expected) = copy_of_base();
    let places =
        Places { tables: folder.tables(), checkpoint: folder.path().join("checkpoint"), database: None };
    // Maintenance that writes a log checkpoint with every batch, and keeps every commit.
    let policy = maintain::Policy {
        compact: compact::Policy::default(),
        retention: clean::Retention { checkpoint_every: 1, ..clean::Retention::default() },
    };
    let mut session =
        Session::open(&places, folder.pipeline.clone(), Arc::new(LocalDisk), clock::system(), policy)
            .unwrap();
    for _ in 0..session.root.states.len() {
        session.maintain().unwrap();
    }
    drop(session);
    for table in ["order_item", "_files"] {
        let log = folder.tables().join(table).join("_delta_log");
        cut(&ending(&log, ".checkpoint.parquet")[0]);
        assert!(log.join("_last_checkpoint").exists());
    }
    let said = folder.does(&["run", "--once"]);
    assert_eq!(said.code, Some(0), "{said:?}");
    assert!(said.err.contains("log checkpoint of order_item"), "{said:?}");
    assert!(said.err.contains("log checkpoint of _files"), "{said:?}");
    assert!(folder.tables().join("_millrace/aside/order_item/_last_checkpoint").exists());
    assert!(folder.contents() == *expected);
    folder.verified("after a torn log checkpoint");
    let said = folder.does(&["run", "--once"]);
    assert!(!said.err.contains("log checkpoint"), "said again: {said:?}");
}

#[test]
fn a_foreign_commit_during_a_run_stops_it_before_the_next_decision() {
    let source = folders::quick();
    simulate(source.path(), 4);
    let folder = Folder::new(source.path());
    folder.ok(&["run", "--once"]);
    let places =
        Places { tables: folder.tables(), checkpoint: folder.path().join("checkpoint"), database: None };
    let policy = maintain::Policy::default();
    let session =
        Session::open(&places, folder.pipeline.clone(), Arc::new(LocalDisk), clock::system(), policy)
            .unwrap();
    let before = fs::read(folder.tables().join("_millrace/decision")).unwrap();
    foreign_commit(&folder.tables(), "order_item", &[]);
    fs::write(source.path().join("late.json"), fs::read(source.path().join("0000.json")).unwrap()).unwrap();
    let text = fs::read_to_string(source.path().join("0000.json")).unwrap();
    let newer = text.replacen("\"dat_atui\":\"2024", "\"dat_atui\":\"2031", 1);
    assert_ne!(text, newer);
    fs::write(source.path().join("newer.json"), newer).unwrap();
    let options = Options { source: source.path().to_path_buf(), once: true, threads: 1 };
    let error = run(session, &options, &Stop::default(), &mut Quiet).unwrap_err().to_string();
    assert!(error.contains("somebody else") && error.contains("millrace repair"), "{error}");
    assert_eq!(before, fs::read(folder.tables().join("_millrace/decision")).unwrap());
    folder.is_stopped("foreign commit during a run");
    folder.ok(&["repair"]);
    let expected = oracle::tables(&files::event_texts(source.path())).tables;
    assert!(folder.contents() == expected);
    folder.verified("foreign commit during a run");
}

// ------------------------------------------------------------------------------------------- gone inputs

/// Tables whose inputs are partly gone: a third of the files deleted, one changed in place, one quarantined file
/// deleted and one still there.
struct Gone {
    folder: Folder,
    source: tempfile::TempDir,
    before: Contents,
    quarantine: BTreeSet<String>,
    /// Texts of the events that are gone, oldest first.
    gone: Vec<Vec<u8>>,
}

const QUARANTINE: &str = "select file, content_hash, byte_offset, line, reason from _quarantine";

impl Gone {
    fn new() -> Gone {
        let source = folders::quick();
        let paths = simulate(source.path(), 30);
        fs::write(source.path().join("bad-gone.json"), b"{\"nothing\": 1}").unwrap();
        fs::write(source.path().join("bad-there.json"), b"{\"nothing\": 2").unwrap();
        let folder = Folder::new(source.path());
        assert_eq!(folder.does(&["run", "--once"]).code, Some(3));
        let (before, quarantine) = (folder.contents(), folder.query(QUARANTINE));
        assert_eq!(quarantine.len(), 2, "{quarantine:?}");
        let mut gone = Vec::new();
        for path in paths.iter().step_by(3) {
            gone.push(fs::read(path).unwrap());
            fs::remove_file(path).unwrap();
        }
        fs::remove_file(source.path().join("bad-gone.json")).unwrap();
        // Another event of another order stands in this file now; its old content is gone.
        gone.push(fs::read(&paths[1]).unwrap());
        let other = ShopOptions { orders: Some(1), items: 40, customers: 20, ..ShopOptions::default() };
        let mut event = Shop::new(99, other).next().unwrap().text;
        event =
            String::from_utf8(event).unwrap().replacen("pedi_pgto\":\"", "pedi_pgto\":\"changed-", 1).into();
        fs::write(&paths[1], event).unwrap();
        Gone { folder, source, before, quarantine, gone }
    }

    /// Every key that the tables had is there with the same values; those of the changed file may be new.
    fn nothing_is_lost(&self, what: &str) {
        let after = self.folder.contents();
        let there = oracle::tables(&files::event_texts(&self.good_files())).tables;
        for (name, rows) in &self.before {
            let after: BTreeSet<&Row> = after[name].iter().collect();
            let newer: BTreeSet<&Row> = there[name].iter().collect();
            for row in rows {
                let key = |r: &Row| -> Vec<_> {
                    let at = |k: &&str| oracle::columns(name).iter().position(|c| c == k).unwrap();
                    oracle::key_columns(name).iter().map(|k| r[at(k)].clone()).collect()
                };
                let replaced = || after.iter().any(|r| key(r) == key(row) && newer.contains(*r));
                assert!(after.contains(row) || replaced(), "{what}: {name} lost {row:?}");
            }
            assert!(after.len() >= rows.len(), "{what}: {name}");
        }
        let quarantine = self.folder.query(QUARANTINE);
        assert_eq!(quarantine, self.quarantine, "{what}");
        let names = self.folder.query("select distinct file from _files");
        assert!(names.contains("bad-gone.json") && names.contains("0000.json"), "{what}: {names:?}");
    }

    /// The source without its bad file, which the oracle's reader would not take.
    fn good_files(&self) -> PathBuf {
        let good = self.folder.path().join("good");
        if !good.exists() {
            folders::copy(self.source.path(), &good);
            fs::remove_file(good.join("bad-there.json")).unwrap();
        }
        good
    }

    /// The gone events come again, under new names: they are known, and nothing changes.
    fn known_events_change_nothing(&self, what: &str) {
        let before = self.folder.contents();
        for (at, text) in self.gone.iter().enumerate() {
            fs::write(self.source.path().join(format!("again-{at}.json")), text).unwrap();
        }
        self.folder.ok(&["run", "--once"]);
        assert!(self.folder.contents() == before, "{what}: events that were known changed something");
    }
}

fn repaired_from_rows(what: &str, damage: fn(&Path)) -> (Gone, String) {
    let gone = Gone::new();
    damage(&gone.folder.tables());
    gone.folder.is_stopped(what);
    let said = gone.folder.ok(&["repair"]);
    assert!(said.contains("inputs are gone"), "{what}: {said}");
    gone.folder.verified(what);
    let run = gone.folder.ok(&["run", "--once"]);
    assert!(run.contains("nothing new"), "{what}: {run}");
    (gone, said)
}

#[test]
fn rows_of_gone_inputs_are_kept_exactly_where_the_index_is_sound() {
    let damages: [Damage; 4] = [
        ("identity damaged", |t| cut(&t.join("_millrace/root.json"))),
        ("deletion vector missing", |t| fs::remove_file(live_vector(t, "order_item")).unwrap()),
        ("newest commit torn", |t| cut(&newest_commit(t, "order_item"))),
        ("log deleted", |t| fs::remove_dir_all(t.join("item/_delta_log")).unwrap()),
    ];
    for (what, damage) in damages {
        let (gone, said) = repaired_from_rows(what, damage);
        assert!(!said.contains("cannot know"), "{what}: {said}");
        gone.nothing_is_lost(what);
        gone.known_events_change_nothing(what);
    }
}

#[test]
fn rows_of_gone_inputs_are_kept_without_an_index() {
    let damages: [Damage; 2] = [
        ("decision record deleted", |t| fs::remove_file(t.join("_millrace/decision")).unwrap()),
        ("index file missing", |t| {
            fs::remove_file(&ending(&t.join("item/_key_index"), ".arrow")[1]).unwrap()
        }),
    ];
    for (what, damage) in damages {
        let (gone, said) = repaired_from_rows(what, damage);
        assert!(said.contains("cannot know") && said.contains("item"), "{what}: {said}");
        gone.nothing_is_lost(what);
        gone.known_events_change_nothing(what);
    }
}

#[test]
fn what_is_lost_with_a_data_file_or_a_ledger_is_said() {
    let gone = Gone::new();
    let lost = live_data_file(&gone.folder.tables(), "order_item");
    fs::remove_file(&lost).unwrap();
    let said = gone.folder.ok(&["repair"]);
    assert!(said.contains("keys of order_item whose inputs may be gone"), "{said}");
    assert!(said.contains(lost.file_name().unwrap().to_str().unwrap()), "{said}");
    gone.folder.verified("data file lost");
    let after = gone.folder.contents();
    assert_eq!(gone.before["customer"].len(), after["customer"].len().min(gone.before["customer"].len()));
    let there = oracle::tables(&files::event_texts(&gone.good_files())).tables;
    assert!(after["order_item"].len() >= there["order_item"].len(), "what is there was not read");

    let gone = Gone::new();
    fs::remove_dir_all(gone.folder.tables().join("_files")).unwrap();
    let said = gone.folder.ok(&["repair"]);
    assert!(said.contains("which files were taken"), "{said}");
    gone.folder.verified("ledger lost");
    let after = gone.folder.contents();
    for (name, rows) in &gone.before {
        assert!(after[name].len() >= rows.len(), "{name} has fewer rows");
    }
    gone.folder.ok(&["run", "--once"]);
}

#[test]
fn foreign_rows_are_taken_over_where_inputs_are_gone() {
    let gone = Gone::new();
    let tables = gone.folder.tables();
    // Somebody rewrote a file under another name.
    let file = live_data_file(&tables, "seller");
    let copy = tables.join("seller/part-00000-7c4b.snappy.parquet");
    fs::copy(&file, &copy).unwrap();
    let rows = count_rows(&copy);
    foreign_commit(&tables, "seller", &[remove_action(&file), add_action(&copy, rows)]);
    // A second file with the same rows again: duplicates by key.
    let twice = tables.join("seller/part-00001-7c4b.snappy.parquet");
    fs::copy(&file, &twice).unwrap();
    foreign_commit(&tables, "seller", &[add_action(&twice, rows)]);
    // A row that no event ever stated, and promotions taken out.
    let own = tables.join("seller/part-00002-7c4b.snappy.parquet");
    write_foreign_seller(&file, &own);
    foreign_commit(&tables, "seller", &[add_action(&own, 1)]);
    let taken_out = live_data_file(&tables, "promotion");
    foreign_commit(&tables, "promotion", &[remove_action(&taken_out)]);
    gone.folder.is_stopped("foreign commits");
    let said = gone.folder.ok(&["repair"]);
    assert!(said.contains("inputs are gone"), "{said}");
    gone.folder.verified("foreign commits");
    let (before, after) = (gone.before.clone(), gone.folder.contents());
    let foreign = |rows: &[Row]| rows.iter().any(|r| r[0].as_deref() == Some("foreign"));
    assert!(foreign(&after["seller"]) && !foreign(&before["seller"]));
    assert!(after["promotion"].len() < before["promotion"].len(), "what was taken out came back");
    let gone = Gone { before: before.into_iter().filter(|(name, _)| *name != "promotion").collect(), ..gone };
    gone.nothing_is_lost("foreign commits");
}

/// One row as another engine would write it, under a key of its own.
fn write_foreign_seller(like: &Path, to: &Path) {
    use arrow::array::StringArray;
    let reader = fs::File::open(like).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(reader).unwrap();
    let rows = reader.build().unwrap().next().unwrap().unwrap().slice(0, 1);
    let mut columns = rows.columns().to_vec();
    columns[0] = Arc::new(StringArray::from(vec!["foreign"]));
    let source = rows.schema().index_of("_source_file").unwrap();
    columns[source] = Arc::new(StringArray::from(vec![None::<&str>]));
    let rows = arrow::array::RecordBatch::try_new(rows.schema(), columns).unwrap();
    let file = fs::File::create(to).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, rows.schema(), None).unwrap();
    writer.write(&rows).unwrap();
    writer.close().unwrap();
}

fn count_rows(file: &Path) -> usize {
    let file = fs::File::open(file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap()
}

#[test]
fn inputs_that_were_put_back_from_a_copy_are_the_same_inputs() {
    let source = folders::quick();
    let paths = simulate(source.path(), 8);
    let folder = Folder::new(source.path());
    folder.ok(&["run", "--once"]);
    let expected = folder.contents();
    for path in &paths {
        let bytes = fs::read(path).unwrap();
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    }
    fs::remove_file(folder.tables().join("_millrace/decision")).unwrap();
    let said = folder.ok(&["repair"]);
    assert!(said.contains("exact"), "{said}");
    assert!(folder.contents() == expected);
    folder.verified("inputs put back");
}

// -------------------------------------------------------------------------------------- interrupted repairs

/// Damaged tables with gone inputs, to be copied; what the tables must hold in the end.
fn interrupted() -> (Gone, Contents) {
    let gone = Gone::new();
    fs::remove_file(live_vector(&gone.folder.tables(), "order_item")).unwrap();
    let whole = gone.folder.path().join("whole");
    folders::copy(&gone.folder.tables(), &whole);
    gone.folder.ok(&["repair"]);
    let expected = gone.folder.contents();
    gone.nothing_is_lost("the undisturbed repair");
    for made in ["tables", "tables.damaged-1", "checkpoint", "database"] {
        fs::remove_dir_all(gone.folder.path().join(made)).unwrap();
    }
    fs::rename(&whole, gone.folder.tables()).unwrap();
    (gone, expected)
}

fn ends_right(folder: &Folder, damaged: &BTreeMap<PathBuf, Vec<u8>>, expected: &Contents, story: &str) {
    let said = folder.ok(&["repair"]);
    assert!(folder.contents() == *expected, "{story}: other contents\n{said}");
    let old = folders::bytes(&folder.path().join("tables.damaged-1"));
    for (path, bytes) in damaged.iter().filter(|(p, _)| !p.starts_with("_millrace")) {
        assert!(old.get(path) == Some(bytes), "{story}: {} of the old tables", path.display());
    }
    assert!(!folder.path().join("tables.repairing").exists(), "{story}");
    assert!(!folder.path().join("tables.damaged-2").exists(), "{story}");
    folder.verified(story);
    let said = folder.ok(&["run", "--once"]);
    assert!(said.contains("nothing new"), "{story}: {said}");
}

fn restore(folder: &Folder, whole: &Path) {
    for made in ["tables", "tables.damaged-1", "tables.repairing", "checkpoint", "database"] {
        let _ = fs::remove_dir_all(folder.path().join(made));
    }
    folders::copy(whole, &folder.tables());
}

#[test]
fn a_killed_repair_is_done_again_or_finished() {
    let (gone, expected) = interrupted();
    let folder = &gone.folder;
    let whole = folder.path().join("whole");
    folders::copy(&folder.tables(), &whole);
    let damaged = folders::bytes(&whole);
    let kills = std::env::var("MILLRACE_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6u64);
    for round in 0..kills {
        restore(folder, &whole);
        let mut story = String::new();
        for again in 0..2 {
            let after = Duration::from_millis(100 + (round * 2 + again) * 977 % 1500);
            let mut child = command(folder.path(), &["-p", "pipeline.toml", "repair"])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            std::thread::sleep(after);
            // It may be done already; then there is nothing to kill.
            let _ = child.kill();
            child.wait().unwrap();
            let said = folder.does(&["run", "--once"]);
            let refused = said.code == Some(1) && said.err.contains("millrace repair");
            assert!(refused || said.code == Some(0), "{story}: {said:?}");
            story += &format!("killed after {after:?}, run said {:?}; ", said.code);
        }
        ends_right(folder, &damaged, &expected, &story);
    }
}

#[test]
fn a_repair_that_dies_at_any_durable_call_is_done_again_or_finished() {
    let (gone, expected) = interrupted();
    let folder = &gone.folder;
    let whole = folder.path().join("whole");
    folders::copy(&folder.tables(), &whole);
    let damaged = folders::bytes(&whole);
    let places =
        Places { tables: folder.tables(), checkpoint: folder.path().join("checkpoint"), database: None };
    let repair = |disk: Arc<FaultyDisk>| {
        repair::repair(&places, folder.pipeline.clone(), disk, clock::system(), &mut |_| {})
    };
    let undisturbed = Arc::new(FaultyDisk::new(u64::MAX, FAULTS[0]));
    assert!(matches!(repair(undisturbed.clone()).unwrap(), Outcome::FromRows { .. }));
    let total = undisturbed.calls();
    let tries = std::env::var("MILLRACE_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(6u64);
    // The exchange of the tables comes near the end: every call of it, and some of the others.
    let last = 24.min(total);
    let early = (0..total - last).step_by(((total - last) / tries.max(1)).max(1) as usize);
    for (turn, n) in early.chain(total - last..total).enumerate() {
        restore(folder, &whole);
        let disk = Arc::new(FaultyDisk::new(n, FAULTS[turn % FAULTS.len()]));
        let outcome = repair(disk.clone());
        let Some(failed) = disk.failed() else { continue };
        let story = format!("{:?} at call {n}: {failed}", FAULTS[turn % FAULTS.len()]);
        assert!(outcome.is_err(), "{story}: it went on");
        ends_right(folder, &damaged, &expected, &story);
    }
}

// ------------------------------------------------------------------------------------------------ verify

#[test]
fn verify_finds_what_was_changed_by_hand() {
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
        ("mirror: it is at batch", |folder| sqlite(folder, "update _millrace set batch_id = 1")),
    ];
    for (expected, change) in changes {
        let (folder, _) = copy_of_base();
        folder.verified("a sound root");
        change(folder.path());
        let said = folder.does(&["verify"]);
        assert_eq!(said.code, Some(1), "{expected}: {said:?}");
        assert!(said.out.contains(&format!("DIFFERENCE: {expected}")), "{expected}: {said:?}");
    }
}

fn sqlite(folder: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(folder.join("database/orders.db")).unwrap();
    connection.pragma_update(None, "foreign_keys", false).unwrap();
    assert!(connection.execute(sql, []).unwrap() > 0, "{sql}");
}

/// Opens the root of a folder, lets `change` commit something that does not hold together, and verifies.
fn verified_after(change: impl FnOnce(&mut Root, &mut Vec<Plan>) -> Vec<FileRange>) -> Vec<String> {
    let (folder, _) = copy_of_base();
    let open = || {
        let paths = Paths::new(folder.tables());
        Root::open(paths, folder.pipeline.clone(), Arc::new(LocalDisk), clock::system()).unwrap()
    };
    let mut root = open();
    let mut plans = vec![Plan::default(); root.states.len() - 1];
    let files = change(&mut root, &mut plans);
    let ledger = system::files_rows(&files, root.next_batch, 1).unwrap();
    root.commit_batch(&plans, ledger).unwrap();
    drop(root);
    verify::tables_only(&open()).unwrap().differences
}

#[test]
fn verify_finds_an_index_that_names_other_rows() {
    let found = verified_after(|root, plans| {
        // Two owners of one file whose places are exchanged: the counts still agree.
        let state = &root.states[0];
        let mut entries: Vec<(u128, Entry)> = state.index.iter().map(|(o, e)| (o, *e)).collect();
        entries.sort_unstable_by_key(|(owner, e)| (e.file, e.count, *owner));
        let pair = entries.windows(2).find(|w| (w[0].1.file, w[0].1.count) == (w[1].1.file, w[1].1.count));
        let [(a, at_a), (b, at_b)] = pair.unwrap() else { unreachable!() };
        plans[0].index = vec![(*a, *at_b), (*b, *at_a)];
        vec![FileRange { name: "made-up".into(), last: true, ..FileRange::default() }]
    });
    assert!(found.iter().any(|d| d.contains("in other rows than the table")), "{found:?}");
}

#[test]
fn verify_finds_a_gap_in_the_ledger() {
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
fn verify_finds_rows_of_a_batch_that_the_ledger_does_not_know() {
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
