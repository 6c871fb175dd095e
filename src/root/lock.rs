//! The lock on a root: an `flock`, so that the kernel frees it when the process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::error::{Error, IoContext, Result};
use crate::fault;

/// How long a held lock is asked for again: the kernel frees a killed process's lock only once it has torn the process
/// down, and whoever starts the next one right after the kill should not be refused.
const PATIENCE: Duration = Duration::from_millis(400);
const BETWEEN: Duration = Duration::from_millis(10);

/// Held as long as this lives.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Closing alone would not do: a child being spawned by another thread holds a copy of the descriptor until its `exec`,
/// and an `flock` lasts until the last copy is closed. Unlocking frees it for all copies.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
    }
}

/// Takes the lock or says within half a second who has it.
///
/// # Errors
/// [`Error::Busy`] with the holder's process id.
pub fn take(path: &Path) -> Result<Lock> {
    let asked = Instant::now();
    loop {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.at("opening", path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) if asked.elapsed() < PATIENCE => {
                std::thread::sleep(BETWEEN);
                continue;
            }
            Err(TryLockError::WouldBlock) => return Err(Error::Busy(busy(&mut file, path))),
            Err(TryLockError::Error(e)) => return Err(Error::io("locking", path, e)),
        }
        if !is_named(&file, path)? {
            // A repair moved the folder between opening and locking: this is the lock of the old tables.
            continue;
        }
        fault::point("lock.taken");
        // The pid is for the other's message only; the lock is the flock.
        let pid = std::process::id().to_string();
        file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0))).at("writing", path)?;
        file.write_all(pid.as_bytes()).at("writing", path)?;
        return Ok(Lock { file });
    }
}

/// `path` still names `file`.
fn is_named(file: &File, path: &Path) -> Result<bool> {
    let held = file.metadata().at("looking at", path)?;
    match std::fs::metadata(path) {
        Ok(named) => Ok((named.dev(), named.ino()) == (held.dev(), held.ino())),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(e).at("looking at", path),
    }
}

fn busy(file: &mut File, path: &Path) -> String {
    let mut pid = String::new();
    let who = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    };
    let root = path.parent().and_then(Path::parent).unwrap_or(path);
    let root = std::path::absolute(root).unwrap_or_else(|_| root.to_path_buf());
    format!(
        "{who} is working on {}; stop it first (`status`, `query` and `check` work meanwhile)",
        root.display()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_is_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path).unwrap();
        let told = take(&path).unwrap_err().to_string();
        assert!(told.contains(&format!("process {}", std::process::id())), "{told}");
        drop(first);
        take(&path).unwrap();
    }

    #[test]
    fn a_copy_of_the_descriptor_does_not_keep_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path).unwrap();
        let copy = first.file.try_clone().unwrap();
        drop(first);
        take(&path).unwrap();
        drop(copy);
    }

    #[test]
    fn a_holder_that_is_just_going_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path).unwrap();
        std::thread::scope(|s| {
            s.spawn(|| {
                std::thread::sleep(Duration::from_millis(50));
                drop(first);
            });
            take(&path).unwrap();
        });
    }
}
