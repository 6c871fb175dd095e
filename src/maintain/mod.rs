//! Maintenance: what keeps files, logs and indexes few.
//!
//! The heavy part (reading, merging, encoding, log checkpoints, removing) runs beside the batches, on files that
//! never change. A batch waits only for taking up the result, which costs what the result's rows cost in the
//! index, and for small work, which is done at once.

mod aside;
pub mod clean;
pub mod compact;
pub mod fold;

use crate::error::Result;
use crate::fault;
use crate::root::Root;
use aside::Aside;
pub use aside::Cancel;

#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    pub compact: compact::Policy,
    pub retention: clean::Retention,
}

impl Policy {
    /// What `run` keeps to.
    pub fn of_run() -> Policy {
        if !fault::is_eager() {
            return Policy::default();
        }
        Policy {
            compact: compact::Policy { fan_in: 2, ..compact::Policy::default() },
            retention: clean::Retention { checkpoint_every: 1, keep_commits: 1, keep_ms: 0 },
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
}

/// What is due, as it was when it was found.
#[derive(Debug)]
struct Job {
    folds: Vec<fold::Job>,
    rewrites: Vec<compact::Job>,
    clean: Option<clean::Job>,
}

#[derive(Debug)]
struct Done {
    folded: Vec<fold::Folded>,
    rewritten: Vec<compact::Rewritten>,
    cleaned: Option<clean::Cleaned>,
}

impl Upkeep {
    pub fn new(policy: Policy) -> Self {
        Upkeep { policy, running: None }
    }

    /// Takes up what was done beside the batches and begins what is due. Called after every batch.
    pub fn after_batch(&mut self, root: &mut Root) -> Result<()> {
        root.in_place()?;
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

    /// Waits for what is under way and takes it up.
    pub fn finish(&mut self, root: &mut Root) -> Result<()> {
        let Some(running) = self.running.take() else { return Ok(()) };
        let done = running.finish()?;
        fault::point("maintain.done");
        for folded in done.folded {
            fold::take_up(root, folded);
        }
        compact::take_up(root, done.rewritten)?;
        fault::point("maintain.compacted");
        if let Some(cleaned) = done.cleaned {
            clean::take_up(root, &cleaned);
        }
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
            clean: clean::due(root, &policy.retention),
        }
    }

    fn is_empty(&self) -> bool {
        self.folds.is_empty() && self.rewrites.is_empty() && self.clean.is_none()
    }

    fn is_small(&self) -> bool {
        self.clean.is_none()
            && self.folds.iter().map(fold::Job::entries).sum::<u64>() <= SMALL_ENTRIES
            && self.rewrites.iter().map(compact::Job::bytes).sum::<u64>() <= SMALL_BYTES
    }

    fn go(self, cancel: &Cancel) -> Result<Done> {
        Ok(Done {
            folded: self.folds.into_iter().map(|job| job.go(cancel)).collect::<Result<_>>()?,
            rewritten: self.rewrites.into_iter().map(|job| job.go(cancel)).collect::<Result<_>>()?,
            cleaned: self.clean.map(|job| job.go(cancel)).transpose()?,
        })
    }
}
