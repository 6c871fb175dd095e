//! What `query` answers, how it writes it, and what it refuses.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::*;

struct Place {
    _dir: tempfile::TempDir,
    path: PathBuf,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.db");
    let conn = Connection::open(&path).unwrap();
    conn.execute_batch(
        "PRAGMA journal_mode = wal;
         CREATE TABLE t (id TEXT PRIMARY KEY, n INTEGER, price DECIMAL(18,4), note TEXT, raw BLOB);
         INSERT INTO t VALUES ('a', 1, '16.2200', 'plain', x'00ff'),
            ('b', 20, '3.0000', NULL, NULL), ('ç日本', NULL, -0.5, '', NULL);",
    )
    .unwrap();
    Place { _dir: dir, path }
}

fn ask(place: &Place, sql: &str, format: Format) -> Result<String> {
    let mut out = Vec::new();
    run(&place.path, sql, &Options { format, ..Options::default() }, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn refused(place: &Place, sql: &str) -> String {
    match ask(place, sql, Format::Table) {
        Err(Error::Config(text)) => text,
        other => panic!("{sql}: {other:?}"),
    }
}

#[test]
fn a_table_is_aligned() {
    let answer = ask(&place(), "SELECT id, n, price, note FROM t ORDER BY id", Format::Table).unwrap();
    let expected = "\
id        n  price  note
-----  ----  -----  -----
a         1  16.22  plain
b        20      3  NULL
ç日本  NULL   -0.5
(3 rows)
";
    assert_eq!(answer, expected);
    let empty = ask(&place(), "SELECT id FROM t WHERE 0", Format::Table).unwrap();
    assert_eq!(empty, "id\n--\n(0 rows)\n");
}

#[test]
fn what_events_say_cannot_steer_a_terminal() {
    let answer = ask(&place(), "SELECT 'a' || char(27) || '[2J' || char(10) || 'b' AS x", Format::Table);
    assert_eq!(answer.unwrap(), "x\n-------------\na\\u{1b}[2J\\nb\n(1 row)\n");
}

#[test]
fn cells_are_cut_only_when_asked() {
    let place = place();
    let sql = "SELECT 'abcdefghij' AS x, '日本日本日本' AS y";
    let mut out = Vec::new();
    let options = Options { cell: Some(6), ..Options::default() };
    run(&place.path, sql, &options, &mut out).unwrap();
    assert_eq!(String::from_utf8(out).unwrap(), "x       y\n------  -----\nabcde…  日本…\n(1 row)\n");
    assert!(ask(&place, sql, Format::Table).unwrap().contains("abcdefghij"));
}

#[test]
fn numbers_are_shown_as_people_write_them_and_given_to_machines_exactly() {
    let place = place();
    let sql = "SELECT 0.1 + 0.2 AS x, 1e300 AS y, 9e999 AS z, 9223372036854775807 AS i, 2.0 AS w";
    let table = ask(&place, sql, Format::Table).unwrap();
    assert_eq!(table.lines().nth(2).unwrap(), "0.3  1e300  inf  9223372036854775807  2.0");
    let json = ask(&place, sql, Format::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json[0]["x"], 0.1 + 0.2);
    assert_eq!(json[0]["i"], i64::MAX);
    assert_eq!(json[0]["z"], "inf");
}

#[test]
fn json_is_an_array_of_objects() {
    let place = place();
    let answer =
        ask(&place, "SELECT id, id, n AS id_2, price, note, raw FROM t ORDER BY id", Format::Json).unwrap();
    assert_eq!(
        answer,
        "[{\"id\":\"a\",\"id_3\":\"a\",\"id_2\":1,\"price\":16.22,\"note\":\"plain\",\"raw\":\"00ff\"},\n\
         {\"id\":\"b\",\"id_3\":\"b\",\"id_2\":20,\"price\":3,\"note\":null,\"raw\":null},\n\
         {\"id\":\"ç日本\",\"id_3\":\"ç日本\",\"id_2\":null,\"price\":-0.5,\"note\":\"\",\"raw\":null}]\n"
    );
    assert_eq!(ask(&place, "SELECT id FROM t WHERE 0", Format::Json).unwrap(), "[]\n");
    let odd = ask(&place, "SELECT cast(x'ff22' AS TEXT) AS \"a\"\"b\"", Format::Json).unwrap();
    assert_eq!(odd, "[{\"a\\\"b\":\"\u{fffd}\\\"\"}]\n");
}

#[test]
fn csv_tells_null_from_empty() {
    let sql = "SELECT NULL AS a, '' AS b, 'x,\"y\"' AS c, 'l' || char(13, 10) AS d, 1.50 AS e";
    assert_eq!(
        ask(&place(), sql, Format::Csv).unwrap(),
        "a,b,c,d,e\r\n,\"\",\"x,\"\"y\"\"\",\"l\r\n\",1.5\r\n"
    );
}

#[test]
fn many_rows_stream_in_the_widths_of_the_first() {
    let sql =
        "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) SELECT n FROM c";
    let answer = ask(&place(), sql, Format::Table).unwrap();
    assert_eq!(answer.lines().count(), 5003);
    assert_eq!((answer.lines().nth(2), answer.lines().nth(5001)), (Some("   1"), Some("5000")));
    assert!(answer.ends_with("\n5000\n(5000 rows)\n"));
}

#[test]
fn nothing_but_reading_gets_in() {
    let place = place();
    let before = std::fs::read(&place.path).unwrap();
    let out = place.path.with_file_name("out.db");
    let out = out.display();
    for sql in [
        "DELETE FROM t".to_owned(),
        "INSERT INTO t (id) VALUES ('z') RETURNING id".into(),
        "DROP TABLE t".into(),
        "CREATE TABLE u (a)".into(),
        "CREATE TEMP TABLE u (a)".into(),
        "CREATE TEMP VIEW u AS SELECT 1".into(),
        format!("ATTACH '{out}' AS x"),
        "DETACH main".into(),
        format!("VACUUM INTO '{out}'"),
        "VACUUM".into(),
        "BEGIN".into(),
        "SAVEPOINT s".into(),
        "ANALYZE".into(),
        "REINDEX".into(),
        "PRAGMA journal_mode = delete".into(),
        "PRAGMA query_only = off".into(),
        "PRAGMA user_version = 7".into(),
        "PRAGMA wal_checkpoint(TRUNCATE)".into(),
        "PRAGMA writable_schema = on".into(),
        "PRAGMA temp_store_directory = '/'".into(),
        "SELECT load_extension('x')".into(),
        "SELECT writefile('x', 'y')".into(),
        "SELECT readfile('/etc/passwd')".into(),
        "EXPLAIN DELETE FROM t".into(),
        "SELECT 1; DELETE FROM t".into(),
        "SELECT 1; SELECT 2".into(),
        "SELECT 1; nonsense".into(),
        String::new(),
        " -- nothing".into(),
        "SELECT \"plain\" FROM t".into(),
        "SELECT zeroblob(900000000)".into(),
        format!("SELECT {}1{}", "(1+".repeat(2000), ")".repeat(2000)),
    ] {
        assert!(!refused(&place, &sql).is_empty());
    }
    assert_eq!(std::fs::read(&place.path).unwrap(), before);
    assert!(!place.path.with_file_name("out.db").exists());
}

#[test]
fn what_only_tells_is_let_in() {
    let place = place();
    for sql in [
        "PRAGMA table_info(t)",
        "PRAGMA foreign_key_check",
        "PRAGMA user_version",
        "SELECT name FROM pragma_table_info('t')",
        "EXPLAIN QUERY PLAN SELECT * FROM t",
        "SELECT sql FROM sqlite_master",
        "SELECT value FROM json_each('[1,2]')",
        "SELECT 1;",
        "SELECT 1; -- and no more",
        "VALUES (1), (2)",
    ] {
        ask(&place, sql, Format::Json).unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
}

#[test]
fn mistakes_are_pointed_at() {
    let text = refused(&place(), "SELECT id,\n  nope FROM t");
    assert_eq!(text, "no such column: nope\n    nope FROM t\n    ^");
}

#[test]
fn an_endless_query_is_stopped() {
    let place = place();
    let endless = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c) SELECT count(*) FROM c";
    let options = Options { timeout: Some(Duration::from_millis(50)), ..Options::default() };
    let result = run(&place.path, endless, &options, &mut Vec::new());
    assert!(matches!(result, Err(Error::Busy(text)) if text.contains("not done after 0.05 s")));
    let stop = Some(Arc::new(AtomicBool::new(true)));
    let result = run(&place.path, endless, &Options { stop, ..Options::default() }, &mut Vec::new());
    assert!(matches!(result, Err(Error::Busy(text)) if text.contains("was stopped")));
}

#[test]
fn a_closed_pipe_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    for format in [Format::Table, Format::Json, Format::Csv] {
        let options = Options { format, ..Options::default() };
        assert!(run(&place().path, "SELECT id FROM t", &options, &mut Closed).unwrap().closed);
    }
}

#[test]
fn a_writer_does_not_keep_readers_out() {
    let place = place();
    let writer = Connection::open(&place.path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM t").unwrap();
    assert_eq!(ask(&place, "SELECT count(*) AS n FROM t", Format::Csv).unwrap(), "n\r\n3\r\n");
    writer.execute_batch("COMMIT").unwrap();
    assert_eq!(ask(&place, "SELECT count(*) AS n FROM t", Format::Csv).unwrap(), "n\r\n0\r\n");
}
