//! Row 7: A mirror that was damaged, locked by a reader, or deleted in use.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::Connection;

use crate::figures::tell;
use crate::scale::pick;
use crate::support::generate::events;
use crate::support::taking::{Contents, ONE_LINE, Taking, Told, add, database, lost};
use crate::support::{files, folders, mirror, oracle};

mod live;
mod other_history;
mod told;

/// A root of three batches with its mirror, the files of a fourth, and what its mirror's files were on the way.
struct Base {
    dir: tempfile::TempDir,
    taking: Taking,
    expected: Contents,
}

impl Base {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A copy of the root, to be damaged.
    fn copy(&self) -> tempfile::TempDir {
        let folder = folders::quick();
        for part in ["tables", "checkpoint", "database"] {
            folders::copy(&self.path(part), &folder.path().join(part));
        }
        folder
    }
}

/// `old`: the mirror's files after the first batch, with a log that is needed; `now`: the same after the third;
/// `other`: those of another root.
fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    BASE.get_or_init(|| {
        let dir = folders::quick();
        let (folder, source) = (dir.path(), dir.path().join("input_events"));
        let taking = Taking::new(&source, 4);
        // There is one before the first batch, so that it is seen while batches come.
        fs::create_dir_all(&source).unwrap();
        taking.take(folder, &mut Told::default()).unwrap();
        for (batch, kept) in [(1, Some("old")), (2, None), (3, Some("now"))] {
            add(&source, &format!("b{batch}"), batch, 24, 6);
            // Somebody who still has the file open when the run ends keeps SQLite from folding the log into it.
            let mut reader = None;
            let mut look = |_| {
                reader = Connection::open(database(folder)).ok();
                let count = "SELECT count(*) FROM order_item";
                let _ = reader.as_ref().unwrap().query_row(count, [], |r| r.get::<_, i64>(0));
            };
            let mut told = Told { after_batch: Some(&mut look), ..Told::default() };
            taking.take(folder, &mut told).unwrap();
            if let Some(kept) = kept {
                folders::copy(&folder.join("database"), &folder.join(kept));
                assert!(fs::metadata(folder.join(kept).join("orders.db-wal")).unwrap().len() > 0);
            }
        }
        other_root(&folder.join("other"));
        add(&source, "later", 9, 24, 6);
        let expected = oracle::tables(&files::event_texts(&source)).tables;
        Base { taking, expected, dir }
    })
}

/// Another root's mirror, with its log.
fn other_root(to: &Path) {
    let dir = folders::quick();
    let source = dir.path().join("input_events");
    fs::create_dir_all(&source).unwrap();
    fs::write(source.join("1.ndjson"), events(7, 12, ONE_LINE).join(&b'\n')).unwrap();
    let mut reader = None;
    let mut look = |_| {
        reader = Connection::open(database(dir.path())).ok();
        let _ = reader.as_ref().unwrap().query_row("SELECT count(*) FROM item", [], |r| r.get::<_, i64>(0));
    };
    let mut told = Told { after_batch: Some(&mut look), ..Told::default() };
    Taking::new(&source, 1).take(dir.path(), &mut told).unwrap();
    folders::copy(&dir.path().join("database"), to);
}

/// What became of damaged mirrors.
#[derive(Default)]
struct Score {
    cases: u64,
    /// The next run left it level.
    level: u64,
    /// It was not level, `verify` said so, and deleting it as `verify` says made it so.
    told: u64,
    /// Neither: what nobody would have noticed.
    silent: Vec<String>,
    lost: u64,
}

impl Score {
    fn tell(&self, part: &str) {
        let figures =
            [("mutations", self.cases), ("level by the run", self.level), ("told by verify", self.told)];
        tell(
            7,
            part,
            &[
                &figures[..],
                &[("silently wrong", self.silent.len() as u64), ("rows lost in Delta", self.lost)],
            ]
            .concat(),
        );
        assert_eq!(self.silent, Vec::<String>::new());
        assert_eq!(self.level + self.told, self.cases);
        assert_eq!(self.lost, 0);
    }

    /// Takes the fourth batch on a damaged mirror, and holds everything against the oracle.
    fn judge(&mut self, folder: &Path, case: &str) {
        let base = base();
        self.cases += 1;
        let mut told = Told::default();
        let done = base.taking.take(folder, &mut told);
        done.unwrap_or_else(|e| panic!("{case}: the mirror stopped the run: {e}"));
        let (tables, findings) = base.taking.look(folder);
        self.lost += lost(&base.expected, &tables);
        assert!(tables == base.expected, "{case}: other contents");
        let wrong = mirror::differences(&database(folder), &base.expected);
        if wrong.is_empty() && findings.differences.is_empty() {
            self.level += 1;
            return;
        }
        if findings.differences.is_empty() {
            self.silent.push(format!("{case}: {wrong:?}, {:?}", told.notes));
            return;
        }
        assert!(findings.differences.iter().all(|d| d.starts_with("mirror: ")), "{case}: {findings:?}");
        let _ = fs::remove_dir_all(folder.join("database"));
        base.taking.take(folder, &mut Told::default()).unwrap();
        assert_eq!(mirror::differences(&database(folder), &base.expected), Vec::<String>::new(), "{case}");
        self.told += 1;
    }
}

/// Puts the mirror's files of another moment in place.
fn put_back(folder: &Path, from: &str) {
    fs::remove_dir_all(folder.join("database")).unwrap();
    folders::copy(&base().path(from), &folder.join("database"));
}

fn spread(total: usize, tries: usize) -> impl Iterator<Item = usize> {
    let tries = tries.min(total).max(1);
    (0..tries).map(move |n| n * total / tries)
}

#[test]
fn row_07_a_truncated_mirror_is_level_after_the_next_run() {
    let mut score = Score::default();
    let size = fs::metadata(database(base().dir.path())).unwrap().len() as usize;
    for len in spread(size, pick(6, 150)) {
        let folder = base().copy();
        let file = fs::File::options().write(true).open(database(folder.path())).unwrap();
        file.set_len(len as u64).unwrap();
        score.judge(folder.path(), &format!("database cut to {len} bytes"));
    }
    score.tell("database truncated");
}

#[test]
fn row_07_a_mirror_with_flipped_pages_is_level_or_told() {
    let mut score = Score::default();
    let size = fs::metadata(database(base().dir.path())).unwrap().len() as usize;
    let pages = size / 4096;
    for page in spread(pages, pick(6, pages)) {
        let folder = base().copy();
        flip(&database(folder.path()), page * 4096..(page + 1) * 4096);
        score.judge(folder.path(), &format!("page {page} flipped"));
    }
    for byte in spread(size, pick(4, 150)) {
        let folder = base().copy();
        flip(&database(folder.path()), byte..byte + 1);
        score.judge(folder.path(), &format!("byte {byte} flipped"));
    }
    score.tell("database flipped");
}

fn flip(path: &Path, range: std::ops::Range<usize>) {
    let mut bytes = fs::read(path).unwrap();
    let end = range.end.min(bytes.len());
    bytes[range.start.min(end)..end].iter_mut().for_each(|b| *b ^= 0x5a);
    fs::write(path, bytes).unwrap();
}

#[test]
fn row_07_a_damaged_log_is_level_or_told() {
    let mut score = Score::default();
    for kept in ["old", "now"] {
        let log = fs::metadata(base().path(kept).join("orders.db-wal")).unwrap().len() as usize;
        let cases = spread(log, pick(2, 100)).flat_map(|at| [(at, "cut"), (at, "flipped")]);
        for (at, how) in cases.chain([(0, "deleted"), (0, "another root's"), (0, "another moment's")]) {
            let folder = base().copy();
            put_back(folder.path(), kept);
            let path = folder.path().join("database/orders.db-wal");
            match how {
                "cut" => fs::File::options().write(true).open(&path).unwrap().set_len(at as u64).unwrap(),
                "flipped" => flip(&path, at..at + 1),
                "deleted" => fs::remove_file(&path).unwrap(),
                "another root's" => _ = fs::copy(base().path("other/orders.db-wal"), &path).unwrap(),
                _ => {
                    let other = if kept == "old" { "now" } else { "old" };
                    _ = fs::copy(base().path(other).join("orders.db-wal"), &path).unwrap();
                }
            }
            score.judge(folder.path(), &format!("log ({kept}) {how} at {at}"));
        }
    }
    score.tell("log torn, flipped, deleted or another's");
}

type Damage<'a> = &'a dyn Fn(&Path);

#[test]
fn row_07_what_takes_the_mirrors_place_is_moved_aside_and_the_mirror_made_again() {
    let mut score = Score::default();
    let cases: [(&str, Damage<'_>); 11] = [
        ("deleted", &|db| fs::remove_file(db).unwrap()),
        ("empty", &|db| fs::write(db, "").unwrap()),
        ("a text", &|db| fs::write(db, "not a database at all\n".repeat(500)).unwrap()),
        ("a folder", &|db| {
            fs::remove_file(db).unwrap();
            fs::create_dir_all(db.join("of/mine")).unwrap();
        }),
        ("a folder for a log", &|db| fs::create_dir(format!("{}-wal", db.display())).unwrap()),
        ("a folder for a log's index", &|db| fs::create_dir(format!("{}-shm", db.display())).unwrap()),
        ("a link to nothing", &|db| {
            fs::remove_file(db).unwrap();
            std::os::unix::fs::symlink("elsewhere.db", db).unwrap();
        }),
        ("a database of another schema", &|db| {
            fs::remove_file(db).unwrap();
            let conn = Connection::open(db).unwrap();
            conn.execute_batch("CREATE TABLE precious (a); INSERT INTO precious VALUES (1)").unwrap();
        }),
        ("another root's mirror", &|db| put_back(db.parent().unwrap().parent().unwrap(), "other")),
        ("an older copy", &|db| put_back(db.parent().unwrap().parent().unwrap(), "old")),
        ("a header of zeros", &|db| flip_header(db)),
    ];
    for (case, damage) in &cases {
        let folder = base().copy();
        damage(&database(folder.path()));
        score.judge(folder.path(), case);
    }
    // Whatever else was in its place is somebody's, and still there.
    let folder = base().copy();
    cases[3].1(&database(folder.path()));
    base().taking.take(folder.path(), &mut Told::default()).unwrap();
    assert!(folder.path().join("database/orders.db.old-1/of/mine").is_dir());
    score.tell("something else in its place");
}

fn flip_header(db: &Path) {
    let mut bytes = fs::read(db).unwrap();
    bytes[..100].fill(0);
    fs::write(db, bytes).unwrap();
}
