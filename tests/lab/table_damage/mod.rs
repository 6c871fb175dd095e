//! Row 6, the tables damaged in every way, by accident and by other engines: each damage is noticed, by `run` before
//! it writes anything or by `verify`, and then mended exactly by `repair`.

mod catalogue;
mod foreign;
mod gone;
mod interrupted;
mod large;
mod other_engines;
mod places;
mod single;
mod spreading;
mod stories;
mod verified;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use millrace::maintain::{self, clean, compact};
use millrace::tables::LocalDisk;

use crate::support::site::{Contents, Site, simulate};
use crate::support::{Said, folders};

/// Damage done to the tables in this folder.
pub type Damage = (&'static str, fn(&Path));

/// Of the input; few, so that a repair is quick.
const ORDERS: u64 = 8;

/// Input and filled tables, made once; the input is shared and stays as it is. Every kind of file that a root can have
/// is there: log checkpoints with their hints, deletion vectors, rows in quarantine.
pub fn base() -> &'static (Site, Contents) {
    static BASE: OnceLock<(Site, Contents)> = OnceLock::new();
    BASE.get_or_init(filled)
}

/// The same with logs as short as they get: nothing stays behind the newest log checkpoint of a table.
pub fn cleaned() -> &'static (Site, Contents) {
    static CLEANED: OnceLock<(Site, Contents)> = OnceLock::new();
    CLEANED.get_or_init(|| {
        let (site, expected) = copy_of_base();
        for table in catalogue::all_tables(&site.tables()) {
            let mut checkpoints = catalogue::checkpoints(&site.tables(), &table);
            let Some(newest) = checkpoints.pop() else { continue };
            let commits = ending(&log(&site.tables(), &table), ".json");
            let older = |path: &PathBuf| version_of(path) < version_of(&newest);
            checkpoints
                .iter()
                .chain(commits.iter().filter(|c| older(c)))
                .for_each(|p| fs::remove_file(p).unwrap());
        }
        (site, expected.clone())
    })
}

pub fn copy_of_base() -> (Site, &'static Contents) {
    let (site, expected) = base();
    (site.copy(), expected)
}

fn filled() -> (Site, Contents) {
    let source = folders::quick().keep();
    let mut paths = simulate(&source, 7, ORDERS);
    for n in 0..2 {
        fs::write(source.join(format!("bad-{n}.json")), format!("{{\"nothing\": {n}}}")).unwrap();
    }
    let site = Site::with(&source, "batch_files = 4");
    // Nothing is tidied up after the last batch: its commits are the decided ones.
    let last: Vec<_> =
        paths.split_off(paths.len() - 4).into_iter().map(|p| (fs::read(&p).unwrap(), p)).collect();
    last.iter().for_each(|(_, path)| fs::remove_file(path).unwrap());
    let policy = |every| maintain::Policy {
        compact: compact::Policy { fan_in: every as usize, ..compact::Policy::default() },
        retention: clean::Retention { checkpoint_every: every, ..clean::Retention::default() },
        ..maintain::Policy::default()
    };
    site.take_with(u64::MAX, Arc::new(LocalDisk), policy(2)).unwrap();
    // A log checkpoint may be due in more tables than there were batches since.
    let mut session = site.session(Arc::new(LocalDisk), policy(2)).unwrap();
    (0..session.root.states.len()).for_each(|_| session.maintain().unwrap());
    drop(session);
    last.iter().for_each(|(text, path)| fs::write(path, text).unwrap());
    site.take_with(u64::MAX, Arc::new(LocalDisk), policy(1000)).unwrap();
    let expected = site.expected();
    assert!(site.contents() == expected, "before any damage");
    let decided = decided(&site.tables());
    assert!(decided.len() >= 4, "the last batch changed too few tables: {decided:?}");
    (site, expected)
}

impl Site {
    /// `run` stops, says what to do, and has changed nothing.
    #[track_caller]
    pub fn is_stopped(&self, what: &str) -> Said {
        let before = folders::bytes(&self.tables());
        let said = self.does(&["run", "--once"]);
        assert_eq!(said.code, Some(1), "{what}: {said:?}");
        assert!(said.err.contains("millrace repair"), "{what}: {said:?}");
        self.is_unchanged(what, &before);
        said
    }

    /// Nothing but the lock, temporary files, and empty tables made anew.
    #[track_caller]
    pub fn is_unchanged(&self, what: &str, before: &std::collections::BTreeMap<PathBuf, Vec<u8>>) {
        let counts = |path: &Path| !path.starts_with("_millrace/lock") && !path.starts_with("_millrace/tmp");
        let after = folders::bytes(&self.tables());
        for (path, bytes) in before.iter().filter(|(path, _)| counts(path)) {
            assert!(after.get(path) == Some(bytes), "{what}: run changed {}", path.display());
        }
        for path in after.keys().filter(|path| counts(path)) {
            let own = path.starts_with("_millrace") || path.ends_with("00000000000000000000.json");
            assert!(own || before.contains_key(path), "{what}: run made {}", path.display());
        }
    }
}

// ------------------------------------------------------------------------------------------- finding a victim

/// Files of a folder whose names end so, sorted.
pub fn ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let found = maybe_ending(dir, end);
    assert!(!found.is_empty(), "nothing like {end} in {}", dir.display());
    found
}

pub fn maybe_ending(dir: &Path, end: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut found: Vec<PathBuf> = entries.map(|e| e.unwrap().path()).collect();
    found.retain(|p| p.to_string_lossy().ends_with(end));
    found.sort();
    found
}

pub fn log(tables: &Path, table: &str) -> PathBuf {
    tables.join(table).join("_delta_log")
}

pub fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

pub fn cut(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

pub fn newest_commit(tables: &Path, table: &str) -> PathBuf {
    ending(&log(tables, table), ".json").pop().unwrap()
}

pub fn version_of(commit: &Path) -> u64 {
    commit.file_name().unwrap().to_str().unwrap()[..20].parse().unwrap()
}

/// Live data files by the newest add actions: one that the table still has.
pub fn live_data_file(tables: &Path, table: &str) -> PathBuf {
    let newest = newest_commit(tables, table);
    let text = fs::read_to_string(newest).unwrap();
    let actions = text.lines().map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap());
    let path = actions.filter_map(|a| a["add"]["path"].as_str().map(str::to_owned)).next_back().unwrap();
    tables.join(table).join(path)
}

/// A deletion vector file that the newest commit names.
pub fn live_vector(tables: &Path, table: &str) -> PathBuf {
    ending(&tables.join(table), ".bin").pop().unwrap()
}

/// The body of the decision record.
pub fn record(tables: &Path) -> serde_json::Value {
    let record = fs::read_to_string(tables.join("_millrace/decision")).unwrap();
    serde_json::from_str(record.split_once('\n').unwrap().1).unwrap()
}

/// A table whose newest commit the decision record holds, and one that the last batch did not change.
pub fn changed_and_quiet(tables: &Path) -> (String, String) {
    let record = record(tables);
    let changed: BTreeSet<&str> =
        record["commits"].as_array().unwrap().iter().map(|c| c["table"].as_str().unwrap()).collect();
    let versions = record["versions"].as_object().unwrap();
    let quiet = versions.iter().find(|(name, v)| !changed.contains(name.as_str()) && v.as_u64() > Some(1));
    let quiet = quiet.expect("every table was changed by the last batch").0;
    (changed.first().unwrap().to_string(), quiet.clone())
}

/// The tables that the record's commits are of, in their order, with the versions that they make.
pub fn decided(tables: &Path) -> Vec<(String, u64)> {
    let record = record(tables);
    let commits = record["commits"].as_array().unwrap().iter();
    commits.map(|c| (c["table"].as_str().unwrap().to_owned(), c["version"].as_u64().unwrap())).collect()
}

/// Takes commits of the last decision out of their logs: what a kill in the middle of them leaves.
pub fn unpublish(tables: &Path, commits: &[(String, u64)]) {
    for (table, version) in commits {
        fs::remove_file(log(tables, table).join(format!("{version:020}.json"))).unwrap();
        assert_eq!(version_of(&newest_commit(tables, table)), version - 1);
    }
}

// ------------------------------------------------------------------------------------------- other engines' commits

/// A commit as another engine would write it: these actions, and nothing of ours.
pub fn foreign_commit(tables: &Path, table: &str, actions: &[serde_json::Value]) {
    let version = version_of(&newest_commit(tables, table)) + 1;
    foreign_commit_at(tables, table, version, actions);
}

pub fn foreign_commit_at(tables: &Path, table: &str, version: u64, actions: &[serde_json::Value]) {
    let info =
        serde_json::json!({"commitInfo": {"timestamp": 1, "operation": "WRITE", "engineInfo": "another"}});
    let text: Vec<String> = [&info].into_iter().chain(actions).map(|a| a.to_string()).collect();
    fs::write(log(tables, table).join(format!("{version:020}.json")), text.join("\n") + "\n").unwrap();
}

pub fn add_action(file: &Path, rows: usize) -> serde_json::Value {
    serde_json::json!({"add": {
        "path": file.file_name().unwrap().to_str().unwrap(), "partitionValues": {}, "dataChange": true,
        "size": fs::metadata(file).unwrap().len(), "modificationTime": 1,
        "stats": format!("{{\"numRecords\":{rows}}}"),
    }})
}

pub fn remove_action(file: &Path) -> serde_json::Value {
    serde_json::json!({"remove": {
        "path": file.file_name().unwrap().to_str().unwrap(), "deletionTimestamp": 1, "dataChange": true,
    }})
}

pub fn count_rows(file: &Path) -> usize {
    let file = fs::File::open(file).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
    usize::try_from(reader.metadata().file_metadata().num_rows()).unwrap()
}
