//! Doing the same for several things at once, each on a thread of its own: tables, mostly, whose time goes into
//! waiting for the disk.

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

/// Tokio panics where it gets no descriptor for its signals: more than it needs must be free before it is asked.
pub fn runtime_is_possible() -> std::io::Result<()> {
    let held = [(); 4].map(|()| std::os::unix::net::UnixStream::pair());
    held.into_iter().try_for_each(|pair| pair.map(drop))
}

/// A thread panicked: its message is on stderr.
pub fn died() -> Error {
    Error::Bug("a worker thread panicked".into())
}
