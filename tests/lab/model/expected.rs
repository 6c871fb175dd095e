//! What the ledger claims, and what must then be in the tables.
//!
//! The rule: *seen* is what `_files` claims to have taken, and a claim is checked against the bytes that were there.
//! It must name a version that the folder once held, its ranges must follow each other without gap or overlap and
//! have the hash of those very bytes. After a run that went to its end every file of the folder is claimed whole.
//! A claim once seen stays, and so does every batch that a run, killed later, had reported. So a killed run may have
//! taken any of the batches it did not report, and what was seen for ever is not left to anybody's guess.

use std::collections::{BTreeMap, BTreeSet};

use millrace::batch::FileRange;

use super::source::{Source, Stat, Version};
use crate::support::oracle;

pub type Claim = (u64, FileRange);
type Checked<T> = Result<T, String>;

pub struct Ledger {
    /// In the order of batches and ranges.
    claims: Vec<Claim>,
}

/// What the tables must hold.
pub struct Expected {
    pub tables: BTreeMap<&'static str, Vec<oracle::Row>>,
    /// File and byte of everything in quarantine, sorted.
    pub quarantine: Vec<(String, i64)>,
}

fn version(range: &FileRange) -> Version {
    (range.name.to_string(), range.fingerprint.into())
}

impl Ledger {
    pub fn new(mut claims: Vec<Claim>) -> Ledger {
        claims.sort_by(|(a, x), (b, y)| (a, &x.name, x.start.offset).cmp(&(b, &y.name, y.start.offset)));
        Ledger { claims }
    }

    pub fn claims(&self) -> &[Claim] {
        &self.claims
    }

    pub fn check(&self, source: &Source, before: &[Claim], reported: &BTreeSet<u64>) -> Checked<()> {
        if let Some((batch, range)) = before.iter().find(|claim| !self.claims.contains(claim)) {
            return Err(format!("lost: _files no longer claims {} of batch {batch}", range.name));
        }
        let batches: BTreeSet<u64> = self.claims.iter().map(|(batch, _)| *batch).collect();
        if let Some(batch) = reported.difference(&batches).next() {
            return Err(format!("lost: batch {batch} was reported as done, and _files does not know it"));
        }
        let mut reached: BTreeMap<Version, (u64, bool)> = BTreeMap::new();
        let mut names: BTreeSet<&str> = BTreeSet::new();
        for (batch, range) in &self.claims {
            let before = reached.entry(version(range)).or_default();
            check_range(source, range, before)
                .map_err(|e| format!("_files, {} of batch {batch}: {e}", range.name))?;
            if names.insert(&range.name) == range.changed && range.start.offset == 0 {
                return Err(format!("_files, {} of batch {batch}: `changed` is wrong", range.name));
            }
        }
        for (name, stat) in &source.present {
            let end = source.versions[&(name.clone(), *stat)].text.len() as u64;
            let found = reached.get(&(name.clone(), *stat));
            if found != Some(&(end, true)) {
                return Err(format!("lost: {name} has {end} bytes, _files claims {found:?}"));
            }
        }
        Ok(())
    }

    pub fn expected(&self, source: &Source) -> Expected {
        let of = |range: &FileRange| {
            let contents = &source.versions[&version(range)];
            contents.within(range.start.offset, range.end.offset, range.last)
        };
        let events: Vec<Vec<u8>> =
            self.claims.iter().flat_map(|(_, range)| of(range).filter_map(|p| p.event.clone())).collect();
        // The last reading of a file says what is wrong in it.
        let last: BTreeMap<&str, Stat> =
            self.claims.iter().map(|(_, range)| (&*range.name, range.fingerprint.into())).collect();
        let current = |range: &&FileRange| last[&*range.name] == range.fingerprint.into();
        let mut quarantine: Vec<(String, i64)> = Vec::new();
        for range in self.claims.iter().map(|(_, range)| range).filter(current) {
            let bad = of(range).filter(|p| p.event.is_none());
            quarantine.extend(bad.map(|p| (range.name.to_string(), p.offset as i64)));
        }
        quarantine.sort();
        Expected { tables: oracle::tables(&events).tables, quarantine }
    }
}

/// The claim is true of the bytes that were there.
fn check_range(source: &Source, range: &FileRange, before: &mut (u64, bool)) -> Checked<()> {
    let contents = source.versions.get(&version(range)).ok_or("there never was such a version")?;
    let (from, to) = (range.start.offset, range.end.offset);
    if before.0 != from || before.1 {
        return Err(format!("doubled or lost: bytes {from} to {to} follow on {before:?}"));
    }
    *before = (to, range.last);
    let bytes = contents.text.get(from as usize..to as usize);
    let bytes = bytes.ok_or_else(|| format!("{from} to {to} of {} bytes", contents.text.len()))?;
    if xxhash_rust::xxh3::xxh3_128(bytes) != range.content_hash {
        return Err(format!("bytes {from} to {to} have another hash"));
    }
    let pieces: Vec<_> = contents.within(from, to, range.last).collect();
    let bad = pieces.iter().filter(|p| p.event.is_none()).count() as u64;
    let told = (range.events, range.quarantined);
    if told != (pieces.len() as u64 - bad, bad) {
        return Err(format!("counts {told:?}, but there are {} and {bad}", pieces.len() as u64 - bad));
    }
    Ok(())
}
