//! Row 15: `query` and file names as an attack.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use millrace::mirror::query::{Format, Options, run};
use rustix::process::{Pid, Signal, kill_process};

use crate::figures::tell;
use crate::scale::pick;
use crate::support::place::{Place, order, until};
use crate::support::taking::database;
use crate::support::{command, folders};

mod names;

fn filled() -> Place {
    let place = Place::new();
    place.put("1.json", order("O1", "10:00:00", "PAID", &["A", "B"]));
    place.run_once(0);
    place
}

/// Everything in the folder, and what is in the database's files. (The log's index changes with every reader.)
fn state(place: &Place) -> (BTreeSet<String>, Vec<u8>, Vec<u8>) {
    let all = folders::bytes(place.folder());
    let names =
        all.keys().map(|p| p.display().to_string()).filter(|p| !p.ends_with("-shm") && !p.ends_with("-wal"));
    let db = database(place.folder());
    let log = fs::read(format!("{}-wal", db.display())).unwrap_or_default();
    (names.collect(), fs::read(&db).unwrap(), log)
}

fn attacks(place: &Path) -> Vec<String> {
    let target = place.join("stolen.db").display().to_string();
    let mut all: Vec<String> = [
        // Writing, in every dress.
        "DELETE FROM order_item",
        "delete from order_item returning *",
        "UPDATE order_item SET order_status = 'x'",
        "INSERT INTO item (id) VALUES ('x')",
        "INSERT OR REPLACE INTO item (id) VALUES ('x')",
        "REPLACE INTO item (id) VALUES ('x')",
        "INSERT INTO item (id) VALUES ('x') ON CONFLICT DO UPDATE SET name = 'x' RETURNING id",
        "WITH x AS (SELECT 1) DELETE FROM order_item",
        "WITH x AS (SELECT 'A' AS id) INSERT INTO item (id) SELECT id || 'x' FROM x",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 9) UPDATE item SET name = 'x'",
        "EXPLAIN DELETE FROM order_item",
        "EXPLAIN QUERY PLAN DELETE FROM order_item",
        "UPDATE sqlite_master SET sql = ''",
        "INSERT INTO sqlite_master VALUES ('table', 'x', 'x', 0, 'create table x(a)')",
        "DELETE FROM sqlite_sequence",
        "UPDATE _millrace SET batch_id = 0",
        // The schema.
        "DROP TABLE order_item",
        "DROP VIEW orders",
        "DROP INDEX IF EXISTS x",
        "CREATE TABLE x (a)",
        "CREATE TABLE x AS SELECT * FROM item",
        "CREATE INDEX x ON item (name)",
        "CREATE VIEW x AS SELECT 1",
        "CREATE TRIGGER x AFTER INSERT ON item BEGIN DELETE FROM item; END",
        "CREATE VIRTUAL TABLE x USING fts5(a)",
        "CREATE VIRTUAL TABLE x USING fts3(a, tokenize=simple)",
        "CREATE VIRTUAL TABLE x USING rtree(id, a, b)",
        "CREATE VIRTUAL TABLE temp.x USING dbstat(main)",
        "ALTER TABLE item RENAME TO x",
        "ALTER TABLE item ADD COLUMN x",
        "ALTER TABLE item DROP COLUMN name",
        "ANALYZE",
        "REINDEX",
        "VACUUM",
        // Temporary things.
        "CREATE TEMP TABLE x (a)",
        "CREATE TEMPORARY TABLE x AS SELECT 1",
        "CREATE TEMP VIEW x AS SELECT 1",
        "CREATE TEMP TRIGGER x AFTER INSERT ON item BEGIN DELETE FROM item; END",
        "INSERT INTO temp.sqlite_master VALUES (1, 2, 3, 4, 5)",
        // Other files.
        "DETACH main",
        "DETACH DATABASE temp",
        "ATTACH ':memory:' AS x",
        "ATTACH '' AS x",
        "ATTACH 'file:/etc/passwd?mode=ro' AS x",
        "SELECT load_extension('/tmp/x.so')",
        "SELECT load_extension('/tmp/x.so', 'init')",
        "SELECT readfile('/etc/passwd')",
        "SELECT writefile('/tmp/x', 'y')",
        "SELECT edit('x', 'vi')",
        "SELECT * FROM fsdir('/')",
        "SELECT * FROM sqlite_dbpage",
        "SELECT fts3_tokenizer('simple')",
        "SELECT fts3_tokenizer('x', x'4141414141414141')",
        // Transactions.
        "BEGIN",
        "BEGIN EXCLUSIVE",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT x",
        "RELEASE x",
        // Pragmas that set, or do.
        "PRAGMA journal_mode = delete",
        "PRAGMA journal_mode(off)",
        "PRAGMA query_only = off",
        "PRAGMA query_only(0)",
        "PRAGMA writable_schema = on",
        "PRAGMA writable_schema = reset",
        "PRAGMA trusted_schema = on",
        "PRAGMA schema_version = 1",
        "PRAGMA user_version = 7",
        "PRAGMA application_id = 7",
        "PRAGMA locking_mode = exclusive",
        "PRAGMA wal_checkpoint(truncate)",
        "PRAGMA wal_checkpoint",
        "PRAGMA wal_autocheckpoint = 1",
        "PRAGMA optimize",
        "PRAGMA incremental_vacuum",
        "PRAGMA auto_vacuum = full",
        "PRAGMA encoding = 'UTF-16'",
        "PRAGMA page_size = 512",
        "PRAGMA temp_store_directory = '/'",
        "PRAGMA data_store_directory = '/'",
        "PRAGMA temp_store = memory",
        "PRAGMA mmap_size = 99999999999",
        "PRAGMA hard_heap_limit = 0",
        "PRAGMA soft_heap_limit = 0",
        "PRAGMA cache_size = 99999999",
        "PRAGMA threads = 99",
        "PRAGMA synchronous = off",
        "PRAGMA foreign_keys = on",
        "PRAGMA busy_timeout = 1",
        "PRAGMA shrink_memory",
        "PRAGMA main.user_version = 7",
        "SELECT * FROM pragma_query_only",
        "SELECT * FROM pragma_busy_timeout",
        "SELECT * FROM pragma_wal_checkpoint",
        // Several statements, comments, tricks with letters.
        "SELECT 1; DELETE FROM order_item",
        "SELECT 1; SELECT 2",
        "SELECT 1;; DELETE FROM order_item;",
        "SELECT 1; /* no */ DELETE FROM order_item",
        "/* SELECT */ DELETE /**/ FROM/**/order_item -- SELECT",
        "-- SELECT\nDELETE FROM order_item",
        "\u{feff}DELETE FROM order_item",
        "\u{a0}DELETE FROM order_item",
        "ＤＥＬＥＴＥ FROM order_item",
        "DELETE\u{200b} FROM order_item",
        "DELET\u{0415} FROM order_item",
        "\u{202e}SELECT 1",
        "SELECT 1;\u{feff}DELETE FROM order_item",
        "SELECT 1 \u{37e} DELETE FROM order_item",
        "dElEtE\t\r\n\u{c}FROM order_item",
        "",
        " ",
        ";",
        "-- nothing",
        "/* nothing",
        "SELECT",
        "SELECT * FROM nope",
        "SELECT \"paid\" FROM item",
        "SELECT ?1 FROM nope",
    ]
    .map(str::to_owned)
    .into();
    all.extend([
        format!("ATTACH '{target}' AS x"),
        format!("ATTACH DATABASE 'file:{target}?mode=rwc' AS x"),
        format!("VACUUM INTO '{target}'"),
        format!("VACUUM main INTO '{target}'"),
        format!("CREATE TABLE x AS SELECT writefile('{target}', 'y')"),
        // Too much.
        "SELECT zeroblob(2000000000)".into(),
        "SELECT length(randomblob(900000000))".into(),
        "SELECT hex(zeroblob(120000000))".into(),
        "SELECT replace(hex(zeroblob(60000000)), '0', '0123456789')".into(),
        "WITH RECURSIVE c(s) AS (SELECT 'x' UNION ALL SELECT s || s FROM c) SELECT max(length(s)) FROM c"
            .into(),
        format!("SELECT {}", vec!["zeroblob(100000000)"; 40].join(", ")),
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000) \
         SELECT group_concat(hex(zeroblob(100000))) FROM c"
            .into(),
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 2000) \
         SELECT json_group_array(hex(zeroblob(100000))) FROM c"
            .into(),
        format!("SELECT {}1{}", "(1+".repeat(3000), ")".repeat(3000)),
        format!("SELECT {}1", "1+".repeat(600)),
        format!("SELECT 1 {}", "UNION ALL SELECT 1 ".repeat(600)),
        format!("SELECT '{}'", "x".repeat(2 << 20)),
        format!("SELECT {}", vec!["1"; 3000].join(", ")),
        format!("SELECT * FROM {}", vec!["item"; 70].join(", ")),
    ]);
    all
}

#[test]
fn row_15_query_refuses_whatever_is_more_than_reading() {
    let place = filled();
    let db = database(place.folder());
    let before = state(&place);
    let attacks = attacks(place.folder());
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for sql in &attacks {
        let mut out = Vec::new();
        let begin = Instant::now();
        let options =
            Options { format: Format::Json, timeout: Some(Duration::from_secs(20)), ..Options::default() };
        let done = run(&db, sql, &options, &mut out);
        slowest = slowest.max(begin.elapsed());
        let shown: String = sql.chars().take(100).collect();
        assert!(done.is_err(), "{shown}: {}", String::from_utf8_lossy(&out));
        assert!(!done.unwrap_err().to_string().is_empty());
        refused += 1;
        assert!(state(&place) == before, "{shown}: something was changed");
    }
    place.expect(&["verify"], 0);
    let figures =
        [("attacks", attacks.len() as u64), ("refused", refused), ("slowest ms", slowest.as_millis() as u64)];
    tell(15, "query: SQL", &figures);
}

/// The command line lets in no more than the library does.
#[test]
fn row_15_the_command_refuses_it_too_and_prints_no_row() {
    let place = filled();
    let before = state(&place);
    let attacks = attacks(place.folder());
    let mut refused = 0;
    for sql in attacks.iter().filter(|s| s.len() < 100_000).step_by(pick(12, 1)) {
        for format in [&[][..], &["--json"], &["--csv"]].into_iter().take(pick(1, 3)) {
            let said = place.millrace(&[&["query", "--timeout", "30"], format, &["--", sql]].concat());
            let shown: String = sql.chars().take(100).collect();
            assert!(matches!(said.code, Some(1 | 2)), "{shown}: {said:?}");
            assert!(!said.out.contains("PAID") && !said.err.is_empty(), "{shown}: {said:?}");
            refused += 1;
        }
    }
    assert!(state(&place) == before);
    tell(15, "query: command line", &[("attacks", refused), ("refused", refused)]);
}

/// What only asks is answered, whatever it looks like.
#[test]
fn row_15_query_still_answers_what_only_looks_dangerous() {
    let place = filled();
    let questions = [
        "SELECT printf('%.*c', 1999999999, 'x') IS NULL",
        "SELECT 'DELETE FROM order_item; DROP TABLE item'",
        "SELECT 1; -- DELETE FROM order_item",
        "SELECT 1 /* ; DELETE FROM order_item */",
        "SELECT count(*) FROM order_item WHERE item_id = '''; DROP TABLE item; --'",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT 1000) SELECT sum(n) FROM c",
        "SELECT replace(id, 'A', 'B') FROM item",
        "SELECT length(zeroblob(1000000))",
        "PRAGMA table_info(order_item)",
        "SELECT sql FROM sqlite_master",
    ];
    for sql in questions {
        place.expect(&["query", sql], 0);
    }
    tell(15, "query: honest questions", &[("answered", questions.len() as u64)]);
}

fn peak_mb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}

/// A question without end ends when told to (SIGTERM: a shell may have Ctrl-C ignored) or with its time, and takes no more and more memory until then.
#[test]
fn row_15_an_endless_query_is_bounded_in_memory_and_ends_when_told() {
    let place = filled();
    let endless = [
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION SELECT n + 1 FROM c) SELECT count(*) FROM c",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT n FROM c",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT hex(randomblob(100000)) FROM c",
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT randomblob(1000) AS b FROM c ORDER BY b",
        "WITH RECURSIVE c(n, s) AS (SELECT 1, zeroblob(100000) UNION ALL SELECT n + 1, s FROM c) \
         SELECT count(DISTINCT hex(s) || n) FROM c",
    ];
    let (mut stopped, mut most, mut slowest) = (0, 0, Duration::ZERO);
    for sql in endless {
        let mut child = command(place.folder(), &["query", "--json", sql])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(pick(300, 5000)));
        let early = child.try_wait().unwrap();
        assert!(early.is_none(), "{sql}: {early:?}");
        most = most.max(peak_mb(child.id()));
        let begin = Instant::now();
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let status = until("it ends", 10, || child.try_wait().unwrap());
        assert!(!status.success(), "{sql}");
        slowest = slowest.max(begin.elapsed());
        stopped += 1;
    }
    let begin = Instant::now();
    let said = place.expect(&["query", "--timeout", "0.3", endless[0]], 1);
    assert!(said.err.contains("not done after 0.3 s"), "{said:?}");
    assert!(begin.elapsed() < Duration::from_secs(5));
    assert!(most < 700 && slowest < Duration::from_secs(3), "{most} MB, {slowest:?}");
    let ms = slowest.as_millis() as u64;
    tell(15, "query: without end", &[("stopped", stopped + 1), ("most MB", most), ("slowest ms", ms)]);
}

#[test]
fn row_15_huge_answers_stream() {
    let place = filled();
    let many = pick(8, 3_000);
    let rows = format!("WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c LIMIT {many})");
    let mut most = 0;
    for (format, sql) in [
        ("--csv", format!("{rows} SELECT zeroblob(1000000) FROM c")),
        ("--json", format!("{rows} SELECT hex(randomblob(500000)) FROM c")),
        ("--csv", format!("{rows} SELECT zeroblob(100000), zeroblob(100000), n FROM c")),
    ] {
        let mut child =
            command(place.folder(), &["query", format, &sql]).stdout(Stdio::null()).spawn().unwrap();
        let pid = child.id();
        let status = until("it ends", 300, || {
            most = most.max(peak_mb(pid));
            child.try_wait().unwrap()
        });
        assert!(status.success(), "{sql}");
    }
    assert!(most > 0 && most < 300, "{most} MB");
    tell(15, "query: huge answers", &[("rows of a megabyte", many), ("most MB", most)]);
}
