//! The local disk without waiting for it: for what cuts no power and measures no disk.

use std::fs;
use std::io;
use std::path::Path;

use millrace::tables::{Disk, LocalDisk};

#[derive(Debug)]
pub struct Hasty;

impl Disk for Hasty {
    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        fs::write(path, bytes)
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn sync_file(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
    fn publish(&self, temp: &Path, target: &Path) -> io::Result<()> {
        LocalDisk.publish(temp, target)
    }
    fn replace(&self, temp: &Path, target: &Path) -> io::Result<()> {
        LocalDisk.replace(temp, target)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        LocalDisk.remove(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        LocalDisk.create_dir(path)
    }
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        LocalDisk.read(path)
    }
}
