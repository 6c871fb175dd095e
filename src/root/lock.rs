//! The lock on a root: an `flock`, so that the kernel frees it when the process dies, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
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
    /// The folder that the file lies in, locked too: a lock file can be deleted while it is held, and whoever comes
    /// next makes a new one. `None` where folders can't be locked (some network file systems).
    folder: Option<File>,
    path: PathBuf,
}

/// Closing alone would not do: a child being spawned by another thread holds a copy of the descriptor until its `exec`,
/// and an `flock` lasts until the last copy is closed. Unlocking frees it for all copies.
impl Drop for Lock {
    fn drop(&mut self) {
        let _ = self.file.unlock();
        let _ = self.folder.as_ref().map(File::unlock);
    }
}

impl Lock {
    /// The path still leads to what is locked. If not, the tables were moved away under us, and what is there now may
    /// be somebody else's.
    ///
    /// # Errors
    /// [`Error::Busy`] if not.
    pub fn still_holds(&self) -> Result<()> {
        if self.holds()? { Ok(()) } else { Err(Error::Busy(moved(&self.path))) }
    }

    fn holds(&self) -> Result<bool> {
        match &self.folder {
            Some(folder) => is_named(folder, parent(&self.path)),
            None => is_named(&self.file, &self.path),
        }
    }

    /// The pid is for the other's message only; the lock is the flock.
    fn sign(&self) -> Result<()> {
        let (mut file, pid) = (&self.file, std::process::id().to_string());
        let written = file.set_len(0).and_then(|()| file.seek(SeekFrom::Start(0)));
        written.and_then(|_| file.write_all(pid.as_bytes())).at("writing", &self.path)
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
        let folder = parent(path);
        let opened = File::open(folder).at("opening", folder)?;
        let folder = match both(&file, opened, path)? {
            Some(folder) => folder,
            None if asked.elapsed() < PATIENCE => {
                // What was got is given back: another may need it.
                let _ = file.unlock();
                std::thread::sleep(BETWEEN);
                continue;
            }
            None => return Err(Error::Busy(busy(&mut file, path))),
        };
        let lock = Lock { file, folder, path: path.to_path_buf() };
        if !is_named(&lock.file, path)? || !lock.holds()? {
            // A repair moved the folder between opening and locking: this is the lock of the old tables.
            continue;
        }
        fault::point("lock.taken");
        lock.sign()?;
        return Ok(lock);
    }
}

/// Locks the file and, where that can be, its folder. `None`: somebody has one of them.
fn both(file: &File, folder: File, path: &Path) -> Result<Option<Option<File>>> {
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(e)) => return Err(Error::io("locking", path, e)),
    }
    Ok(match folder.try_lock() {
        Ok(()) => Some(Some(folder)),
        Err(TryLockError::WouldBlock) => None,
        Err(TryLockError::Error(_)) => Some(None),
    })
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

/// The process that holds the lock at `path`, if one does, as far as it has left its id.
///
/// # Errors
/// Only what keeps the lock from being looked at.
pub fn holder(path: &Path) -> Result<Option<Option<u32>>> {
    let open = |path: &Path| match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some).at("opening", path),
    };
    let (file, folder) = (open(path)?, open(parent(path))?);
    let held = |f: &Option<File>| {
        f.as_ref().is_some_and(|f| matches!(f.try_lock_shared(), Err(TryLockError::WouldBlock)))
    };
    Ok((held(&file) || held(&folder)).then(|| file.and_then(|mut file| pid(&mut file))))
}

/// A file that anybody may have written to: only a number is believed.
fn pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn tables(path: &Path) -> PathBuf {
    let tables = path.parent().and_then(Path::parent).unwrap_or(path);
    std::path::absolute(tables).unwrap_or_else(|_| tables.to_path_buf())
}

fn moved(path: &Path) -> String {
    format!(
        "{} was moved away while it was worked on; nothing more is written. Start again where the tables are now",
        tables(path).display()
    )
}

fn busy(file: &mut File, path: &Path) -> String {
    let who = pid(file).map_or("another process".to_owned(), |pid| format!("process {pid}"));
    format!(
        "{who} is working on {}; stop it first (`status`, `query` and `check` work meanwhile)",
        tables(path).display()
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

    #[test]
    fn a_deleted_lock_file_does_not_let_another_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = take(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(matches!(take(&path), Err(Error::Busy(_))));
        assert_eq!(holder(&path).unwrap(), Some(None));
        first.still_holds().unwrap();
        drop(first);
        assert_eq!(holder(&path).unwrap(), None);
        take(&path).unwrap();
    }

    #[test]
    fn a_folder_that_was_moved_is_not_held() {
        let dir = tempfile::tempdir().unwrap();
        let (here, there) = (dir.path().join("here"), dir.path().join("there"));
        std::fs::create_dir(&here).unwrap();
        let first = take(&here.join("lock")).unwrap();
        std::fs::rename(&here, &there).unwrap();
        assert!(first.still_holds().is_err());
        std::fs::create_dir(&here).unwrap();
        assert!(first.still_holds().is_err());
        assert!(take(&there.join("lock")).is_err());
        take(&here.join("lock")).unwrap();
    }

    #[test]
    fn only_a_number_is_told_of_what_the_file_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let _first = take(&path).unwrap();
        for (said, told) in [("12", Some(12)), ("\u{1b}[2J", None), ("", None), (&"9".repeat(99), None)] {
            std::fs::write(&path, said).unwrap();
            assert_eq!(holder(&path).unwrap(), Some(told), "{said:?}");
        }
    }
}
