//! Reading damaged tables: whatever of their rows, logs and key indexes can still be believed. Changes nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, new_null_array};
use arrow::compute::concat_batches;
use roaring::RoaringTreemap;
use serde_json::Value;
use url::Url;

use crate::batch::{FileId, FileRange};
use crate::commit::Paths;
use crate::commit::record::{Record, TableCommit};
use crate::error::{Error, IoContext, Result, refused};
use crate::merge::KeyIndex;
use crate::pipeline::model::Pipeline;
use crate::root::{self, load_index};
use crate::system;
use crate::tables::index_file::checksum_of;
use crate::tables::log::{CHECKSUM_TAG, FileAction};
use crate::tables::parquet::LiveRows;
use crate::tables::{Disk, Kernel, TableDef, names};

pub struct Old {
    disk: Arc<dyn Disk>,
    kernel: Kernel,
    /// `None`: it is missing or damaged, and no index file can be believed.
    record: Option<Record>,
    defs: Vec<TableDef>,
    /// The application of our `txn`s.
    app: String,
}

/// What one old table still tells.
pub struct OldTable {
    /// Every row of every data file that could be read, deleted ones too.
    pub rows: RecordBatch,
    /// Where each file's rows begin in `rows`, and how many there are.
    files: HashMap<PathBuf, (u32, u32)>,
    dir: PathBuf,
    /// Rows that the log says are alive: in files of ours, and in files of others.
    pub alive: Vec<u32>,
    pub alive_foreign: Vec<u32>,
    /// Our files that somebody else's commits rewrote or removed.
    pub taken: HashSet<FileId>,
    /// `None`: it is damaged.
    pub index: Option<KeyIndex>,
    pub problems: Vec<String>,
    /// Files whose rows can be read, but are not what was written.
    pub doubtful: Vec<String>,
}

impl OldTable {
    /// The rows of an index entry, if its file can be read.
    pub fn place(&self, file: FileId, first: u32, count: u32) -> Option<Vec<u32>> {
        let (begin, rows) = *self.files.get(&self.dir.join(names::data_file(file)))?;
        let end = first.checked_add(count).filter(|end| *end <= rows)?;
        Some((begin + first..begin + end).collect())
    }
}

impl Old {
    /// `temp`: a place for what the kernel may want to write; not inside the old tables.
    pub fn open(paths: &Paths, pipeline: &Pipeline, disk: Arc<dyn Disk>, temp: &Path) -> Result<Old> {
        let record = match Record::read(disk.as_ref(), &paths.decision) {
            Ok(record) => record,
            Err(Error::Corrupt(_)) => None,
            Err(e) => return Err(e),
        };
        Ok(Old {
            kernel: Kernel::new(disk.clone(), temp),
            disk,
            record,
            defs: root::defs(pipeline, paths),
            app: root::app_id(&pipeline.name),
        })
    }

    /// The ledger, or why it cannot be read. A ledger with a hole is none: what it lacks would count as never
    /// taken, and be lost where it is gone.
    pub fn ledger(&self) -> Result<Vec<(u64, FileRange)>, String> {
        let def = self.defs.last().ok_or("it is not known")?;
        let mut problems = Vec::new();
        let log = Log::replay(self, def, &mut problems);
        // The record says which batches were decided: with it, files tell what a damaged log does not.
        if !log.replayed || (!problems.is_empty() && (log.at_end || self.record.is_none())) {
            return Err(problems.join("; "));
        }
        let mut paths: BTreeMap<PathBuf, RoaringTreemap> = log.files;
        if !log.at_end {
            // Its rows only ever grow in number: every file of a decided batch counts, compacted ones twice.
            let decided = self.record.as_ref().map_or(0, |r| r.batch);
            let files = own_files(def).map_err(|e| e.to_string())?;
            let is_decided = |p: &PathBuf| own_id(p, &def.dir).is_some_and(|id| u64::from(id) <= decided);
            files.into_iter().filter(is_decided).for_each(|path| _ = paths.entry(path).or_default());
        }
        let mut all: BTreeMap<(u64, Arc<str>, u64), FileRange> = BTreeMap::new();
        for (path, deleted) in &paths {
            for rows in read_file(path, def, deleted).map_err(|e| e.to_string())? {
                let ranges = system::read_files(&rows).ok_or("it is not a ledger")?;
                let keyed = ranges.into_iter().map(|(b, r)| ((b, r.name.clone(), r.start.offset), r));
                all.extend(keyed);
            }
        }
        Ok(all.into_iter().map(|((batch, _, _), range)| (batch, range)).collect())
    }

    /// The table at `at`, in the order of the root's tables.
    pub fn table(&self, at: usize) -> Result<OldTable> {
        let def = &self.defs[at];
        let mut problems = Vec::new();
        let index = self.index(def, at)?;
        let log = Log::replay(self, def, &mut problems);
        let mut paths: BTreeMap<PathBuf, bool> = BTreeMap::new();
        for path in log.files.keys() {
            paths.insert(path.clone(), true);
        }
        for (_, entry) in index.iter().flat_map(KeyIndex::iter).filter(|(_, e)| e.count > 0) {
            paths.entry(def.dir.join(names::data_file(entry.file))).or_insert(false);
        }
        if !log.replayed && index.is_none() {
            let lost = "neither its log nor its key index can be read; the newest rows of all its data files are \
                        taken, deleted ones too";
            problems.push(lost.into());
            own_files(def)?.into_iter().for_each(|path| _ = paths.insert(path, true));
        }
        let (mut batches, mut files, mut total) = (Vec::new(), HashMap::new(), 0u32);
        for (path, alive) in &paths {
            match read_file(path, def, &RoaringTreemap::new()) {
                Ok(rows) => {
                    let count = rows.iter().map(|r| r.num_rows() as u32).sum();
                    files.insert(path.clone(), (total, count));
                    total += count;
                    batches.extend(rows);
                }
                // What is refused may be sound: its rows must not be given up for that.
                Err(e) if refused(&e).is_some() => return Err(e),
                Err(e) if *alive || index.is_some() => problems.push(e.to_string()),
                Err(_) => {}
            }
        }
        let doubtful = doubtful(&log, files.keys());
        let rows = concat_batches(&def.schema, &batches).map_err(|e| Error::Corrupt(e.to_string()))?;
        let (mut alive, mut alive_foreign) = (Vec::new(), Vec::new());
        for (path, is_alive) in &paths {
            let Some(&(begin, count)) = files.get(path).filter(|_| *is_alive) else { continue };
            let deleted = log.files.get(path).cloned().unwrap_or_default();
            let live = (0..count).filter(|row| !deleted.contains(u64::from(*row))).map(|row| begin + row);
            let ours = own_id(path, &def.dir).is_some();
            if ours { alive.extend(live) } else { alive_foreign.extend(live) }
        }
        let taken = if log.at_end { self.taken(def)? } else { HashSet::new() };
        let dir = def.dir.clone();
        Ok(OldTable { rows, files, dir, alive, alive_foreign, taken, index, problems, doubtful })
    }

    /// `None` where there is none, or it is damaged.
    fn index(&self, def: &TableDef, at: usize) -> Result<Option<KeyIndex>> {
        let files = self.record.as_ref().and_then(|record| record.index.get(&def.name));
        let Some(files) = files.filter(|_| at + 1 < self.defs.len()) else { return Ok(None) };
        match load_index(def, files) {
            Ok(index) => Ok(Some(index)),
            Err(e) if refused(&e).is_some() => Err(e),
            Err(_) => Ok(None),
        }
    }

    /// The decided commit of a table, if it is not in the log, or torn there.
    fn unpublished(&self, def: &TableDef) -> Option<&TableCommit> {
        let commit = self.record.as_ref()?.commits.iter().find(|c| c.table == def.name)?;
        let path = names::log_dir(&def.dir).join(names::commit_file(commit.version));
        match self.disk.read(&path) {
            Ok(found) if found.len() < commit.bytes.len() => {
                Some(commit).filter(|c| c.bytes.as_bytes().starts_with(&found))
            }
            Ok(_) => None,
            Err(_) => Some(commit),
        }
    }

    /// Our data files that commits without our `txn` removed.
    fn taken(&self, def: &TableDef) -> Result<HashSet<FileId>> {
        let mut taken = HashSet::new();
        let log = names::log_dir(&def.dir);
        for version in commit_versions(def)? {
            let path = log.join(names::commit_file(version));
            let bytes = self.disk.read(&path).at("reading", &path)?;
            let text = String::from_utf8_lossy(&bytes);
            let actions: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
            if actions.iter().any(|a| a["txn"]["appId"] == self.app.as_str()) {
                continue;
            }
            let removed = actions.iter().filter_map(|a| a["remove"]["path"].as_str());
            taken.extend(removed.filter_map(names::data_file_id));
        }
        Ok(taken)
    }
}

/// The live files of a log and their deleted rows.
#[derive(Default)]
struct Log {
    files: BTreeMap<PathBuf, RoaringTreemap>,
    checksums: HashMap<PathBuf, String>,
    replayed: bool,
    /// It is the newest version, and whole.
    at_end: bool,
}

impl Log {
    /// The newest version that can be replayed, with the decided commit on top of it where that is missing or torn.
    fn replay(old: &Old, def: &TableDef, problems: &mut Vec<String>) -> Log {
        let mut log = Log::default();
        if let Some(decided) = old.unpublished(def)
            && let Ok(logged) = old.kernel.log(&def.dir, Some(decided.base))
        {
            log.take(old, def, &logged.actions, problems);
            log.carry_out(old, def, &decided.bytes, problems);
            log.finish(def, decided.version, problems);
            return log;
        }
        let versions = commit_versions(def).unwrap_or_default().into_iter().rev().map(Some);
        let mut why = None;
        for version in std::iter::once(None).chain(versions) {
            let logged = match old.kernel.log(&def.dir, version) {
                Ok(logged) => logged,
                Err(e) => {
                    why.get_or_insert(e.to_string());
                    continue;
                }
            };
            let reached = logged.snapshot.version();
            log.take(old, def, &logged.actions, problems);
            if let Some(why) = why {
                problems.push(format!("{why}; its version {reached} is taken"));
            } else if old.record.as_ref().is_some_and(|r| r.versions.get(&def.name) > Some(&reached)) {
                problems.push(format!("its newest commits are missing: its version {reached} is taken"));
            } else {
                log.finish(def, u64::MAX, problems);
            }
            return log;
        }
        problems.extend(why);
        log
    }

    fn take(&mut self, old: &Old, def: &TableDef, actions: &[FileAction], problems: &mut Vec<String>) {
        self.replayed = true;
        actions.iter().for_each(|action| self.add(old, def, action, problems));
    }

    /// A deletion vector that cannot be read deletes nothing here: of several rows with one key the newest will be
    /// taken.
    fn add(&mut self, old: &Old, def: &TableDef, action: &FileAction, problems: &mut Vec<String>) {
        let Some(path) = resolve(&def.dir, &action.path) else {
            return problems.push(format!("it names a file that is not local: {}", action.path));
        };
        let deleted = old.kernel.deleted(&def.dir, action).unwrap_or_else(|e| {
            problems.push(e.to_string());
            RoaringTreemap::new()
        });
        if let Some(checksum) = &action.checksum {
            self.checksums.insert(path.clone(), checksum.clone());
        }
        self.files.insert(path, deleted);
    }

    /// The actions of one of our own commits. Ours remove before they add.
    fn carry_out(&mut self, old: &Old, def: &TableDef, commit: &str, problems: &mut Vec<String>) {
        for action in commit.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            if let Some(path) = action["remove"]["path"].as_str().and_then(|p| resolve(&def.dir, p)) {
                self.files.remove(&path);
            }
            if let Some(path) = action["add"]["path"].as_str() {
                let added = FileAction {
                    path: path.to_owned(),
                    size: 0,
                    modification_time: 0,
                    stats: String::new(),
                    dv: serde_json::from_value(action["add"]["deletionVector"].clone()).ok(),
                    checksum: action["add"]["tags"][CHECKSUM_TAG].as_str().map(str::to_owned),
                };
                self.add(old, def, &added, problems);
            }
        }
    }

    /// An empty commit before `version` hides what stood in it.
    fn finish(&mut self, def: &TableDef, version: u64, problems: &mut Vec<String>) {
        match empty_commit(def, version) {
            Some(empty) => problems.push(format!("its commit {empty} is empty: rows may be missing")),
            None => self.at_end = true,
        }
    }
}

/// Of these files, those with other bytes than were written.
fn doubtful<'a>(log: &Log, files: impl Iterator<Item = &'a PathBuf>) -> Vec<String> {
    let is_other = |path: &PathBuf| {
        let found = std::fs::File::open(path).and_then(|f| checksum_of(&f)).ok();
        log.checksums.get(path).is_some_and(|written| Some(written) != found.as_ref())
    };
    let told = |path: &PathBuf| {
        format!("{} is not what was written: its rows are kept as they can be read", path.display())
    };
    let mut doubtful: Vec<String> = files.filter(|path| is_other(path)).map(told).collect();
    doubtful.sort();
    doubtful
}

/// A path of the log: relative to the table or a whole URL, percent-encoded either way.
fn resolve(dir: &Path, path: &str) -> Option<PathBuf> {
    let absolute = std::path::absolute(dir).ok()?;
    let found = Url::from_directory_path(&absolute).ok()?.join(path).ok()?.to_file_path().ok()?;
    Some(found.strip_prefix(&absolute).map(|inside| dir.join(inside)).unwrap_or(found))
}

fn own_id(path: &Path, dir: &Path) -> Option<FileId> {
    let name = path.file_name()?.to_str()?;
    names::data_file_id(name).filter(|_| path.parent() == Some(dir))
}

fn own_files(def: &TableDef) -> Result<Vec<PathBuf>> {
    let found = listed(&def.dir)?.into_iter().map(|name| def.dir.join(name));
    Ok(found.filter(|path| own_id(path, &def.dir).is_some()).collect())
}

fn commit_versions(def: &TableDef) -> Result<Vec<u64>> {
    let mut versions: Vec<u64> =
        listed(&names::log_dir(&def.dir))?.iter().filter_map(|n| names::commit_version(n)).collect();
    versions.sort_unstable();
    Ok(versions)
}

/// The kernel passes an empty commit by, and what stood in it is missing.
fn empty_commit(def: &TableDef, before: u64) -> Option<u64> {
    let log = names::log_dir(&def.dir);
    let empty = |v: &u64| std::fs::metadata(log.join(names::commit_file(*v))).is_ok_and(|m| m.len() == 0);
    commit_versions(def).ok()?.into_iter().filter(|v| *v < before).find(empty)
}

/// Names in a folder; none where there is no folder.
fn listed(dir: &Path) -> Result<Vec<String>> {
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("listing", dir)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry.at("listing", dir)?.file_name().into_string().ok());
    }
    Ok(names)
}

/// The rows of a data file that are not `deleted`, in the table's own schema.
fn read_file(path: &Path, def: &TableDef, deleted: &RoaringTreemap) -> Result<Vec<RecordBatch>> {
    let read = |batch: Result<crate::tables::parquet::LiveBatch>| {
        let rows = batch?.rows;
        let columns = cast(&rows, def).map_err(|e| Error::Corrupt(format!("{}: {e}", path.display())))?;
        RecordBatch::try_new(def.schema.clone(), columns)
            .map_err(|e| Error::Corrupt(format!("{}: {e}", path.display())))
    };
    LiveRows::open(path, deleted.clone())?.map(read).collect()
}

/// Other writers spell types their own way (large strings, views, other time zones' names) and leave out columns
/// that they have no values for.
fn cast(rows: &RecordBatch, def: &TableDef) -> Result<Vec<ArrayRef>, arrow::error::ArrowError> {
    let column = |field: &Arc<arrow::datatypes::Field>| match rows.column_by_name(field.name()) {
        Some(column) => arrow::compute::cast(column, field.data_type()),
        None => Ok(new_null_array(field.data_type(), rows.num_rows())),
    };
    def.schema.fields().iter().map(column).collect()
}
