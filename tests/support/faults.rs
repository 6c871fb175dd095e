//! A disk that errs or dies at its n-th durable call.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use millrace::tables::{Disk, LocalDisk};

/// What happens at the n-th durable call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// It does nothing and says so; later calls work.
    Refused,
    /// It is carried out, but reported as failed; later calls work.
    Misreported,
    /// The process "dies" before it: nothing works any more.
    DiesBefore,
    /// The process "dies" after it.
    DiesAfter,
    /// A write gets half way, then the process "dies".
    DiesWithin,
}

pub const FAULTS: [Fault; 5] =
    [Fault::Refused, Fault::Misreported, Fault::DiesBefore, Fault::DiesAfter, Fault::DiesWithin];

/// Without syncing: what a dying process leaves does not hang on it, and tests are quicker.
#[derive(Debug)]
pub struct FaultyDisk {
    inner: LocalDisk,
    calls: AtomicU64,
    at: u64,
    fault: Fault,
    dead: AtomicBool,
    /// The call that failed.
    failed: Mutex<Option<String>>,
}

impl FaultyDisk {
    /// Fails at call `at`, counted from 0.
    pub fn new(at: u64, fault: Fault) -> Self {
        FaultyDisk {
            inner: LocalDisk,
            calls: AtomicU64::new(0),
            at,
            fault,
            dead: AtomicBool::new(false),
            failed: Mutex::new(None),
        }
    }

    /// What failed, if the fault was reached.
    pub fn failed(&self) -> Option<String> {
        self.failed.lock().unwrap().clone()
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    fn call<T>(
        &self,
        what: impl FnOnce() -> String,
        half: impl FnOnce() -> io::Result<()>,
        work: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let gone = || io::Error::other("the process is dead");
        if self.dead.load(Ordering::SeqCst) {
            return Err(gone());
        }
        if self.calls.fetch_add(1, Ordering::SeqCst) != self.at {
            return work();
        }
        *self.failed.lock().unwrap() = Some(what());
        let dies = !matches!(self.fault, Fault::Refused | Fault::Misreported);
        self.dead.store(dies, Ordering::SeqCst);
        match self.fault {
            Fault::Refused | Fault::DiesBefore => {}
            Fault::DiesWithin => half()?,
            Fault::Misreported | Fault::DiesAfter => _ = work()?,
        }
        Err(io::Error::other("injected"))
    }

    fn nothing() -> io::Result<()> {
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let half = || fs::write(path, &bytes[..bytes.len() / 2]);
        self.call(|| format!("write {}", path.display()), half, || fs::write(path, bytes))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.call(|| format!("sync_dir {}", dir.display()), Self::nothing, || fs::metadata(dir).map(|_| ()))
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        self.call(
            || format!("sync_file {}", path.display()),
            Self::nothing,
            || fs::metadata(path).map(|_| ()),
        )
    }

    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        // Half of it: linked, but the temporary name is still there.
        let half = || fs::hard_link(temp, target);
        self.call(|| format!("publish {}", target.display()), half, || self.inner.publish(temp, target))
    }

    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        self.call(
            || format!("replace {}", target.display()),
            Self::nothing,
            || self.inner.replace(temp, target),
        )
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.call(|| format!("remove {}", path.display()), Self::nothing, || self.inner.remove(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.call(|| format!("create_dir {}", path.display()), Self::nothing, || self.inner.create_dir(path))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        // Reading is not durable, and a dead process does not read.
        if self.dead.load(Ordering::SeqCst) {
            return Err(io::Error::other("the process is dead"));
        }
        self.inner.read(path)
    }
}
