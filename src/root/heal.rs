//! A damaged log checkpoint is no damage to the table while the commits behind it stand: it is moved aside, with
//! the hint that points at it, and the table is opened without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::commit::Paths;
use crate::error::{Error, IoContext, Result, is_there};
use crate::tables::kernel::Opened;
use crate::tables::{Disk, Kernel, TableDef, names};

const HINT: &str = "_last_checkpoint";

/// Opens a table; where its log cannot be replayed, without its newest log checkpoints, one after the other. What
/// was moved and did not help is put back.
pub fn open(
    disk: &dyn Disk,
    kernel: &Kernel,
    paths: &Paths,
    def: &TableDef,
    notes: &mut Vec<String>,
) -> Result<Opened> {
    let broken = match kernel.log(&def.dir, None) {
        Ok(_) => return kernel.open(&def.dir),
        Err(broken @ Error::Corrupt(_)) => broken,
        // Nothing is known to be damaged: nothing is moved.
        Err(other) => return Err(other),
    };
    let log = names::log_dir(&def.dir);
    let away = paths.own.join("aside").join(&def.name);
    let mut moved = Vec::new();
    for (version, checkpoint) in checkpoints(&log)?.into_iter().rev() {
        for name in checkpoint.into_iter().chain([HINT.to_owned()]) {
            if move_file(disk, &log, &away, &name)? {
                moved.push(name);
            }
        }
        if kernel.log(&def.dir, None).is_ok() {
            notes.push(format!(
                "the log checkpoint of {} at version {version} was damaged; every commit since is there, so nothing \
                 is lost. It is now in {}",
                def.name,
                away.display()
            ));
            return kernel.open(&def.dir);
        }
    }
    for name in moved {
        move_file(disk, &away, &log, &name)?;
    }
    Err(broken)
}

/// The files of every log checkpoint, by version.
fn checkpoints(log: &Path) -> Result<BTreeMap<u64, Vec<String>>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    let entries = match fs::read_dir(log) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.at("listing", log)?,
    };
    for entry in entries {
        let name = entry.at("listing", log)?.file_name();
        if let Some((version, name)) =
            name.to_str().and_then(|n| Some((checkpoint_version(n)?, n.to_owned())))
        {
            found.entry(version).or_default().push(name);
        }
    }
    Ok(found)
}

fn checkpoint_version(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(20)?;
    (rest.starts_with(".checkpoint") && rest.ends_with(".parquet")).then(|| digits.parse().ok()).flatten()
}

/// `false`: there is none.
fn move_file(disk: &dyn Disk, from: &Path, to: &Path, name: &str) -> Result<bool> {
    let (old, new): (PathBuf, PathBuf) = (from.join(name), to.join(name));
    if !is_there(&old)? {
        return Ok(false);
    }
    disk.create_dir(to).at("making", to)?;
    disk.replace(&old, &new).at("moving aside", &old)?;
    disk.sync_dir(to).and_then(|()| disk.sync_dir(from)).at("syncing", to)?;
    Ok(true)
}
