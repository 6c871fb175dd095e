//! Kill points: named places at which the process dies when the environment says so. Compiled in by the feature
//! `faults` alone; without it a point is nothing. What else the laboratory needs of a run stands here too.

/// Dies here by SIGKILL if `MILLRACE_KILL_AT` is `name:n` and this is the n-th time (from 1) that it passes `name`.
/// With `MILLRACE_KILL_NAMES=FILE` every passing is appended to that file, so that a test learns what there is.
#[cfg(feature = "faults")]
pub fn point(name: &'static str) {
    armed::pass(name);
}

/// Nothing: built without the feature `faults`.
#[cfg(not(feature = "faults"))]
#[inline(always)]
pub fn point(_name: &'static str) {}

/// With `MILLRACE_EAGER` maintenance is as eager as it gets, so that a few batches show all of it.
#[cfg(feature = "faults")]
pub fn is_eager() -> bool {
    std::env::var_os("MILLRACE_EAGER").is_some()
}

/// Never: built without the feature `faults`.
#[cfg(not(feature = "faults"))]
pub fn is_eager() -> bool {
    false
}

#[cfg(feature = "faults")]
mod armed {
    use std::fs::OpenOptions;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    struct Armed {
        at: Option<(String, u64)>,
        passed: AtomicU64,
        names: Option<PathBuf>,
    }

    fn armed() -> &'static Armed {
        static ARMED: OnceLock<Armed> = OnceLock::new();
        ARMED.get_or_init(|| {
            let at = std::env::var("MILLRACE_KILL_AT").ok();
            let at = at
                .and_then(|at| at.rsplit_once(':').and_then(|(n, k)| Some((n.to_owned(), k.parse().ok()?))));
            let names = std::env::var_os("MILLRACE_KILL_NAMES").map(PathBuf::from);
            Armed { at, passed: AtomicU64::new(0), names }
        })
    }

    pub fn pass(name: &str) {
        let armed = armed();
        if let Some(path) = &armed.names {
            // Best effort: only a test reads it.
            let file = OpenOptions::new().append(true).create(true).open(path);
            let _ = file.and_then(|mut f| f.write_all(format!("{name}\n").as_bytes()));
        }
        if let Some((at, n)) = &armed.at
            && at == name
            && armed.passed.fetch_add(1, Ordering::SeqCst) + 1 == *n
        {
            let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
            // The signal is on its way; nothing may happen in between.
            loop {
                std::thread::park();
            }
        }
    }
}
