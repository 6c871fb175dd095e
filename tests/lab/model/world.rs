//! One root under test: carries out the steps, and compares what is there with what must be.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::clock;
use millrace::commit::Paths;
use millrace::maintain::{self, clean, compact};
use millrace::pipeline::{self, model::Pipeline};
use millrace::report::BatchReport;
use millrace::root::Root;
use millrace::run::{Ended, Found, Observer, Options, Places, Session, Stop, run};
use millrace::tables::{Disk, LocalDisk};
use millrace::verify;
use rustix::process::{Pid, Signal, kill_process};

use super::expected::{Claim, Ledger};
use super::history::{History, How, Setting, Step};
use super::mirror;
use super::source::Source;
use crate::support::faults::{FAULTS, FaultyDisk};
use crate::support::{command, contents, folders};

type Checked<T> = Result<T, String>;

/// What was done, in numbers.
#[derive(Debug, Default, Clone, Copy)]
pub struct Done {
    pub steps: u64,
    pub runs: u64,
    pub kills: u64,
    pub faults: u64,
    pub compared: u64,
    pub claims: u64,
    pub rows: u64,
    pub quarantined: u64,
}

pub struct World {
    folder: tempfile::TempDir,
    source: Source,
    /// What the ledger claimed at the last quiet state.
    claims: Vec<Claim>,
    /// Batches that runs reported as done.
    reported: BTreeSet<u64>,
    pub done: Done,
}

/// Plays a history to its end and one run more.
pub fn play(history: &History) -> (Done, Checked<()>) {
    let folder = folders::quick();
    let source = Source::new(folder.path().join("input_events"), history.salt);
    let mut world =
        World { folder, source, claims: Vec::new(), reported: BTreeSet::new(), done: Done::default() };
    let last = Setting { batch_files: 3, batch_bytes: 1 << 20, threads: 2, eager: false, mirror: true };
    let last = Step::Run { how: How::Library, setting: last };
    let played = history.steps.iter().chain([&last]).enumerate().try_for_each(|(at, step)| {
        world.done.steps += 1;
        world.step(step).map_err(|e| format!("step {at}, {step:?}: {e}"))
    });
    (world.done, played)
}

impl World {
    fn step(&mut self, step: &Step) -> Checked<()> {
        match step {
            Step::Run { how, setting } => return self.run(*how, setting),
            Step::LoseCheckpoint => _ = fs::remove_dir_all(self.path("checkpoint")),
            Step::KeepCheckpoint => keep(&self.path("checkpoint"), &self.path("old-checkpoint")),
            Step::OldCheckpoint => keep(&self.path("old-checkpoint"), &self.path("checkpoint")),
            Step::LoseMirror => _ = fs::remove_dir_all(self.path("database")),
            Step::KeepMirror => keep(&self.path("database"), &self.path("old-database")),
            Step::OldMirror => keep(&self.path("old-database"), &self.path("database")),
            Step::Put(put) => self.source.put(put),
            _ => self.meddle(step),
        }
        self.source.observe();
        Ok(())
    }

    /// With a file that is there, if one is.
    fn meddle(&mut self, step: &Step) {
        let n = match step {
            Step::Append { file, .. }
            | Step::Rename { file, .. }
            | Step::HardLink { file, .. }
            | Step::Truncate { file, .. }
            | Step::Flip { file, .. }
            | Step::Touch { file }
            | Step::Remove { file } => *file,
            _ => return,
        };
        let Some((name, path)) = self.source.nth(n) else { return };
        match step {
            Step::Append { events, .. } if name.ends_with("l") => self.source.append(&path, events),
            Step::Rename { to, .. } => {
                if let Some(to) = self.source.other(name, *to) {
                    fs::rename(path, to).unwrap();
                }
            }
            Step::HardLink { to, .. } => {
                // A name that is taken stays.
                let to = self.source.other(name, *to).filter(|to| !to.exists());
                to.into_iter().for_each(|to| fs::hard_link(&path, to).unwrap());
            }
            Step::Truncate { at, .. } => self.source.damage(&path, *at, None),
            Step::Flip { at, byte, .. } => self.source.damage(&path, *at, Some(*byte)),
            Step::Touch { .. } => self.source.touch(&path),
            Step::Remove { .. } => fs::remove_file(path).unwrap(),
            _ => {}
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    // ------------------------------------------------------------------------------------------------- runs

    fn run(&mut self, how: How, setting: &Setting) -> Checked<()> {
        self.done.runs += 1;
        let quiet = match how {
            How::Library => self.library(setting, Arc::new(LocalDisk)).map(|()| true)?,
            How::Faulty { call, fault } => {
                let disk = Arc::new(FaultyDisk::new(call, FAULTS[fault]));
                let ended = self.library(setting, disk.clone());
                self.done.faults += u64::from(disk.failed().is_some());
                match (ended, disk.failed()) {
                    (Ok(()), _) => true,
                    (Err(_), Some(_)) => false,
                    (Err(e), None) => return Err(e),
                }
            }
            How::Binary => self.binary(setting, None)?,
            How::Killed { after } => self.binary(setting, Some((after, Signal::KILL)))?,
            How::Stopped { after } => self.binary(setting, Some((after, Signal::INT)))?,
        };
        if quiet { self.compare(setting.mirror) } else { Ok(()) }
    }

    /// In this process. An error also if a file was left unread.
    fn library(&mut self, setting: &Setting, disk: Arc<dyn Disk>) -> Checked<()> {
        let pipeline = Arc::new(self.pipeline(setting));
        let places = Places {
            tables: self.path("tables"),
            checkpoint: self.path("checkpoint"),
            database: setting.mirror.then(|| self.path("database/orders.db")),
        };
        let options = Options { source: pipeline.source.path.clone(), once: true, threads: setting.threads };
        let policy = if setting.eager { eager() } else { maintain::Policy::default() };
        let session = Session::open(&places, pipeline, disk, clock::system(), policy);
        let session = session.map_err(|e| format!("unopenable: {e}"))?;
        let ended = run(session, &options, &Stop::default(), &mut Listener(&mut self.reported));
        let ended = ended.map_err(|e| format!("the run failed: {e}"))?;
        match ended.unread.is_empty() && ended.waiting.is_empty() {
            true => Ok(()),
            false => Err(format!("left unread: {:?} {:?}", ended.unread, ended.waiting)),
        }
    }

    fn pipeline(&self, setting: &Setting) -> Pipeline {
        let mut pipeline = pipeline::parse(&text(setting), "orders.toml").unwrap();
        pipeline.source.path = self.source.folder.clone();
        pipeline
    }

    /// The built binary, to its end or until the signal. `true` if it went to its end.
    fn binary(&mut self, setting: &Setting, signal: Option<(u64, Signal)>) -> Checked<bool> {
        fs::write(self.path("pipeline.toml"), text(setting)).unwrap();
        let threads = setting.threads.to_string();
        let mut arguments = vec!["-p", "pipeline.toml", "--json", "run", "--once", "--threads", &threads];
        arguments.extend((!setting.mirror).then_some("--no-mirror"));
        let mut command = command(self.folder.path(), &arguments);
        if setting.eager {
            command.env("MILLRACE_EAGER", "1");
        }
        let (out, err) = (self.path("out.log"), self.path("err.log"));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap();
        if let Some((after, signal)) = signal {
            let begin = Instant::now();
            while begin.elapsed() < Duration::from_millis(after) && child.try_wait().unwrap().is_none() {
                std::thread::sleep(Duration::from_millis(1));
            }
            if child.try_wait().unwrap().is_none() {
                kill_process(Pid::from_child(&child), signal).unwrap();
                self.done.kills += 1;
            }
        }
        let status = child.wait().unwrap();
        let ended = self.listen(&fs::read_to_string(&out).unwrap());
        match (status.code(), ended, signal) {
            (Some(0 | 3), Some(ended), _) => Ok(ended),
            (None, _, Some(_)) => Ok(false),
            _ => Err(format!("{status}\n{}", fs::read_to_string(&err).unwrap())),
        }
    }

    /// What the binary reported. `Some(true)`: it went to its end and left nothing.
    fn listen(&mut self, out: &str) -> Option<bool> {
        let mut ended = None;
        // The last line of a killed run may be cut.
        for line in out.lines().filter_map(|l| serde_json::from_str::<serde_json::Value>(l).ok()) {
            match line["type"].as_str() {
                Some("batch") => _ = self.reported.insert(line["batch"].as_u64().unwrap()),
                Some("end") => {
                    let none = |key: &str| line[key].as_object().is_some_and(|o| o.is_empty());
                    ended = Some(line["stopped"] == false && none("unread") && none("waiting"));
                }
                _ => {}
            }
        }
        ended
    }

    // ---------------------------------------------------------------------------------------------- compare

    fn compare(&mut self, mirror: bool) -> Checked<()> {
        self.done.compared += 1;
        let setting = Setting { batch_files: 1, batch_bytes: 1 << 20, threads: 1, eager: false, mirror };
        let paths = Paths::new(self.path("tables"));
        let root = Root::open(paths, Arc::new(self.pipeline(&setting)), Arc::new(LocalDisk), clock::system());
        let root = root.map_err(|e| format!("unopenable: {e}"))?;
        let database = self.path("database/orders.db");
        let findings = match mirror {
            true => verify::verify(&root, &database),
            false => verify::tables_only(&root),
        };
        let differences = findings.map_err(|e| e.to_string())?.differences;
        if !differences.is_empty() {
            return Err(format!("verify: {differences:#?}"));
        }
        let ledger = Ledger::new(root.ledger_rows(0).map_err(|e| e.to_string())?);
        ledger.check(&self.source, &self.claims, &self.reported)?;
        let expected = ledger.expected(&self.source);
        same(&contents::tables(&root), &expected.tables)?;
        let mut quarantine: Vec<(String, i64)> = root
            .quarantined(&|_| true)
            .map_err(|e| e.to_string())?
            .into_iter()
            .map(|key| (key.file.to_string(), key.byte_offset))
            .collect();
        quarantine.sort();
        if quarantine != expected.quarantine {
            return Err(format!("quarantine has {quarantine:?}, must have {:?}", expected.quarantine));
        }
        if mirror {
            mirror::compare(&database, &expected)?;
        }
        self.done.claims += ledger.claims().len() as u64;
        self.done.rows += expected.tables.values().map(|rows| rows.len() as u64).sum::<u64>();
        self.done.quarantined += quarantine.len() as u64;
        self.claims = ledger.claims().to_vec();
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    found: &BTreeMap<&'static str, Vec<T>>,
    expected: &BTreeMap<&'static str, Vec<T>>,
) -> Checked<()> {
    for (table, rows) in expected {
        let found = &found[table];
        let lost = rows.iter().filter(|row| !found.contains(row)).count();
        let wrong = found.iter().filter(|row| !rows.contains(row)).count();
        if found != rows {
            return Err(format!(
                "{table}: {lost} rows lost, {wrong} wrong, {} and {} in all",
                found.len(),
                rows.len()
            ));
        }
    }
    Ok(())
}

/// Copies a folder, if it is there, over another.
fn keep(from: &Path, to: &Path) {
    if from.is_dir() {
        let _ = fs::remove_dir_all(to);
        folders::copy(from, to);
    }
}

fn text(setting: &Setting) -> String {
    let Setting { batch_files, batch_bytes, .. } = setting;
    let source =
        format!("[source]\nsettle = \"0s\"\nbatch_files = {batch_files}\nbatch_bytes = \"{batch_bytes} B\"");
    pipeline::DEFAULT.replacen("[source]", &source, 1)
}

/// Maintenance as eager as it gets.
fn eager() -> maintain::Policy {
    maintain::Policy {
        compact: compact::Policy { fan_in: 2, ..compact::Policy::default() },
        retention: clean::Retention {
            checkpoint_every: 3,
            keep_commits: 1,
            keep_ms: 0,
            ..clean::Retention::default()
        },
        ..maintain::Policy::default()
    }
}

/// Remembers which batches were reported as done.
struct Listener<'a>(&'a mut BTreeSet<u64>);

impl Observer for Listener<'_> {
    fn found(&mut self, _: &Found) {}
    fn batch(&mut self, report: &BatchReport, _: u64) {
        self.0.insert(report.batch);
    }
    fn unread(&mut self, _: &[millrace::batch::Unread]) {}
    fn note(&mut self, _: &str) {}
    fn caught_up(&mut self, _: &Ended) {}
}
