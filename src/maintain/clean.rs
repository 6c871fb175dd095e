//! Log checkpoints, and the removal of what lies behind a verified one.
//!
//! A log may be cut at an older checkpoint once a newer one was read back and found right, enough newer commits
//! stand, and every commit up to the cut is older than the retention: a day, or an hour where a thousand newer ones
//! stand behind it, or, where the pipeline says so, of any age beyond a number; the wall clock alone never decides.
//! Every version from the cut on stays readable: what the cut's version or a later batch names stays, the rest goes,
//! commits, data files and deletion vectors. Of the log checkpoints behind the cut a few stay. (They hold no
//! tombstones: ours carry no time, see `tables::log`.) Works on files that never change, so it runs beside the
//! batches.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use super::aside::Cancel;
use crate::batch::FileId;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::root::Root;
use crate::tables::table::View;
use crate::tables::{Disk, Kernel, Table, names};

/// How much history stays.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// A log checkpoint every so many commits of a table.
    pub checkpoint_every: u64,
    /// Commits that stay behind the newest checkpoint, however old.
    pub keep_commits: u64,
    /// Milliseconds that a commit stays.
    pub keep_ms: i64,
    /// Of a table with more commits than this, those beyond stay for `many_ms` only: where batches come by the second,
    /// a day is a hundred thousand files.
    pub many_commits: u64,
    pub many_ms: i64,
    /// A table at rest has a log checkpoint after so many commits: each commit since is a file that readers open.
    pub rest_commits: u64,
    /// The same at the end of a short run, which somebody waits for.
    pub end_commits: u64,
}

/// Log checkpoints that stay, besides the newest.
const SPREAD: u64 = 16;
/// A reader may be about to read what was the newest a moment ago; and of a newest one that is damaged, the one
/// before takes the place.
const NEWEST: usize = 4;

impl Default for Retention {
    fn default() -> Self {
        Retention {
            checkpoint_every: 50,
            keep_commits: 20,
            keep_ms: 24 * 3600 * 1000,
            many_commits: 1_000,
            many_ms: 3600 * 1000,
            rest_commits: 4,
            end_commits: 8,
        }
    }
}

/// One table that is due for a log checkpoint.
#[derive(Debug)]
pub struct Job {
    table: usize,
    dir: PathBuf,
    view: View,
    kernel: Kernel,
    disk: Arc<dyn Disk>,
    now_ms: i64,
    retention: Retention,
    /// No more commits than this stay, however young.
    most_commits: Option<u64>,
}

#[derive(Debug)]
pub struct Cleaned {
    table: usize,
    checkpoint: u64,
}

/// The table whose log has grown most since its last checkpoint, if it is due.
pub fn due(root: &Root, retention: &Retention) -> Option<Job> {
    let tables = root.states.iter().map(|s| &s.table).enumerate();
    let (at, table) = tables.max_by_key(|(_, t)| since_checkpoint(t))?;
    (since_checkpoint(table) >= retention.checkpoint_every.max(1)).then(|| Job::new(root, at, retention))
}

/// Every table that a log checkpoint makes easier to read, while nothing else is to be done.
pub fn due_at_rest(root: &Root, retention: &Retention) -> Vec<Job> {
    jobs(root, retention, |table| {
        let since = since_checkpoint(table);
        // Readers of a table that has one open it in any case, and each commit since besides.
        since > retention.rest_commits || (since > 0 && table.checkpoint > 0)
    })
}

/// The same at the end of a short run.
pub fn due_at_end(root: &Root, retention: &Retention) -> Vec<Job> {
    jobs(root, retention, |table| since_checkpoint(table) > retention.end_commits)
}

fn jobs(root: &Root, retention: &Retention, is_due: impl Fn(&Table) -> bool) -> Vec<Job> {
    let tables = root.states.iter().map(|s| &s.table).enumerate();
    tables.filter(|(_, table)| is_due(table)).map(|(at, _)| Job::new(root, at, retention)).collect()
}

fn since_checkpoint(table: &Table) -> u64 {
    table.version.saturating_sub(table.checkpoint)
}

/// A log has three times what makes it due.
pub fn is_late(table: &Table, retention: &Retention) -> bool {
    since_checkpoint(table) >= retention.checkpoint_every.max(1) * 3
}

pub fn take_up(root: &mut Root, cleaned: &Cleaned) {
    root.states[cleaned.table].table.checkpoint = cleaned.checkpoint;
}

impl Job {
    fn new(root: &Root, at: usize, retention: &Retention) -> Job {
        let table = &root.states[at].table;
        Job {
            table: at,
            dir: table.def.dir.clone(),
            view: table.view(),
            kernel: root.kernel.clone(),
            disk: root.disk.clone(),
            now_ms: root.clock.now_micros() / 1000,
            retention: *retention,
            most_commits: root.pipeline.history_commits,
        }
    }

    pub fn go(self, cancel: &Cancel) -> Result<Cleaned> {
        let checkpoint = self.view.version;
        let opened = self.kernel.checkpoint(&self.dir, checkpoint)?;
        fault::point("clean.checkpointed");
        if opened.checkpoint != checkpoint || !self.view.agrees_with(&opened) {
            return Err(Error::Corrupt(format!(
                "the log checkpoint of {} does not say what the table holds; run `millrace repair`",
                self.dir.display()
            )));
        }
        let mut log = Log::list(&names::log_dir(&self.dir))?;
        if let Some(cut) = self.cut(&log)? {
            fault::point("clean.verified");
            self.sweep(cut, cancel)?;
            fault::point("clean.swept");
            log.shorten(self.disk.as_ref(), cut)?;
            fault::point("clean.shortened");
            log = Log::list(&log.dir)?;
        }
        log.thin(self.disk.as_ref())?;
        Ok(Cleaned { table: self.table, checkpoint })
    }

    /// The newest log checkpoint that everything older may be removed behind.
    fn cut(&self, log: &Log) -> Result<Option<u64>> {
        let limit = self.view.version.saturating_sub(self.retention.keep_commits);
        let newest_up_to = |limit: u64| log.checkpoints().filter(|v| *v <= limit).max();
        let Some(farthest) = newest_up_to(limit) else { return Ok(None) };
        // A log that begins at the cut already has nothing to lose.
        let Some(oldest) = log.oldest() else { return Ok(None) };
        let Some(nearest) = log.checkpoints().find(|v| *v > oldest && *v <= limit) else { return Ok(None) };
        // Most of the time that is all: there can be a thousand commits up to the first that must stay.
        if !self.is_beyond_most(nearest)
            && self.age(log, nearest)?.is_none_or(|age| self.is_young(nearest, age))
        {
            return Ok(None);
        }
        let cut = match self.first_young(log, farthest)? {
            Some(young) => young.checked_sub(1).and_then(newest_up_to),
            None => Some(farthest),
        };
        Ok(cut.filter(|cut| oldest < *cut))
    }

    /// The first commit up to `farthest` that must stay for its age. One that lies in the future was made while the
    /// clock was wrong: it is as old as the next one that does not, or it would keep the log from being cut until
    /// that time comes. Commits beyond the most that may be kept stay for no age.
    fn first_young(&self, log: &Log, farthest: u64) -> Result<Option<u64>> {
        let mut ahead = None;
        for version in log.commits().filter(|v| !self.is_beyond_most(*v)) {
            if version > farthest && ahead.is_none() {
                break;
            }
            match self.age(log, version)? {
                Some(age) if age < 0 => _ = ahead.get_or_insert(version),
                Some(age) if !self.is_young(version, age) => ahead = None,
                _ => return Ok(Some(ahead.unwrap_or(version))),
            }
        }
        Ok(ahead)
    }

    /// Milliseconds since a commit, as it says; below zero if that lies in the future.
    fn age(&self, log: &Log, version: u64) -> Result<Option<i64>> {
        let commit = Commit::read(self.disk.as_ref(), &log.dir, version)?;
        Ok(commit.timestamp.map(|t| self.now_ms.saturating_sub(t)))
    }

    /// The shorter time is for those alone that many newer ones stand behind.
    fn is_young(&self, version: u64, age: i64) -> bool {
        let Retention { keep_ms, many_commits, many_ms, .. } = self.retention;
        let keep_ms = if self.is_beyond(version, many_commits) { keep_ms.min(many_ms) } else { keep_ms };
        (0..keep_ms).contains(&age)
    }

    fn is_beyond_most(&self, version: u64) -> bool {
        self.most_commits.is_some_and(|most| self.is_beyond(version, most))
    }

    /// So many newer commits stand.
    fn is_beyond(&self, version: u64, commits: u64) -> bool {
        self.view.version.checked_sub(commits).is_some_and(|oldest| version <= oldest)
    }

    /// Removes our data files and deletion vectors up to the cut's batch that its version does not name: they were
    /// removed from the table at or before the cut.
    fn sweep(&self, cut: u64, cancel: &Cancel) -> Result<()> {
        let commit = Commit::read(self.disk.as_ref(), &names::log_dir(&self.dir), cut)?;
        let Some(batch) = commit.batch else { return Ok(()) };
        let opened = self.kernel.open_at(&self.dir, Some(cut))?;
        let mut named: HashSet<String> = HashSet::new();
        for (action, _) in &opened.files {
            named.insert(action.path.clone());
            named.extend(action.dv.as_ref().and_then(|dv| names::dv_file_of(&dv.path_or_inline_dv)));
        }
        for entry in fs::read_dir(&self.dir).at("listing", &self.dir)? {
            cancel.check()?;
            let entry = entry.at("listing", &self.dir)?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            let id = names::data_file_id(&name).or_else(|| names::dv_file_id(&name));
            if id.is_some_and(|id| id <= batch) && !named.contains(&name) {
                self.disk.remove(&entry.path()).at("removing", entry.path())?;
                match names::dv_file_id(&name) {
                    Some(_) => fault::point("clean.vectors_removed"),
                    None => fault::point("clean.data_removed"),
                }
            }
        }
        Ok(())
    }
}

/// What lies in a `_delta_log`.
struct Log {
    dir: PathBuf,
    /// (version, name), oldest first.
    files: Vec<(u64, String)>,
}

impl Log {
    fn list(dir: &Path) -> Result<Log> {
        let mut files = Vec::new();
        for entry in fs::read_dir(dir).at("listing", dir)? {
            let name = entry.at("listing", dir)?.file_name();
            if let Some((version, name)) = name.to_str().and_then(|n| Some((version_of(n)?, n.to_owned()))) {
                files.push((version, name));
            }
        }
        files.sort();
        Ok(Log { dir: dir.to_path_buf(), files })
    }

    fn commits(&self) -> impl Iterator<Item = u64> {
        self.files.iter().filter(|(_, name)| name.ends_with(".json")).map(|(version, _)| *version)
    }

    fn checkpoints(&self) -> impl Iterator<Item = u64> {
        self.files.iter().filter(|(_, name)| name.contains(".checkpoint")).map(|(version, _)| *version)
    }

    /// Removes the log checkpoints that neither a reader of a moment ago nor a later cut needs: the newest stay, and
    /// about as many as [`SPREAD`] of the others, spread evenly. Between them every version is read from commits.
    fn thin(&self, disk: &dyn Disk) -> Result<()> {
        let all: Vec<u64> = self.checkpoints().collect();
        let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(()) };
        let (gap, mut kept) = ((last - first) / SPREAD, *first);
        let newest = all.len().saturating_sub(NEWEST);
        for &version in all.iter().take(newest).skip(1) {
            if version - kept >= gap {
                kept = version;
                continue;
            }
            let path = self.dir.join(names::log_checkpoint(version));
            disk.remove(&path).at("removing", &path)?;
        }
        Ok(())
    }

    fn oldest(&self) -> Option<u64> {
        self.files.first().map(|(version, _)| *version)
    }

    /// Oldest first: a log must never have a hole with something older behind it.
    fn shorten(&self, disk: &dyn Disk, cut: u64) -> Result<()> {
        for (_, name) in self.files.iter().filter(|(version, _)| *version < cut) {
            let path = self.dir.join(name);
            disk.remove(&path).at("removing", &path)?;
            match name.ends_with(".json") {
                true => fault::point("clean.commit_removed"),
                false => fault::point("clean.checkpoint_removed"),
            }
        }
        Ok(())
    }
}

fn version_of(name: &str) -> Option<u64> {
    let (digits, rest) = name.split_at_checked(20)?;
    (rest == ".json" || rest == ".checkpoint.parquet").then(|| digits.parse().ok()).flatten()
}

/// What a commit says about itself.
struct Commit {
    timestamp: Option<i64>,
    batch: Option<FileId>,
}

impl Commit {
    fn read(disk: &dyn Disk, log: &Path, version: u64) -> Result<Commit> {
        let path = log.join(names::commit_file(version));
        let bytes = disk.read(&path).at("reading", &path)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut commit = Commit { timestamp: None, batch: None };
        // Both stand in front of what can be long.
        for action in text.lines().take(2).filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            commit.timestamp = commit.timestamp.or(action["commitInfo"]["timestamp"].as_i64());
            let batch = action["txn"]["version"].as_u64().and_then(|b| FileId::try_from(b).ok());
            commit.batch = commit.batch.or(batch);
        }
        Ok(commit)
    }
}
