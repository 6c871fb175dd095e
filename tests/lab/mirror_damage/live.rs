//! The mirror locked, taken away or changed under a `run` that goes on.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rusqlite::Connection;

use crate::figures::tell;
use crate::scale::pick;
use crate::support::generate::events;
use crate::support::place::{Live, Place, until};
use crate::support::taking::{Contents, ONE_LINE, Taking, Told, database, lost};
use crate::support::{BINARY, Said, contents, files, folders, mirror, oracle};

fn put(place: &Place, name: &str, seed: u64) {
    place.rename_in(&format!("{name}.ndjson"), events(seed, 8, ONE_LINE).join(&b'\n'));
}

/// Takes what is there. (3: some of it is quarantined.)
#[track_caller]
fn take(place: &Place) -> Said {
    let said = place.millrace(&["run", "--once"]);
    assert!(matches!(said.code, Some(0 | 3)), "{said:?}");
    said
}

/// Opening a mirror that is locked takes its time before anything is watched.
fn watching(place: &Place) -> Live {
    let run = place.start(&["run"]);
    until("run watches", 40, || run.out().contains("watching").then_some(()));
    run
}

fn expected(place: &Place) -> Contents {
    oracle::tables(&files::event_texts(&place.path("input_events"))).tables
}

/// So many batches were committed since it began to watch. Maintenance takes numbers of batches too, so lines are counted.
fn committed(run: &Live, batches: usize) {
    until(&format!("{batches} batches"), 20, || {
        let out = run.out();
        let (_, live) = out.split_once("watching")?;
        (live.lines().filter(|line| line.starts_with("batch ")).count() >= batches).then_some(())
    });
}

/// Waits until the mirror is what it should be, stops the run, and holds everything against the oracle.
#[track_caller]
fn ends_level(place: &Place, run: &mut Live, case: &str) -> (u64, u64) {
    let (expected, db) = (expected(place), database(place.folder()));
    let begin = Instant::now();
    until(&format!("{case}: level again ({})", run.err()), 30, || {
        mirror::differences(&db, &expected).is_empty().then_some(())
    });
    let took = begin.elapsed();
    run.stop();
    let pipeline = Taking::new(&place.path("input_events"), 1).pipeline;
    let found = contents::of_folder(place.folder(), &pipeline);
    let lost = lost(&expected, &found);
    assert!(found == expected, "{case}: {lost} rows lost in Delta");
    place.expect(&["verify"], 0);
    (took.as_millis() as u64, lost)
}

#[test]
fn row_07_a_mirror_locked_by_a_writer_at_start_does_not_stop_the_stream() {
    let place = Place::new();
    put(&place, "1", 1);
    take(&place);
    let other = Connection::open(database(place.folder())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    put(&place, "2", 2);
    let said = take(&place);
    assert!(
        said.err.contains("the mirror is behind") && said.err.contains("locked by another"),
        "{}",
        said.err
    );
    let verified = place.expect(&["verify"], 0).out;
    assert!(verified.contains("the mirror is behind (what it has is right)"), "{verified}");

    put(&place, "3", 3);
    let mut run = watching(&place);
    put(&place, "4", 4);
    committed(&run, 1);
    other.execute_batch("ROLLBACK").unwrap();
    let (ms, lost) = ends_level(&place, &mut run, "locked at start");
    assert!(run.err().contains("the mirror is level again"), "{}", run.err());
    tell(
        7,
        "locked by a writer at start",
        &[("batches meanwhile", 3), ("lost", lost), ("level after ms", ms)],
    );
}

/// The batches do not wait, one after the other, for whoever holds the mirror.
#[test]
fn row_07_a_mirror_locked_by_a_writer_while_running_does_not_hold_the_batches_up() {
    let place = Place::new();
    put(&place, "0", 1);
    let mut run = watching(&place);
    let other = Connection::open(database(place.folder())).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let batches = pick(5, 30);
    put(&place, "1", 2);
    committed(&run, 1);
    let begin = Instant::now();
    for batch in 2..=batches {
        put(&place, &batch.to_string(), batch as u64 + 1);
        committed(&run, batch);
    }
    // The first that finds it locked waits its five seconds; the others do not.
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(6 + batches as u64 / 2), "{waited:?} for {batches} batches");
    assert_eq!(run.err().matches("the mirror is behind").count(), 1, "said once: {}", run.err());
    other.execute_batch("ROLLBACK").unwrap();
    let (ms, lost) = ends_level(&place, &mut run, "locked while running");
    tell(
        7,
        "locked by a writer while running",
        &[("batches", batches as u64), ("lost", lost), ("level after ms", ms)],
    );
}

type Damage = Box<dyn Fn(&Path)>;

#[test]
fn row_07_a_mirror_that_is_taken_away_or_changed_in_use_is_level_again() {
    let sql = |text: &'static str| {
        move |db: &Path| {
            let conn = Connection::open(db).unwrap();
            conn.busy_timeout(Duration::from_secs(5)).unwrap();
            conn.execute_batch("PRAGMA foreign_keys = off").unwrap();
            conn.execute_batch(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        }
    };
    let cases: Vec<(&str, Damage)> = vec![
        ("deleted", Box::new(|db| fs::remove_file(db).unwrap())),
        ("renamed", Box::new(|db| fs::rename(db, db.with_extension("mine")).unwrap())),
        (
            "the folder renamed",
            Box::new(|db| {
                let folder = db.parent().unwrap();
                let _ = fs::remove_dir_all(folder.with_file_name("mine"));
                fs::rename(folder, folder.with_file_name("mine")).unwrap();
            }),
        ),
        ("the log deleted", Box::new(|db| fs::remove_file(format!("{}-wal", db.display())).unwrap())),
        (
            "a folder in its place",
            Box::new(|db| {
                fs::remove_file(db).unwrap();
                fs::create_dir(db).unwrap();
            }),
        ),
        (
            "a text in its place",
            Box::new(|db| {
                let draft = db.with_extension("draft");
                fs::write(&draft, "no database ".repeat(1000)).unwrap();
                fs::rename(draft, db).unwrap();
            }),
        ),
        ("rows deleted", Box::new(sql("DELETE FROM order_item; DELETE FROM _files"))),
        ("rows changed", Box::new(sql("UPDATE item SET name = 'mine'"))),
        ("vacuumed", Box::new(sql("VACUUM"))),
        (
            "a column dropped",
            Box::new(sql(
                "DROP VIEW items_with_shipment; DROP VIEW orders; ALTER TABLE item DROP COLUMN name",
            )),
        ),
        ("a table dropped", Box::new(sql("DROP TABLE seller"))),
        (
            "a trigger that deletes",
            Box::new(sql("CREATE TRIGGER t AFTER INSERT ON _files BEGIN DELETE FROM seller; END")),
        ),
    ];
    let place = Place::new();
    put(&place, "0", 1);
    let mut run = watching(&place);
    let (db, mut batch, mut slowest) = (database(place.folder()), 1, 0);
    for round in 0..pick(1, 10) {
        for (case, damage) in &cases {
            let story = format!("{case}, round {round}");
            damage(&db);
            // Sometimes a batch finds it, sometimes the idle run.
            if batch % 2 == round % 2 {
                put(&place, &batch.to_string(), batch as u64 + 1);
                committed(&run, batch);
            }
            batch += usize::from(batch % 2 == round % 2);
            let expected = expected(&place);
            let begin = Instant::now();
            until(&format!("{story}: level again"), 30, || {
                // A text with the old database's log beside it can be read as that database.
                let is_database = fs::read(&db).is_ok_and(|bytes| bytes.starts_with(b"SQLite format 3\0"));
                let wrong = mirror::differences(&db, &expected);
                if begin.elapsed() > Duration::from_secs(29) {
                    eprintln!("{story}: {wrong:?}\n{}", run.err());
                }
                (is_database && wrong.is_empty()).then_some(())
            });
            slowest = slowest.max(begin.elapsed().as_millis() as u64);
            assert!(run.is_running(), "{story}: {}", run.err());
        }
    }
    let (_, lost) = ends_level(&place, &mut run, "in the end");
    let done = (cases.len() * pick(1, 10)) as u64;
    tell(7, "taken away or changed in use", &[("cases", done), ("lost", lost), ("slowest ms", slowest)]);
}

/// SQLite cannot shorten a log that somebody still reads; it grows by what is written, and is cut once they end.
#[test]
fn row_07_a_reader_that_stays_sees_its_own_moment_and_the_log_is_cut_when_it_ends() {
    let dir = folders::quick();
    let (folder, source) = (dir.path(), dir.path().join("input_events"));
    let batches = pick(20, 400);
    let add = |from: u64, to: u64| {
        fs::create_dir_all(&source).unwrap();
        for n in from..to {
            fs::write(source.join(format!("{n:04}.ndjson")), events(n + 1, 8, ONE_LINE).join(&b'\n'))
                .unwrap();
        }
    };
    add(0, 1);
    let taking = Taking::new(&source, 1);
    taking.take(folder, &mut Told::default()).unwrap();
    let reader = Connection::open(database(folder)).unwrap();
    let count = || reader.query_row("SELECT count(*) FROM _files", [], |r| r.get::<_, i64>(0)).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    assert_eq!(count(), 1);
    add(1, batches);
    let log = folder.join("database/orders.db-wal");
    let mut sizes = Vec::new();
    let mut look = |_| sizes.push(fs::metadata(&log).unwrap().len());
    let mut told = Told { after_batch: Some(&mut look), ..Told::default() };
    taking.take(folder, &mut told).unwrap();
    assert_eq!(count(), 1, "the reader sees the moment at which it began");
    let (grown, each) = (*sizes.last().unwrap(), sizes.last().unwrap() / sizes.len() as u64);
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), batches as i64);
    drop(reader);
    add(batches, batches + 1);
    taking.take(folder, &mut Told::default()).unwrap();
    let left = fs::metadata(&log).map_or(0, |m| m.len());
    assert_eq!(left, 0, "the log is cut");
    let expected = oracle::tables(&files::event_texts(&source)).tables;
    let (tables, findings) = taking.look(folder);
    let lost = lost(&expected, &tables);
    assert!(tables == expected && findings.differences.is_empty(), "{findings:?}");
    assert_eq!(mirror::differences(&database(folder), &expected), Vec::<String>::new());
    let figures = [
        ("batches", batches),
        ("log KiB", grown >> 10),
        ("KiB a batch", each >> 10),
        ("KiB after", left),
        ("lost", lost),
    ];
    tell(7, "a reader over many batches", &figures);
}

/// As somebody who is not root, for whom rights count; root is given the rights of nobody.
fn as_nobody(place: &Place, arguments: &[&str]) -> (Option<i32>, String) {
    const NOBODY: u32 = 65534;
    let mut command = Command::new(BINARY);
    if rustix::process::geteuid().is_root() {
        let binary = place.path("millrace");
        if !binary.exists() && fs::hard_link(BINARY, &binary).is_err() {
            fs::copy(BINARY, &binary).unwrap();
        }
        command = Command::new(binary);
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = until("the binary may be run", 10, || {
        match command.args(arguments).current_dir(place.folder()).output() {
            Err(e) if e.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            done => Some(done.unwrap()),
        }
    });
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

fn given_away(path: &Path) {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    chown(path, Some(65534), Some(65534)).unwrap();
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|e| given_away(&e.unwrap().path()));
    }
}

#[test]
fn row_07_a_mirror_that_may_not_be_written_stops_nothing() {
    let place = Place::new();
    let mode = |path: &Path, bits| fs::set_permissions(path, Permissions::from_mode(bits)).unwrap();
    put(&place, "0", 1);
    take(&place);
    let (db, mut behind, mut gone) = (database(place.folder()), 0, 0);
    let cases = [
        ("the file", db.clone(), 0o444, 0o644),
        ("the folder", place.path("database"), 0o555, 0o755),
        ("nothing at all", place.path("database"), 0o000, 0o755),
    ];
    for (at, (case, path, shut, open)) in cases.iter().enumerate() {
        put(&place, &format!("{}", at + 1), at as u64 + 2);
        given_away(place.folder());
        mode(path, *shut);
        let (code, err) = as_nobody(&place, &["run", "--once"]);
        mode(path, *open);
        assert!(matches!(code, Some(0 | 3)), "{case}: {err}");
        // (A folder that was closed after the log was made in it keeps nobody from writing.)
        let level = mirror::differences(&db, &expected(&place)).is_empty();
        assert!(err.contains("the mirror is behind") != level, "{case}: {err}");
        behind += u64::from(!level);
        let pipeline = Taking::new(&place.path("input_events"), 1).pipeline;
        let found = contents::of_folder(place.folder(), &pipeline);
        gone += lost(&expected(&place), &found);
        assert!(found == expected(&place), "{case}");
        given_away(place.folder());
        let (code, err) = as_nobody(&place, &["run", "--once"]);
        assert!(matches!(code, Some(0 | 3)), "{case}: {err}");
        assert_eq!(mirror::differences(&db, &expected(&place)), Vec::<String>::new(), "{case}: {err}");
    }
    tell(
        7,
        "may not be written",
        &[("cases", cases.len() as u64), ("behind meanwhile", behind), ("lost", gone)],
    );
}
