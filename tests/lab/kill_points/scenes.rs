//! States to start from, which together pass every kill point: a new root, tables that change, what earlier kills
//! left, caches that are gone or damaged, tables to repair.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use millrace::pipeline::model::Pipeline;

use crate::scale::is_long;
use crate::support::trial::{self, Expected, REPAIR, RUN, Source, command, ended};

/// Kill points in the order in which a run first passes them, and how often it does.
pub type Passed = Vec<(String, u64)>;

pub struct Scene {
    pub name: &'static str,
    source: Arc<Source>,
    base: tempfile::TempDir,
    /// What is killed.
    action: &'static [&'static str],
    /// What finishes, one after the other.
    ending: &'static [&'static [&'static str]],
    expected: Arc<Expected>,
    /// What an undisturbed run of the action passes.
    pub passed: Passed,
}

impl Scene {
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.source.pipeline
    }

    pub fn copy(&self) -> tempfile::TempDir {
        self.source.folder(Some(self.base.path()))
    }

    /// Runs the action, or `by_run` a run, until it dies at the n-th passing of `point`; `false` if it ended before.
    pub fn kill(&self, folder: &Path, point: &str, n: u64, by_run: bool) -> Result<bool, String> {
        let action = if by_run { RUN } else { self.action };
        let mut run = command(folder, action);
        run.env("MILLRACE_KILL_AT", format!("{point}:{n}"));
        let status = ended(run);
        // Tables that are still to be repaired are refused.
        let refused = self.action == REPAIR && action == RUN && status.code() == Some(1);
        match status.signal() {
            Some(9) => Ok(true),
            _ if refused || matches!(status.code(), Some(0 | 3)) => Ok(false),
            _ => Err(format!("{action:?} ended with {status}")),
        }
    }

    /// Finishes undisturbed and says how that came out.
    pub fn finish(&self, folder: &Path) -> trial::Verdict {
        for arguments in self.ending {
            let said = trial::said(folder, arguments);
            if !matches!(said.code, Some(0 | 3)) {
                let told = vec![format!("{arguments:?} fails: {said:?}")];
                return trial::Verdict { unopenable: 1, told, ..trial::Verdict::default() };
            }
        }
        self.expected.judge(folder, self.pipeline())
    }

    /// Learns what the action passes. The scene itself must come out right; the short form leaves that to its stories.
    fn learn(&mut self) {
        let folder = self.copy();
        self.passed = passed(folder.path(), self.action);
        if !is_long() {
            return;
        }
        let verdict = self.finish(folder.path());
        assert!(verdict.is_clean(), "{}, undisturbed: {verdict:#?}", self.name);
    }
}

/// Runs to the end; what it passed on the way.
fn passed(folder: &Path, arguments: &[&str]) -> Passed {
    let names = folder.join("passed");
    let mut run = command(folder, arguments);
    run.env("MILLRACE_KILL_NAMES", &names);
    let status = ended(run);
    assert!(matches!(status.code(), Some(0 | 3)), "{arguments:?}: {status}");
    let mut passed = Passed::new();
    for name in fs::read_to_string(&names).unwrap().lines() {
        match passed.iter_mut().find(|(known, _)| known == name) {
            Some((_, times)) => *times += 1,
            None => passed.push((name.to_owned(), 1)),
        }
    }
    fs::remove_file(names).unwrap();
    passed
}

/// One set of events with the tables that hold most of them.
struct Stage {
    source: Arc<Source>,
    expected: Arc<Expected>,
    /// With many files to come, and with few.
    young: tempfile::TempDir,
    base: tempfile::TempDir,
}

impl Stage {
    /// Of so many files, 2 a batch: in the young tables, in the base, and in all.
    fn new(seed: u64, young: usize, base: usize, all: usize) -> Stage {
        let source = Source::new("batch_files = 2");
        let take = |folder: tempfile::TempDir, files: std::ops::Range<usize>| {
            source.add(seed, files.clone());
            if !files.is_empty() {
                trial::ok(folder.path(), RUN);
            }
            folder
        };
        let young_tables = take(source.folder(None), 0..young);
        let base_tables = take(source.folder(Some(young_tables.path())), young..base);
        source.add(seed, base..all);
        let expected = Arc::new(Expected::of(&source));
        Stage { expected, source: Arc::new(source), young: young_tables, base: base_tables }
    }

    /// What a start with nothing to do passes.
    fn idle(&self) -> Passed {
        let folder = self.source.folder(Some(self.base.path()));
        trial::ok(folder.path(), RUN);
        passed(folder.path(), RUN)
    }

    fn scene(&self, name: &'static str, change: impl FnOnce(&Path)) -> Scene {
        self.scene_of(name, &self.base, change)
    }

    fn scene_of(&self, name: &'static str, of: &tempfile::TempDir, change: impl FnOnce(&Path)) -> Scene {
        let base = self.source.folder(Some(of.path()));
        change(base.path());
        let (source, expected) = (self.source.clone(), self.expected.clone());
        Scene { name, source, base, action: RUN, ending: &[RUN], expected, passed: Passed::new() }
    }

    fn killed(&self, name: &'static str, point: &str, n: u64, change: impl FnOnce(&Path)) -> Scene {
        self.scene(name, |folder| {
            kill(folder, point, n);
            change(folder);
        })
    }
}

/// Every scene of a seed, most with `later` files to come, and what a start with nothing to do passes. The tables are
/// old enough for all of maintenance to come up.
pub fn all(seed: u64, later: usize) -> (Vec<Scene>, Passed) {
    let stage = Stage::new(seed, 16, 28, 28 + later);
    let new = Stage::new(seed, 0, 0, later);
    let mut scenes = old(&stage);
    scenes.push(new.scene("a new root", |_| {}));
    scenes.push(new.killed("a root half made", "create.table_made", 4, |_| {}));
    scenes.push(repaired(seed, later, "repair, inputs there", |_, folder| {
        fs::remove_file(folder.join("tables/_millrace/decision")).unwrap();
    }));
    scenes.push(repaired(seed, later, "repair, inputs gone", |source, folder| {
        for at in (0..later).step_by(3) {
            fs::remove_file(source.join(trial::file_name(at))).unwrap();
        }
        cut(newest(&folder.join("tables/order_item/_delta_log"), ".json"), 0);
    }));
    std::thread::scope(|scope| {
        let halves = scenes.len().div_ceil(2);
        scenes.chunks_mut(halves).for_each(|some| {
            scope.spawn(|| some.iter_mut().for_each(Scene::learn));
        });
    });
    (scenes, stage.idle())
}

/// Tables that have seen a lot, as they are and as kills and damage leave them.
fn old(stage: &Stage) -> Vec<Scene> {
    vec![
        stage.scene_of("later batches", &stage.young, |_| {}),
        stage.killed("staged, not decided", "commit.staged", 1, |_| {}),
        stage.killed("rewritten, not taken up", "compact.rewritten", 3, |_| {}),
        stage.killed("decided, not published", "decide.synced", 1, |_| {}),
        stage.killed("half published", "publish.synced", 5, |_| {}),
        stage.killed("caches behind", "batch.committed", 1, |folder| {
            fs::write(folder.join("checkpoint/sled/snap.0000000000000007.generating"), b"torn").unwrap();
            drop_an_index(folder);
        }),
        stage.scene("caches gone", |folder| {
            fs::remove_dir_all(folder.join("checkpoint")).unwrap();
            fs::remove_dir_all(folder.join("database")).unwrap();
        }),
        stage.scene("caches damaged", |folder| {
            fs::write(folder.join("checkpoint/sled/db"), [0x5a; 4096]).unwrap();
            fs::write(folder.join("database/orders.db"), [0x5a; 8192]).unwrap();
        }),
        stage.scene("a torn log checkpoint", tear_log_checkpoint),
        stage.scene("a torn log checkpoint, half moved aside", |folder| {
            tear_log_checkpoint(folder);
            kill(folder, "heal.tried", 1);
        }),
    ]
}

fn repaired(seed: u64, files: usize, name: &'static str, damage: impl FnOnce(&Path, &Path)) -> Scene {
    let source = Source::new("batch_files = 2");
    source.add(seed, 0..files);
    let base = source.folder(None);
    trial::ok(base.path(), RUN);
    fs::write(base.path().join("tables/.gitkeep"), b"").unwrap();
    let expected = Arc::new(Expected::of(&source));
    damage(source.path(), base.path());
    let ending: &[&[&str]] = &[REPAIR, RUN];
    let source = Arc::new(source);
    Scene { name, source, base, action: REPAIR, ending, expected, passed: Passed::new() }
}

fn kill(folder: &Path, point: &str, n: u64) {
    let mut run = command(folder, RUN);
    run.env("MILLRACE_KILL_AT", format!("{point}:{n}"));
    assert_eq!(ended(run).signal(), Some(9), "not killed at {point}:{n}");
}

fn tear_log_checkpoint(folder: &Path) {
    cut(newest(&folder.join("tables/_files/_delta_log"), ".checkpoint.parquet"), 100);
}

fn cut(path: PathBuf, to: u64) {
    fs::File::options().write(true).open(path).unwrap().set_len(to).unwrap();
}

fn newest(folder: &Path, end: &str) -> PathBuf {
    let entries = fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let mut found: Vec<PathBuf> = entries.filter(|p| p.to_string_lossy().ends_with(end)).collect();
    found.sort();
    found.pop().unwrap()
}

fn drop_an_index(folder: &Path) {
    let mirror = rusqlite::Connection::open(folder.join("database/orders.db")).unwrap();
    let sql = "SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name LIMIT 1";
    let name: String = mirror.query_row(sql, [], |row| row.get(0)).unwrap();
    mirror.execute_batch(&format!("DROP INDEX \"{name}\"")).unwrap();
}
