//! The system refuses threads, from any of them on: what can be done without is done without, the rest says so and ends.

use std::process::Command;

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
