//! Very many files in one folder: to list, to take, to sit beside, to start with. `MILLRACE_FILES=n` takes another
//! number; the long form has a million.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use millrace::discover::{Folder, Now};
use millrace::ledger::Ledger;
use rusqlite::Connection;

use super::super::figures::tell;
use super::super::scale::{is_long, pick};
use super::super::support::place::{Live, Place, order, until};

#[test]
fn row_08_very_many_files_in_one_folder() {
    let files = std::env::var("MILLRACE_FILES").map_or(pick(20_000, 1_000_000), |n| n.parse().unwrap());
    let place = if is_long() { Place::new() } else { Place::quick() };
    fill(&place.path("input_events"), files);
    let listed = list(&place.path("input_events"), files);
    let begin = Instant::now();
    let mut run = place.start(&["run"]);
    let limit = 30 + files / 500;
    until("the first batch", limit, || run.out().contains("batch 1 ").then_some(()));
    let first = ms(begin);
    until("everything is taken", limit, || run.out().contains("watching").then_some(()));
    let all = ms(begin);
    assert_eq!(taken(&place), (files, files), "files taken, orders");
    let peak = memory(&run, "VmHWM:");
    let figures = [
        ("files", files),
        ("missed", 0),
        ("ms to list", listed),
        ("ms to first batch", first),
        ("ms to the end", all),
        ("peak MB", peak),
    ];
    tell(8, "many files, first run", &figures);
    idle(&place, &run, files);
    run.stop();
    restart(&place, files);
    place.expect(&["verify"], 0);
}

/// Small files, each an order of its own, complete long ago.
fn fill(folder: &Path, files: u64) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    for n in 0..files {
        let path = folder.join(format!("order-{n:07}.json"));
        fs::write(&path, order(&format!("O{n}"), "10:00:00", "PAID", &["A"])).unwrap();
        fs::File::options().append(true).open(path).unwrap().set_modified(long_ago).unwrap();
    }
}

/// Milliseconds of one listing, by itself.
fn list(folder: &Path, files: u64) -> u64 {
    let clock = millrace::clock::system();
    let mut folder = Folder::open(folder, 1000, &[]).unwrap();
    let begin = Instant::now();
    let listing = folder.list(&Ledger::default(), Now::read(clock.as_ref(), begin));
    assert_eq!(listing.ready.len() as u64, files);
    ms(begin)
}

/// The process has nothing to do: what does it cost, and how soon is a new file there?
fn idle(place: &Place, run: &Live, files: u64) {
    let window = Duration::from_secs(pick(4, 120));
    let before = cpu_ms(run);
    std::thread::sleep(window);
    let used = cpu_ms(run) - before;
    // A listing may take a twentieth of the time.
    let share = used as f64 / window.as_millis() as f64;
    assert!(share < 0.15, "{files} files: {used} ms of {window:?} while idle");
    let mut soon = Vec::new();
    for n in 0..pick(3, 20) {
        let begin = Instant::now();
        place.rename_in(&format!("live-{n}.json"), order(&format!("L{n}"), "10:00:00", "PAID", &["A"]));
        until("a new file", 60, || (taken(place).1 == files + n + 1).then_some(()));
        soon.push(ms(begin));
    }
    soon.sort_unstable();
    let figures = [
        ("files", files),
        ("CPU per mille", (share * 1000.0) as u64),
        ("resident MB", memory(run, "VmRSS:")),
        ("median ms to take a new file", soon[soon.len() / 2]),
        ("slowest", soon[soon.len() - 1]),
    ];
    tell(8, "many files, watching", &figures);
}

/// Started again with all of them in the ledger, and one that is new.
fn restart(place: &Place, files: u64) {
    let (_, before) = taken(place);
    place.put("new.json", order("N1", "10:00:00", "PAID", &["A"]));
    let begin = Instant::now();
    let mut run = place.start(&["run"]);
    until("the first batch", 30 + files / 500, || run.out().contains("batch ").then_some(()));
    let first = ms(begin);
    until("it watches", 60, || run.out().contains("watching").then_some(()));
    let all = ms(begin);
    assert_eq!(taken(place).1, before + 1);
    let figures = [
        ("files in the ledger", files),
        ("ms to first batch", first),
        ("ms to watching", all),
        ("peak MB", memory(&run, "VmHWM:")),
    ];
    tell(8, "many files, started again", &figures);
    run.stop();
}

/// Files in the ledger whose last range was taken, and orders. None while the mirror is in the making.
fn taken(place: &Place) -> (u64, u64) {
    let db = place.path("database/orders.db");
    if !db.exists() {
        return (0, 0);
    }
    let db = Connection::open(db).unwrap();
    db.busy_timeout(Duration::from_secs(30)).unwrap();
    let count = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap() as u64;
    (
        count("select count(distinct file) from _files where last"),
        count("select count(distinct order_id) from order_item"),
    )
}

fn ms(since: Instant) -> u64 {
    since.elapsed().as_millis() as u64
}

fn memory(run: &Live, what: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", run.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix(what)).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

/// CPU time of the process, all threads. The kernel counts it in hundredths of a second.
fn cpu_ms(run: &Live) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", run.pid())).unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
