//! The mirror at work on a thread of its own: a batch goes into it while the next one is merged.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use crate::error::Result;
use crate::mirror::{Mirror, Outcome};

/// How a piece of work ended.
pub struct Ended {
    /// The batch that the mirror was to be level with.
    pub batch: u64,
    pub outcome: Result<Outcome>,
    pub took: Duration,
}

type Work = Box<dyn FnOnce(&mut Mirror, &AtomicBool) -> Result<Outcome> + Send>;

/// One piece of work at a time. Nobody else has the mirror meanwhile: whoever asks for it waits.
pub struct Beside {
    mirror: Arc<Mutex<Mirror>>,
    away: Option<JoinHandle<Ended>>,
    /// Somebody waits: what can be left for later is.
    pause: Arc<AtomicBool>,
    /// Done without a thread.
    done: Option<Ended>,
}

impl Beside {
    pub fn new(mirror: Mirror) -> Self {
        Beside { mirror: Arc::new(Mutex::new(mirror)), away: None, pause: Arc::default(), done: None }
    }

    /// The mirror, once it is at rest.
    pub fn mirror(&self) -> MutexGuard<'_, Mirror> {
        self.mirror.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins something; what was begun before must have been collected. Where the system gives no thread it is done
    /// now.
    pub fn begin(
        &mut self,
        batch: u64,
        work: impl FnOnce(&mut Mirror, &AtomicBool) -> Result<Outcome> + Send + 'static,
    ) {
        self.pause.store(false, Ordering::Relaxed);
        // In a slot: a thread that is refused takes along what it was to do.
        let slot: Arc<Mutex<Option<Work>>> = Arc::new(Mutex::new(Some(Box::new(work))));
        let run = {
            let (slot, mirror, pause) = (slot.clone(), self.mirror.clone(), self.pause.clone());
            move || perform(batch, &slot, &mirror, &pause)
        };
        match Builder::new().name("mirror".into()).spawn(run) {
            Ok(thread) => self.away = Some(thread),
            // Whoever began it waited already.
            Err(_) => {
                let ended = perform(batch, &slot, &self.mirror, &self.pause);
                self.done = Some(Ended { took: Duration::ZERO, ..ended });
            }
        }
    }

    /// Whether collecting now would wait.
    pub fn would_wait(&self) -> bool {
        self.away.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Something was done without a thread.
    pub fn end(&mut self, ended: Ended) {
        self.done = Some(ended);
    }

    /// Waits for what was begun last, if its end was not collected yet.
    pub fn collect(&mut self) -> Option<Ended> {
        self.pause.store(true, Ordering::Relaxed);
        match self.away.take().map(JoinHandle::join) {
            Some(Ok(ended)) => Some(ended),
            // A panic is a defect of ours: it is one here too.
            Some(Err(panic)) => resume_unwind(panic),
            None => self.done.take(),
        }
    }
}

/// The root is given free only when nothing writes any more.
impl Drop for Beside {
    fn drop(&mut self) {
        self.pause.store(true, Ordering::Relaxed);
        if let Some(thread) = self.away.take() {
            let _ = thread.join();
        }
    }
}

fn perform(batch: u64, slot: &Mutex<Option<Work>>, mirror: &Mutex<Mirror>, pause: &AtomicBool) -> Ended {
    let begin = Instant::now();
    let work = crate::threads::take(slot);
    let mut mirror = mirror.lock().unwrap_or_else(PoisonError::into_inner);
    let outcome = work.map_or(Ok(Outcome::Already), |work| work(&mut mirror, pause));
    Ended { batch, outcome, took: begin.elapsed() }
}
