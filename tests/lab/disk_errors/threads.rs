//! The system refuses threads, from any of them on: what can be done without is done without, the rest says so and ends.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::denied::{give, open_binary, run_as};
use super::{Input, Told};
use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::folders;
use crate::support::history::Toll;

/// How many threads a thread may start before it gets no more.
fn allowed() -> impl Iterator<Item = u64> {
    (0..pick(16, 40)).step_by(pick(5, 1))
}

#[test]
fn row_04_threads_that_are_refused() {
    if Command::new("strace").arg("-V").output().is_err() {
        return println!("skipped: refused threads: there is no strace");
    }
    let (mut refused, mut stopped, mut toll) = (0, 0, Toll::default());
    for seed in seeds(1, 1) {
        let input = Input::new(seed);
        for allowed in allowed() {
            let folder = folders::quick();
            let log = input.dir.path().join("strace.log");
            let inject = format!("inject=clone3,clone:error=EAGAIN:when={}+", allowed + 1);
            let log_name = log.to_str().unwrap();
            // It must end by itself: what waits for a thread that never came would wait for ever.
            let said = input.run(
                folder.path(),
                &["timeout", "-s", "KILL", "60", "strace", "-f", "-e", "trace=clone3,clone", "-e", &inject]
                    .into_iter()
                    .chain(["-e", "signal=none", "-o", log_name])
                    .collect::<Vec<_>>(),
            );
            if said.err.contains("PTRACE") || said.err.contains("strace:") {
                return println!("skipped: refused threads: {}", said.err.trim());
            }
            if !std::fs::read_to_string(&log).unwrap_or_default().contains("(INJECTED)") {
                continue;
            }
            refused += 1;
            let story = format!("MILLRACE_SEED={seed}, no thread after {allowed} of one thread");
            stopped += u64::from(Told { story: &story, may_be_damage: false }.ended(&said, &mut toll));
            input.ends_right(folder.path(), &story, &mut toll);
        }
    }
    assert!(refused > 0, "nothing was refused");
    let counted = [("runs", refused), ("stopped", stopped)];
    tell(4, "threads refused", &[&counted[..], &toll.paid()].concat());
}

/// Somebody who runs nothing else: the system counts the threads of all that a user runs.
const USER: u32 = 65_533;

#[test]
fn row_04_threads_beyond_a_limit() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: a limit of threads: only root can run it as somebody else");
    }
    if Command::new("prlimit").arg("-V").output().is_err() {
        return println!("skipped: a limit of threads: there is no prlimit");
    }
    let (mut runs, mut stopped, mut toll) = (0, 0, Toll::default());
    let own = tempfile::tempdir().unwrap();
    let binary = open_binary(own.path());
    for seed in seeds(1, 3) {
        let input = Input::new(seed);
        fs::set_permissions(input.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
        for limit in (1..pick(20, 30)).step_by(pick(3, 1)) {
            let folder = folders::quick();
            give(folder.path(), USER);
            let limited = format!("--nproc={limit}");
            let words = ["timeout", "-s", "KILL", "60", "prlimit", &limited, binary.to_str().unwrap()];
            // `timeout` is one of the user's processes too.
            let said = run_as(USER, &words, &input, folder.path());
            runs += 1;
            let story = format!("MILLRACE_SEED={seed}, at most {limit} threads of a user");
            stopped += u64::from(Told { story: &story, may_be_damage: false }.ended(&said, &mut toll));
            input.ends_right(folder.path(), &story, &mut toll);
        }
    }
    assert!(stopped > 0, "nothing was refused");
    assert!(stopped < runs, "no limit was enough");
    tell(4, "thread limits", &[&[("runs", runs), ("stopped", stopped)][..], &toll.paid()].concat());
}
