//! What the Delta kernel does for us: open a table at its newest version, list its live files, write log
//! checkpoints.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, AsArray, MapArray, RecordBatch, StructArray};
use arrow::datatypes::{Int32Type, Int64Type};
use delta_kernel::checkpoint::LastCheckpointHintStats;
use delta_kernel::engine::arrow_data::ArrowEngineData;
use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::{Engine, KernelError, KernelResult};
use delta_kernel_default_engine::{DefaultEngine, DefaultEngineBuilder};
use roaring::RoaringTreemap;
use url::Url;

use super::disk::Disk;
use super::executor::Inline;
use super::log::{CHECKSUM_TAG, DvDescriptor, FileAction};
use super::parquet::encode_small;
use super::store::DurableStore;
use crate::error::{Error, Result, refused};

/// The kernel's engine over local files.
#[derive(Clone)]
pub struct Kernel {
    engine: Arc<DefaultEngine<Inline>>,
    store: Arc<DurableStore>,
}

impl std::fmt::Debug for Kernel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Kernel")
    }
}

/// A table as its log has it.
pub struct Opened {
    pub version: u64,
    pub files: Vec<(FileAction, RoaringTreemap)>,
    /// Version of the log checkpoint that it was read through; 0 if there was none.
    pub checkpoint: u64,
    pub snapshot: SnapshotRef,
}

/// A table's log, replayed.
pub struct Logged {
    pub snapshot: SnapshotRef,
    pub actions: Vec<FileAction>,
}

impl Kernel {
    /// `temp` is where files are written before they get their name.
    pub fn new(disk: Arc<dyn Disk>, temp: &Path) -> Self {
        let store = Arc::new(DurableStore::new(disk, temp.to_path_buf()));
        let builder = DefaultEngineBuilder::new(store.clone()).with_task_executor(Arc::new(Inline));
        Kernel { engine: Arc::new(builder.build()), store }
    }

    /// The newest version and its live files, deletion vectors read.
    pub fn open(&self, dir: &Path) -> Result<Opened> {
        self.open_at(dir, None)
    }

    /// The same of a certain version, if one is given.
    pub fn open_at(&self, dir: &Path, version: Option<u64>) -> Result<Opened> {
        let Logged { snapshot, actions } = self.log(dir, version)?;
        let deleted = |file: FileAction| self.deleted(dir, &file).map(|deleted| (file, deleted));
        let files = actions.into_iter().map(deleted).collect::<Result<_>>()?;
        let checkpoint = snapshot.log_segment().checkpoint_version.unwrap_or(0);
        Ok(Opened { version: snapshot.version(), files, checkpoint, snapshot })
    }

    /// What the log says at `version`, or at its end. Deletion vectors are not read.
    pub fn log(&self, dir: &Path, version: Option<u64>) -> Result<Logged> {
        let fail = |e: delta_kernel::KernelError| unreadable(dir, &e);
        let mut builder = Snapshot::builder_for(table_url(dir)?.as_str());
        if let Some(version) = version {
            builder = builder.at_version(version);
        }
        let snapshot = builder.build(self.engine.as_ref()).map_err(fail)?;
        let mut actions = Vec::new();
        let scan = snapshot.clone().scan_builder().build().map_err(fail)?;
        for part in scan.scan_metadata(self.engine.as_ref()).map_err(fail)? {
            let (data, selected) = part.map_err(fail)?.scan_files.into_parts();
            let rows: RecordBatch = ArrowEngineData::try_from_engine_data(data).map_err(fail)?.into();
            for row in 0..rows.num_rows() {
                // A selection vector that is too short selects the rest.
                if selected.get(row).copied().unwrap_or(true) && !rows.column(0).is_null(row) {
                    actions
                        .push(file_action(&rows, row).ok_or_else(|| unreadable(dir, &"unknown scan row"))?);
                }
            }
        }
        Ok(Logged { snapshot, actions })
    }

    /// The rows of `file` that its deletion vector names.
    pub fn deleted(&self, dir: &Path, file: &FileAction) -> Result<RoaringTreemap> {
        let Some(dv) = &file.dv else { return Ok(RoaringTreemap::new()) };
        let url = table_url(dir)?;
        let read = || {
            let kind = dv.storage_type.parse()?;
            let path = dv.path_or_inline_dv.as_str();
            let descriptor = delta_kernel::actions::deletion_vector::DeletionVectorDescriptor::try_new(
                kind,
                path,
                dv.offset,
                dv.size_in_bytes,
                dv.cardinality,
            )?;
            descriptor.read(self.engine.storage_handler(), &url)
        };
        read().map_err(|e: delta_kernel::KernelError| {
            if let Some(source) = refused(&e) {
                return Error::io("reading deletion vectors of", dir, source);
            }
            let what = format!("a deletion vector of {}", file.path);
            let e = first_line(&e);
            Error::Corrupt(format!("{}: {what} cannot be read ({e}); run `millrace repair`", dir.display()))
        })
    }

    /// Highest `txn` version that `app` left in the table.
    pub fn txn(&self, opened: &Opened, app: &str, dir: &Path) -> Result<Option<u64>> {
        let version = opened.snapshot.get_app_id_version(app, self.engine.as_ref());
        Ok(version.map_err(|e| unreadable(dir, &e))?.and_then(|v| u64::try_from(v).ok()))
    }

    /// Writes a log checkpoint of a version and opens that version again through it. Returns what it found, so that
    /// the caller can compare before it deletes anything older.
    pub fn checkpoint(&self, dir: &Path, version: u64) -> Result<Opened> {
        let fail = |e: delta_kernel::KernelError| unreadable(dir, &e);
        let Logged { snapshot, .. } = self.log(dir, Some(version))?;
        if snapshot.log_segment().checkpoint_version != Some(version) {
            self.write_checkpoint(snapshot).map_err(fail)?;
        }
        self.open_at(dir, Some(version))
    }

    /// What the kernel's own `Snapshot::checkpoint` does, but the file is made for being opened: without columns of
    /// actions that our tables never have, and without the statistics and dictionaries of a large file.
    fn write_checkpoint(&self, snapshot: SnapshotRef) -> KernelResult<()> {
        let engine = self.engine.as_ref();
        let writer = snapshot.create_checkpoint_writer(engine)?;
        let mut data = writer.checkpoint_data(engine)?;
        let state = data.state();
        let mut rows = Vec::new();
        for part in &mut data {
            let part = ArrowEngineData::try_from_engine_data(part?.apply_selection_vector()?)?;
            rows.push(RecordBatch::from(*part));
        }
        drop(data);
        let bytes = encode_small(&slim(&rows)?).map_err(KernelError::generic_err)?;
        self.store.replace(&writer.checkpoint_path()?, &bytes)?;
        let state = Arc::into_inner(state).ok_or_else(|| KernelError::internal_error("it is still read"))?;
        writer.finalize(
            engine,
            &LastCheckpointHintStats::from_reconciliation_state(state, bytes.len() as u64, 0)?,
        )
    }
}

/// Actions that a reader need not find a column for, where a log checkpoint has none of them: those of table features
/// that our tables do not have.
const OPTIONAL: [&str; 2] = ["domainMetadata", "sidecar"];

fn slim(rows: &[RecordBatch]) -> KernelResult<Vec<RecordBatch>> {
    let Some(first) = rows.first() else { return Ok(Vec::new()) };
    let unused = |name: &String| {
        let none = |rows: &RecordBatch| rows.column_by_name(name).is_none_or(|c| c.null_count() == c.len());
        OPTIONAL.contains(&name.as_str()) && rows.iter().all(none)
    };
    let fields = first.schema_ref().fields().iter().enumerate();
    let kept: Vec<usize> = fields.filter(|(_, field)| !unused(field.name())).map(|(at, _)| at).collect();
    Ok(rows.iter().map(|rows| rows.project(&kept)).collect::<Result<_, _>>()?)
}

fn table_url(dir: &Path) -> Result<Url> {
    let absolute = std::path::absolute(dir).map_err(|e| Error::io("resolving", dir, e))?;
    Url::from_directory_path(&absolute)
        .map_err(|()| Error::Config(format!("{} cannot be written as a URL", absolute.display())))
}

fn unreadable(dir: &Path, e: &dyn std::fmt::Display) -> Error {
    if let Some(source) = refused(e) {
        return Error::io("reading the Delta table", dir, source);
    }
    let e = first_line(e);
    Error::Corrupt(format!("the Delta table {} cannot be read ({e}); run `millrace repair`", dir.display()))
}

/// With `RUST_BACKTRACE` set, the kernel's messages carry a backtrace.
fn first_line(e: &dyn std::fmt::Display) -> String {
    e.to_string().lines().next().unwrap_or_default().to_owned()
}

fn file_action(rows: &RecordBatch, row: usize) -> Option<FileAction> {
    let text = |name: &str| {
        let column = rows.column_by_name(name)?.as_string_opt::<i32>()?;
        column.is_valid(row).then(|| column.value(row).to_owned())
    };
    let long = |name: &str| Some(rows.column_by_name(name)?.as_primitive_opt::<Int64Type>()?.value(row));
    let dv = rows.column_by_name("deletionVector")?.as_struct_opt()?;
    Some(FileAction {
        path: text("path")?,
        size: long("size")?,
        modification_time: long("modificationTime")?,
        stats: text("stats").unwrap_or_else(|| "{}".into()),
        dv: if dv.is_valid(row) { Some(descriptor(dv, row)?) } else { None },
        checksum: checksum(rows, row),
    })
}

fn checksum(rows: &RecordBatch, row: usize) -> Option<String> {
    let constants = rows.column_by_name("fileConstantValues")?.as_struct_opt()?;
    let tags = constants.column_by_name("tags")?.as_any().downcast_ref::<MapArray>()?;
    if constants.is_null(row) || tags.is_null(row) {
        return None;
    }
    let entries = tags.value(row);
    let (keys, values) =
        (entries.column(0).as_string_opt::<i32>()?, entries.column(1).as_string_opt::<i32>()?);
    let at = (0..entries.len()).find(|at| keys.value(*at) == CHECKSUM_TAG && values.is_valid(*at))?;
    Some(values.value(at).to_owned())
}

fn descriptor(dv: &StructArray, row: usize) -> Option<DvDescriptor> {
    let text = |name: &str| Some(dv.column_by_name(name)?.as_string_opt::<i32>()?.value(row).to_owned());
    let int = |name: &str| {
        let column = dv.column_by_name(name)?.as_primitive_opt::<Int32Type>()?;
        column.is_valid(row).then(|| column.value(row))
    };
    Some(DvDescriptor {
        storage_type: text("storageType")?,
        path_or_inline_dv: text("pathOrInlineDv")?,
        offset: int("offset"),
        size_in_bytes: int("sizeInBytes")?,
        cardinality: dv.column_by_name("cardinality")?.as_primitive_opt::<Int64Type>()?.value(row),
    })
}
