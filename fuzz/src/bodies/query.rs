//! Any text as a question: an answer or a refusal, and not a byte of the mirror's folder changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use millrace::error::Error;
use millrace::mirror::query::{Format, Options, run as ask};
use rusqlite::Connection;

pub fn run(data: &[u8]) {
    let Some((&mode, sql)) = data.split_first() else { return };
    let sql = String::from_utf8_lossy(sql);
    let folder = folder();
    let before = contents(folder);
    let format = [Format::Table, Format::Csv, Format::Json][usize::from(mode) % 3];
    let timeout = Some(Duration::from_millis(50));
    let options = Options { format, cell: (mode > 128).then_some(10), timeout, stop: None };
    let mut out = Vec::new();
    let answer = ask(&folder.join("m.db"), &sql, &options, &mut Capped(&mut out));
    if let Err(e) = answer {
        assert!(matches!(e, Error::Config(_) | Error::Busy(_) | Error::Io { .. }), "{e:?}");
    }
    assert_eq!(contents(folder), before, "the question changed something");
}

/// Takes a megabyte, then is closed, as `| head` would be.
struct Capped<'a>(&'a mut Vec<u8>);

impl std::io::Write for Capped<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.0.len() > 1 << 20 {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A mirror in small, made once by each thread, so that nobody else looks at it at the same time.
fn folder() -> &'static Path {
    thread_local! {
        static FOLDER: OnceLock<&'static Path> = const { OnceLock::new() };
    }
    FOLDER.with(|folder| {
        *folder.get_or_init(|| {
            let temp = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap();
            let path: &'static Path = Box::leak(Box::new(temp)).path();
            let db = Connection::open(path.join("m.db")).unwrap();
            db.execute_batch(
                "pragma journal_mode = wal;
                 create table orders (id text primary key, n integer, f real, d decimal(18,4)) without rowid;
                 create table _files (file text, batch integer);
                 create view totals as select count(*) n, sum(n) s from orders;
                 create index by_n on orders (n);
                 insert into orders values ('a', 1, 1.5, 2.5), ('b', null, 1e300, '12345678901234.5678');
                 insert into _files values ('x.json', 1);
                 pragma wal_checkpoint(truncate);",
            )
            .unwrap();
            path
        })
    })
}

/// Every file and its bytes, but for the log's index, which readers share.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path());
    let all = files.filter(|p| !p.to_string_lossy().ends_with("-shm"));
    let all: BTreeMap<_, _> = all.map(|p| (p.clone(), std::fs::read(&p).unwrap())).collect();
    // A log of no bytes is as good as none.
    all.into_iter()
        .filter(|(path, bytes)| !(path.to_string_lossy().ends_with("-wal") && bytes.is_empty()))
        .collect()
}
