//! Cutting a batch: the next candidates, opened, by number of files and bytes.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::name::raw_path;
use super::pass::target;
use super::{Candidate, Folder, Now, Taken, Waiting, open};
use crate::batch::{Fingerprint, Input, Unread};
use crate::fault;
use crate::ledger::file_key;

enum Opening {
    Opened(Input),
    /// Changed since it was listed: the next listing looks again.
    Changed,
    /// No file can be opened now.
    Crowded,
    Failed(String),
}

impl Folder {
    /// Takes candidates off `ready` until the batch has `max_files` or the next would take it beyond
    /// `max_bytes`; at least one, however large. Each input stays in hand, and is not offered again, until
    /// [`Folder::release`] or [`Folder::put_off`].
    pub fn take(
        &mut self,
        ready: &mut VecDeque<Candidate>,
        max_files: usize,
        max_bytes: u64,
        now: Now,
    ) -> Taken {
        let mut taken = Taken::default();
        let root = match open::root(&self.root) {
            Ok(root) => root,
            Err(e) => {
                // The candidates went with it; the next listing says so.
                ready.clear();
                taken.unread.push(Unread { name: ".".into(), reason: open::reason(&e) });
                return taken;
            }
        };
        let (mut bytes, max_files) = (0u64, max_files.clamp(1, self.open_files));
        rest(ready.iter().take(max_files), now);
        while taken.inputs.len() < max_files {
            let Some(next) = ready.front() else { break };
            let more = bytes.saturating_add(next.bytes());
            if more > max_bytes && !taken.inputs.is_empty() {
                break;
            }
            let Some(next) = ready.pop_front() else { break };
            match self.open_one(root.as_fd(), &next) {
                Opening::Opened(input) => {
                    bytes = more;
                    self.taken.insert(file_key(&input.name), input.fingerprint);
                    taken.inputs.push(input);
                    fault::point("discover.opened");
                }
                Opening::Crowded if !taken.inputs.is_empty() => {
                    ready.push_front(next);
                    break;
                }
                Opening::Crowded => self.fail(&mut taken, &next, "too many open files".into(), now),
                Opening::Changed => {
                    self.offered.remove(&file_key(&next.name));
                    self.waiting.push(next.name.clone());
                    taken.waiting.push(Waiting { name: next.name, why: "changed since it was listed" });
                }
                Opening::Failed(why) => self.fail(&mut taken, &next, why, now),
            }
        }
        taken
    }

    fn open_one(&self, root: BorrowedFd, next: &Candidate) -> Opening {
        if self.taken.contains_key(&file_key(&next.name)) {
            return Opening::Changed;
        }
        let relative = match self.real_path(next) {
            Ok(relative) => relative,
            Err(why) => return Opening::Failed(why),
        };
        match open::regular(root, &relative) {
            Ok((_, fingerprint)) if fingerprint != next.fingerprint => Opening::Changed,
            Ok((file, fingerprint)) => Opening::Opened(Input {
                name: next.name.clone(),
                path: self.root.join(relative),
                file,
                fingerprint,
                resume: next.resume,
                changed: next.changed,
            }),
            Err(e) if open::is_crowded(&e) => Opening::Crowded,
            Err(e) if e.kind() == io::ErrorKind::NotFound => Opening::Failed(VANISHED.into()),
            Err(e) => Opening::Failed(format!("cannot be read: {}", open::reason(&e))),
        }
    }

    fn real_path(&self, next: &Candidate) -> Result<PathBuf, String> {
        if !next.link {
            return Ok(raw_path(&next.name));
        }
        target(self, &next.name)?.map(|(relative, _)| relative).ok_or_else(|| open::NOT_REGULAR.into())
    }

    fn fail(&mut self, taken: &mut Taken, next: &Candidate, reason: String, now: Now) {
        let key = file_key(&next.name);
        self.offered.remove(&key);
        self.retries.failed(key, next.fingerprint, &reason, now, self.listing);
        let unread = Unread { name: next.name.clone(), reason };
        self.was_told(&unread);
        taken.unread.push(unread);
    }

    /// The input was read and its range committed and applied to the ledger, or it changed while it was read:
    /// either way the next listing decides what is to be done with it.
    pub fn release(&mut self, name: &str) {
        let key = file_key(name);
        self.taken.remove(&key);
        self.offered.remove(&key);
        self.retries.done(key);
    }

    /// As [`Folder::release`], for a file of which only a range was read: the next look, which is due at once,
    /// offers the rest.
    pub fn release_partial(&mut self, name: &Arc<str>) {
        self.release(name);
        self.waiting.push(name.clone());
        self.last_look_ns = 0;
    }

    /// The input could not be read: tried again later, and shown until then.
    pub fn put_off(&mut self, unread: &Unread, now: Now) {
        let key = file_key(&unread.name);
        let fingerprint: Fingerprint = self.taken.remove(&key).unwrap_or_default();
        self.offered.remove(&key);
        self.retries.failed(key, fingerprint, &unread.reason, now, self.listing);
        self.was_told(unread);
    }
}

/// The longest tick of a kernel's clock for file times. What is changed twice within one, to the same size, looks
/// the same after both, unless the kernel is new enough (6.13).
const TICK_NS: i64 = 10_000_000;

/// Waits until the last change of every candidate is a tick ago: whatever changes it from then on, shows.
fn rest<'a>(candidates: impl Iterator<Item = &'a Candidate>, now: Now) {
    let ages = candidates.map(|c| now.wall_ns.saturating_sub(c.fingerprint.ctime_ns));
    // A time in the future is another clock's: there is no waiting for it.
    let youngest = ages.filter(|age| (0..TICK_NS).contains(age)).min();
    if let Some(left) = youngest.and_then(|age| u64::try_from(TICK_NS - age).ok()) {
        std::thread::sleep(Duration::from_nanos(left));
    }
}

const VANISHED: &str = "vanished before it was read";

impl Candidate {
    /// What is left to read: bytes on disk. Where a compressed file goes on says nothing about that.
    fn bytes(&self) -> u64 {
        let compressed = |end: &str| {
            let at = self.name.len().checked_sub(end.len());
            at.and_then(|at| self.name.get(at..)).is_some_and(|e| e.eq_ignore_ascii_case(end))
        };
        let skipped = if compressed(".gz") || compressed(".zst") { 0 } else { self.resume.offset };
        self.fingerprint.size.saturating_sub(skipped)
    }
}

/// The names of `waiting`, which the next look takes up again.
pub(super) fn names(waiting: &[Waiting]) -> Vec<Arc<str>> {
    waiting.iter().map(|w| w.name.clone()).collect()
}
