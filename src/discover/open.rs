//! Opening what lies below the source folder, and nothing else: no symlink is followed on the way, not even one
//! that takes a folder's place between listing and opening.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::batch::{Fingerprint, Input};

pub(super) fn root(path: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(path, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// `path` is relative to `root`; empty is the root itself.
pub(super) fn folder(root: BorrowedFd, path: &Path) -> io::Result<OwnedFd> {
    let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
    beneath(root, path, OFlags::RDONLY | OFlags::DIRECTORY)
}

/// Never waits, whatever took the file's place meanwhile; what is not a regular file is an error.
pub(super) fn regular(root: BorrowedFd, path: &Path) -> io::Result<(File, Fingerprint)> {
    let file = File::from(beneath(root, path, OFlags::RDONLY | OFlags::NONBLOCK)?);
    let stat = rustix::fs::fstat(&file)?;
    if kind(&stat) != FileType::RegularFile {
        return Err(io::Error::other(NOT_REGULAR));
    }
    Ok((file, fingerprint(&stat)))
}

pub(super) const NOT_REGULAR: &str = "not a regular file";

fn beneath(root: BorrowedFd, path: &Path, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
        match rustix::fs::openat2(root, path, flags, Mode::empty(), resolve) {
            // Kernels before 5.6 have no openat2, some sandboxes forbid it.
            Err(Errno::NOSYS | Errno::PERM) => {}
            done => return Ok(done?),
        }
    }
    Ok(rustix::fs::openat(root, path, flags, Mode::empty())?)
}

pub(super) fn kind(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

pub(super) fn fingerprint(stat: &Stat) -> Fingerprint {
    Fingerprint {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanos(stat.st_mtime, i64::try_from(stat.st_mtime_nsec).unwrap_or(0)),
        ctime_ns: nanos(stat.st_ctime, i64::try_from(stat.st_ctime_nsec).unwrap_or(0)),
        inode: stat.st_ino,
    }
}

fn nanos(seconds: i64, nanos: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanos)
}

/// The open file is as it was when it was opened, and its path still leads to it. Ask after reading: if not,
/// what was read is neither the old content nor the new.
pub fn still_same(input: &Input) -> bool {
    let Ok(open) = rustix::fs::fstat(input.file.as_fd()) else { return false };
    let Ok(path) = std::fs::symlink_metadata(&input.path) else { return false };
    fingerprint(&open) == input.fingerprint && (open.st_dev, open.st_ino) == (path.dev(), path.ino())
}

/// Too many files are open, here or in the whole machine.
pub(super) fn is_crowded(e: &io::Error) -> bool {
    let code = e.raw_os_error();
    code == Some(Errno::MFILE.raw_os_error()) || code == Some(Errno::NFILE.raw_os_error())
}

/// How many inputs may be open at once: half of what the process may have. The usual soft limit of 1024 is made
/// for `select`, which nobody here uses, so it is raised to the hard one first.
pub(super) fn budget() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    // Refused in some sandboxes: then the old limit holds.
    let _ = setrlimit(Resource::Nofile, raised);
    let current = getrlimit(Resource::Nofile).current.unwrap_or(1 << 20);
    usize::try_from(current / 2).unwrap_or(usize::MAX).max(16)
}

/// For people, without "(os error 13)".
pub(super) fn reason(e: &io::Error) -> String {
    let text = e.to_string();
    match text.find(" (os error") {
        Some(at) => text.get(..at).unwrap_or(&text).to_owned(),
        None => text,
    }
}
