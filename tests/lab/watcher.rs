//! Row 8: Files that no event announces, in every way that files come and go, and very many of them.
//!
//! What decides: every file that lies in the folder in the end is in the ledger as it lies there (name, size, times,
//! inode), and the tables hold what the oracle makes of the raw events.

mod arrivals;
mod limits;
mod many;
mod source;

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use millrace::pipeline;
use rusqlite::{Connection, OpenFlags};

use super::support::generate::{self, Kind};
use super::support::place::{Live, Place};
use super::support::{contents, files, oracle};

/// A folder that the built binary watches, and the events that were put there for good.
struct Watched {
    place: Place,
    run: Live,
    events: Vec<Vec<u8>>,
    /// Printed by every failure.
    case: String,
    /// Names the next family of events.
    next: u64,
}

impl Watched {
    fn new(case: &str, seed: u64) -> Watched {
        Self::at(Place::quick(), case, seed)
    }

    fn at(place: Place, case: &str, seed: u64) -> Watched {
        let run = place.watching();
        let case = format!("{case}, MILLRACE_SEED={seed}");
        Watched { place, run, events: Vec::new(), case, next: seed * 1_000_000 }
    }

    /// Some events that are the folder's for good, as the text of an NDJSON file.
    fn text(&mut self, count: u64) -> String {
        self.next += 1;
        let kind = Kind { one_line: true, malformed: false };
        let events: Vec<Vec<u8>> = (0..count).map(|n| generate::event(self.next, n, kind)).collect();
        let text = String::from_utf8(events.join(&b'\n')).unwrap() + "\n";
        self.events.extend(events);
        text
    }

    /// A folder of files with events, all under new names: what was wrong in a file that is gone stays known.
    fn folder(&mut self, path: &Path, count: u64) {
        fs::create_dir_all(path).unwrap();
        for _ in 0..count {
            let text = self.text(2);
            fs::write(path.join(format!("{}.ndjson", self.next)), text).unwrap();
        }
    }

    /// Waits until every file is taken as it is. Returns the seconds it took and how many files there are.
    #[track_caller]
    fn all_taken(&self, seconds: u64) -> (u64, u64) {
        let begin = Instant::now();
        loop {
            let missed = missed(&self.place);
            if missed.is_empty() {
                let files = files::event_files(&self.place.path("input_events")).len() as u64;
                return (begin.elapsed().as_secs(), files);
            }
            assert!(
                begin.elapsed() < Duration::from_secs(seconds),
                "{}: {} files missed after {seconds} s, among them {:?}\n{}\n{}",
                self.case,
                missed.len(),
                &missed[..missed.len().min(5)],
                self.run.out(),
                self.run.err()
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Ends the run and compares everything with the raw events. Returns what is lost or doubled: nothing.
    #[track_caller]
    fn compare(mut self) {
        self.run.stop();
        self.place.expect(&["verify"], 0);
        let expected = oracle::tables(&self.events);
        let pipeline = Arc::new(pipeline::parse(pipeline::DEFAULT, "orders.toml").unwrap());
        let found = contents::of_folder(self.place.folder(), &pipeline);
        for (table, rows) in &expected.tables {
            assert!(&found[table] == rows, "{}: {table} is not what the events say", self.case);
        }
        let bad = self.place.rows("select count(distinct content_hash) as n from _quarantine");
        assert_eq!(bad[0]["n"], expected.bad, "{}: different events in quarantine", self.case);
    }
}

/// The event files in the folder that the ledger does not have as they are there.
fn missed(place: &Place) -> Vec<String> {
    let folder = place.path("input_events");
    let known = ledger(&place.path("database/orders.db")).unwrap_or_default();
    let is_known = |path: &Path| {
        // Gone since it was listed: no file, so not missed.
        let Ok(of) = fs::metadata(path) else { return true };
        let name = path.strip_prefix(&folder).unwrap().to_str().unwrap().to_owned();
        let nanoseconds = |s: i64, ns: i64| s * 1_000_000_000 + ns;
        let (mtime, ctime) =
            (nanoseconds(of.mtime(), of.mtime_nsec()), nanoseconds(of.ctime(), of.ctime_nsec()));
        known.contains(&(name, of.size() as i64, mtime, ctime, of.ino() as i64))
    };
    let files = files::event_files(&folder);
    let missed = files.iter().filter(|path| !is_known(path));
    missed.map(|path| path.display().to_string()).collect()
}

type Known = HashSet<(String, i64, i64, i64, i64)>;

/// Of every file the last reading, if it went to the end.
fn ledger(database: &Path) -> rusqlite::Result<Known> {
    let db = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    db.busy_timeout(Duration::from_secs(5))?;
    let sql = "select file, size, mtime_ns, ctime_ns, inode from _files f
               where last and _batch_id = (select max(_batch_id) from _files where file = f.file)";
    // Without an index, the database would look through the table for each of its rows.
    db.execute_batch("pragma automatic_index = on")?;
    let mut rows = db.prepare(sql)?;
    rows.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?)))?.collect()
}

/// Runs a program; whether it ended well.
fn does(program: &str, arguments: &[&str]) -> bool {
    let output = Command::new(program).args(arguments).output();
    output.is_ok_and(|output| output.status.success())
}
