//! The cap on a file's rows in quarantine: the first bad documents are told one by one, the rest in one row.
//!
//! Which ones are the first is a matter of the file, not of how it was cut: each range goes on counting where the
//! range before it ended. That stands in `_quarantine` itself, so a restart in the middle of a file goes on too.

use std::collections::HashMap;
use std::sync::Arc;

use crate::batch::Position;
use crate::error::Result;
use crate::root::Root;
use crate::system::{Rejected, Tally};

use super::Intake;

/// How far quarantine is with each file that is being read range by range.
pub type Tallies = HashMap<Arc<str>, Tally>;

/// Bad documents of one file's range that are only counted: whatever the ranges before had, these are too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rest {
    /// Index into the batch's files.
    pub file: u32,
    /// Where the first of them begins.
    pub from: Position,
    pub documents: u64,
}

/// What of a batch goes into quarantine.
#[derive(Debug, Default)]
pub struct Capped<'a> {
    pub told: Vec<&'a Rejected>,
    /// One row for a file that has too many.
    pub rest: Vec<Rejected>,
    /// How far its files are then.
    tallies: Tallies,
}

impl Capped<'_> {
    pub fn rows(&self) -> impl Iterator<Item = &Rejected> {
        self.told.iter().copied().chain(&self.rest)
    }

    /// What is left to remember once the batch is committed: files that are done need no counting.
    pub fn into_tallies(self, all: &mut Tallies, intake: &Intake) {
        all.extend(self.tallies);
        intake.files.iter().filter(|f| f.last).for_each(|f| _ = all.remove(&f.name));
    }
}

/// Caps every file of a batch. `most`: documents of a file that are told one by one.
pub fn cap<'a>(root: &Root, known: &Tallies, intake: &'a Intake, most: u64) -> Result<Capped<'a>> {
    let mut capped = Capped::default();
    let (mut rejected, mut rests) = (intake.rejected.as_slice(), intake.rest.as_slice());
    for (file, range) in (0u32..).zip(&intake.files) {
        let mine = rejected.partition_point(|r| r.file <= file);
        let (these, others) = rejected.split_at(mine);
        rejected = others;
        let beyond = rests.partition_point(|r| r.file <= file);
        let (rest, others) = rests.split_at(beyond);
        rests = others;
        let mut tally = match known.get(&range.name) {
            _ if range.start.offset == 0 => Tally::default(),
            Some(tally) => *tally,
            // Nothing to add: asked for when there is.
            None if these.is_empty() => continue,
            None => root.tally(&range.name)?,
        };
        capped.one(&mut tally, file, these, rest.first(), most);
        capped.tallies.insert(range.name.clone(), tally);
    }
    Ok(capped)
}

impl<'a> Capped<'a> {
    fn one(&mut self, tally: &mut Tally, file: u32, these: &'a [Rejected], beyond: Option<&Rest>, most: u64) {
        let room = if tally.rest.is_some() { 0 } else { most.saturating_sub(tally.told) };
        let told = these.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        tally.told += told as u64;
        self.told.extend(&these[..told]);
        let more = (these.len() - told) as u64 + beyond.map_or(0, |rest| rest.documents);
        let first = these.get(told).map(|r| r.position).or(beyond.map(|rest| rest.from));
        let Some(first) = first else { return };
        let (from, before) = tally.rest.unwrap_or((first, 0));
        tally.rest = Some((from, before + more));
        self.rest.push(Rejected::rest(file, from, before + more, most));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bad(offset: u64) -> Rejected {
        let position = Position { offset, line: offset + 1, element: None };
        Rejected { file: 0, position, reason: "bad".into(), hash: None, text: None, rest: None }
    }

    /// Offsets that are told, and the rest, after all `ranges` of a file; each range is capped by itself first, as
    /// reading ahead does.
    fn after(ranges: &[&[Rejected]], most: usize) -> (Vec<u64>, Option<(u64, u64)>) {
        let (mut tally, mut told) = (Tally::default(), Vec::new());
        for range in ranges {
            let (these, beyond) = range.split_at(range.len().min(most));
            let rest =
                beyond.first().map(|r| Rest { file: 0, from: r.position, documents: beyond.len() as u64 });
            let mut capped = Capped::default();
            capped.one(&mut tally, 0, these, rest.as_ref(), most as u64);
            told.extend(capped.told.iter().map(|r| r.position.offset));
            let row = capped.rest.first().map(|r| (r.position, r.rest.unwrap()));
            assert!(row.is_none() || row == tally.rest, "the row says all that is known so far");
        }
        (told, tally.rest.map(|(from, n)| (from.offset, n)))
    }

    #[test]
    fn the_same_are_told_however_the_file_is_cut() {
        let all: Vec<Rejected> = (0..9).map(bad).collect();
        for most in 1..11 {
            let whole = after(&[&all], most);
            assert_eq!(whole.0, (0..most.min(9) as u64).collect::<Vec<_>>());
            assert_eq!(whole.1, (most < 9).then(|| (most as u64, 9 - most as u64)));
            for a in 0..=9 {
                for b in a..=9 {
                    assert_eq!(after(&[&all[..a], &all[a..b], &all[b..]], most), whole, "{most} {a} {b}");
                }
            }
        }
    }
}
