//! Is a file complete? And when is one that could not be read tried again? Both by looking, not by asking the
//! wall clock: the file system's times only ever make an answer quicker.

use std::collections::HashMap;

use super::Now;
use crate::batch::Fingerprint;

const SECOND: u64 = 1_000_000_000;
const LONGEST: u64 = 60 * SECOND;

/// What the watcher heard of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hint {
    Nothing,
    /// It was made, and perhaps somebody writes to it.
    Made,
    /// It was closed after writing, or renamed in.
    Complete,
}

/// Files that were seen and not yet known to be complete.
#[derive(Debug, Default)]
pub(super) struct Looks(HashMap<u128, Look>);

#[derive(Debug)]
struct Look {
    fingerprint: Fingerprint,
    /// Monotonic, when it was first seen like this.
    since_ns: u64,
    /// Closed or renamed in, like this.
    complete: bool,
    /// Its making was heard, so its closing would be: it must rest for the whole settling time.
    made: bool,
    listing: u64,
}

impl Looks {
    /// A fifth of the settling time: 200 ms of the usual second.
    pub fn gap(settle_ns: u64) -> u64 {
        settle_ns / 5
    }

    /// Complete if closed after writing or renamed in (so the hint), unmodified for `settle_ns`, or the same at two
    /// looks some time apart. The last also serves a modification time in the future.
    pub fn ready(
        &mut self,
        key: u128,
        fingerprint: Fingerprint,
        hint: Hint,
        settle_ns: u64,
        now: Now,
        listing: u64,
    ) -> bool {
        let age = now.wall_ns.saturating_sub(fingerprint.mtime_ns);
        if u64::try_from(age).is_ok_and(|age| age >= settle_ns) {
            return true;
        }
        let new = Look { fingerprint, since_ns: now.mono_ns, complete: false, made: false, listing };
        let look = self.0.entry(key).or_insert(new);
        if look.fingerprint != fingerprint {
            (look.fingerprint, look.since_ns, look.complete) = (fingerprint, now.mono_ns, false);
        }
        look.complete |= hint == Hint::Complete;
        look.made |= hint == Hint::Made;
        look.listing = listing;
        let rest = if look.made { settle_ns } else { Self::gap(settle_ns) };
        look.complete || now.mono_ns.saturating_sub(look.since_ns) >= rest.max(1)
    }

    /// Forgets what the full listing `listing` did not meet.
    pub fn prune(&mut self, listing: u64) {
        self.0.retain(|_, look| look.listing == listing);
    }
}

/// Files that could not be read: tried again after 1 s, 2 s, 4 s, up to 60 s.
#[derive(Debug, Default)]
pub(super) struct Retries(HashMap<u128, Retry>);

#[derive(Debug)]
struct Retry {
    fingerprint: Fingerprint,
    reason: String,
    delay_ns: u64,
    due_ns: u64,
    listing: u64,
}

impl Retries {
    pub fn failed(&mut self, key: u128, fingerprint: Fingerprint, reason: &str, now: Now, listing: u64) {
        let before = self.0.get(&key).filter(|r| r.fingerprint == fingerprint).map(|r| r.delay_ns);
        let delay_ns = before.map_or(SECOND, |d| d.saturating_mul(2).min(LONGEST));
        let due_ns = now.mono_ns.saturating_add(delay_ns);
        self.0.insert(key, Retry { fingerprint, reason: reason.into(), delay_ns, due_ns, listing });
    }

    /// Why the file is unread, and whether it is time to try again. A file that changed since (permissions too)
    /// starts afresh.
    pub fn standing(
        &mut self,
        key: u128,
        fingerprint: Fingerprint,
        now: Now,
        listing: u64,
    ) -> Option<(&str, bool)> {
        if self.0.get(&key).is_some_and(|r| r.fingerprint != fingerprint) {
            self.0.remove(&key);
        }
        let retry = self.0.get_mut(&key)?;
        retry.listing = listing;
        Some((&retry.reason, now.mono_ns >= retry.due_ns))
    }

    pub fn done(&mut self, key: u128) {
        self.0.remove(&key);
    }

    pub fn prune(&mut self, listing: u64) {
        self.0.retain(|_, retry| retry.listing == listing);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const WALL: i64 = 1_000_000 * SECOND as i64;

    fn at(ms: u64) -> Now {
        Now { wall_ns: WALL + (ms * MS) as i64, mono_ns: ms * MS }
    }

    fn modified(ms: i64, size: u64) -> Fingerprint {
        Fingerprint { size, mtime_ns: WALL + ms * MS as i64, ..Fingerprint::default() }
    }

    fn ready(looks: &mut Looks, print: Fingerprint, hinted: bool, ms: u64) -> bool {
        let hint = if hinted { Hint::Complete } else { Hint::Nothing };
        looks.ready(1, print, hint, SECOND, at(ms), 1)
    }

    #[test]
    fn old_or_closed_is_complete_at_once() {
        let mut looks = Looks::default();
        assert!(ready(&mut looks, modified(-1000, 1), false, 0));
        assert!(!ready(&mut looks, modified(-999, 1), false, 0));
        // Far from a second old, and looked at too soon after: only having been closed makes these complete.
        assert!(!ready(&mut looks, modified(-500, 1), false, 0));
        assert!(ready(&mut looks, modified(-500, 1), true, 1));
        assert!(ready(&mut looks, modified(-500, 1), false, 2), "and stays so");
        assert!(!ready(&mut looks, modified(-498, 2), false, 3), "until it changes");
    }

    #[test]
    fn else_two_looks_some_time_apart() {
        let mut looks = Looks::default();
        let future = modified(3_600_000, 1);
        assert!(!ready(&mut looks, future, false, 0));
        assert!(!ready(&mut looks, future, false, 199));
        assert!(ready(&mut looks, future, false, 200));
        assert!(!ready(&mut looks, modified(3_600_000, 2), false, 300));
        assert!(!ready(&mut looks, modified(3_600_000, 2), false, 400));
        assert!(ready(&mut looks, modified(3_600_000, 2), false, 500));
        looks.prune(2);
        assert!(!ready(&mut looks, modified(3_600_000, 2), false, 600), "forgotten once gone");
    }

    #[test]
    fn what_was_made_before_our_eyes_rests_for_the_whole_time() {
        let mut looks = Looks::default();
        let mut ready = |print, hint, ms| looks.ready(1, print, hint, SECOND, at(ms), 1);
        let fresh = modified(3_600_000, 1);
        assert!(!ready(fresh, Hint::Made, 0));
        assert!(!ready(fresh, Hint::Nothing, 999), "a writer may pause");
        assert!(ready(fresh, Hint::Nothing, 1000));
        assert!(!ready(modified(3_600_000, 2), Hint::Nothing, 1100));
        assert!(!ready(modified(3_600_000, 2), Hint::Nothing, 1400), "whatever was written since");
        assert!(ready(modified(3_600_000, 2), Hint::Complete, 1401), "closing it ends the waiting");
        assert!(ready(modified(0, 3), Hint::Made, 1500), "linked in, long after it was written");
    }

    #[test]
    fn times_at_the_ends_of_the_scale_are_only_times() {
        let mut looks = Looks::default();
        for mtime_ns in [i64::MIN, i64::MAX] {
            let print = Fingerprint { mtime_ns, ..Fingerprint::default() };
            looks.ready(2, print, Hint::Nothing, u64::MAX, Now { wall_ns: i64::MIN, mono_ns: 0 }, 1);
            looks.ready(2, print, Hint::Nothing, 0, Now { wall_ns: i64::MAX, mono_ns: u64::MAX }, 1);
        }
    }

    #[test]
    fn backs_off_up_to_a_minute() {
        let mut retries = Retries::default();
        let print = modified(0, 1);
        let mut now = 0;
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            retries.failed(1, print, "no permission", at(now), 1);
            let due = now + seconds * 1000;
            assert_eq!(retries.standing(1, print, at(due - 1), 1), Some(("no permission", false)));
            assert_eq!(retries.standing(1, print, at(due), 1), Some(("no permission", true)));
            now = due;
        }
        assert_eq!(retries.standing(1, modified(0, 2), at(now), 1), None, "changed: tried at once");
        assert_eq!(retries.standing(1, print, at(now), 1), None);
    }
}
