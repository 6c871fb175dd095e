//! Log checkpoints, and the removal of what lies behind a verified one.
//!
//! A commit file may go when a checkpoint that was read back and found right covers it, enough newer commits
//! stand, and it is older than the retention. With it go the data files and deletion vectors that it removed: by
//! then no reader that the retention allows for can still need them. The wall clock alone never decides.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::error::{Error, IoContext, Result};
use crate::root::Root;
use crate::tables::{Disk, Table, names};

/// How much history stays.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A log checkpoint every so many commits of a table.
    pub checkpoint_every: u64,
    /// Commits that stay behind the newest checkpoint, however old.
    pub keep_commits: u64,
    /// Milliseconds that a commit stays, however many there are.
    pub keep_ms: i64,
}

impl Default for Retention {
    fn default() -> Self {
        Retention { checkpoint_every: 50, keep_commits: 20, keep_ms: 24 * 3600 * 1000 }
    }
}

/// Writes a log checkpoint for one table that is due for one, then cleans behind it. `true` if there was one.
pub fn step(root: &mut Root, retention: &Retention) -> Result<bool> {
    let due = |t: &Table| t.version >= t.checkpoint + retention.checkpoint_every;
    let Some(at) = root.states.iter().position(|s| due(&s.table)) else { return Ok(false) };
    let table = &root.states[at].table;
    let opened = root.kernel.checkpoint(&table.def.dir)?;
    if !table.agrees_with(&opened) {
        return Err(Error::Corrupt(format!(
            "the log checkpoint of {} does not say what the table holds; run `millrace repair`",
            table.def.dir.display()
        )));
    }
    let version = opened.version;
    let now_ms = root.clock.now_micros() / 1000;
    behind(root.disk.as_ref(), table, version, now_ms, retention)?;
    root.states[at].table.checkpoint = version;
    Ok(true)
}

/// Removes old commits (and what they removed) and old log checkpoints behind `checkpoint`.
fn behind(disk: &dyn Disk, table: &Table, checkpoint: u64, now_ms: i64, retention: &Retention) -> Result<()> {
    let log = names::log_dir(&table.def.dir);
    let limit = checkpoint.saturating_sub(retention.keep_commits);
    let mut old: Vec<(u64, String)> = Vec::new();
    for entry in fs::read_dir(&log).at("listing", &log)? {
        let name = entry.at("listing", &log)?.file_name();
        if let Some((version, name)) = name.to_str().and_then(|n| Some((version_of(n)?, n.to_owned())))
            && version < limit
        {
            old.push((version, name));
        }
    }
    // Oldest first: a log must never have a hole with something older behind it.
    old.sort();
    for (_, name) in old {
        let path = log.join(&name);
        if name.ends_with(".json") && !remove_commit(disk, table, &path, now_ms, retention)? {
            break;
        }
        disk.remove(&path).at("removing", &path)?;
    }
    Ok(())
}

fn version_of(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(20)?;
    (rest == ".json" || rest.starts_with(".checkpoint")).then(|| digits.parse().ok()).flatten()
}

/// Removes the files that a commit removed. `false`: the commit is too young.
fn remove_commit(
    disk: &dyn Disk,
    table: &Table,
    path: &Path,
    now_ms: i64,
    retention: &Retention,
) -> Result<bool> {
    let bytes = disk.read(path).at("reading", path)?;
    let text = String::from_utf8_lossy(&bytes);
    let actions: Vec<Value> = text.lines().filter_map(|l| serde_json::from_str(l).ok()).collect();
    let written = actions.iter().find_map(|a| a["commitInfo"]["timestamp"].as_i64());
    if written.is_none_or(|t| now_ms.saturating_sub(t) < retention.keep_ms) {
        return Ok(false);
    }
    for removed in actions.iter().map(|a| &a["remove"]).filter(|r| r.is_object()) {
        for name in unneeded(table, removed) {
            let file = table.def.dir.join(name);
            disk.remove(&file).at("removing", &file)?;
        }
    }
    Ok(true)
}

/// Our own files that a `remove` names and no live file uses: a deletion vector file serves several data files.
fn unneeded(table: &Table, removed: &Value) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(path) = removed["path"].as_str()
        && let Some(id) = names::data_file_id(path)
        && !table.files.contains_key(&id)
    {
        names.push(path.to_owned());
    }
    if let Some(dv) = removed["deletionVector"]["pathOrInlineDv"].as_str()
        && let Some(name) = names::dv_file_of(dv)
        && !table.files.values().any(|f| f.action.dv.as_ref().is_some_and(|d| d.path_or_inline_dv == dv))
    {
        names.push(name);
    }
    names
}
