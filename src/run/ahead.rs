//! Reading ahead: while a batch is committed, a thread of its own reads the next ones, as far as memory allows.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::batch::{Chunk, Claims, Input};
use crate::decode::{Reader, Spares};
use crate::error::Result;

use super::Intake;
use super::intake::{Left, Worker};

/// Batches whose text is in memory at once: one whose rows are built, one that is read.
const IN_MEMORY: usize = 2;

/// What a batch's rows are built from. It is most of what a batch takes in memory, so it goes as soon as they are.
#[derive(Debug, Default)]
pub struct Stock {
    pub chunks: Vec<Chunk>,
    pub claims: Claims,
    /// Where the buffers of the chunks go back to.
    pub spares: Arc<Spares>,
    permit: Option<Permit>,
}

impl Drop for Stock {
    fn drop(&mut self) {
        self.spares.take_back(std::mem::take(&mut self.chunks));
    }
}

// ---------------------------------------------------------------------------------------------- what may be read

/// Counts what is in memory.
#[derive(Debug, Clone)]
pub struct Permits(Arc<(Mutex<State>, Condvar)>);

#[derive(Debug)]
struct State {
    free: usize,
    closed: bool,
}

#[derive(Debug)]
struct Permit(Permits);

impl Permits {
    pub fn new() -> Self {
        Permits(Arc::new((Mutex::new(State { free: IN_MEMORY, closed: false }), Condvar::new())))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for one; `None` once nobody wants batches any more.
    fn take(&self) -> Option<Permit> {
        let waits = |state: &mut State| state.free == 0 && !state.closed;
        let mut state = self.0.1.wait_while(self.state(), waits).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return None;
        }
        state.free -= 1;
        Some(Permit(self.clone()))
    }

    pub fn close(&self) {
        self.state().closed = true;
        self.0.1.notify_all();
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.state().free += 1;
        self.0.0.1.notify_all();
    }
}

// --------------------------------------------------------------------------------------------------- who reads it

/// What is left to read of the files that were handed over.
#[derive(Default)]
pub struct Pending {
    /// Files larger than a batch, being read range by range.
    readers: VecDeque<Reader>,
    /// Opened, but not begun.
    inputs: Vec<Input>,
}

impl Pending {
    pub fn add(&mut self, inputs: Vec<Input>) {
        self.inputs.extend(inputs);
    }

    pub fn is_empty(&self) -> bool {
        self.readers.is_empty() && self.inputs.is_empty()
    }

    /// Reads, decodes and checks the next batch.
    pub fn next(&mut self, worker: &Worker<'_>) -> Result<Intake> {
        let budget = worker.pipeline.source.batch_bytes;
        let (intake, Left { readers, inputs }) = match self.readers.pop_front() {
            Some(reader) => worker.range(reader, budget),
            None => worker.files(std::mem::take(&mut self.inputs), budget)?,
        };
        self.readers.extend(readers);
        self.inputs.extend(inputs);
        Ok(intake)
    }
}

/// A batch that was read.
pub struct Read {
    pub intake: Result<Intake>,
    /// Nothing is left to read: hand over more files, or let go of the queue.
    pub hungry: bool,
}

/// Reads what comes through `queue` until nobody hands over or takes any more.
pub fn pump(worker: &Worker<'_>, permits: &Permits, queue: &Receiver<Vec<Input>>, out: &SyncSender<Read>) {
    let mut pending = Pending::default();
    loop {
        while pending.is_empty() {
            let Ok(inputs) = queue.recv() else { return };
            pending.add(inputs);
        }
        let Some(permit) = permits.take() else { return };
        let mut intake = pending.next(worker);
        if let Ok(intake) = &mut intake {
            intake.stock.permit = Some(permit);
        }
        let failed = intake.is_err();
        if out.send(Read { intake, hungry: pending.is_empty() }).is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_free_again_when_the_stock_goes() {
        let permits = Permits::new();
        let stock = |permits: &Permits| {
            let mut stock = Stock::default();
            stock.permit = permits.take();
            stock
        };
        let (first, second) = (stock(&permits), stock(&permits));
        assert!(first.permit.is_some() && second.permit.is_some());
        let waiting = std::thread::spawn({
            let permits = permits.clone();
            move || permits.take().is_some()
        });
        drop(first);
        assert!(waiting.join().unwrap());
        permits.close();
        assert!(permits.take().is_none());
    }
}
