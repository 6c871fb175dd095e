//! Maintenance between batches: what keeps files, logs and indexes few, in bounded steps.

pub mod clean;
pub mod compact;
pub mod fold;

use crate::error::Result;
use crate::root::Root;

#[derive(Debug, Clone, Copy, Default)]
pub struct Policy {
    pub compact: compact::Policy,
    pub retention: clean::Retention,
}

/// Does a few small pieces of work. Called after every batch; never does much at once.
pub fn after_batch(root: &mut Root, policy: &Policy) -> Result<()> {
    fold::step(root)?;
    compact::step(root, &policy.compact)?;
    clean::step(root, &policy.retention)?;
    Ok(())
}
