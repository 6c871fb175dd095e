//! One Delta table: its live files in memory, and a batch's change to it from staging to commit.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use delta_kernel::actions::deletion_vector_writer::StreamingDeletionVectorWriter;
use roaring::RoaringTreemap;
use serde_json::Value;

use super::disk::Disk;
use super::kernel::Opened;
use super::log::{self, DvDescriptor, FileAction};
use super::parquet::{self, LiveRows};
use super::rewrite::Ready;
use super::vectors::{self, Deleted};
use super::{index_file, names, stats};
use crate::batch::{Deletion, FileId};
use crate::error::{Error, IoContext, Result};
use crate::fault;

/// What a table is, apart from its data.
#[derive(Debug, Clone)]
pub struct TableDef {
    pub name: String,
    pub dir: PathBuf,
    /// All columns, the `_` columns last.
    pub schema: SchemaRef,
    /// Columns with statistics.
    pub stats: Vec<usize>,
}

#[derive(Debug, Clone)]
pub struct LiveFile {
    pub action: FileAction,
    pub rows: u64,
    pub deleted: RoaringTreemap,
}

impl LiveFile {
    pub fn alive(&self) -> u64 {
        self.rows - self.deleted.len()
    }
}

#[derive(Debug)]
pub struct Table {
    pub def: TableDef,
    pub version: u64,
    pub files: BTreeMap<FileId, LiveFile>,
    /// Version of the newest log checkpoint that this process wrote or found.
    pub checkpoint: u64,
}

/// A staged change: durable files that no log names yet.
#[derive(Debug, Default)]
pub struct Change {
    pub add: Option<(FileId, LiveFile)>,
    /// Files whose deletion vector grew.
    pub update: Vec<(FileId, LiveFile)>,
    /// Files with no row left alive, or rewritten.
    pub remove: Vec<FileId>,
}

impl Change {
    pub fn is_empty(&self) -> bool {
        self.add.is_none() && self.update.is_empty() && self.remove.is_empty()
    }
}

impl Table {
    pub fn new(def: TableDef, opened: &Opened) -> Result<Self> {
        let mut files = BTreeMap::new();
        for (action, deleted) in &opened.files {
            let id = names::data_file_id(&action.path).ok_or_else(|| foreign(&def.name, &action.path))?;
            let rows = num_records(&action.stats).ok_or_else(|| foreign(&def.name, &action.path))?;
            files.insert(id, LiveFile { action: action.clone(), rows, deleted: deleted.clone() });
        }
        Ok(Table { def, version: opened.version, files, checkpoint: opened.checkpoint })
    }

    pub fn path(&self, file: FileId) -> PathBuf {
        self.def.dir.join(names::data_file(file))
    }

    pub fn rows_alive(&self) -> u64 {
        self.files.values().map(LiveFile::alive).sum()
    }

    /// The rows of a file that are alive, after holding it against its checksum: damage that still decodes would go on
    /// into the mirror, or into the next file.
    pub fn read(&self, file: FileId) -> Result<LiveRows> {
        let live = self
            .files
            .get(&file)
            .ok_or_else(|| Error::Bug(format!("no file {file} in {}", self.def.name)))?;
        let path = self.path(file);
        is_as_written(&path, live.action.checksum.as_deref())?;
        LiveRows::open(&path, live.deleted.clone())
    }

    /// Writes the batch's data file and deletion vectors, synced; the directory is the caller's to sync.
    pub fn stage(
        &self,
        disk: &dyn Disk,
        batch: FileId,
        append: Option<&RecordBatch>,
        delete: &[Deletion],
        now_ms: i64,
    ) -> Result<Change> {
        let mut change = Change::default();
        if let Some(rows) = append.filter(|rows| rows.num_rows() > 0) {
            change.add = Some((batch, self.write_rows(disk, batch, rows, now_ms)?));
        }
        let mut grown = Vec::new();
        for (file, deleted) in self.grown(delete)? {
            let live = &self.files[&file];
            if deleted.len() == live.rows {
                change.remove.push(file);
            } else {
                grown.push((file, live.action.clone(), live.rows, deleted));
            }
        }
        change.update = self.write_vectors(disk, batch, grown)?;
        Ok(change)
    }

    /// Gives rewritten rows a name in the table, `dead` rows marked as deleted, in place of `replaced` files.
    pub fn stage_ready(
        &self,
        disk: &dyn Disk,
        batch: FileId,
        ready: &Ready,
        dead: &[Deletion],
        replaced: &[FileId],
        now_ms: i64,
    ) -> Result<Change> {
        let mut deleted = RoaringTreemap::new();
        for d in dead {
            vectors::insert(&mut deleted, u64::from(d.first)..u64::from(d.first) + u64::from(d.count));
        }
        let mut change = Change { remove: replaced.to_vec(), ..Change::default() };
        if deleted.len() == ready.rows {
            disk.remove(&ready.temp).at("removing", &ready.temp)?;
            return Ok(change);
        }
        let path = self.path(batch);
        disk.replace(&ready.temp, &path).at("renaming", &path)?;
        fault::point("stage.rewritten_renamed");
        let action = FileAction {
            path: names::data_file(batch),
            size: i64::try_from(ready.size).unwrap_or(i64::MAX),
            modification_time: now_ms,
            stats: ready.stats.clone(),
            dv: None,
            checksum: Some(ready.checksum.clone()),
        };
        change.add = if deleted.is_empty() {
            Some((batch, LiveFile { action, rows: ready.rows, deleted }))
        } else {
            self.write_vectors(disk, batch, vec![(batch, action, ready.rows, deleted)])?.pop()
        };
        Ok(change)
    }

    fn write_rows(
        &self,
        disk: &dyn Disk,
        batch: FileId,
        rows: &RecordBatch,
        now_ms: i64,
    ) -> Result<LiveFile> {
        let name = names::data_file(batch);
        let path = self.def.dir.join(&name);
        let bytes = parquet::encode(rows)?;
        disk.write(&path, &bytes).at("writing", &path)?;
        fault::point("stage.rows_written");
        let action = FileAction {
            path: name,
            size: i64::try_from(bytes.len()).unwrap_or(i64::MAX),
            modification_time: now_ms,
            stats: stats::stats(rows, &self.def.stats),
            dv: None,
            checksum: Some(index_file::checksum(&bytes)),
        };
        Ok(LiveFile { action, rows: rows.num_rows() as u64, deleted: RoaringTreemap::new() })
    }

    /// All vectors of a batch go into one file: a batch makes at most one more file a table.
    fn write_vectors(
        &self,
        disk: &dyn Disk,
        batch: FileId,
        grown: Vec<(FileId, FileAction, u64, RoaringTreemap)>,
    ) -> Result<Vec<(FileId, LiveFile)>> {
        let (mut bytes, mut files) = (Vec::new(), Vec::new());
        let mut writer = StreamingDeletionVectorWriter::new(&mut bytes);
        for (file, action, rows, deleted) in grown {
            let placed = writer.write_deletion_vector(Deleted(&deleted)).map_err(dv_bug)?;
            let dv = DvDescriptor {
                storage_type: "u".into(),
                path_or_inline_dv: names::dv_path(batch),
                offset: Some(placed.offset),
                size_in_bytes: placed.size_in_bytes,
                cardinality: placed.cardinality,
            };
            let action = FileAction { stats: stats::loosen(&action.stats), dv: Some(dv), ..action };
            files.push((file, LiveFile { action, rows, deleted }));
        }
        writer.finalize().map_err(dv_bug)?;
        if !files.is_empty() {
            let path = self.def.dir.join(names::dv_file(batch));
            disk.write(&path, &bytes).at("writing", &path)?;
            fault::point("stage.vectors_written");
        }
        Ok(files)
    }

    /// The deleted rows of every touched file once `delete` is applied. Refuses rows that are gone already or
    /// were never there: the index and the table would disagree.
    fn grown(&self, delete: &[Deletion]) -> Result<BTreeMap<FileId, RoaringTreemap>> {
        let mut grown: BTreeMap<FileId, RoaringTreemap> = BTreeMap::new();
        for d in delete {
            let live = self.files.get(&d.file).ok_or_else(|| self.disagrees(d))?;
            let deleted = grown.entry(d.file).or_insert_with(|| live.deleted.clone());
            let (from, to) = (u64::from(d.first), u64::from(d.first) + u64::from(d.count));
            if to > live.rows || vectors::insert(deleted, from..to) != to - from {
                return Err(self.disagrees(d));
            }
        }
        Ok(grown)
    }

    fn disagrees(&self, d: &Deletion) -> Error {
        Error::Corrupt(format!(
            "the key index of {} names rows {}..{} of {}, which are not there; run `millrace repair`",
            self.def.name,
            d.first,
            u64::from(d.first) + u64::from(d.count),
            names::data_file(d.file),
        ))
    }

    /// The actions of the commit that makes `change` visible.
    pub fn actions(&self, change: &Change, data_change: bool) -> Vec<Value> {
        let mut actions = Vec::new();
        let updated = change.update.iter().map(|(id, _)| id);
        for old in change.remove.iter().chain(updated).filter_map(|id| self.files.get(id)) {
            actions.push(old.action.remove(data_change));
        }
        for (_, new) in change.update.iter().chain(&change.add) {
            actions.push(new.action.add(data_change));
        }
        actions
    }

    /// Brings the memory to the committed version.
    pub fn apply(&mut self, change: Change) {
        for id in change.remove {
            self.files.remove(&id);
        }
        for (id, file) in change.update.into_iter().chain(change.add) {
            self.files.insert(id, file);
        }
        self.version += 1;
    }

    /// The memory and the log name the same files with the same deletion vectors.
    pub fn agrees_with(&self, opened: &Opened) -> bool {
        self.view().agrees_with(opened)
    }

    /// What a reader of this version has to find.
    pub fn view(&self) -> View {
        let file = |f: &LiveFile| (f.action.path.clone(), (f.action.dv.clone(), f.deleted.len()));
        View { version: self.version, files: self.files.values().map(file).collect() }
    }
}

/// The files of one version: path, deletion vector, deleted rows.
#[derive(Debug)]
pub struct View {
    pub version: u64,
    files: BTreeMap<String, (Option<DvDescriptor>, u64)>,
}

impl View {
    pub fn agrees_with(&self, opened: &Opened) -> bool {
        let file = |(a, d): &(FileAction, RoaringTreemap)| (a.path.clone(), (a.dv.clone(), d.len()));
        self.version == opened.version && self.files == opened.files.iter().map(file).collect()
    }
}

fn dv_bug(e: delta_kernel::KernelError) -> Error {
    Error::Bug(format!("writing a deletion vector: {e}"))
}

fn foreign(table: &str, path: &str) -> Error {
    Error::Foreign(format!(
        "the table {table} has a file that millrace did not write ({path}); stop whatever else writes to it, then \
         run `millrace repair`"
    ))
}

/// A file is, byte by byte, what was written.
///
/// # Errors
/// [`Error::Corrupt`] if it is not.
pub fn is_as_written(path: &Path, written: Option<&str>) -> Result<()> {
    let found = std::fs::File::open(path).and_then(|f| index_file::checksum_of(&f)).at("reading", path)?;
    if written.is_none_or(|written| written == found) {
        return Ok(());
    }
    let what = "is not what was written: its checksum does not match";
    Err(Error::Corrupt(format!("{} {what}; run `millrace repair`", path.display())))
}

fn num_records(stats: &str) -> Option<u64> {
    serde_json::from_str::<Value>(stats).ok()?.get("numRecords")?.as_u64()
}

/// Every live file of an opened table, whoever wrote it.
pub fn live_files(opened: &Opened) -> Vec<LiveFile> {
    let live = |(action, deleted): &(FileAction, RoaringTreemap)| LiveFile {
        action: action.clone(),
        rows: num_records(&action.stats).unwrap_or(0),
        deleted: deleted.clone(),
    };
    opened.files.iter().map(live).collect()
}

/// The bytes of version 0: an empty table.
pub fn create_bytes(def: &TableDef, id: &str, properties: &[(&str, String)], now_ms: i64) -> String {
    log::to_bytes(&[
        log::commit_info("CREATE TABLE", 0, now_ms),
        log::protocol(),
        log::metadata(id, &def.name, &def.schema, properties, now_ms),
    ])
}

/// Publishes `bytes` as `version` of the table's log, or finds that this very version is there already.
///
/// A kill between link and directory sync must not look finished, so what is found is synced again. `temp` lies on
/// the same file system, outside the table.
pub fn publish(disk: &dyn Disk, dir: &Path, version: u64, bytes: &str, temp: &Path) -> Result<()> {
    let log = names::log_dir(dir);
    let target = log.join(names::commit_file(version));
    match disk.read(&target) {
        Ok(found) if found == bytes.as_bytes() => {
            disk.sync_file(&target).at("syncing", &target)?;
            fault::point("publish.found");
        }
        Ok(found) if bytes.as_bytes().starts_with(&found) => {
            return Err(Error::Corrupt(format!("{} is torn; run `millrace repair`", target.display())));
        }
        Ok(_) => return Err(other_commit(dir, version)),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            disk.write(temp, bytes.as_bytes()).at("writing", temp)?;
            fault::point("publish.written");
            match disk.publish(temp, &target) {
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {
                    return Err(other_commit(dir, version));
                }
                other => other.at("publishing", &target)?,
            }
        }
        Err(e) => return Err(Error::io("reading", &target, e)),
    }
    fault::point("publish.linked");
    disk.sync_dir(&log).at("syncing", &log)
}

fn other_commit(dir: &Path, version: u64) -> Error {
    Error::Foreign(format!(
        "{}: somebody else wrote version {version} of this table; stop whatever else writes to it, then run \
         `millrace repair`",
        dir.display()
    ))
}
