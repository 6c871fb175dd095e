//! Errors of the system, put by strace into the calls of the real binary: whatever the disk, the quota or the kernel
//! may answer.

use std::fs;

use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{is_long, seeds};
use crate::support::folders;
use crate::support::history::Toll;

/// A call, what it answers, and the first of its calls that may be the program's own and not the loader's.
const ERRORS: [(&str, &str, u64); 24] = [
    ("fsync", "EIO", 1),
    ("write", "ENOSPC", 1),
    ("rename", "EIO", 1),
    ("linkat", "EIO", 1),
    ("openat", "EACCES", 20),
    ("getdents64", "EIO", 1),
    ("pwrite64", "EIO", 1),
    ("unlink", "EROFS", 1),
    ("write", "EDQUOT", 1),
    ("fsync", "ENOSPC", 1),
    ("rename", "ENOSPC", 1),
    ("linkat", "EDQUOT", 1),
    ("openat", "EIO", 20),
    ("openat", "EMFILE", 20),
    ("openat", "EROFS", 20),
    ("openat", "EDQUOT", 20),
    ("pwrite64", "ENOSPC", 1),
    ("fdatasync", "EIO", 1),
    ("mkdir", "EDQUOT", 1),
    ("ftruncate", "EIO", 1),
    ("ftruncate", "ENOSPC", 1),
    ("statx", "EIO", 20),
    ("read", "EIO", 20),
    ("pread64", "EIO", 20),
];

/// Which of a thread's calls fails, counted on from the first.
const TURNS: [u64; 7] = [0, 1, 3, 7, 15, 33, 70];

/// All in the long form; in the short one a few, at different depths.
fn cases(seed: u64) -> Vec<(&'static str, &'static str, u64)> {
    let all =
        ERRORS.iter().flat_map(|(call, error, first)| TURNS.iter().map(move |t| (*call, *error, first + t)));
    if is_long() {
        return all.collect();
    }
    let some = ERRORS.iter().take(6).enumerate();
    some.map(|(at, (call, error, first))| (*call, *error, first + TURNS[(at * 3 + seed as usize) % 4]))
        .collect()
}

#[test]
fn row_04_errors_of_system_calls() {
    let (mut errors, mut stopped, mut toll) = (0, 0, Toll::default());
    for seed in seeds(1, 1) {
        let input = Input::new(seed);
        for (call, error, when) in cases(seed) {
            let folder = folders::quick();
            let log = input.dir.path().join("strace.log");
            let inject = format!("inject={call}:error={error}:when={when}");
            let trace = format!("trace={call}");
            let words = [
                "strace",
                "-f",
                "--seccomp-bpf",
                "-e",
                &trace,
                "-e",
                &inject,
                "-y",
                "-e",
                "signal=none",
                "-o",
            ];
            let wrapper = [&words[..], &[log.to_str().unwrap()]].concat();
            if std::process::Command::new("strace").arg("-V").output().is_err() {
                return println!("skipped: errors of system calls: there is no strace");
            }
            let said = input.run(folder.path(), &wrapper);
            let text = fs::read_to_string(&log).unwrap_or_default();
            // What wakes a thread or loads the program is no call to the disk.
            let mut injected = text.lines().filter(|line| line.contains("(INJECTED)")).peekable();
            let ours = ["tables", "checkpoint", "database", "input_events"];
            let hit =
                injected.peek().is_some() && injected.all(|line| ours.iter().any(|part| line.contains(part)));
            if said.err.contains("PTRACE") || said.err.contains("strace:") {
                return println!("skipped: errors of system calls: {}", said.err.trim());
            }
            if hit {
                errors += 1;
                let story = format!("MILLRACE_SEED={seed}, {error} of {call} number {when} of a thread");
                // What could not be read may be damaged; what was refused is not.
                let told = Told { story: &story, may_be_damage: error == "EIO" };
                stopped += u64::from(told.ended(&said, &mut toll));
                input.ends_right(folder.path(), &story, &mut toll);
            }
        }
    }
    assert!(errors > 0 && stopped > 0, "nothing was hit");
    let counted = [("errors", errors), ("stopped", stopped)];
    tell(4, "errors of system calls", &[&counted[..], &toll.paid()].concat());
}
