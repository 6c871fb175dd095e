//! Doing the same for several things at once, each on a thread of its own: tables, mostly, whose time goes into
//! waiting for the disk.

use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// `work` on every item, results in the items' order; the first error otherwise. All threads have ended by then.
pub fn each<T: Send, R: Send>(
    items: impl IntoIterator<Item = T>,
    work: impl Fn(T) -> Result<R> + Sync,
) -> Result<Vec<R>> {
    let work = &work;
    let done: Vec<Result<R>> = std::thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|_| Err(died()))).collect()
    });
    done.into_iter().collect()
}

/// `work` on every item by at most `threads` threads, this one among them; results in the items' order.
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
        let others: Vec<_> = (1..threads.min(items.len())).map(|_| scope.spawn(run)).collect();
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

/// Tokio panics where it gets no descriptor for its signals: more than it needs must be free before it is asked.
pub fn runtime_is_possible() -> std::io::Result<()> {
    let held = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    held.into_iter().try_for_each(|pair| pair.map(drop))
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
    }
}
