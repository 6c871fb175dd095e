//! The loop: list, read ahead, run batches, wait; until there is nothing left to do or somebody says stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::batch::Unread;
use crate::decode::Reader;
use crate::discover::{Candidate, Folder, Listing};
use crate::error::Result;
use crate::report::BatchReport;

use super::intake::Worker;
use super::{Intake, Session};

#[derive(Debug, Clone)]
pub struct Options {
    pub source: PathBuf,
    /// Take what the first listing sees, then end.
    pub once: bool,
    pub threads: usize,
}

/// Asks a run to end after the batch in hand.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    pub fn set(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// What a listing brought.
#[derive(Debug, Clone, Copy)]
pub struct Found {
    pub files: u64,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How a run ended.
#[derive(Debug, Default, Serialize)]
pub struct Ended {
    pub source: PathBuf,
    pub seconds: f64,
    pub batches: u64,
    pub files_seen: u64,
    pub quarantined: u64,
    /// Files that could not be read, at the last look.
    pub unread: Vec<String>,
    /// `once`: files that were still being written.
    pub waiting: Vec<String>,
    pub stopped: bool,
}

impl Ended {
    pub fn unclean(&self) -> bool {
        self.quarantined > 0 || !self.unread.is_empty() || !self.waiting.is_empty()
    }
}

/// Who is told what happens.
pub trait Observer {
    fn found(&mut self, found: &Found);
    /// `source_bytes`: bytes on disk of the files that the batch finished.
    fn batch(&mut self, report: &BatchReport, source_bytes: u64);
    fn unread(&mut self, unread: &[Unread]);
    fn note(&mut self, line: &str);
    /// Everything that was there is in the tables; from here on, batches are live.
    fn caught_up(&mut self, so_far: &Ended);
}

/// Tells nobody.
#[derive(Debug, Default)]
pub struct Quiet;

impl Observer for Quiet {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, _: &BatchReport, _: u64) {}
    fn unread(&mut self, _: &[Unread]) {}
    fn note(&mut self, line: &str) {
        tracing::warn!("{line}");
    }
    fn caught_up(&mut self, _: &Ended) {}
}
