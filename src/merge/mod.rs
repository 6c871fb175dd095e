//! Merge: claims and rows + key index to a plan. Pure: no I/O, no clock.
//!
//! One rule serves owned sets and dimensions, because a claim is always "by this event, the owner's rows are
//! these": the newest event wins per table and owner, so a superseded or stale event still states every dimension
//! key that it carries.

mod index;
mod plan;

pub use index::{KeyIndex, OwnerMap};
pub use plan::{Moves, Run, moved, plan};

use crate::batch::{Claim, Counts};

/// What is left of a table's claims once the newest of each owner is chosen, within the batch and against the
/// index.
#[derive(Debug, Default)]
pub struct Winners {
    /// In the order of their events, so that building walks the documents once.
    pub claims: Vec<Claim>,
    pub stale: u64,
    pub repeated: u64,
}

/// Chooses the claims whose rows have to be looked at.
pub fn choose(index: &KeyIndex, claims: &[Claim]) -> Winners {
    let mut out = Winners::default();
    let mut newest: OwnerMap<Claim> = OwnerMap::default();
    for claim in claims {
        match newest.get_mut(&claim.owner) {
            None => {
                newest.insert(claim.owner, *claim);
            }
            Some(held) if held.order < claim.order => {
                *held = *claim;
                out.stale += 1;
            }
            Some(held) if held.order == claim.order => out.repeated += 1,
            Some(_) => out.stale += 1,
        }
    }
    for claim in newest.into_values() {
        match index.get(claim.owner).map(|entry| entry.order.cmp(&claim.order)) {
            None | Some(std::cmp::Ordering::Less) => out.claims.push(claim),
            Some(std::cmp::Ordering::Equal) => out.repeated += 1,
            Some(std::cmp::Ordering::Greater) => out.stale += 1,
        }
    }
    out.claims.sort_unstable_by_key(|c| (c.event, c.element));
    out
}

impl Winners {
    /// The counts that are settled before any row is built.
    pub fn counts(&self, duplicate: u64) -> Counts {
        Counts { stale: self.stale, repeated: self.repeated, duplicate, ..Counts::default() }
    }
}

#[cfg(test)]
mod tests;
