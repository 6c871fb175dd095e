//! Maintenance: what keeps files, logs and indexes few.
//!
//! The heavy part (reading, merging, encoding, log checkpoints, removing) runs beside the batches, on files that
//! never change. A batch waits only for taking up the result, which costs what the result's rows cost in the
//! index, and for small work, which is done at once.

mod aside;
mod choose;
pub mod clean;
pub mod compact;
pub mod fold;

use std::time::{Duration, Instant};

use crate::error::Result;
use crate::fault;
use crate::root::Root;
use aside::Aside;
pub use aside::Cancel;

#[derive(Debug, Clone, Copy)]
pub struct Policy {
    pub compact: compact::Policy,
    pub retention: clean::Retention,
    /// Batches that make a run a long one: beside them it costs little to leave the tables well read at its end.
    pub long_run: u64,
}

impl Default for Policy {
    fn default() -> Self {
        Policy { compact: compact::Policy::default(), retention: clean::Retention::default(), long_run: 32 }
    }
}

impl Policy {
    /// What `run` keeps to.
    pub fn of_run() -> Policy {
        if !fault::is_eager() {
            return Policy::default();
        }
        Policy {
            compact: compact::Policy { fan_in: 2, rest_parts: 1, end_parts: 1, ..compact::Policy::default() },
            retention: clean::Retention {
                checkpoint_every: 1,
                keep_commits: 1,
                keep_ms: 0,
                rest_commits: 0,
                end_commits: 0,
                ..clean::Retention::default()
            },
            ..Policy::default()
        }
    }
}

/// Work on this many index entries and bytes of rows is not worth a thread: it takes a few milliseconds.
const SMALL_ENTRIES: u64 = 10_000;
const SMALL_BYTES: u64 = 1 << 20;

/// Maintenance of one root.
#[derive(Debug)]
pub struct Upkeep {
    policy: Policy,
    running: Option<Aside<Done>>,
    /// Batches of this run.
    batches: u64,
    /// Processor and disk time of the work at rest, until [`Upkeep::spent`] asks for it.
    spent: Duration,
}

/// What is due, as it was when it was found.
#[derive(Debug)]
struct Job {
    folds: Vec<fold::Job>,
    rewrites: Vec<compact::Job>,
    cleans: Vec<clean::Job>,
}

#[derive(Debug)]
struct Done {
    folded: Vec<fold::Folded>,
    rewritten: Vec<compact::Rewritten>,
    cleaned: Vec<clean::Cleaned>,
    took: Duration,
}

impl Upkeep {
    pub fn new(policy: Policy) -> Self {
        Upkeep { policy, running: None, batches: 0, spent: Duration::ZERO }
    }

    /// Takes up what was done beside the batches and begins what is due. Called after every batch.
    pub fn after_batch(&mut self, root: &mut Root) -> Result<()> {
        root.in_place()?;
        self.batches += 1;
        if self.running.as_ref().is_some_and(Aside::is_done) || self.is_late(root) {
            self.finish(root)?;
        }
        if self.running.is_some() {
            return Ok(());
        }
        let job = Job::due(root, &self.policy);
        if job.is_empty() {
            return Ok(());
        }
        fault::point("maintain.due");
        let small = job.is_small();
        self.running = Some(Aside::start(move |cancel| job.go(cancel)));
        if small { self.finish(root) } else { Ok(()) }
    }

    /// While nothing else is to be done: takes up what is done and begins what leaves the tables well read. False once
    /// nothing is left to do. Every step leaves fewer files or commits, so that comes soon.
    pub fn rest(&mut self, root: &mut Root) -> Result<bool> {
        let Policy { compact, retention, .. } = self.policy;
        self.rest_with(root, |root| {
            Job::at_rest(compact::due_at_rest(root, &compact), || clean::due_at_rest(root, &retention))
        })
    }

    /// The same at the end of a run; it waits for what it began.
    pub fn rest_at_end(&mut self, root: &mut Root) -> Result<bool> {
        let (Policy { compact, retention, long_run }, batches) = (self.policy, self.batches);
        let more = self.rest_with(root, |root| match batches >= long_run {
            true => Job::at_rest(compact::due_at_end(root, &compact, batches), || {
                clean::due_at_rest(root, &retention)
            }),
            false => {
                Job::at_rest(compact::due_at_end(root, &compact, 0), || clean::due_at_end(root, &retention))
            }
        })?;
        self.finish(root).map(|()| more)
    }

    fn rest_with(&mut self, root: &mut Root, due: impl FnOnce(&Root) -> Job) -> Result<bool> {
        root.in_place()?;
        if self.running.as_ref().is_some_and(|running| !running.is_done()) {
            return Ok(true);
        }
        self.finish(root)?;
        let job = due(root);
        if job.is_empty() {
            return Ok(false);
        }
        fault::point("maintain.at_rest");
        self.running = Some(Aside::start(move |cancel| job.go(cancel)));
        Ok(true)
    }

    /// How long maintenance worked since this was last asked.
    pub fn spent(&mut self) -> Duration {
        std::mem::take(&mut self.spent)
    }

    /// Waits for what is under way and takes it up.
    pub fn finish(&mut self, root: &mut Root) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let done = running.finish()?;
        let begin = Instant::now();
        fault::point("maintain.done");
        for folded in done.folded {
            fold::take_up(root, folded);
        }
        compact::take_up(root, done.rewritten)?;
        fault::point("maintain.compacted");
        done.cleaned.iter().for_each(|cleaned| clean::take_up(root, cleaned));
        self.spent += done.took + begin.elapsed();
        Ok(())
    }

    /// Batches come faster than maintenance follows: the next one has to wait, or files would grow without bound.
    fn is_late(&self, root: &Root) -> bool {
        root.states.iter().any(|state| {
            fold::is_late(&state.index_files)
                || compact::is_late(&state.table, &self.policy.compact)
                || clean::is_late(&state.table, &self.policy.retention)
        })
    }
}

impl Job {
    fn due(root: &Root, policy: &Policy) -> Job {
        Job {
            folds: fold::due(root),
            rewrites: compact::due(root, &policy.compact),
            cleans: clean::due(root, &policy.retention).into_iter().collect(),
        }
    }

    /// Few files first, then a log checkpoint that names them and nothing after it.
    fn at_rest(rewrites: Vec<compact::Job>, cleans: impl FnOnce() -> Vec<clean::Job>) -> Job {
        let cleans = if rewrites.is_empty() { cleans() } else { Vec::new() };
        Job { folds: Vec::new(), rewrites, cleans }
    }

    fn is_empty(&self) -> bool {
        self.folds.is_empty() && self.rewrites.is_empty() && self.cleans.is_empty()
    }

    fn is_small(&self) -> bool {
        self.cleans.is_empty()
            && self.folds.iter().map(fold::Job::entries).sum::<u64>() <= SMALL_ENTRIES
            && self.rewrites.iter().map(compact::Job::bytes).sum::<u64>() <= SMALL_BYTES
    }

    fn go(self, cancel: &Cancel) -> Result<Done> {
        let begin = Instant::now();
        Ok(Done {
            folded: self.folds.into_iter().map(|job| job.go(cancel)).collect::<Result<_>>()?,
            rewritten: self.rewrites.into_iter().map(|job| job.go(cancel)).collect::<Result<_>>()?,
            cleaned: self.cleans.into_iter().map(|job| job.go(cancel)).collect::<Result<_>>()?,
            took: begin.elapsed(),
        })
    }
}
