//! Work beside the batches: one thread that can be asked to stop and is always waited for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use crate::error::{Error, Result};
use crate::threads;

/// Asks work to end early.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// An error once nobody wants the result any more: nobody will see it either.
    pub fn check(&self) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(Error::Busy("stopping".into())) } else { Ok(()) }
    }
}

#[derive(Debug)]
pub struct Aside<T> {
    thread: Option<JoinHandle<Result<T>>>,
    /// The result, where there was no thread to be had and it was worked out at once.
    done: Option<Result<T>>,
    cancel: Cancel,
}

impl<T: Send + 'static> Aside<T> {
    pub fn start(work: impl FnOnce(&Cancel) -> Result<T> + Send + 'static) -> Self {
        let cancel = Cancel::default();
        let (slot, asked) = (Arc::new(Mutex::new(Some(work))), cancel.clone());
        let run = move || threads::take(&slot).map_or_else(|| Err(threads::died()), |work| work(&asked));
        match Builder::new().spawn(run.clone()) {
            Ok(thread) => Aside { thread: Some(thread), done: None, cancel },
            Err(_) => Aside { thread: None, done: Some(run()), cancel },
        }
    }

    pub fn is_done(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for the result.
    pub fn finish(mut self) -> Result<T> {
        match self.thread.take() {
            Some(thread) => thread.join().unwrap_or_else(|_| Err(threads::died())),
            None => self.done.take().unwrap_or_else(|| Err(threads::died())),
        }
    }
}

/// Whoever opens the root next must not meet a thread that still writes.
impl<T> Drop for Aside<T> {
    fn drop(&mut self) {
        self.cancel.0.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its result is not wanted, and a panic has said itself.
            let _ = thread.join();
        }
    }
}
