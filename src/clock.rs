//! The clock, so that nothing else reads it and tests can set it.
//!
//! Time is for people (`_ingested_at`, reports) and for retention, never for a decision about data.

use std::sync::Arc;

/// Microseconds since the epoch, UTC.
pub trait Clock: Send + Sync + std::fmt::Debug {
    fn now_micros(&self) -> i64;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)]
    fn now_micros(&self) -> i64 {
        let now = std::time::SystemTime::now();
        match now.duration_since(std::time::UNIX_EPOCH) {
            Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
            Err(before) => -i64::try_from(before.duration().as_micros()).unwrap_or(i64::MAX),
        }
    }
}

pub fn system() -> Arc<dyn Clock> {
    Arc::new(SystemClock)
}
