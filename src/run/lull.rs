//! When a live run has had nothing to do for long enough to put its tables in order.

use std::time::{Duration, Instant};

use crate::error::Result;

use super::Session;

/// How long no batch must have come.
const QUIET: Duration = Duration::from_secs(5);
/// And so many times what it took to put the tables in order the last time: where batches come with pauses between
/// them, that takes a small part of the time.
const SHARE: u32 = 20;

#[derive(Debug)]
pub struct Lull {
    since: Instant,
    /// Putting in order has begun, and is not over.
    begun: bool,
    took: Duration,
    /// The batch after which nothing was left to do.
    rested: Option<u64>,
}

impl Lull {
    pub fn new() -> Lull {
        Lull { since: Instant::now(), begun: false, took: Duration::ZERO, rested: None }
    }

    /// A batch has come.
    pub fn broken(&mut self) {
        (self.since, self.begun) = (Instant::now(), false);
    }

    /// Nothing is to be done: puts the tables in order if it is time to, a step at a time.
    pub fn go_on(&mut self, session: &mut Session) -> Result<()> {
        if self.rested == Some(session.root.record.batch) || !(self.begun || self.is_long()) {
            return Ok(());
        }
        if !self.begun {
            // What was spent before is another's.
            session.upkeep.spent();
            self.begun = true;
        }
        if let Some(took) = session.rest()? {
            (self.took, self.begun) = (took, false);
            self.rested = Some(session.root.record.batch);
        }
        Ok(())
    }

    fn is_long(&self) -> bool {
        self.since.elapsed() >= QUIET.max(self.took * SHARE)
    }
}
