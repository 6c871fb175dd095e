//! Row 9: Two processes on one folder, and what a killed one leaves.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::generate::events;
use crate::support::place::{age, until};
use crate::support::taking::{ONE_LINE, Taking, add, database, lost};
use crate::support::{command, contents, files, folders, mirror, oracle};

mod moved;

/// A root of its own in memory, and the processes on it.
struct Yard {
    dir: tempfile::TempDir,
}

impl Yard {
    fn new(seed: u64) -> Yard {
        let yard = Yard { dir: folders::quick() };
        let source = yard.path("input_events");
        add(&source, "first", seed, 12, 4);
        files::event_files(&source).iter().for_each(|path| age(path));
        yard
    }

    fn folder(&self) -> &Path {
        self.dir.path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    fn lock(&self) -> PathBuf {
        self.path("tables/_millrace/lock")
    }

    /// Renames one more file in.
    fn put(&self, name: &str, seed: u64) {
        let draft = self.path("draft");
        fs::write(&draft, events(seed, 6, ONE_LINE).join(&b'\n')).unwrap();
        age(&draft);
        fs::rename(draft, self.path("input_events").join(name)).unwrap();
    }

    /// Runs to the end: exit code, everything said.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = command(self.folder(), arguments).output().unwrap();
        let said = [&output.stdout[..], &output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&said).into_owned())
    }

    #[track_caller]
    fn takes(&self) {
        let (code, said) = self.run(&["run", "--once"]);
        assert!(matches!(code, Some(0 | 3)), "{code:?}: {said}");
    }

    /// `verify` is content, and tables, mirror and ledger are what the oracle says; how many ranges were doubled.
    #[track_caller]
    fn is_right(&self, story: &str) -> u64 {
        let (code, said) = self.run(&["verify"]);
        assert_eq!(code, Some(0), "{story}: {said}");
        let source = self.path("input_events");
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        let taking = Taking::new(&source, 1);
        assert!(contents::of_folder(self.folder(), &taking.pipeline) == expected, "{story}: other contents");
        assert_eq!(mirror::differences(&database(self.folder()), &expected), Vec::<String>::new(), "{story}");
        let (doubled, ranges) = taking.doubled(self.folder());
        assert_eq!(ranges, files::event_files(&source).len() as u64, "{story}: ranges in the ledger");
        doubled
    }
}

impl Yard {
    /// Rows that should be in the tables and are not.
    fn lost(&self) -> u64 {
        let source = self.path("input_events");
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        lost(&expected, &contents::of_folder(self.folder(), &Taking::new(&source, 1).pipeline))
    }
}

/// A process that is watched by what it writes to a file.
struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    fn start(folder: &Path, log: PathBuf, arguments: &[&str]) -> Process {
        let out = fs::File::create(&log).unwrap();
        let err = out.try_clone().unwrap();
        let child = command(folder, arguments).stdout(out).stderr(err).process_group(0).spawn().unwrap();
        Process { child, log }
    }

    fn watching(yard: &Yard) -> Process {
        let process = Process::start(yard.folder(), yard.path("holder.log"), &["run"]);
        until("it watches", 30, || process.said().contains("watching").then_some(()));
        process
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn code(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    #[track_caller]
    fn stop(&mut self) {
        self.signal(Signal::INT);
        let code = until("it stops", 20, || self.code());
        assert_eq!(code, 0, "{}", self.said());
    }

    /// It has ended by itself: code, what it said.
    #[track_caller]
    fn ended(&mut self) -> (i32, String) {
        (until("it ends", 20, || self.code()), self.said())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every command that needs the root is refused while `pid` has it; how long the slowest took.
#[track_caller]
fn all_refused(start: impl Fn(&[&str]) -> Command, pid: u32, story: &str, refused: &mut u64) -> Duration {
    let mut slowest = Duration::ZERO;
    for arguments in
        [&["run"][..], &["run", "--once"], &["run", "--once", "--no-mirror"], &["verify"], &["repair"]]
    {
        let begin = Instant::now();
        let output = start(arguments).output().unwrap();
        slowest = slowest.max(begin.elapsed());
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{story}, {arguments:?}: {err}");
        assert!(err.contains(&format!("process {pid} is working on")), "{story}, {arguments:?}: {err}");
        *refused += 1;
    }
    slowest
}

/// The same folder at another path; taken down in the end.
struct Bound(PathBuf);

impl Bound {
    fn new(folder: &Path, at: PathBuf) -> Option<Bound> {
        fs::create_dir_all(&at).unwrap();
        let mount = Command::new("mount").arg("--bind").args([folder, &at]).stderr(Stdio::null()).status();
        mount.is_ok_and(|s| s.success()).then_some(Bound(at))
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn row_09_the_second_is_refused_by_whatever_path_it_comes() {
    let (yard, mut refused, mut slowest) = (Yard::new(1), 0, Duration::ZERO);
    let mut holder = Process::watching(&yard);
    let pid = holder.pid();
    let elsewhere = folders::quick();
    let link = elsewhere.path().join("link");
    symlink(yard.folder(), &link).unwrap();
    let parent = yard.folder().parent().unwrap().to_owned();
    let name = yard.folder().file_name().unwrap().to_str().unwrap().to_owned();
    let absolute = yard.folder().to_str().unwrap().to_owned();

    let mut refuse = |story: &str, folder: &Path, dir: Option<&str>| {
        let start = |arguments: &[&str]| {
            let dir: Vec<&str> = dir.into_iter().flat_map(|d| ["-C", d]).collect();
            command(folder, &[&dir[..], arguments].concat())
        };
        slowest = slowest.max(all_refused(start, pid, story, &mut refused));
    };
    refuse("the same folder", yard.folder(), None);
    refuse("through a link", &link, None);
    refuse("-C absolute", Path::new("/"), Some(&absolute));
    refuse("-C relative", &parent, Some(&format!("./{name}/../{name}")));
    let bound = Bound::new(yard.folder(), elsewhere.path().join("bound"));
    match &bound {
        Some(bound) => refuse("a bind mount", &bound.0, None),
        None => println!("skipped: a bind mount, which needs root"),
    }
    holder.signal(Signal::STOP);
    refuse("the holder is stopped", yard.folder(), None);
    holder.signal(Signal::CONT);
    drop(bound);

    // Refused loudly or not, nobody else has taken anything; the holder goes on.
    yard.put("second.ndjson", 2);
    until("the holder goes on", 20, || holder.said().contains("batch 2 ").then_some(()));
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    holder.stop();
    let doubled = yard.is_right("after all were refused");
    let ms = slowest.as_millis() as u64;
    tell(9, "the second", &[("refused", refused), ("double batches", doubled), ("slowest ms", ms)]);
    assert_eq!(doubled, 0);
}

#[test]
fn row_09_what_a_killed_one_leaves_of_the_lock_is_in_nobodys_way() {
    let yard = Yard::new(2);
    let (mut kills, mut doubled) = (0, 0);
    let mine = std::process::id().to_string();
    let leftovers: [(&str, &[u8]); 6] = [
        ("its own pid", b""),
        ("the pid of a living process", mine.as_bytes()),
        ("the first pid", b"1"),
        ("nothing", b""),
        ("garbage", b"\x1b[31mno pid\n\xff\x00"),
        ("much garbage", &[b'9'; 100_000]),
    ];
    for (at, (story, left)) in leftovers.iter().enumerate() {
        let mut holder = Process::watching(&yard);
        yard.put(&format!("k{at}.ndjson"), 10 + at as u64);
        std::thread::sleep(Duration::from_millis(at as u64 * 20));
        holder.signal(Signal::KILL);
        kills += 1;
        // The next one is started at once: it waits for the kernel, not for the file.
        if at > 0 {
            fs::write(yard.lock(), left).unwrap();
        }
        if at == 3 {
            use std::os::unix::fs::PermissionsExt;
            fs::set_permissions(yard.lock(), PermissionsExt::from_mode(0o600)).unwrap();
        }
        yard.takes();
        doubled += yard.is_right(story);
        assert!(holder.code().is_some());
    }
    // What is no file cannot be locked: said, and nothing happens.
    fs::remove_file(yard.lock()).unwrap();
    fs::create_dir(yard.lock()).unwrap();
    let before = folders::bytes(&yard.path("tables"));
    let (code, said) = yard.run(&["run", "--once"]);
    assert!(code == Some(1) && said.contains("lock: Is a directory"), "{code:?}: {said}");
    assert!(folders::bytes(&yard.path("tables")) == before);
    fs::remove_dir(yard.lock()).unwrap();
    yard.takes();
    doubled += yard.is_right("a folder in place of the lock");
    tell(9, "stale locks", &[("kills", kills), ("double batches", doubled)]);
    assert_eq!(doubled, 0);
}

/// One that starts and one that is told to go, in one breath: at any time one process at most works on the root.
#[test]
fn row_09_of_many_that_start_together_exactly_one_wins() {
    let all: Vec<u64> = seeds(12, 500).collect();
    let (mut rounds, mut wins, mut losses, mut doubled) = (0, 0, 0, 0);
    std::thread::scope(|scope| {
        let parts: Vec<_> = all.chunks(all.len().div_ceil(4)).collect();
        let racing: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || part.iter().map(|&s| race(s)).collect::<Vec<_>>()))
            .collect();
        for (won, lost, twice) in racing.into_iter().flat_map(|thread| thread.join().unwrap()) {
            (rounds, wins, losses, doubled) = (rounds + 1, wins + won, losses + lost, doubled + twice);
        }
    });
    assert_eq!((wins, doubled), (rounds, 0));
    tell(
        9,
        "starting together",
        &[("rounds", rounds), ("won", wins), ("refused", losses), ("double batches", doubled)],
    );
}

/// Several start on one folder, which may have no tables yet. The winner is stopped or killed, then one more starts.
fn race(seed: u64) -> (u64, u64, u64) {
    let yard = Yard::new(seed);
    if seed.is_multiple_of(3) {
        yard.takes();
        yard.put("more.ndjson", seed + 1);
    }
    let start = |at: u64| Process::start(yard.folder(), yard.path(&format!("{at}.log")), &["run"]);
    let mut all: Vec<Process> = (0..2 + seed % 3).map(start).collect();
    until(&format!("seed {seed}: all but one are refused"), 60, || {
        (all.iter_mut().filter_map(Process::code).count() + 1 >= all.len()).then_some(())
    });
    let (mut won, mut lost) = (Vec::new(), Vec::new());
    for mut process in all {
        match process.code() {
            None => won.push(process),
            Some(code) => lost.push((code, process.said())),
        }
    }
    assert_eq!(won.len(), 1, "seed {seed}: {lost:?}");
    let winner = &mut won[0];
    for (code, said) in &lost {
        assert!(*code == 1 && said.contains("is working on"), "seed {seed}: {code}: {said}");
    }
    until(&format!("seed {seed}: the winner takes all"), 60, || {
        winner.said().contains("watching").then_some(())
    });
    if seed.is_multiple_of(2) {
        winner.stop();
    } else {
        yard.put("last.ndjson", seed + 2);
        std::thread::sleep(Duration::from_millis(seed * 13 % 120));
        winner.signal(Signal::KILL);
    }
    yard.takes();
    (1, lost.len() as u64, yard.is_right(&format!("seed {seed}")))
}

/// Whoever deletes the lock of a running process must not let a second one in.
#[test]
fn row_09_a_deleted_lock_file_lets_nobody_in() {
    let (yard, mut refused) = (Yard::new(3), 0);
    let mut holder = Process::watching(&yard);
    for turn in 0..pick(2, 20) {
        fs::remove_file(yard.lock()).unwrap();
        for arguments in [&["run", "--once"][..], &["verify"], &["repair"]] {
            let (code, said) = yard.run(arguments);
            assert!(
                code == Some(1) && said.contains("another process is working on"),
                "{arguments:?}: {code:?} {said}"
            );
            refused += 1;
        }
        let (code, said) = yard.run(&["status"]);
        assert!(code == Some(0) && said.contains("running     yes"), "{said}");
        // Maintenance takes numbers of batches too, so lines are counted.
        let batches = || holder.said().lines().filter(|line| line.contains("batch ")).count();
        let before = batches();
        yard.put(&format!("t{turn}.ndjson"), 30 + turn);
        until("the holder goes on", 20, || (batches() > before).then_some(()));
    }
    holder.stop();
    yard.takes();
    let doubled = yard.is_right("a deleted lock file");
    tell(9, "the lock file deleted in use", &[("refused", refused), ("double batches", doubled)]);
    assert_eq!(doubled, 0);
}
