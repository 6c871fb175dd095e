//! Row 10: Clocks that jump and files from the future.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use millrace::clock::Clock;
use millrace::maintain::{self, clean, compact};
use millrace::run::{Options, Stop, run};
use millrace::tables::{Kernel, LocalDisk};

use crate::figures::tell;
use crate::scale::{pick, seeds};
use crate::support::generate::events;
use crate::support::place::until;
use crate::support::taking::{ONE_LINE, Taking, Told, add, database, lost};
use crate::support::{files, folders, mirror, oracle};

mod binary;
mod times;

const HOUR: i64 = 3_600_000_000;
const DAY: i64 = 24 * HOUR;
/// 2024-03-01.
const START: i64 = 1_709_251_200_000_000;
const YEAR_2100: i64 = 4_102_444_800_000_000;

#[derive(Debug)]
struct Hands(AtomicI64);

impl Hands {
    fn at(micros: i64) -> Arc<Hands> {
        Arc::new(Hands(AtomicI64::new(micros)))
    }

    fn set(&self, micros: i64) {
        self.0.store(micros, Ordering::SeqCst);
    }

    fn go(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for Hands {
    fn now_micros(&self) -> i64 {
        self.0.load(Ordering::SeqCst)
    }
}

const KEPT: u64 = 4;

/// Compaction and cleaning at every turn; a day of history is kept, and [`KEPT`] commits in any case.
fn eager() -> maintain::Policy {
    maintain::Policy {
        compact: compact::Policy { fan_in: 2, ..compact::Policy::default() },
        retention: clean::Retention {
            checkpoint_every: 3,
            keep_commits: KEPT,
            keep_ms: DAY / 1000,
            ..clean::Retention::default()
        },
        ..maintain::Policy::default()
    }
}

fn taking(source: &Path, clock: &Arc<Hands>) -> Taking {
    Taking { clock: clock.clone(), policy: eager(), ..Taking::new(source, 1) }
}

/// Versions that `_delta_log` of a table holds commits of.
fn versions(table: &Path) -> Vec<u64> {
    let names = fs::read_dir(table.join("_delta_log")).unwrap().map(|e| e.unwrap().file_name());
    let mut found: Vec<u64> = names.filter_map(|n| n.to_str()?.strip_suffix(".json")?.parse().ok()).collect();
    found.sort_unstable();
    found
}

/// What a reader at one version of a table needs and does not find.
fn missing_at(kernel: &Kernel, table: &Path, version: u64) -> Vec<String> {
    let opened = match kernel.open_at(table, Some(version)) {
        Ok(opened) => opened,
        Err(e) => return vec![e.to_string()],
    };
    let mut missing = Vec::new();
    for (file, _) in &opened.files {
        if !table.join(&file.path).exists() {
            missing.push(file.path.clone());
        }
        if let Err(e) = kernel.deleted(table, file) {
            missing.push(e.to_string());
        }
    }
    missing
}

/// Readers at the newest commits of every table find everything, whatever the clock says. How many versions.
fn newest_are_readable(folder: &Path, story: &str) -> u64 {
    let temp = folders::quick();
    let kernel = Kernel::new(Arc::new(LocalDisk), temp.path());
    let mut looked = 0;
    for entry in fs::read_dir(folder.join("tables")).unwrap() {
        let table = entry.unwrap().path();
        if !table.join("_delta_log").is_dir() {
            continue;
        }
        let newest = versions(&table).last().copied().unwrap();
        for version in newest.saturating_sub(KEPT)..=newest {
            let missing = missing_at(&kernel, &table, version);
            let name = table.file_name().unwrap().display();
            assert!(missing.is_empty(), "{story}: {name} at version {version} of {newest}: {missing:?}");
            looked += 1;
        }
    }
    looked
}

/// Everything that was in the source is in tables and mirror, once. Counts what is lost: rows, and ranges that were
/// taken twice or not at all.
#[track_caller]
fn nothing_lost(taking: &Taking, folder: &Path, story: &str) -> u64 {
    let source = &taking.pipeline.source.path;
    let expected = oracle::tables(&files::event_texts(source)).tables;
    let (tables, findings) = taking.look(folder);
    assert!(tables == expected, "{story}: other contents");
    assert_eq!(findings.differences, Vec::<String>::new(), "{story}");
    assert!(!findings.mirror_behind, "{story}");
    assert_eq!(mirror::differences(&database(folder), &expected), Vec::<String>::new(), "{story}");
    let (doubled, ranges) = taking.doubled(folder);
    let lost = lost(&expected, &tables) + ranges.abs_diff(files::event_files(source).len() as u64) + doubled;
    assert_eq!(lost, 0, "{story}");
    lost
}

/// A history in which the clock does something before every batch.
fn history(story: &str, batches: u64, restarts: bool, mut turn: impl FnMut(u64, &Hands)) -> [u64; 3] {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let clock = Hands::at(START);
    let taking = taking(&source, &clock);
    let (mut done, mut looked) = (0, 0);
    let each = if restarts { 4 } else { batches };
    for part in 0..batches.div_ceil(each) {
        add(&source, &format!("p{part}"), part + 1, each as usize * 3, 3);
        let mut after = |batch: u64| {
            turn(batch, &clock);
            if batch.is_multiple_of(4) {
                looked += newest_are_readable(folder, &format!("{story}, batch {batch}"));
            }
        };
        let mut told = Told { after_batch: Some(&mut after), ..Told::default() };
        taking.take(folder, &mut told).unwrap_or_else(|e| panic!("{story}: {e}"));
        done += told.batches;
    }
    looked += newest_are_readable(folder, story);
    [done, looked, nothing_lost(&taking, folder, story)]
}

type Turn = fn(u64, &Hands);

#[test]
fn row_10_whatever_the_clock_does_nothing_is_lost_and_readers_keep_what_they_read() {
    let stories: [(&str, Turn); 8] = [
        ("an hour back each batch", |_, clock| clock.go(-HOUR)),
        ("a year back", |batch, clock| clock.go(if batch == 6 { -365 * DAY } else { HOUR })),
        ("40 days forward each batch", |_, clock| clock.go(40 * DAY)),
        ("40 days forward once", |batch, clock| clock.go(if batch == 8 { 40 * DAY } else { HOUR })),
        ("to and fro", |batch, clock| {
            clock.set(START + if batch.is_multiple_of(2) { 40 * DAY } else { -40 * DAY })
        }),
        ("1970", |batch, clock| clock.set(batch as i64)),
        ("before 1970", |batch, clock| clock.set(-(batch as i64) * 365 * DAY)),
        ("2100 and back", |batch, clock| clock.set(if batch.is_multiple_of(5) { YEAR_2100 } else { START })),
    ];
    let (mut batches, mut looked, mut lost) = (0, 0, 0);
    for (at, (story, turn)) in stories.iter().enumerate() {
        let [done, seen, gone] = history(story, pick(8, 60), at % 2 == 1, turn);
        (batches, looked, lost) = (batches + done, looked + seen, lost + gone);
    }
    let figures =
        [("clocks", stories.len() as u64), ("batches", batches), ("versions read", looked), ("lost", lost)];
    tell(10, "an injected clock that jumps", &figures);
}

#[test]
fn row_10_random_jumps_lose_nothing() {
    let (mut histories, mut batches, mut looked, mut lost) = (0, 0, 0, 0);
    for seed in seeds(1, 12) {
        let mut state = seed;
        let [done, seen, gone] = history(&format!("seed {seed}"), pick(12, 40), true, |_, clock| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let jumps = [-365 * DAY, -HOUR, -1, 0, 1_000, HOUR, DAY, 40 * DAY];
            match (state >> 33) as usize % 10 {
                8 => clock.set(0),
                9 => clock.set(YEAR_2100),
                jump => clock.go(jumps[jump]),
            }
        });
        (histories, batches) = (histories + 1, batches + done);
        (looked, lost) = (looked + seen, lost + gone);
    }
    let figures = [("histories", histories), ("batches", batches), ("versions read", looked), ("lost", lost)];
    tell(10, "random jumps", &figures);
}

/// By the clock everything is old enough to go: the newest commits stay all the same, with all that they name.
#[test]
fn row_10_forty_days_forward_leave_the_newest_commits_to_their_readers() {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let clock = Hands::at(START);
    let taking = taking(&source, &clock);
    let retention = clean::Retention { checkpoint_every: 1, ..eager().retention };
    let (mut cleaned, mut looked) = (0, 0);
    for round in 0..pick(4, 30) {
        add(&source, &format!("r{round}"), round + 1, 9, 3);
        taking.take(folder, &mut Told::default()).unwrap();
        clock.go(40 * DAY);
        let mut session = taking.open(folder).unwrap();
        while let Some(job) = clean::due(&session.root, &retention) {
            let done = job.go(&maintain::Cancel::default()).unwrap();
            clean::take_up(&mut session.root, &done);
            cleaned += 1;
        }
        drop(session);
        looked += newest_are_readable(folder, &format!("round {round}"));
    }
    let oldest = versions(&folder.join("tables/_files"))[0];
    assert!(oldest > 0, "nothing was ever removed: this test tests nothing");
    let lost = nothing_lost(&taking, folder, "40 days forward");
    let figures =
        [("cleanings", cleaned), ("commits removed", oldest), ("versions read", looked), ("lost", lost)];
    tell(10, "40 days forward, all cleaned", &figures);
}

/// Of many commits those beyond the newest stay for an hour; the newest for a day, whatever hour the clock tells.
#[test]
fn row_10_a_clock_that_jumps_some_hours_takes_only_commits_beyond_the_many() {
    const MANY: u64 = 12;
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let clock = Hands::at(START);
    let mut taking = taking(&source, &clock);
    taking.policy.retention =
        clean::Retention { many_commits: MANY, many_ms: HOUR / 1000, ..taking.policy.retention };
    let batches = pick(60, 200);
    add(&source, "f", 1, batches * 3, 3);
    let table = folder.join("tables/_files");
    let (mut removed, mut looked) = (0, 0);
    let temp = folders::quick();
    let kernel = Kernel::new(Arc::new(LocalDisk), temp.path());
    // One minute a batch. Once it jumps: two hours are more than an hour, and less than a day.
    // (Compactions have batches of their own: what is counted are those that come here.)
    let mut batch = 0;
    let mut turn = |_| {
        batch += 1;
        clock.go(HOUR / 60);
        let all = versions(&table);
        let (oldest, newest) = (all[0], all[all.len() - 1]);
        assert!(oldest <= newest.saturating_sub(MANY), "batch {batch}: {oldest} of {newest}");
        if batch < 30 {
            assert_eq!(oldest, 0, "batch {batch}: nothing is an hour old");
        }
        if batch == 30 {
            clock.go(2 * HOUR);
        }
        for version in [oldest, newest.saturating_sub(MANY)] {
            let missing = missing_at(&kernel, &table, version);
            if batch > 30 && version < newest.saturating_sub(MANY) && !missing.is_empty() {
                // It is old enough by now, and cleaning goes on beside this: the commit is about to go as well.
                until(&format!("{version} of {newest} lacks {missing:?}; its commit removed"), 20, || {
                    (versions(&table)[0] > version).then_some(())
                });
                continue;
            }
            assert_eq!(missing, Vec::<String>::new(), "{version} of {newest}");
            looked += 1;
        }
        removed = oldest;
    };
    let mut told = Told { after_batch: Some(&mut turn), ..Told::default() };
    taking.take(folder, &mut told).unwrap();
    assert!(removed > 10, "{removed}: this test tests nothing");
    let lost = nothing_lost(&taking, folder, "two hours forward");
    tell(
        10,
        "many commits, two hours forward",
        &[("removed", removed), ("versions read", looked), ("lost", lost)],
    );
}

/// Less than the retention has gone by, by any clock: every version there ever was can be read.
#[test]
fn row_10_nothing_is_cleaned_up_early() {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let clock = Hands::at(START);
    let batches = pick(15, 60);
    add(&source, "f", 1, batches * 3, 3);
    let mut turn = |batch: u64| clock.go(if batch.is_multiple_of(2) { HOUR } else { -HOUR });
    let mut told = Told { after_batch: Some(&mut turn), ..Told::default() };
    let taking = taking(&source, &clock);
    taking.take(folder, &mut told).unwrap();
    let temp = folders::quick();
    let kernel = Kernel::new(Arc::new(LocalDisk), temp.path());
    let mut looked = 0;
    for entry in fs::read_dir(folder.join("tables")).unwrap() {
        let table = entry.unwrap().path();
        if !table.join("_delta_log").is_dir() {
            continue;
        }
        let all = versions(&table);
        assert_eq!(all.first(), Some(&0), "{}", table.display());
        for version in all {
            assert_eq!(missing_at(&kernel, &table, version), Vec::<String>::new(), "{}", table.display());
            looked += 1;
        }
    }
    let lost = nothing_lost(&taking, folder, "an hour to and fro");
    tell(10, "no early clean-up", &[("versions read", looked), ("lost", lost)]);
}

/// A clock that was once in 2100 must not keep the log from ever being shortened again.
#[test]
fn row_10_a_clock_that_was_far_ahead_does_not_stop_the_cleaning_for_ever() {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let clock = Hands::at(START);
    let batches = 36;
    add(&source, "f", 1, batches * 3, 3);
    let mut turn = |batch: u64| match batch {
        4..=6 => clock.set(YEAR_2100 + batch as i64),
        _ => clock.set(START + batch as i64 * 3 * HOUR),
    };
    let mut told = Told { after_batch: Some(&mut turn), ..Told::default() };
    let taking = taking(&source, &clock);
    taking.take(folder, &mut told).unwrap();
    let kept: BTreeMap<String, usize> = ["_files", "_quarantine", "order_item"]
        .map(|t| (t.to_owned(), versions(&folder.join("tables").join(t)).len()))
        .into();
    // A day is eight batches; a log checkpoint comes every third commit, of one table at a time.
    assert!(kept["_files"] < batches - 8, "{kept:?}");
    assert!(versions(&folder.join("tables/_files"))[0] > 7, "{kept:?}");
    let lost = nothing_lost(&taking, folder, "once in 2100");
    tell(
        10,
        "a clock that was in 2100",
        &[("commits", batches as u64), ("kept", kept["_files"] as u64), ("lost", lost)],
    );
}

/// The loop sleeps by another clock: it takes what comes while the wall clock runs backwards, and does not hang.
#[test]
fn row_10_a_live_run_goes_on_while_the_clock_goes_backwards() {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    fs::create_dir(&source).unwrap();
    let clock = Hands::at(START);
    let mut taking = taking(&source, &clock);
    let mut pipeline = (*taking.pipeline).clone();
    pipeline.source.settle_ms = 1000;
    taking.pipeline = Arc::new(pipeline);
    let (stop, wanted) = (Stop::default(), pick(8, 60));
    let slowest = std::thread::scope(|scope| {
        let session = taking.open(folder).unwrap();
        let options = Options { source: source.clone(), once: false, threads: 1 };
        let (told, heard) = std::sync::mpsc::channel();
        let stop_it = stop.clone();
        scope.spawn(move || {
            // A file that was taken while it was written is taken again, perhaps when nobody listens any more.
            let mut after = |batch: u64| _ = told.send(batch);
            let mut told = Told { after_batch: Some(&mut after), ..Told::default() };
            run(session, &options, &stop_it, &mut told).unwrap();
        });
        let mut slowest = Duration::ZERO;
        for n in 0..wanted {
            match n % 4 {
                0 => clock.go(-HOUR),
                1 => clock.go(-365 * DAY),
                2 => clock.set(0),
                _ => clock.set(YEAR_2100),
            }
            // Written in place, not renamed in: whether it is complete is a matter of time.
            let begin = Instant::now();
            fs::write(source.join(format!("{n}.ndjson")), events(n + 1, 4, ONE_LINE).join(&b'\n')).unwrap();
            let batch = heard.recv_timeout(Duration::from_secs(20));
            assert!(batch.is_ok(), "file {n} is not taken");
            slowest = slowest.max(begin.elapsed());
        }
        stop.set();
        slowest
    });
    // (Compactions have batches of their own, so the numbers go further than the files.)
    let lost = nothing_lost(&taking, folder, "live, backwards");
    tell(
        10,
        "live while the clock jumps",
        &[("files", wanted), ("lost", lost), ("slowest ms", slowest.as_millis() as u64)],
    );
}
