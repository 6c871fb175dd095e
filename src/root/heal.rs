//! A damaged log checkpoint is no damage to the table while the commits behind it stand: it is moved aside, with
//! the hint that points at it, and the table is opened without it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use crate::commit::Paths;
use crate::error::{Error, IoContext, Result, is_there};
use crate::fault;
use crate::tables::kernel::Opened;
use crate::tables::{Disk, Kernel, TableDef, names};

const HINT: &str = "_last_checkpoint";

/// Opens a table; where its log cannot be replayed, without the hint, then without its newest log checkpoints, one
/// after the other. What was moved and did not help is put back, also by the next start after a kill in between: a
/// sound checkpoint that stayed away would be damage of our own doing.
pub fn open(
    disk: &dyn Disk,
    kernel: &Kernel,
    paths: &Paths,
    def: &TableDef,
    notes: &mut Vec<String>,
) -> Result<Opened> {
    let log = names::log_dir(&def.dir);
    let aside = paths.own.join("aside");
    let (away, tried) = (aside.join(&def.name), aside.join(format!("{}.tried", def.name)));
    let damage = || damage(kernel, def);
    let told = |notes: &mut Vec<String>| {
        move_all(disk, &tried, &away, true)?;
        notes.push(format!(
            "the log checkpoint of {} was damaged; every commit since is there, so nothing is lost. It is now in {}",
            def.name,
            away.display()
        ));
        kernel.open(&def.dir)
    };
    if !list(&tried)?.is_empty() {
        if damage()?.is_none() {
            return told(notes);
        }
        move_all(disk, &tried, &log, false)?;
    }
    if !is_sound(disk, &log)? {
        move_file(disk, &log, &tried, HINT)?;
        if damage()?.is_none() {
            move_all(disk, &tried, &away, true)?;
            let (table, away) = (&def.name, away.display());
            notes.push(format!(
                "{HINT} of {table} names no log checkpoint that is there; it is only a hint, and is now in {away}"
            ));
        }
    }
    let broken = match kernel.open(&def.dir) {
        // What else is wrong with a log that can be replayed is no checkpoint's fault.
        Err(e) if damage()?.is_some() => e,
        done => return done,
    };
    // The hint first: pointing at a checkpoint that is gone, it would make the older ones look damaged.
    let hint = vec![HINT.to_owned()];
    for files in std::iter::once(hint).chain(checkpoints(&log)?.into_values().rev()) {
        for name in files {
            move_file(disk, &log, &tried, &name)?;
            fault::point("heal.moved");
        }
        if damage()?.is_none() {
            return told(notes);
        }
        fault::point("heal.tried");
    }
    move_all(disk, &tried, &log, false)?;
    Err(broken)
}

/// What is wrong with a table's log. What only could not be read (no rights, no descriptors) says nothing about damage,
/// and is an error: nothing is moved for it.
fn damage(kernel: &Kernel, def: &TableDef) -> Result<Option<Error>> {
    match kernel.log(&def.dir, None) {
        Ok(_) => Ok(None),
        Err(broken @ Error::Corrupt(_)) => Ok(Some(broken)),
        Err(other) => Err(other),
    }
}

/// Every file of the folder `from`. What has a namesake in `to` replaces it only if it may.
fn move_all(disk: &dyn Disk, from: &Path, to: &Path, replace: bool) -> Result<()> {
    for name in list(from)? {
        if replace || !to.join(&name).exists() {
            move_file(disk, from, to, &name)?;
            fault::point("heal.settled");
        }
    }
    Ok(())
}

/// Names in a folder; none where there is no folder.
fn list(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("listing", dir)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        found.extend(entry.at("listing", dir)?.file_name().into_string().ok());
    }
    Ok(found)
}

/// There is no hint, or it names a log checkpoint that is there. The kernel passes a damaged one by in silence; other
/// readers may not.
fn is_sound(disk: &dyn Disk, log: &Path) -> Result<bool> {
    let path = log.join(HINT);
    let bytes = match disk.read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        other => other.at("reading", &path)?,
    };
    let hint: Option<serde_json::Value> = serde_json::from_slice(&bytes).ok();
    let version = hint.and_then(|h| h["version"].as_u64());
    Ok(version.is_some_and(|v| checkpoints(log).is_ok_and(|found| found.contains_key(&v))))
}

/// The files of every log checkpoint, by version.
fn checkpoints(log: &Path) -> Result<BTreeMap<u64, Vec<String>>> {
    let mut found: BTreeMap<u64, Vec<String>> = BTreeMap::new();
    for name in list(log)? {
        if let Some(version) = checkpoint_version(&name) {
            found.entry(version).or_default().push(name);
        }
    }
    Ok(found)
}

fn checkpoint_version(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(20)?;
    (rest.starts_with(".checkpoint") && rest.ends_with(".parquet")).then(|| digits.parse().ok()).flatten()
}

/// True if there was such a file.
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
