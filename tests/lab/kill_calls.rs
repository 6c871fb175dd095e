//! Row 2: SIGKILL at every call of the built binary that changes a file, by `strace`: nothing in the code knows of it.
//!
//! `strace` counts calls for each thread on its own, and with several threads no count is the same from run to run. So
//! a call is named by what it does, to which file, and how often its thread did that before; a traced run that nothing
//! disturbs lists them all. A name that does not come up again has not killed anything: it is counted apart.

use std::collections::HashMap;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::BINARY;
use crate::support::trial::{self, Expected, RUN, Source, Verdict, ended};

const CALLS: &str = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,\
                     link,linkat,symlink,symlinkat,unlink,unlinkat,mkdir,mkdirat,rmdir,truncate,ftruncate,fallocate,\
                     copy_file_range,open,openat,creat,chmod,fchmod,fchmodat";

/// Runs at the same time.
const AT_ONCE: usize = 3;

/// One call of one run.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Call {
    name: String,
    /// Below the folder of the run.
    path: String,
    /// From 1: the thread's so-and-so-many-th such call.
    nth: u32,
}

/// Tables and inputs to begin with.
struct History {
    source: Source,
    base: tempfile::TempDir,
    expected: Expected,
}

impl History {
    /// `before` files are in the tables already, `all` there are.
    fn new(seed: u64, before: usize, all: usize) -> History {
        let source = Source::new("batch_files = 2");
        let base = source.folder(None);
        source.add(seed, 0..before);
        if before > 0 {
            trial::ok(base.path(), RUN);
        }
        source.add(seed, before..all);
        History { expected: Expected::of(&source), source, base }
    }

    fn copy(&self) -> tempfile::TempDir {
        self.source.folder(Some(self.base.path()))
    }

    /// Every call of an undisturbed run that changes a file of ours, in the order of the run.
    fn calls(&self) -> Vec<Call> {
        let folder = self.copy();
        let log = folder.path().join("calls");
        let status = ended(traced(
            folder.path(),
            &["-y", "-o", log.to_str().unwrap(), "-e", &format!("trace={CALLS}")],
        ));
        assert!(matches!(status.code(), Some(0 | 3)), "a traced run: {status}");
        let mut counts: HashMap<(String, String, String), u32> = HashMap::new();
        let mut calls = Vec::new();
        for line in fs::read_to_string(&log).unwrap().lines() {
            let Some((thread, name, path)) = read_call(line, folder.path()) else { continue };
            let count = counts.entry((thread.to_owned(), name.to_owned(), path.clone())).or_default();
            *count += 1;
            // Reading opens too, and counts.
            let opens = matches!(name, "open" | "openat");
            if !opens || ["O_CREAT", "O_TRUNC"].iter().any(|flag| line.contains(flag)) {
                calls.push(Call { name: name.to_owned(), path, nth: *count });
            }
        }
        calls
    }

    /// Kills a run at the call, before it is carried out; `false` if it ended before.
    fn kill(&self, folder: &Path, call: &Call) -> Result<bool, String> {
        let Call { name, path, nth } = call;
        // However the binary spells it.
        let (relative, absolute) = (format!("./{path}"), folder.join(path));
        let inject = format!("inject={name}:signal=SIGKILL:when={nth}");
        let paths = ["-P", path, "-P", &relative, "-P", absolute.to_str().unwrap()];
        let status = ended(traced(
            folder,
            &[&["-o", "/dev/null", "-e", &format!("trace={name}"), "-e", &inject], &paths[..]].concat(),
        ));
        match (status.signal(), status.code()) {
            (Some(9), _) => Ok(true),
            (_, Some(0 | 3)) => Ok(false),
            _ => Err(format!("a run ended with {status}")),
        }
    }

    /// One or two kills, then a start that nothing disturbs.
    fn story(&self, kills: &[&Call]) -> (u64, u64, Verdict) {
        let folder = self.copy();
        let (mut killed, mut ended_before, mut failed) = (0, 0, Vec::new());
        for call in kills {
            match self.kill(folder.path(), call) {
                Ok(true) => killed += 1,
                Ok(false) => ended_before += 1,
                Err(how) => failed.push(how),
            }
        }
        let said = trial::said(folder.path(), RUN);
        let mut verdict = if matches!(said.code, Some(0 | 3)) {
            self.expected.judge(folder.path(), &self.source.pipeline)
        } else {
            Verdict {
                unopenable: 1,
                told: vec![format!("the next start fails: {said:?}")],
                ..Verdict::default()
            }
        };
        verdict.told.extend(failed);
        if !verdict.is_clean() {
            verdict.told.insert(0, format!("killed at {kills:?}"));
        }
        (killed, ended_before, verdict)
    }
}

/// The binary under `strace`, to run in `folder`.
fn traced(folder: &Path, options: &[&str]) -> Command {
    let mut command = Command::new("strace");
    command.current_dir(folder).args(["-f", "-qq"]).args(options);
    command.arg(BINARY).args(["-p", "pipeline.toml"]).args(RUN);
    command.env_remove("RUST_LOG").env("MILLRACE_EAGER", "1").stdin(Stdio::null());
    command
}

/// Thread, call and file, of a line that begins a call on a file below `folder`.
fn read_call<'a>(line: &'a str, folder: &Path) -> Option<(&'a str, &'a str, String)> {
    let (thread, rest) = line.split_once(' ')?;
    let (name, arguments) = rest.trim_start().split_once('(')?;
    if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return None;
    }
    // A descriptor shows its file in angle brackets; of two names `strace` looks at the first of a `rename`.
    let by_descriptor = arguments.starts_with(|c: char| c.is_ascii_digit());
    let path = if by_descriptor {
        arguments.split_once('<')?.1.split_once('>')?.0
    } else {
        arguments.split('"').nth(1)?
    };
    let path = Path::new(path);
    let inside = if path.is_absolute() { path.strip_prefix(folder).ok()? } else { path };
    let inside = inside.strip_prefix(".").unwrap_or(inside).to_str()?;
    (!inside.is_empty() && !inside.starts_with("..") && inside != "calls")
        .then(|| (thread, name, inside.to_owned()))
}

/// Why this cannot be tried here, if so.
fn missing() -> Option<&'static str> {
    let mut probe = Command::new("strace");
    probe.args([
        "-f",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=write",
        "-e",
        "inject=write:signal=SIGKILL:when=1",
    ]);
    match probe.args(["echo", "x"]).stdout(Stdio::null()).stderr(Stdio::null()).status() {
        Err(_) => Some("strace is not installed"),
        Ok(status) if status.signal() == Some(9) => None,
        Ok(_) => Some("strace may not trace here"),
    }
}

/// About `most` of them, spread evenly, which ones hangs on the seed.
fn spread(calls: &[Call], most: usize, seed: u64) -> Vec<&Call> {
    let step = calls.len().div_ceil(most).max(1);
    calls.iter().skip(seed as usize % step).step_by(step).collect()
}

#[derive(Default)]
struct Sum {
    calls: u64,
    kills: u64,
    ended_before: u64,
    verdict: Verdict,
}

fn try_calls(history: &History, seed: u64, most: usize, sum: &Mutex<Sum>) {
    let calls = history.calls();
    assert!(calls.len() > 100, "{} calls: strace's lines are not understood", calls.len());
    let tried = spread(&calls, most, seed);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(first) = tried.get(at) else { break };
                    // Every third is followed by a kill of the start that finds what it left.
                    let second = tried.get((at * 7 + 3) % tried.len()).filter(|_| at % 3 == 2);
                    let kills: Vec<&Call> = std::iter::once(first).chain(second).copied().collect();
                    let (killed, ended_before, verdict) = history.story(&kills);
                    let mut sum = sum.lock().unwrap();
                    (sum.kills, sum.ended_before) = (sum.kills + killed, sum.ended_before + ended_before);
                    sum.verdict.add(&verdict);
                }
            });
        }
    });
    sum.lock().unwrap().calls += calls.len() as u64;
}

#[test]
fn row_02_a_kill_at_any_call_loses_and_doubles_nothing() {
    if let Some(why) = missing() {
        println!("skipped: row 2: {why}");
        return;
    }
    let sum = Mutex::new(Sum::default());
    for seed in seeds(1, 1) {
        try_calls(&History::new(seed, 0, 4), seed, pick(8, 700), &sum);
        try_calls(&History::new(seed, 10, 13), seed, pick(8, 700), &sum);
        let told = &sum.lock().unwrap().verdict.told;
        assert!(told.is_empty(), "MILLRACE_SEED={seed}\n{}", told.join("\n"));
    }
    let sum = sum.into_inner().unwrap();
    assert!(sum.kills > sum.ended_before, "{} of the calls came up again", sum.kills);
    let figures = [
        ("calls of the histories", sum.calls),
        ("kills", sum.kills),
        ("ended before", sum.ended_before),
        ("lost", sum.verdict.lost),
        ("doubled", sum.verdict.doubled),
        ("unopenable", sum.verdict.unopenable),
    ];
    tell(2, "every changing call", &figures);
}
