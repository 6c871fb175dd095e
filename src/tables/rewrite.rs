//! Rows on their way from old files to a new one, beside the batches: what is read, and what waits to be taken up.

use std::path::PathBuf;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use roaring::RoaringTreemap;

use super::disk::Disk;
use super::parquet::{Encoder, LiveRows};
use super::stats::Stats;
use super::table::is_as_written;
use super::{Table, index_file, names};
use crate::batch::FileId;
use crate::error::{IoContext, Result};

/// A data file as it was at one moment: it can be read while batches go on.
#[derive(Debug)]
pub struct Source {
    pub file: FileId,
    path: PathBuf,
    size: u64,
    rows: u64,
    deleted: RoaringTreemap,
    checksum: Option<String>,
}

impl Table {
    pub fn source(&self, file: FileId) -> Option<Source> {
        let live = self.files.get(&file)?;
        let size = live.action.size.max(0) as u64;
        let path = self.def.dir.join(names::data_file(file));
        let (deleted, checksum) = (live.deleted.clone(), live.action.checksum.clone());
        Some(Source { file, path, size, rows: live.rows, deleted, checksum })
    }
}

impl Source {
    pub fn bytes(&self) -> u64 {
        self.size
    }

    pub fn alive(&self) -> u64 {
        self.rows - self.deleted.len()
    }

    /// Damage must not be copied into a file whose checksum then says that it is sound.
    pub fn read(&self) -> Result<LiveRows> {
        is_as_written(&self.path, self.checksum.as_deref())?;
        LiveRows::open(&self.path, self.deleted.clone())
    }
}

/// A data file that is written and synced, but lies outside the table and has no batch's name yet.
#[derive(Debug)]
pub struct Ready {
    pub temp: PathBuf,
    pub size: u64,
    pub rows: u64,
    pub stats: String,
    pub checksum: String,
}

impl Ready {
    /// `stats` are the columns with statistics.
    pub fn writer(schema: &SchemaRef, stats: &[usize]) -> ReadyWriter {
        ReadyWriter { encoder: Encoder::new(schema), stats: Stats::new(stats) }
    }
}

pub struct ReadyWriter {
    encoder: Encoder,
    stats: Stats,
}

impl ReadyWriter {
    pub fn write(&mut self, rows: &RecordBatch) -> Result<()> {
        self.stats.add(rows);
        self.encoder.write(rows)
    }

    pub fn finish(self, disk: &dyn Disk, temp: PathBuf) -> Result<Ready> {
        let bytes = self.encoder.finish()?;
        disk.write(&temp, &bytes).at("writing", &temp)?;
        let (rows, stats) = (self.stats.rows(), self.stats.text());
        let checksum = index_file::checksum(&bytes);
        Ok(Ready { temp, size: bytes.len() as u64, rows, stats, checksum })
    }
}
