//! Commits of other engines, written by hand: noticed before anything is decided on top of them, at any moment.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use millrace::maintain;
use millrace::run::{Options, Quiet, Stop, run};
use millrace::tables::{Disk, LocalDisk, names};
use millrace::verify;
use serde_json::{Value, json};

use super::catalogue::{all_tables, live};
use super::gone::Gone;
use super::{
    add_action, base, count_rows, decided, foreign_commit, foreign_commit_at, live_data_file, log,
    newest_commit, record, remove_action, unpublish,
};
use crate::figures::tell;
use crate::scale::is_long;
use crate::support::oracle::Row;
use crate::support::site::{Site, simulate};
use crate::support::{files, folders, oracle};

/// What another engine may do to a table, as the actions of its commit. `None`: nothing of the kind can be done.
type Deed = fn(&Path, &str) -> Option<Vec<Value>>;

const DEEDS: [(&str, Deed); 7] = [
    ("nothing but a commit", |_, _| Some(Vec::new())),
    ("append", |t, table| {
        let file = live(t, table).0.pop()?;
        let copy = t.join(table).join("part-00000-6e1f.snappy.parquet");
        fs::copy(file, &copy).unwrap();
        Some(vec![add_action(&copy, count_rows(&copy))])
    }),
    ("delete of a file", |t, table| Some(vec![remove_action(&live(t, table).0.pop()?)])),
    ("delete of everything", |t, table| Some(live(t, table).0.iter().map(|f| remove_action(f)).collect())),
    ("optimize", |t, table| {
        let files = live(t, table).0;
        let copy = t.join(table).join("part-00000-0b71.zstd.parquet");
        fs::copy(files.last()?, &copy).unwrap();
        let mut actions: Vec<Value> = files.iter().map(|f| remove_action(f)).collect();
        actions.push(add_action(&copy, count_rows(&copy)));
        Some(actions)
    }),
    ("rows brought back", |t, table| {
        let with_vector = |text: &String| text.contains("deletionVector") && text.starts_with("{\"add\"");
        let text = fs::read_to_string(newest_commit(t, table)).unwrap();
        let add = text.lines().map(str::to_owned).find(with_vector)?;
        let mut add: Value = serde_json::from_str(&add).unwrap();
        let path = t.join(table).join(add["add"]["path"].as_str().unwrap());
        add["add"].as_object_mut().unwrap().remove("deletionVector");
        Some(vec![remove_action(&path), add])
    }),
    ("a property set", |t, table| {
        let first = fs::read_to_string(log(t, table).join("00000000000000000000.json")).unwrap();
        let metadata = first.lines().find(|l| l.starts_with("{\"metaData\"")).unwrap();
        let mut metadata: Value = serde_json::from_str(metadata).unwrap();
        metadata["metaData"]["configuration"]["delta.logRetentionDuration"] = json!("interval 9 days");
        Some(vec![metadata])
    }),
];

/// What became of all commits of others.
#[derive(Default)]
struct Tally {
    commits: u64,
    noticed: u64,
    repaired: u64,
    lost_or_doubled: u64,
}

impl Tally {
    fn stopped_and_repaired(&mut self, site: &Site, what: &str) {
        self.commits += 1;
        let said = site.does(&["run", "--once"]);
        assert_eq!(said.code, Some(1), "{what}: not noticed: {said:?}");
        assert!(said.err.contains("millrace repair"), "{what}: {said:?}");
        self.noticed += 1;
        let said = site.ok(&["repair"]);
        // A vacuum can take the ledger's own rows.
        let in_doubt = what.contains("vacuum") && said.contains("the ledger cannot be read");
        assert!(said.contains("exact") || in_doubt, "{what}: {said}");
        self.repaired += 1;
        let root = site.root();
        let right = crate::support::contents::tables(&root) == base().1;
        self.lost_or_doubled += u64::from(!right);
        assert!(right, "{what}: other contents");
        assert_eq!(verify::tables_only(&root).unwrap().differences, Vec::<String>::new(), "{what}");
    }

    fn end(self, part: &str) {
        let figures = [
            ("foreign commits", self.commits),
            ("noticed", self.noticed),
            ("repaired", self.repaired),
            ("lost or doubled", self.lost_or_doubled),
        ];
        tell(6, part, &figures);
        assert!(self.commits > 0 && self.commits == self.noticed);
    }
}

#[test]
fn row_06_any_foreign_commit_between_two_runs_is_noticed() {
    let mut tally = Tally::default();
    let tables = all_tables(&base().0.tables());
    for (at, (what, deed)) in DEEDS.iter().enumerate() {
        for step in 0..tables.len() {
            let table = &tables[(at * 3 + step) % tables.len()];
            let site = base().0.copy();
            let Some(actions) = deed(&site.tables(), table) else { continue };
            foreign_commit(&site.tables(), table, &actions);
            tally.stopped_and_repaired(&site, &format!("{table}: {what}"));
            if !is_long() {
                break;
            }
        }
    }
    tally.end("foreign commits between two runs");
}

/// After the decision, a kill in the middle of the commits: some tables are at the new version, the others not yet.
/// Then somebody else writes, and then the next start.
#[test]
fn row_06_any_foreign_commit_between_a_kill_and_the_restart_is_noticed() {
    let mut tally = Tally::default();
    let commits = decided(&base().0.tables());
    let moments = (1..commits.len()).filter(|n| is_long() || *n == commits.len() / 2);
    for published in moments {
        for (at, (what, deed)) in DEEDS.iter().enumerate() {
            // In the place of a commit that is still to come, or on top of one that is there.
            let victims = [published + at % (commits.len() - published), at % published];
            for (turn, victim) in
                victims.into_iter().enumerate().filter(|(turn, _)| is_long() || at % 2 == *turn)
            {
                let site = base().0.copy();
                let (table, version) = &commits[victim];
                let Some(actions) = deed(&site.tables(), table) else { continue };
                unpublish(&site.tables(), &commits[published..]);
                foreign_commit_at(&site.tables(), table, version + turn as u64, &actions);
                let what = format!("{published} of {} published, then {table}: {what}", commits.len());
                tally.stopped_and_repaired(&site, &what);
            }
        }
    }
    tally.end("foreign commits between a kill and the restart");
}

/// A vacuum that keeps nothing: every file that no log names now. Between runs it takes nothing that is needed; between
/// a kill and the restart it takes what the decided batch has staged.
#[test]
fn row_06_a_vacuum_takes_nothing_that_is_not_missed() {
    let site = base().0.copy();
    vacuum(&site.tables());
    site.ok(&["run", "--once"]);
    site.verified("vacuum between runs");
    assert!(site.contents() == base().1);
    let mut tally = Tally::default();
    let commits = decided(&site.tables());
    let staged = names::data_file(record(&site.tables())["batch"].as_u64().unwrap() as u32);
    for published in 0..if is_long() { commits.len() } else { 1 } {
        let site = base().0.copy();
        unpublish(&site.tables(), &commits[published..]);
        if vacuum(&site.tables()).iter().any(|path| path.ends_with(&staged)) {
            tally.stopped_and_repaired(&site, &format!("{published} published, then a vacuum"));
        }
    }
    tally.end("vacuums between a kill and the restart");
}

fn vacuum(tables: &Path) -> Vec<PathBuf> {
    let mut taken = Vec::new();
    for table in all_tables(tables) {
        let (files, vectors) = live(tables, &table);
        for entry in fs::read_dir(tables.join(&table)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() && !files.contains(&path) && !vectors.contains(&path) {
                fs::remove_file(&path).unwrap();
                taken.push(path);
            }
        }
    }
    taken
}

/// Lets somebody else commit at the very moment at which the decision has become durable.
#[derive(Debug)]
struct Intruder {
    inner: LocalDisk,
    table: String,
    tables: PathBuf,
    done: Mutex<bool>,
}

impl Disk for Intruder {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        self.inner.write(path, bytes)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }
    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.inner.sync_file(path)
    }
    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.inner.publish(temp, target)
    }
    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.inner.replace(temp, target)?;
        if target.ends_with("_millrace/decision") {
            let mut done = self.done.lock().unwrap();
            let is_decided = decided(&self.tables).iter().any(|(table, _)| *table == self.table);
            if is_decided && !std::mem::replace(&mut *done, true) {
                foreign_commit(&self.tables, &self.table, &[]);
            }
        }
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.inner.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.inner.read(path)
    }
}

#[test]
fn row_06_a_foreign_commit_right_after_the_decision_stops_the_run() {
    let source = folders::quick();
    simulate(source.path(), 7, 6);
    let mut noticed = 0;
    for table in ["customer", "order_item", "_files"] {
        let site = Site::with(source.path(), "batch_files = 4");
        site.take(2).unwrap();
        let (inner, done) = (LocalDisk, Mutex::new(false));
        let disk = Arc::new(Intruder { inner, table: table.into(), tables: site.tables(), done });
        let error = site.take_with(100, disk, maintain::Policy::default()).unwrap_err().to_string();
        assert!(error.contains("somebody else") && error.contains("millrace repair"), "{table}: {error}");
        let said = site.does(&["run", "--once"]);
        assert!(said.code == Some(1) && said.err.contains("millrace repair"), "{table}: {said:?}");
        noticed += 1;
        site.ok(&["repair"]);
        assert!(site.contents() == site.expected(), "{table}");
        site.verified(table);
    }
    tell(6, "foreign commits right after the decision", &[("commits", 3), ("noticed", noticed), ("lost", 0)]);
}

#[test]
fn row_06_a_foreign_commit_during_a_run_stops_it_before_the_next_decision() {
    let source = folders::quick();
    simulate(source.path(), 7, 4);
    let folder = Site::new(source.path());
    folder.ok(&["run", "--once"]);
    let session = folder.session(Arc::new(LocalDisk), maintain::Policy::default()).unwrap();
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

#[test]
fn row_06_foreign_rows_are_taken_over_where_inputs_are_gone() {
    let gone = Gone::new();
    let tables = gone.site.tables();
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
    gone.site.is_stopped("foreign commits");
    let said = gone.site.ok(&["repair"]);
    assert!(said.contains("inputs are gone"), "{said}");
    gone.site.verified("foreign commits");
    let (before, after) = (gone.before.clone(), gone.site.contents());
    let foreign = |rows: &[Row]| rows.iter().any(|r| r[0].as_deref() == Some("foreign"));
    assert!(foreign(&after["seller"]) && !foreign(&before["seller"]));
    assert!(after["promotion"].len() < before["promotion"].len(), "what was taken out came back");
    let mut gone = gone;
    gone.before = before.into_iter().filter(|(name, _)| *name != "promotion").collect();
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
