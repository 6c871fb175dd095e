//! A program as a child process, with the time, processor time and memory that it took.

use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

use crate::common::{cpu, memory};

/// What a child took: seconds, and MB of memory at its highest.
#[derive(Debug, Clone, Copy)]
pub struct Ran {
    pub wall: f64,
    pub user: f64,
    pub system: f64,
    pub peak: f64,
}

impl Ran {
    pub fn cpu(&self) -> f64 {
        self.user + self.system
    }
}

/// How often its memory is looked at. The system keeps the highest value, so only growth in the last moment is missed.
const LOOK: Duration = Duration::from_millis(20);

/// Runs it to its end, which must be a good one.
pub fn run(command: &mut Command) -> Ran {
    let begin = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let id = child.id().to_string();
    let ended = AtomicBool::new(false);
    let (wall, peak) = std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut peak: f64 = 0.0;
            while !ended.load(Ordering::SeqCst) {
                peak = peak.max(memory(&id).1);
                std::thread::sleep(LOOK);
            }
            peak
        });
        // Left unreaped, so that its times can still be read.
        let pid = Pid::from_child(&child);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let wall = begin.elapsed().as_secs_f64();
        ended.store(true, Ordering::SeqCst);
        (wall, watch.join().unwrap())
    });
    let (user, system) = cpu(&id);
    let status = child.wait().unwrap();
    assert!(status.success(), "{command:?} ended with {status}");
    Ran { wall, user, system, peak }
}
