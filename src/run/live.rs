//! The loop: list, read ahead, run batches, wait; until there is nothing left to do or somebody says stop.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::batch::{Input, Unread};
use crate::decode::Reader;
use crate::discover::{Candidate, Folder, Listing, Now};
use crate::error::{Error, Result};
use crate::report::BatchReport;
use crate::threads;

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

/// How long `once` waits for files that are still being written.
const PATIENCE: Duration = Duration::from_secs(10);
/// How soon a stop is noticed while nothing happens.
const ATTENTION: Duration = Duration::from_millis(200);

/// Runs until everything is taken (`once`) or until stopped.
///
/// # Errors
/// What stops a run: an unusable source folder, a durable step that failed, tables that somebody else changed.
pub fn run(session: Session, options: &Options, stop: &Stop, observer: &mut dyn Observer) -> Result<Ended> {
    let own = &session.root.paths.tables;
    let ignore = vec![own.clone(), "checkpoint".into(), "database".into()];
    let folder = Folder::open(&options.source, session.root.pipeline.source.settle_ms, &ignore)?;
    let started = Instant::now();
    let ended = Ended { source: options.source.clone(), ..Ended::default() };
    let mut live = Live { session, folder, options, stop, observer, started, ended, open: VecDeque::new() };
    live.go()?;
    if !stop.is_set() {
        live.session.finish()?;
    }
    live.ended.seconds = started.elapsed().as_secs_f64();
    live.ended.stopped = stop.is_set();
    Ok(live.ended)
}

struct Live<'a> {
    session: Session,
    folder: Folder,
    options: &'a Options,
    stop: &'a Stop,
    observer: &'a mut dyn Observer,
    started: Instant,
    ended: Ended,
    /// Files larger than a batch, being read range by range.
    open: VecDeque<Reader>,
}

impl Live<'_> {
    fn go(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|e| Error::Bug(format!("waiting for files: {e}")))?;
        let mut woken = if self.options.once { None } else { Some(self.folder.watch()) };
        let mut listing = self.folder.list(&self.session.ledger, self.now());
        let mut first = true;
        loop {
            self.told(&listing);
            let took = !listing.ready.is_empty();
            self.take_all(std::mem::take(&mut listing.ready))?;
            if self.stop.is_set() || (self.options.once && self.nothing_to_wait_for(&listing)) {
                return Ok(());
            }
            if first && listing.waiting.is_empty() && !self.options.once {
                self.ended.seconds = self.started.elapsed().as_secs_f64();
                self.observer.caught_up(&self.ended);
                first = false;
            }
            if !took {
                let wait = self.folder.wait(self.now()).min(ATTENTION);
                runtime.block_on(async {
                    match &mut woken {
                        Some(woken) => _ = tokio::time::timeout(wait, woken.changed()).await,
                        None => tokio::time::sleep(wait).await,
                    }
                });
            }
            listing = self.folder.look(&self.session.ledger, self.now());
        }
    }

    /// `once`: what the first listing saw is taken; files that are still being written are waited for.
    fn nothing_to_wait_for(&mut self, listing: &Listing) -> bool {
        if !listing.waiting.is_empty() && self.started.elapsed() < PATIENCE {
            return false;
        }
        self.ended.waiting = listing.waiting.iter().map(|w| format!("{}: {}", w.name, w.why)).collect();
        true
    }

    fn told(&mut self, listing: &Listing) {
        self.observer.unread(&listing.news);
        if listing.full {
            self.ended.files_seen = listing.files_total;
            self.ended.unread = listing.unread.iter().map(|u| format!("{}: {}", u.name, u.reason)).collect();
        }
        if !listing.ready.is_empty() {
            let bytes = listing.ready.iter().map(|c| c.fingerprint.size).sum();
            self.observer.found(&Found { files: listing.ready.len() as u64, bytes });
        }
    }

    fn now(&self) -> Now {
        Now::read(self.session.root.clock.as_ref(), self.started)
    }

    /// Takes all candidates, reading one batch ahead of the one that is committed.
    fn take_all(&mut self, mut ready: VecDeque<Candidate>) -> Result<()> {
        let pipeline = self.session.root.pipeline.clone();
        let flattener = self.session.flattener.clone();
        let worker = Worker::new(&pipeline, &flattener, self.options.threads);
        let mut ahead: Option<Intake> = None;
        loop {
            let work = if self.stop.is_set() { None } else { self.next_work(&mut ready) };
            if work.is_none() && ahead.is_none() {
                break;
            }
            let next = std::thread::scope(|scope| {
                let reading = work.map(|work| scope.spawn(|| work.go(&worker)));
                let committed = ahead.take().map_or(Ok(()), |intake| self.commit(intake));
                let read = reading.map(|thread| thread.join().map_err(|_| threads::died())).transpose();
                committed.and(read)
            })?;
            ahead = next.map(|(intake, readers)| {
                self.open.extend(readers);
                intake
            });
        }
        // A stop leaves the rest of a large file for the next run: its ranges so far are in the ledger.
        for reader in self.open.drain(..) {
            self.folder.release(reader.name());
        }
        Ok(())
    }

    fn next_work(&mut self, ready: &mut VecDeque<Candidate>) -> Option<Work> {
        let source = &self.session.root.pipeline.source;
        if let Some(reader) = self.open.pop_front() {
            return Some(Work::Range(Box::new(reader), source.batch_bytes));
        }
        let now = self.now();
        while !ready.is_empty() {
            let taken = self.folder.take(ready, source.batch_files, source.batch_bytes, now);
            self.observer.unread(&taken.unread);
            self.ended.unread.extend(taken.unread.iter().map(|u| format!("{}: {}", u.name, u.reason)));
            if !taken.inputs.is_empty() {
                return Some(Work::Files(taken.inputs, source.batch_bytes));
            }
        }
        None
    }

    /// Commits what was read; the ledger knows it before the folder may offer it again.
    fn commit(&mut self, intake: Intake) -> Result<()> {
        let now = self.now();
        for unread in &intake.unread {
            self.folder.put_off(unread, now);
            self.ended.unread.push(format!("{}: {}", unread.name, unread.reason));
        }
        self.observer.unread(&intake.unread);
        if intake.files.is_empty() {
            return Ok(());
        }
        let done: Vec<_> = intake.files.iter().filter(|f| f.last).map(|f| f.name.clone()).collect();
        let bytes = intake.files.iter().filter(|f| f.last).map(|f| f.fingerprint.size).sum();
        let report = self.session.run_batch(intake)?;
        done.iter().for_each(|name| self.folder.release(name));
        self.ended.batches += 1;
        self.ended.quarantined += report.quarantined;
        self.session.note_report(&report);
        self.observer.batch(&report, bytes);
        self.session.maintain()?;
        std::mem::take(&mut self.session.notes).iter().for_each(|note| self.observer.note(note));
        Ok(())
    }
}

/// What is read ahead next.
enum Work {
    Files(Vec<Input>, u64),
    Range(Box<Reader>, u64),
}

impl Work {
    /// Reads, decodes, checks. Returns also the readers of files that are not done.
    fn go(self, worker: &Worker<'_>) -> (Intake, Vec<Reader>) {
        match self {
            Work::Files(inputs, budget) => worker.files(inputs, budget),
            Work::Range(mut reader, budget) => {
                let intake = worker.range(&mut reader, budget);
                let more = intake.unread.is_empty() && !reader.is_done();
                (intake, if more { vec![*reader] } else { Vec::new() })
            }
        }
    }
}
