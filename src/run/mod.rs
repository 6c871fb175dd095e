//! Running: open, recover, then batch after batch. The only place where all steps meet.

mod ahead;
mod beside;
mod cap;
pub mod contents;
pub mod intake;
pub mod level;
mod live;
mod lull;
mod step;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{FileRange, Plan};
use crate::checkpoint::{Checkpoint, Opened, Opening, SledCheckpoint, Tables};
use crate::clock::Clock;
use crate::commit::Paths;
use crate::error::Result;
use crate::fault;
use crate::flatten::Flattener;
use crate::ledger::{Ledger, Mark};
use crate::maintain::{self, Upkeep};
use crate::pipeline::model::Pipeline;
use crate::report::BatchReport;
use crate::root::{Begun, Root};
use crate::tables::Disk;
use crate::threads;

pub use live::{Ended, Found, Observer, Options, Quiet, Stop, run};
pub use step::Intake;

/// Where everything of a root lies.
#[derive(Debug, Clone)]
pub struct Places {
    pub tables: PathBuf,
    pub checkpoint: PathBuf,
    /// `None`: no mirror.
    pub database: Option<PathBuf>,
}

/// An open root with everything that is derived from it.
pub struct Session {
    /// Before the root, whose lock must outlive the work beside the batches.
    upkeep: Upkeep,
    mirror: Option<level::Kept>,
    pub root: Root,
    pub ledger: Ledger,
    pub flattener: Arc<Flattener>,
    checkpoint: Option<SledCheckpoint>,
    tallies: cap::Tallies,
    /// Committed, but perhaps not in the mirror yet.
    underway: Option<BatchReport>,
    /// What there is to tell the user, not yet told.
    pub notes: Vec<String>,
}

impl Session {
    /// Opens and recovers: the tables first, then what is derived from them is brought level.
    ///
    /// # Errors
    /// Those of [`Root::open`]; those of the places where checkpoint and mirror lie.
    pub fn open(
        places: &Places,
        pipeline: Arc<Pipeline>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
        policy: maintain::Policy,
    ) -> Result<Session> {
        let begun = Begun::begin(Paths::new(places.tables.clone()), pipeline, disk, clock)?;
        fault::point("open.rooted");
        let (mut root, opened, mark) = load(begun, &places.checkpoint)?;
        let committed = root.record.batch;
        let (mut ledger, mut notes) = (opened.ledger, std::mem::take(&mut root.notes));
        notes.extend(opened.notes);
        let mut checkpoint = Some(opened.checkpoint);
        fault::point("open.remembered");
        if ledger.watermark() < committed {
            for (batch, range) in root.ledger_rows(ledger.watermark())? {
                ledger.apply(batch, &[range]);
            }
            ledger.advance(committed);
            fault::point("open.caught_up");
            keep(&mut checkpoint, &mut notes, |c| c.refill(&ledger, mark));
        }
        fault::point("open.refilled");
        let mut mirror = None;
        if let Some(database) = &places.database {
            let (opened, told) = level::Kept::open(&root, database)?;
            notes.extend(told);
            mirror = Some(opened);
        }
        fault::point("open.done");
        let flattener = Arc::new(Flattener::new(&root.pipeline));
        let upkeep = Upkeep::new(policy);
        Ok(Session {
            tallies: cap::Tallies::new(),
            upkeep,
            root,
            ledger,
            flattener,
            checkpoint,
            mirror,
            underway: None,
            notes,
        })
    }

    /// Waits until the batch that was begun last is in the mirror, too. Its report, if there is such a batch.
    pub fn end_batch(&mut self) -> Option<BatchReport> {
        self.settle_mirror();
        self.underway.as_ref()?;
        fault::point("batch.mirrored");
        let report = self.underway.take()?;
        self.note_report(&report);
        fault::point("batch.reported");
        Some(report)
    }

    fn settle_mirror(&mut self) {
        let Some(mirror) = &mut self.mirror else { return };
        let (notes, took) = mirror.settle(&self.root);
        self.notes.extend(notes);
        if let Some(report) = &mut self.underway {
            report.ms.mirror += took.as_secs_f64() * 1e3;
            report.ms.total += took.as_secs_f64() * 1e3;
        }
    }

    /// A little maintenance, after a batch.
    pub fn maintain(&mut self) -> Result<()> {
        self.upkeep(Upkeep::after_batch)
    }

    /// Takes up what is under way, and leaves the tables well read: a run that is done does not leave that to the next
    /// one.
    pub fn finish(&mut self) -> Result<()> {
        self.finish_unless(&|| false)
    }

    /// The same, until it is to stop.
    fn finish_unless(&mut self, stop: &dyn Fn() -> bool) -> Result<()> {
        let mut more = self.upkeep(Upkeep::finish).map(|()| true);
        while matches!(more, Ok(true)) && !stop() {
            more = self.upkeep(Upkeep::rest_at_end);
        }
        if let Some(mirror) = &mut self.mirror {
            self.notes.extend(mirror.finish(&self.root));
        }
        more.map(|_| ())
    }

    /// Takes a step towards well-read tables beside what may come. How long all steps took, once there is none left.
    fn rest(&mut self) -> Result<Option<Duration>> {
        if self.is_mirroring() {
            return Ok(None);
        }
        let more = self.upkeep(Upkeep::rest)?;
        Ok((!more).then(|| self.upkeep.spent()))
    }

    /// The mirror and the checkpoint take note of a compaction's batch.
    fn upkeep<T>(&mut self, work: impl FnOnce(&mut Upkeep, &mut Root) -> Result<T>) -> Result<T> {
        let before = self.root.record.batch;
        let done = work(&mut self.upkeep, &mut self.root)?;
        let now = self.root.record.batch;
        if now != before {
            fault::point("upkeep.committed");
            self.ledger.advance(now);
            self.keep_checkpoint(&[]);
            fault::point("upkeep.kept");
            self.settle_mirror();
            if let Some(mirror) = &mut self.mirror {
                self.notes.extend(mirror.pass(&self.root));
            }
        }
        Ok(done)
    }

    /// Many batches will come one after the other.
    fn expect_many(&mut self, many: bool) {
        if let Some(mirror) = &mut self.mirror {
            mirror.expect_many(many);
        }
    }

    /// What was put off while many batches came. The mirror must be at rest.
    fn complete_mirror(&mut self) {
        if let Some(mirror) = &mut self.mirror {
            mirror.complete(&self.root);
        }
    }

    /// For an end that does not wait for [`Session::finish`].
    fn leave_mirror(&mut self) {
        if let Some(mirror) = &mut self.mirror {
            self.notes.extend(mirror.leave(&self.root));
        }
    }

    /// Looks after the mirror while nothing else is to be done. What there is to say about it.
    fn mend_mirror(&mut self) -> Vec<String> {
        if self.is_mirroring() {
            return Vec::new();
        }
        self.settle_mirror();
        let mut notes = std::mem::take(&mut self.notes);
        if let Some(mirror) = &mut self.mirror {
            notes.extend(mirror.mend(&self.root));
            mirror.complete(&self.root);
        }
        notes
    }

    /// The mirror is taking a batch, or making indexes.
    fn is_mirroring(&self) -> bool {
        self.mirror.as_ref().is_some_and(level::Kept::is_at_work)
    }

    /// Nobody sees it yet, but soon.
    fn mirror_is_in_the_making(&self) -> bool {
        self.mirror.as_ref().is_some_and(level::Kept::is_in_the_making)
    }

    fn mirror_is_behind(&self) -> bool {
        self.mirror.as_ref().is_some_and(level::Kept::is_behind)
    }

    /// Leaves the report for `status`. Nothing hangs on it: it is neither synced nor missed.
    fn note_report(&self, report: &BatchReport) {
        let own = &self.root.paths.own;
        let temp = self.root.paths.temp.join(crate::report::FILE);
        let written = serde_json::to_vec(report)
            .map_err(std::io::Error::from)
            .and_then(|text| std::fs::write(&temp, text))
            .inspect(|()| fault::point("report.written"))
            .and_then(|()| std::fs::rename(&temp, own.join(crate::report::FILE)));
        if let Err(e) = written {
            tracing::debug!("report not kept: {e}");
        }
    }

    /// Commits saved rows into a fresh root, with the ledger rows that belong to them.
    pub fn seed(&mut self, plans: &[Plan], files: &[FileRange], batch: u64, now: i64) -> Result<()> {
        let ledger = crate::system::files_rows(files, batch, now)?;
        self.root.commit_batch(plans, ledger.clone())?;
        fault::point("seed.committed");
        self.ledger.apply(batch, files);
        self.keep_checkpoint(files);
        if let Some(mirror) = &mut self.mirror {
            self.notes.extend(mirror.begin(&self.root, plans, &ledger));
        }
        self.settle_mirror();
        Ok(())
    }

    /// A batch without ledger rows leaves the checkpoint where it is.
    fn keep_checkpoint(&mut self, files: &[FileRange]) {
        if let Some(mark) = self.root.decided_mark() {
            keep(&mut self.checkpoint, &mut self.notes, |c| c.put(mark, files));
        }
    }
}

/// Loads the tables, and beside them what the checkpoint knows of their ledger. What is wrong with the tables is told
/// first, and a checkpoint is only set aside when there is nothing.
fn load(mut begun: Begun, checkpoint: &Path) -> Result<(Root, Opened, Mark)> {
    let (log, root_id, mark) = (begun.ledger.clone(), begun.identity.root_id(), begun.ledger.mark());
    let has = |mark: &Mark| log.has(mark);
    let tables = |mark: Mark| Tables { root_id, mark, has: &has };
    // Before the threads that load: sled wants some of its own.
    let opening = Opening::begin(checkpoint);
    let scan = || mark.map(|mark| (opening.scan(&tables(mark)), mark));
    let (scanned, root) = threads::both(scan, || begun.load())?;
    let root = root?;
    let (scanned, mark) = scanned?;
    Ok((root, scanned.finish(&tables(mark))?, mark))
}

/// A checkpoint that broke is dropped and said once: the next start fills it from the tables.
fn keep(
    checkpoint: &mut Option<SledCheckpoint>,
    notes: &mut Vec<String>,
    work: impl FnOnce(&mut SledCheckpoint) -> Result<(), crate::checkpoint::Lost>,
) {
    if let Some(held) = checkpoint
        && let Err(lost) = work(held)
    {
        notes.push(lost.to_string());
        *checkpoint = None;
    }
}
