//! Names of files, of members, of keys and of columns: quotes, line breaks, other Unicode forms, case.

use std::collections::BTreeSet;

use millrace::discover::{display_name, raw_path};

use super::PIPELINE;
use super::place::Hostile;
use super::tally::Tally;
use crate::support::json::{Json, parse};

/// Names that some system, shell, query or terminal would take for something else.
fn nasty() -> Vec<Vec<u8>> {
    #[rustfmt::skip]
    let texts = [
        "plain", "two words", " space", "space ", "a'b", "a\"b", "a`b", "a\nb", "a\r\nb", "a\tb", "a\\b",
        "a\\xffb", "a..b", "...", "a;drop table value;--", "'; drop table value; --", "$(id)", "${HOME}",
        "%s%n", "%2e%2e%2f", "a&b|c>d<e", "*", "?", "[a]", "~", "-rf", "--help", "a:b", "a#b", "a?b=c",
        "\u{e9}", "e\u{301}", "\u{c5}", "\u{212b}", "A\u{30a}", "\u{fb01}", "fi", "\u{202e}cba", "\u{200b}",
        "\u{feff}bom", "\u{1f468}\u{200d}\u{1f469}", "CASE", "case", "Case", "\u{130}", "\u{131}", "\u{df}",
        "SS", "\u{7f}", "\u{1}", "\u{1b}[31mred", "null", "NULL", "0", "00", "1", "1.0", "1e0", "true",
        "nul", "con", "a=b", "{\"id\":1}", "a,b", "a\u{2028}b", "a\u{85}b",
    ];
    let mut all: Vec<Vec<u8>> = texts.iter().map(|t| t.as_bytes().to_vec()).collect();
    all.push("n".repeat(200).into_bytes());
    all
}

#[test]
fn row_11_file_names() {
    let place = Hostile::new();
    let mut names = nasty();
    names.extend([b"\xff".to_vec(), b"a\xc3".to_vec(), b"\xe9t\xe9".to_vec(), b"a\xed\xa0\x80".to_vec()]);
    // A name that begins with a dot is hidden: none of our business, by the rules.
    names.retain(|name| name[0] != b'.');
    let mut expected = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        for (folder, ending) in [(&b""[..], &b".json"[..]), (b"d/", b".ndjson")] {
            let name = [folder, name, ending].concat();
            place.put(&name, format!("{{\"id\":\"{n}{}\"}}\nbad", folder.len()).as_bytes());
            expected.insert(name);
        }
    }
    place.put(b"\"quoted\nfolder'..\xff/x.json", b"{\"id\":\"folder\"} bad");
    expected.insert(b"\"quoted\nfolder'..\xff/x.json".to_vec());
    place.run_once(3);
    let mut tally = Tally::default();
    let events = place.ids().len();
    tally.expect(events == expected.len(), || format!("{events} events of {} files", expected.len()));
    // By the names in the ledger, in quarantine and beside each row, the very files are found again.
    let raw = |name: &str| {
        use std::os::unix::ffi::OsStrExt;
        let path = raw_path(name);
        assert_eq!(display_name(path.as_os_str()), name);
        path.as_os_str().as_bytes().to_vec()
    };
    for sql in
        ["select file from _files", "select file from _quarantine", "select _source_file as file from value"]
    {
        let found: BTreeSet<Vec<u8>> =
            place.mirror(sql).iter().map(|r| raw(r["file"].as_str().unwrap())).collect();
        for name in found.union(&expected) {
            let right = found.contains(name) && expected.contains(name);
            tally.try_one(right, || format!("{sql}: {}", String::from_utf8_lossy(name)));
        }
    }
    place.verified();
    let again = place.run_once(0);
    assert!(again.out.contains("nothing new"), "{}", again.out);
    // Nothing in a name reaches the terminal as more than text.
    let said = place.said(&["status"]);
    assert!(!said.out.chars().any(|c| c.is_control() && c != '\n'), "{:?}", said.out);
    tally.tell("file names", &[("files", expected.len() as u64)]);
}

/// Keys that SQLite, a collation or a shell might take for one: each is a row of its own, in the mirror too.
#[test]
fn row_11_keys_that_look_alike() {
    let place = Hostile::new();
    let mut keys: Vec<String> = nasty().into_iter().map(|k| String::from_utf8(k).unwrap()).collect();
    keys.extend(["a\0b", "a\0c", "a", "a\0", "\0", "", " ", "  ", "a ", "\u{10ffff}"].map(str::to_owned));
    let keys: BTreeSet<String> = keys.into_iter().collect();
    let event = |key: &String| {
        let key = serde_json::to_string(key).unwrap();
        format!("{{\"id\":{key},\"v\":{key}}}\n")
    };
    let file: String = keys.iter().map(event).collect();
    place.put(b"keys.ndjson", file.as_bytes());
    place.run_once(0);
    // Told again, changed: the same rows, none more.
    place.put(b"later.ndjson", file.replace("{\"id\"", "{\"n\":1,\"x\":0,\"id\"").as_bytes());
    place.run_once(0);
    let rows = place.rows("value");
    let mut tally = Tally::default();
    for key in keys.iter().chain(rows.keys()) {
        let right = keys.contains(key) && rows.get(key).is_some_and(|row| row[1].as_ref() == Some(key));
        tally.try_one(right, || format!("{key:?} in Delta"));
    }
    let hex = |t: &String| t.bytes().map(|b| format!("{b:02X}")).collect::<String>();
    let mirrored: BTreeSet<String> = place
        .mirror("select hex(cast(id as blob)) as id, hex(cast(t as blob)) as t from value")
        .iter()
        .map(|r| {
            tally.expect(r["id"] == r["t"], || format!("{r}"));
            r["id"].as_str().unwrap_or_default().to_owned()
        })
        .collect();
    let keys: BTreeSet<String> = keys.iter().map(hex).collect();
    for key in keys.union(&mirrored) {
        tally.try_one(keys.contains(key) && mirrored.contains(key), || format!("{key} in the mirror"));
    }
    place.verified();
    tally.tell("keys that look alike", &[("keys", keys.len() as u64)]);
}

/// Members of any name can be asked for, and are told apart by every byte of it.
#[test]
fn row_11_member_names() {
    let names: BTreeSet<String> = nasty()
        .into_iter()
        .map(|k| String::from_utf8(k).unwrap())
        .chain([String::new(), "\0".into(), "]".into(), "@".into(), "$.id".into()])
        .collect();
    let columns: String = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!("c{n} = {}\n", toml(&format!("$[{}]", path_name(name)))))
        .collect();
    let text = PIPELINE
        .replace("id = \"$.id\"\n", &format!("id = \"$.key\"\n{columns}"))
        .replace("key = \"$.id\"", "key = \"$.key\"");
    let place = Hostile::with(&text);
    let members: String = names
        .iter()
        .enumerate()
        .map(|(n, name)| format!(",{}:\"value {n}\"", serde_json::to_string(name).unwrap()))
        .collect();
    // Once as serde_json writes them, once with every character escaped.
    let escape = |name: &String| name.encode_utf16().map(|u| format!("\\u{u:04x}")).collect::<String>();
    let escaped: String =
        names.iter().enumerate().map(|(n, name)| format!(",\"{}\":\"value {n}\"", escape(name))).collect();
    place.put(b"x.ndjson", format!("{{\"key\":\"x\"{members}}}\n{{\"key\":\"y\"{escaped}}}").as_bytes());
    place.run_once(0);
    let mut tally = Tally::default();
    for (id, row) in place.rows("value") {
        for (n, name) in names.iter().enumerate() {
            let right = row[n + 1].as_deref() == Some(&*format!("value {n}"));
            tally.try_one(right, || format!("{name:?} of {id}"));
        }
    }
    place.verified();
    assert!(matches!(parse(format!("{{\"key\":\"x\"{members}}}").as_bytes()), Some(Json::Object(_))));
    tally.tell("member names", &[]);
}

fn path_name(name: &str) -> String {
    let escaped: String = name.encode_utf16().map(|u| format!("\\u{u:04X}")).collect();
    format!("'{escaped}'")
}

fn toml(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// SQLite's names ignore case and some are its own. Each is refused with a place, or works to the end.
#[test]
fn row_11_columns_that_collide_by_case_and_names_that_are_taken() {
    let with =
        |column: &str| PIPELINE.replace("id = \"$.id\"\n", &format!("id = \"$.id\"\n{column} = \"$.x\"\n"));
    let (mut refused, mut worked) = (0, 0);
    #[rustfmt::skip]
    let columns = [
        "Id", "ID", "iD", "T", "\"\u{130}d\"", "\"id \"", "\"\"", "\"a b\"", "\"a\\\"b\"", "\"a'b\"",
        "\"a;b\"", "\"\u{e9}\"", "\"e\u{301}\"", "\"1a\"", "_batch_id", "_source_file", "_x", "rowid", "oid",
        "_rowid_", "select", "table", "group", "order", "index", "primary", "null", "default", "values",
        "check", "x", "abort", "sqlite_x", "file", "rank", "hidden", "without", "strict", "generated",
        "constraint", "unique", "foreign",
    ];
    for column in columns {
        refused_or_works(&with(column), column, &mut refused, &mut worked);
    }
    #[rustfmt::skip]
    let tables = [
        "Value", "_files", "_quarantine", "_millrace", "sqlite_master", "sqlite_x", "select", "table",
        "index", "main", "temp", "\"a b\"", "\"../x\"", "\"a/b\"", "\"\"", "_delta_log", "order",
        "pragma_table_info", "dbstat", "json_each",
    ];
    for table in tables {
        let text = format!("{PIPELINE}[tables.{table}]\nkey = [\"k\"]\ncolumns = {{ k = \"$.x\" }}\n");
        refused_or_works(&text, table, &mut refused, &mut worked);
    }
    assert!(refused > 10 && worked > 10, "{refused} refused, {worked} worked");
    crate::figures::tell(11, "columns and tables", &[("refused", refused), ("worked", worked)]);
}

fn refused_or_works(text: &str, name: &str, refused: &mut u64, worked: &mut u64) {
    let place = Hostile::with(text);
    let checked = place.said(&["check"]);
    place.put(b"x.json", b"{\"id\":\"a\",\"v\":1,\"x\":\"b\"}");
    let run = place.said(&["run", "--once"]);
    match checked.code {
        Some(2) => {
            assert!(
                checked.err.contains("hostile.toml:") || checked.err.contains("cannot be mirrored"),
                "{name}: {}",
                checked.err
            );
            assert_eq!(run.code, Some(2), "{name}: check refuses it, run does not: {}{}", run.out, run.err);
            *refused += 1;
        }
        Some(0) => {
            assert_eq!(run.code, Some(0), "{name}: {}{}", run.out, run.err);
            assert_eq!(place.rows("value").len(), 1, "{name}");
            assert_eq!(place.mirror("select id from value where id = 'a'").len(), 1, "{name}");
            place.verified();
            *worked += 1;
        }
        other => panic!("{name}: {other:?} {}", checked.err),
    }
}

/// Members whose names differ by case alone feed different columns.
#[test]
fn row_11_members_that_differ_by_case() {
    let text = PIPELINE.replace("id = \"$.id\"\n", "id = \"$.id\"\nupper = \"$.ID\"\nmixed = \"$.Id\"\n");
    let place = Hostile::with(&text);
    place.put(b"x.json", b"{\"ID\":\"upper\",\"id\":\"lower\",\"Id\":\"mixed\",\"iD\":\"nobody\"}");
    place.run_once(0);
    let rows = place.rows("value");
    let cells: Vec<&str> = rows["lower"][..3].iter().map(|c| c.as_deref().unwrap()).collect();
    assert_eq!(cells, ["lower", "upper", "mixed"]);
}
