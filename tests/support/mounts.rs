//! File systems of a test's own: a small one in memory, or ext4 in a file. For root only; unmounted when the test lets
//! go of them, also when it fails.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::folders;

/// A mounted file system.
pub struct Mount {
    at: PathBuf,
    /// ext4 in a file, and how it is mounted.
    image: Option<(PathBuf, String)>,
    _dir: tempfile::TempDir,
}

/// Says aloud why nothing is tried, where file systems cannot be mounted.
pub fn possible(test: &str) -> bool {
    let why = match (rustix::process::geteuid().is_root(), Mount::memory(64)) {
        (false, _) => "only root may mount".to_owned(),
        (true, Err(why)) => why,
        (true, Ok(_)) => return true,
    };
    println!("skipped: {test}: {why}");
    false
}

impl Mount {
    /// A file system in memory with room for so many KiB.
    pub fn memory(kib: u64) -> Result<Mount, String> {
        let dir = folders::quick();
        let at = dir.path().join("mounted");
        std::fs::create_dir(&at).unwrap();
        Mount::memory_at(&at, kib, dir)
    }

    /// The same over a folder that is there; `keep` lives as long as it is mounted.
    pub fn memory_at(at: &Path, kib: u64, keep: tempfile::TempDir) -> Result<Mount, String> {
        does("mount", &["-t", "tmpfs", "-o", &format!("size={kib}k"), "millrace-test", text(at)])?;
        Ok(Mount { at: at.to_path_buf(), image: None, _dir: keep })
    }

    /// A folder of the same file system over one that is there.
    pub fn bound(at: &Path, keep: tempfile::TempDir) -> Result<Mount, String> {
        let from = at.with_file_name("bound");
        std::fs::create_dir(&from).unwrap();
        does("mount", &["--bind", text(&from), text(at)])?;
        Ok(Mount { at: at.to_path_buf(), image: None, _dir: keep })
    }

    /// ext4 in a file of so many MiB, mounted with these options.
    pub fn ext4(mib: u64, options: &str) -> Result<Mount, String> {
        let dir = folders::quick();
        let (image, at) = (dir.path().join("image"), dir.path().join("mounted"));
        std::fs::create_dir(&at).unwrap();
        File::create(&image).unwrap().set_len(mib << 20).unwrap();
        does("mkfs.ext4", &["-q", "-F", text(&image)])?;
        let mount = Mount { at, image: Some((image, options.to_owned())), _dir: dir };
        mount.mount()?;
        Ok(mount)
    }

    pub fn path(&self) -> &Path {
        &self.at
    }

    fn mount(&self) -> Result<(), String> {
        let (image, options) = self.image.as_ref().unwrap();
        does("mount", &["-o", &format!("loop,{options}"), text(image), text(&self.at)])
    }

    pub fn remount(&self, options: &str) {
        does("mount", &["-o", &format!("remount,{options}"), text(&self.at)]).unwrap();
    }

    /// As a power cut would: from now on nothing reaches the disk, and what is only in the log's memory is lost.
    pub fn cut(&self) {
        const WITHOUT_FLUSHING_THE_LOG: u32 = 2;
        const SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
        let folder = File::open(&self.at).unwrap();
        // SAFETY: EXT4_IOC_SHUTDOWN reads one u32 from where its argument points.
        unsafe {
            let how = rustix::ioctl::Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING_THE_LOG);
            rustix::ioctl::ioctl(folder, how).unwrap();
        }
    }

    /// Power is back: the log is replayed.
    pub fn again(&self) {
        does("umount", &[text(&self.at)]).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Whatever still works in there must not keep it for ever.
        if does("umount", &[text(&self.at)]).is_err() {
            let _ = does("umount", &["-l", text(&self.at)]);
        }
    }
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn does(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program).args(arguments).output().map_err(|e| format!("{program}: {e}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', " ");
    if output.status.success() { Ok(()) } else { Err(format!("{program} {arguments:?}: {said}")) }
}
