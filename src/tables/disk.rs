//! The narrow door to the file system: every durable byte goes through [`Disk`], so that faults can be injected.
//!
//! Nothing in the Delta stack syncs. A file that is linked but not synced survives a power cut as 0 bytes, so
//! every write here is on the platter, with its directory, before the call returns.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use crate::fault;

/// Durable file operations. Each is done when it returns, or its outcome is unknown.
pub trait Disk: Send + Sync + std::fmt::Debug {
    /// Creates or replaces `path` with `bytes` and syncs the file, not its directory.
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()>;
    /// The same for what is too large to hold: `path` gets what `fill` writes.
    fn write_with(
        &self,
        path: &Path,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut bytes = Vec::new();
        fill(&mut bytes)?;
        self.write(path, &bytes)
    }
    /// Syncs a directory: names made in it before are there after a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// Syncs a file written earlier.
    fn sync_file(&self, path: &Path) -> io::Result<()>;
    /// Gives `temp` the second name `target`; `AlreadyExists` if there is one. `temp` is gone afterwards.
    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()>;
    /// Renames `temp` over `target`.
    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
}

#[derive(Debug, Clone, Copy, Default)]
pub struct LocalDisk;

impl Disk for LocalDisk {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        fault::point("disk.emptied");
        file.write_all(bytes)?;
        fault::point("disk.unsynced");
        file.sync_all()
    }

    fn write_with(
        &self,
        path: &Path,
        fill: &mut dyn FnMut(&mut dyn Write) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut file = BufWriter::with_capacity(1 << 18, File::create(path)?);
        fill(&mut file)?;
        fault::point("disk.streamed");
        file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn sync_file(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        fs::hard_link(temp, target)?;
        fault::point("disk.linked");
        fs::remove_file(temp)
    }

    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        fs::rename(temp, target)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }
}
