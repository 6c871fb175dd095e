//! sled's pool of threads: without a single one of them it would wait for ever, so opening is watched.

use std::io;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread::Builder;
use std::time::Duration;

use crate::guard::guard;
use crate::threads::may_start;

/// What sled calls its threads.
const NAME: &str = "sled-io-";
/// How long opening may wait before its threads are counted, and then how often. sled does some work on files before it
/// asks for a thread: a slow disk, or a process that was stopped for a while, must not look like threads refused.
const PATIENCE: Duration = Duration::from_secs(1);
const TIMES: u32 = 10;

/// What opening gave, or the message of sled's panic.
type Outcome = Result<sled::Result<sled::Db>, String>;

/// Opens a sled database and waits until it has written something, for which it needs its threads: from then on they stay.
///
/// # Errors
/// The system gave it no thread. What waits for one is left behind; the process is to end.
pub fn open(path: &Path, cache_bytes: u64) -> io::Result<Outcome> {
    let config = sled::Config::default().path(path).cache_capacity(cache_bytes);
    let (sender, receiver) = channel();
    let opening = move || {
        let outcome = guard("sled", || {
            let db = config.open()?;
            futures::executor::block_on(db.flush_async())?;
            Ok(db)
        });
        // Nobody waits any more: then a database that is whole after all is closed here.
        drop(sender.send(outcome));
    };
    Builder::new().spawn(opening)?;
    let mut without = 0;
    loop {
        match receiver.recv_timeout(PATIENCE) {
            Ok(outcome) => return Ok(outcome),
            Err(RecvTimeoutError::Timeout) if has_threads() => without = 0,
            Err(RecvTimeoutError::Timeout) if without < TIMES && may_start().is_ok() => without += 1,
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                return Err(rustix::io::Errno::AGAIN.into());
            }
        }
    }
}

/// One at least. Where the system does not tell (there is no `/proc`), it is taken to have some.
fn has_threads() -> bool {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return true };
    let is_ours = |name: &str| name.starts_with(NAME);
    tasks.flatten().any(|task| {
        // A thread that ends meanwhile has no name any more.
        std::fs::read_to_string(task.path().join("comm")).is_ok_and(|name| is_ours(&name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_database_has_threads() {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir.path().join("sled"), 1 << 20).unwrap().unwrap().unwrap();
        assert!(has_threads());
        drop(db);
    }
}
