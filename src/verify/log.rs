//! What of a log no opening of the table reads: other readers, older versions and cleaning need it all the same.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use roaring::RoaringTreemap;
use serde_json::Value;

use crate::error::{Error, IoContext, Result, refused};
use crate::tables::names;
use crate::tables::parquet::LiveRows;

/// What is wrong with the log of the table in `dir`, whose newest version is `version`: a hole, a commit that is none, a
/// log checkpoint that cannot be read. What only is refused (no rights, no descriptors) says nothing, and is an error.
pub fn problems(dir: &Path, version: u64) -> Result<Vec<String>> {
    let log = names::log_dir(dir);
    let (mut problems, mut versions) = (Vec::new(), BTreeSet::new());
    for entry in fs::read_dir(&log).at("listing", &log)? {
        let path = entry.at("listing", &log)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(version) = names::commit_version(name) {
            versions.insert(version);
            problems.extend(commit(&path)?);
        } else if name.ends_with(".parquet") {
            problems.extend(checkpoint(&path)?);
        }
    }
    // Cleaning removes the oldest first, never the newest: what is left has no hole.
    let first = versions.first().copied().unwrap_or(version);
    let holes = (first..=version).filter(|v| !versions.contains(v));
    problems.extend(holes.map(|v| format!("{} is missing", log.join(names::commit_file(v)).display())));
    problems.sort();
    Ok(problems)
}

fn commit(path: &Path) -> Result<Option<String>> {
    let damaged = |why: &dyn std::fmt::Display| Some(format!("{} is damaged ({why})", path.display()));
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(e) if refused(&e).is_some() => return Err(Error::io("reading", path, e)),
        Err(e) => return Ok(damaged(&e)),
    };
    if text.is_empty() {
        return Ok(damaged(&"it is empty"));
    }
    let torn = text.lines().find_map(|line| serde_json::from_str::<Value>(line).err());
    Ok(torn.and_then(|e| damaged(&e)))
}

fn checkpoint(path: &Path) -> Result<Option<String>> {
    let rows =
        LiveRows::open(path, RoaringTreemap::new()).and_then(|mut rows| rows.try_for_each(|r| r.map(drop)));
    match rows {
        Ok(()) => Ok(None),
        Err(Error::Corrupt(what)) => Ok(Some(what)),
        Err(e) if refused(&e).is_some() => Err(e),
        Err(e) => Ok(Some(e.to_string())),
    }
}
