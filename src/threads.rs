//! Doing the same for several things at once, each on a thread of its own: tables, mostly, whose time goes into
//! waiting for the disk.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use crate::error::{Error, Result};

/// sled has eight.
const MOST_THREADS: usize = 8;

/// `work` on every item, results in the items' order; the first error otherwise. All threads have ended by then.
pub fn each<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let slots: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let done = share(slots.len(), &slots, |slot| take(slot).map_or_else(|| Err(died()), &work))?;
    done.into_iter().collect()
}

/// As [`each`], for work that keeps a core busy: as many at a time as there are cores, but no more than `most`; the largest
/// first, so that none of them is left to the end and done alone.
pub fn each_by_size<T: Send, R: Send>(
    most: usize,
    items: Vec<T>,
    size: impl Fn(&T) -> usize,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let mut order: Vec<usize> = (0..items.len()).collect();
    order.sort_by_key(|at| std::cmp::Reverse(items.get(*at).map_or(0, &size)));
    let slots: Vec<Mutex<Option<T>>> = items.into_iter().map(|item| Mutex::new(Some(item))).collect();
    let mut done = share(cores().min(most), &order, |at| {
        let result = slots.get(*at).and_then(take).map_or_else(|| Err(died()), &work);
        (*at, result)
    })?;
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Both, the first on a thread of its own if the system gives one.
pub fn both<A: Send, B>(first: impl FnOnce() -> A + Send, second: impl FnOnce() -> B) -> Result<(A, B)> {
    let slot = Mutex::new(Some(first));
    let run = || take(&slot).map(|first| first());
    std::thread::scope(|scope| {
        let beside = Builder::new().spawn_scoped(scope, run);
        let (second, first) = match beside {
            Ok(beside) => (second(), beside.join().map_err(|_| died())?),
            Err(_) => (second(), run()),
        };
        Ok((first.ok_or_else(died)?, second))
    })
}

/// What is in the slot, for the first who asks.
pub fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// `work` on every item by at most `threads` threads, this one among them; results in the items' order. Threads that the
/// system refuses are done without.
pub fn share<T: Sync, R: Send>(threads: usize, items: &[T], work: impl Fn(&T) -> R + Sync) -> Result<Vec<R>> {
    let next = AtomicUsize::new(0);
    let run = || {
        let mut done = Vec::new();
        while let Some((at, item)) = claim(&next, items) {
            done.push((at, work(item)));
        }
        done
    };
    let mut all = std::thread::scope(|scope| {
        let spawned =
            (1..threads.min(items.len())).map_while(|_| Builder::new().spawn_scoped(scope, run).ok());
        let others: Vec<_> = spawned.collect();
        let mut all = run();
        for other in others {
            all.extend(other.join().map_err(|_| died())?);
        }
        Ok(all)
    })?;
    all.sort_unstable_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

fn claim<'i, T>(next: &AtomicUsize, items: &'i [T]) -> Option<(usize, &'i T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    Some((at, items.get(at)?))
}

/// As many threads may be started as any library of ours starts at once.
pub fn may_start() -> std::io::Result<()> {
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let ended = Mutex::new(ended);
    std::thread::scope(|scope| {
        // All at once: each waits until the last has begun. The error of `recv` is the end that it waits for.
        let wait = || drop(ended.lock().map(|ended| ended.recv()));
        let tried: std::io::Result<Vec<_>> =
            (0..MOST_THREADS).map(|_| Builder::new().spawn_scoped(scope, wait)).collect();
        drop(end);
        tried.map(drop)
    })
}

/// A thread panicked: its message is on stderr.
pub fn died() -> Error {
    Error::Bug("a worker thread panicked".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_stand_in_the_order_of_the_items() {
        let items: Vec<u64> = (0..1000).collect();
        let doubled: Vec<u64> = items.iter().map(|n| n * 2).collect();
        for threads in [0, 1, 2, 7] {
            assert_eq!(share(threads, &items, |n| n * 2).unwrap(), doubled, "{threads} threads");
        }
        assert_eq!(share(3, &[] as &[u64], |n| n * 2).unwrap(), Vec::<u64>::new());
        let by_size = each_by_size(8, items, |n| (*n as usize * 7) % 13, |n| Ok(n * 2));
        assert_eq!(by_size.unwrap(), doubled);
    }
}
