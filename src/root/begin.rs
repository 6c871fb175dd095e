//! Opening a root in two parts: locked and brought to its last decision, then loaded.

use std::sync::Arc;

use super::{Identity, LedgerLog, Lock, Root, app_id, create, defs, load, lock, swap, sweep};
use crate::clock::Clock;
use crate::commit::record::Record;
use crate::commit::{self, Paths};
use crate::error::{Error, Result};
use crate::fault;
use crate::pipeline::model::Pipeline;
use crate::tables::{Disk, Kernel, TableDef};

/// A root that is locked and whose last decision is carried out, but whose tables are not loaded yet.
#[derive(Debug)]
pub struct Begun {
    pub identity: Identity,
    pub ledger: LedgerLog,
    pipeline: Arc<Pipeline>,
    paths: Paths,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    defs: Vec<TableDef>,
    record: Record,
    /// Until the root has it.
    lock: Option<Lock>,
}

impl Begun {
    /// The first part of [`Root::open`], with the same errors.
    pub fn begin(
        paths: Paths,
        pipeline: Arc<Pipeline>,
        disk: Arc<dyn Disk>,
        clock: Arc<dyn Clock>,
    ) -> Result<Begun> {
        swap::finish(disk.as_ref(), &paths)?;
        create::folders(disk.as_ref(), &paths)?;
        fault::point("root.folders_made");
        let lock = lock::take(&paths.own.join("lock"))?;
        fault::point("root.locked");
        if swap::pending(&paths)? {
            let what = format!("a repair of {} was just finished; start again", paths.tables.display());
            return Err(Error::Busy(what));
        }
        let now = clock.now_micros();
        let identity = Identity::read_or_create(disk.as_ref(), &paths, &pipeline, now)?;
        let defs = defs(&pipeline, &paths);
        fault::point("root.identified");
        let record = match Record::read(disk.as_ref(), &paths.decision)? {
            Some(record) => record,
            None => create::tables(disk.as_ref(), &paths, &defs, &identity, now)?,
        };
        load::check_root(&record, &identity, &paths)?;
        load::check_folders(&defs)?;
        fault::point("root.recorded");
        commit::publish(disk.as_ref(), &paths, &record)?;
        fault::point("root.rolled_forward");
        let ledger = LedgerLog::decided(disk.clone(), &paths, &record);
        let lock = Some(lock);
        Ok(Begun { identity, ledger, pipeline, paths, disk, clock, defs, record, lock })
    }

    /// The rest of [`Root::open`], once, with the same errors. Where it fails, the lock stays here: whoever works on what
    /// belongs to the tables beside this is under it.
    pub fn load(&mut self) -> Result<Root> {
        let (disk, paths, record) = (&self.disk, &self.paths, &self.record);
        let kernel = Kernel::new(disk.clone(), &paths.temp);
        let app = app_id(&self.pipeline.name);
        let loader = load::Loader { disk: disk.as_ref(), kernel: &kernel, paths, record, app };
        let (states, notes) = loader.states(self.defs.clone())?;
        fault::point("root.loaded");
        // Only now: on the word of a record that is older than its tables, sweeping would remove their files.
        sweep::undecided(disk.as_ref(), paths, &self.defs, record)?;
        fault::point("root.swept");
        let lock = self.lock.take().ok_or_else(|| Error::Bug("a root is loaded twice".into()))?;
        Ok(Root {
            pipeline: self.pipeline.clone(),
            identity: self.identity.clone(),
            paths: paths.clone(),
            disk: disk.clone(),
            clock: self.clock.clone(),
            kernel,
            states,
            record: record.clone(),
            next_batch: record.batch + 1,
            notes,
            lock,
        })
    }
}
