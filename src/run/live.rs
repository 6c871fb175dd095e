//! The loop: list, read ahead, run batches, wait; until there is nothing left to do or somebody says stop.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel, sync_channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::batch::{FileRange, Input, Unread};
use crate::discover::{Folder, Listing, Now};
use crate::error::{Error, Result};
use crate::fault;
use crate::report::BatchReport;
use crate::text::shown;
use crate::threads;

use super::ahead::{self, Pending, Permits, Read};
use super::intake::Worker;
use super::lull::Lull;
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
    /// Files that could not be read, at the last look, with the reason.
    pub unread: BTreeMap<String, String>,
    /// `once`: files that were still being written.
    pub waiting: BTreeMap<String, String>,
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
/// How soon a mirror that could not be mended is tried again: at first, and at last.
const MENDING: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Runs until everything is taken (`once`) or until stopped.
///
/// # Errors
/// What stops a run: an unusable source folder, a durable step that failed, tables that somebody else changed.
pub fn run(session: Session, options: &Options, stop: &Stop, observer: &mut dyn Observer) -> Result<Ended> {
    let own = &session.root.paths.tables;
    let ignore = vec![own.clone(), "checkpoint".into(), "database".into()];
    let folder = Folder::open(&options.source, session.root.pipeline.source.settle_ms, &ignore)?;
    if folder.was_made() {
        let source = shown(&options.source.to_string_lossy());
        observer.note(&format!("made the source folder {source}: it was missing"));
    }
    let started = Instant::now();
    let ended = Ended { source: options.source.clone(), ..Ended::default() };
    let (again, mend) = (false, (None, MENDING.0));
    let mut live = Live {
        session,
        folder,
        options,
        stop,
        observer,
        started,
        ended,
        again,
        idle: None,
        mend,
        lull: Lull::new(),
        underway: 0,
    };
    let went = live.go();
    if went.is_err() || stop.is_set() {
        live.session.leave_mirror();
    }
    live.tell_notes();
    went?;
    if !stop.is_set() {
        live.session.finish_unless(&|| stop.is_set())?;
        // Nobody will look after it later.
        live.tell_notes();
        live.session.mend_mirror().iter().for_each(|note| live.observer.note(note));
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
    /// Files were left in the middle, changed between listing and reading, or were listed by name only: list again.
    again: bool,
    /// `once`: since when there is nothing left but files that are being written.
    idle: Option<Instant>,
    /// When mending the mirror last failed, and how long to leave it alone.
    mend: (Option<Instant>, Duration),
    lull: Lull,
    /// Bytes on disk of the batch that is in the tables, but perhaps not in the mirror yet.
    underway: u64,
}

impl Live<'_> {
    fn go(&mut self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .map_err(|source| Error::System { doing: "waiting for files", source })?;
        let mut woken = if self.options.once { None } else { Some(self.folder.watch()) };
        self.tell_notes();
        let mut listing = self.names_first();
        let mut first = true;
        loop {
            self.told(&listing);
            let took = !listing.ready.is_empty();
            self.take_all(&mut listing)?;
            if self.stop.is_set() {
                return Ok(());
            }
            if std::mem::take(&mut self.again) {
                listing = self.folder.list(&self.session.ledger, self.now());
                continue;
            }
            if self.options.once && !took && self.nothing_to_wait_for(&listing) {
                return Ok(());
            }
            // All that was there at the start is taken. What came meanwhile is live: where it never stops coming,
            // no listing would ever be empty. Whoever is told so looks for the mirror.
            if first && !self.options.once && !self.session.mirror_is_in_the_making() {
                self.ended.seconds = self.started.elapsed().as_secs_f64();
                self.observer.caught_up(&self.ended);
                first = false;
            }
            if !took {
                self.mend_mirror();
                self.rest()?;
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

    /// New names first; whatever else there is needs a look at every file. Of nothing but files written a moment ago
    /// there is a second look before that.
    fn names_first(&mut self) -> Listing {
        if self.session.ledger.is_empty() {
            // Every file is new: all are to be looked at.
            return self.folder.list(&self.session.ledger, self.now());
        }
        let listing = self.folder.list_names(&self.session.ledger, self.now());
        self.again = listing.by_name > 0;
        if !self.again || !listing.ready.is_empty() || listing.waiting.is_empty() {
            return listing;
        }
        self.told(&listing);
        std::thread::sleep(self.folder.wait(self.now()).min(ATTENTION));
        self.folder.look(&self.session.ledger, self.now())
    }

    fn tell_notes(&mut self) {
        std::mem::take(&mut self.session.notes).iter().for_each(|note| self.observer.note(note));
    }

    /// `once`: what the first listing saw is taken; files that are still being written are waited for.
    fn nothing_to_wait_for(&mut self, listing: &Listing) -> bool {
        let since = *self.idle.get_or_insert_with(Instant::now);
        if !listing.waiting.is_empty() && since.elapsed() < PATIENCE {
            return false;
        }
        self.ended.waiting = listing.waiting.iter().map(|w| (w.name.to_string(), w.why.into())).collect();
        true
    }

    fn told(&mut self, listing: &Listing) {
        self.observer.unread(&listing.news);
        if listing.full {
            self.ended.files_seen = listing.files_total;
            self.ended.unread.clear();
        }
        self.left_unread(&listing.unread);
        for name in &listing.folders {
            let name = shown(name);
            self.observer
                .note(&format!("{name} is a folder named like an event file: what is in it is read"));
        }
        if !listing.ready.is_empty() {
            let bytes = listing.ready.iter().map(|c| c.fingerprint.size).sum();
            self.observer.found(&Found { files: listing.ready.len() as u64, bytes });
        }
    }

    fn left_unread(&mut self, unread: &[Unread]) {
        self.ended.unread.extend(unread.iter().map(|u| (u.name.to_string(), u.reason.clone())));
    }

    /// While nothing else is to be done: a mirror that was deleted, or that could not take a batch, is brought
    /// level. Trying can take as long as another writer is waited for, so not too often.
    fn mend_mirror(&mut self) {
        if self.options.once || self.mend.0.is_some_and(|tried| tried.elapsed() < self.mend.1) {
            return;
        }
        let notes = self.session.mend_mirror();
        let (delay, longest) = (self.mend.1, MENDING.1);
        self.mend = match self.session.mirror_is_behind() {
            false => (None, MENDING.0),
            true => (Some(Instant::now()), longest.min(delay * 2)),
        };
        notes.iter().for_each(|note| self.observer.note(note));
    }

    /// While nothing else is to be done: whoever reads the tables should find few files. (`once` does so at its end.)
    fn rest(&mut self) -> Result<()> {
        if !self.options.once {
            self.lull.go_on(&mut self.session)?;
            self.tell_notes();
        }
        Ok(())
    }

    fn now(&self) -> Now {
        Now::read(self.session.root.clock.as_ref(), self.started)
    }

    /// Takes all candidates, reading ahead of what is committed.
    fn take_all(&mut self, listing: &mut Listing) -> Result<()> {
        let Some(inputs) = self.next_inputs(listing) else { return Ok(()) };
        let pipeline = self.session.root.pipeline.clone();
        let flattener = self.session.flattener.clone();
        let worker = &Worker::new(&pipeline, &flattener, self.options.threads);
        let many = self.is_many(&inputs, listing);
        self.session.expect_many(many);
        let taken = self.take_with(listing, inputs, worker);
        // Whatever ended it: the last batch has happened.
        let last = self.session.end_batch();
        self.lull.broken();
        self.tell(last);
        if taken.is_ok() && !self.stop.is_set() {
            self.session.complete_mirror();
        }
        self.tell_notes();
        taken
    }

    /// More than a batch of files is there.
    fn is_many(&self, inputs: &[Input], listing: &Listing) -> bool {
        let bytes: u64 = inputs.iter().map(|input| input.fingerprint.size).sum();
        !listing.ready.is_empty() || bytes > self.session.root.pipeline.source.batch_bytes
    }

    fn take_with(&mut self, listing: &mut Listing, inputs: Vec<Input>, worker: &Worker<'_>) -> Result<()> {
        let permits = &Permits::new();
        let (jobs, queue) = channel();
        let (out, results) = sync_channel(1);
        let run = move || ahead::pump(worker, permits, &queue, &out);
        std::thread::scope(|scope| match Builder::new().spawn_scoped(scope, run) {
            Ok(reader) => {
                let taken = self.take_read(listing, inputs, &jobs, &results);
                permits.close();
                drop((jobs, results));
                // If it panicked, that was told as its end.
                let _ = reader.join();
                taken
            }
            Err(_) => self.take_in_turn(listing, inputs, worker),
        })
    }

    /// Commits what another thread reads.
    fn take_read(
        &mut self,
        listing: &mut Listing,
        inputs: Vec<Input>,
        jobs: &Sender<Vec<Input>>,
        results: &Receiver<Read>,
    ) -> Result<()> {
        let hand_over = |inputs| jobs.send(inputs).map_err(|_| threads::died());
        hand_over(inputs)?;
        loop {
            let Read { intake, hungry } = results.recv().map_err(|_| threads::died())?;
            let intake = intake?;
            // Before the commit: they are read meanwhile.
            let next = if hungry { self.next_inputs(listing) } else { None };
            let more = !self.stop.is_set() && (!hungry || next.is_some());
            next.map_or(Ok(()), hand_over)?;
            self.commit(intake)?;
            if !more {
                return Ok(());
            }
        }
    }

    /// Reads and commits by turns.
    fn take_in_turn(&mut self, listing: &mut Listing, inputs: Vec<Input>, worker: &Worker<'_>) -> Result<()> {
        let mut pending = Pending::default();
        let mut next = Some(inputs);
        while let Some(inputs) = next {
            pending.add(inputs);
            while !pending.is_empty() && !self.stop.is_set() {
                let intake = pending.next(worker)?;
                self.commit(intake)?;
            }
            next = self.next_inputs(listing);
        }
        Ok(())
    }

    /// Files for a batch or more; `None` when there are no more, or when it is time to stop.
    fn next_inputs(&mut self, listing: &mut Listing) -> Option<Vec<Input>> {
        let source = &self.session.root.pipeline.source;
        let (files, bytes) = (source.batch_files, source.batch_bytes);
        let now = self.now();
        while !listing.ready.is_empty() && !self.stop.is_set() {
            let taken = self.folder.take(&mut listing.ready, files, bytes, now);
            self.observer.unread(&taken.unread);
            self.left_unread(&taken.unread);
            // Written to since it was listed: `once` must not leave without it.
            listing.waiting.extend(taken.waiting);
            if !taken.inputs.is_empty() {
                return Some(taken.inputs);
            }
        }
        None
    }

    /// Tells of a batch that is in the tables and the mirror.
    fn tell(&mut self, done: Option<BatchReport>) {
        let Some(report) = done else { return };
        self.ended.batches += 1;
        self.ended.quarantined += report.quarantined;
        self.observer.batch(&report, self.underway);
    }

    /// Commits what was read; the ledger knows it before the folder may offer it again.
    fn commit(&mut self, intake: Intake) -> Result<()> {
        let now = self.now();
        for unread in &intake.unread {
            self.folder.put_off(unread, now);
        }
        self.left_unread(&intake.unread);
        self.observer.unread(&intake.unread);
        if intake.files.is_empty() {
            return Ok(());
        }
        let done: Vec<_> = intake.files.iter().filter(|f| f.last).map(|f| f.name.clone()).collect();
        let bytes = intake.files.iter().map(source_bytes).sum();
        let cut = intake.cut.clone();
        fault::point("batch.begun");
        let before = self.session.begin_batch(intake)?;
        self.tell(before);
        self.underway = bytes;
        if !self.session.is_mirroring() {
            let done = self.session.end_batch();
            self.tell(done);
        }
        self.again |= !cut.is_empty();
        for name in done.iter().chain(&cut) {
            self.folder.release(name);
            self.ended.unread.remove(&**name);
        }
        self.session.maintain()?;
        self.tell_notes();
        fault::point("batch.maintained");
        Ok(())
    }
}

/// Bytes on disk that a range stands for: of a compressed file they are known when it is done.
fn source_bytes(range: &FileRange) -> u64 {
    match (range.name.ends_with(".gz") || range.name.ends_with(".zst"), range.last) {
        (true, true) => range.fingerprint.size,
        (true, false) => 0,
        (false, _) => range.end.offset - range.start.offset,
    }
}
