//! Report: what a batch did, for people and machines.

pub mod lines;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::batch::Counts;

/// Milliseconds of each step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Timing {
    pub read: f64,
    pub merge: f64,
    pub stage: f64,
    pub commit: f64,
    pub mirror: f64,
    /// From the first byte read to the mirror's commit; decoding overlaps the batch before.
    pub total: f64,
}

/// Something that was quarantined: where, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub file: String,
    pub line: u64,
    pub byte_offset: u64,
    pub element: Option<u64>,
    pub reason: String,
}

/// How many a report names.
pub const REJECTIONS: usize = 5;

/// One committed batch, or the sum of several.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchReport {
    pub batch: u64,
    /// Microseconds since the epoch.
    pub at: i64,
    pub files: u64,
    /// Known paths that had new content.
    pub changed: u64,
    pub bytes: u64,
    pub events: u64,
    pub quarantined: u64,
    pub duplicate_keys: u64,
    pub tables: BTreeMap<String, Counts>,
    /// The first few of what was quarantined; all of it is in `_quarantine`.
    #[serde(default)]
    pub rejected: Vec<Rejection>,
    pub ms: Timing,
}

impl BatchReport {
    /// All tables together.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for counts in self.tables.values() {
            sum += *counts;
        }
        sum
    }

    /// Adds a later batch to a sum.
    pub fn add(&mut self, other: &BatchReport) {
        self.batch = other.batch;
        self.at = other.at;
        self.files += other.files;
        self.changed += other.changed;
        self.bytes += other.bytes;
        self.events += other.events;
        self.quarantined += other.quarantined;
        self.duplicate_keys += other.duplicate_keys;
        for (name, counts) in &other.tables {
            *self.tables.entry(name.clone()).or_default() += *counts;
        }
        let room = REJECTIONS.saturating_sub(self.rejected.len());
        self.rejected.extend(other.rejected.iter().take(room).cloned());
        self.ms.read += other.ms.read;
        self.ms.merge += other.ms.merge;
        self.ms.stage += other.ms.stage;
        self.ms.commit += other.ms.commit;
        self.ms.mirror += other.ms.mirror;
        self.ms.total += other.ms.total;
    }
}

/// Name of the last report, below `tables/_millrace/`: for `status`, not for truth, so it is not synced.
pub const FILE: &str = "report.json";
