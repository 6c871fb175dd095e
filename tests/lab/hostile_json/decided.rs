//! What the grammar leaves open, or a stream of events decides otherwise than a parser of one text: the list, and that
//! it is so. Each is tried end to end; where the page has the list, it is this one.

use std::fs;
use std::path::Path;

use super::place::Hostile;
use super::tally::Tally;
use crate::support::oracle::Cell;

enum Becomes {
    /// One row with these columns (text, int64, float64, decimal(18,4)); `-` is null.
    Row(&'static str, &'static str, &'static str, &'static str),
    /// So many events arrive, and nothing is refused.
    Events(usize),
    /// So many events arrive, and there is one row of quarantine, for this reason.
    Refused(usize, &'static str),
}
use Becomes::*;

struct Decision {
    what: &'static str,
    /// For the page.
    so: &'static str,
    /// The file `x.json`; `V:` is followed by the value of an event's member instead.
    text: &'static [u8],
    becomes: Becomes,
}

const fn decision(what: &'static str, text: &'static [u8], so: &'static str, becomes: Becomes) -> Decision {
    Decision { what, so, text, becomes }
}

/// A strict text column and a strict number, where a value that does not fit costs the event.
const STRICT: &str = r#"version = 1
name = "strict"
source = { path = "input_events" }
event = { key = "$.id", sequence = { path = "$.n", type = "int64", optional = true } }
[tables.value]
key = ["id"]
columns = { id = "$.id", t = "$.t", f = { path = "$.f", type = "float64" }, i = { path = "$.i", type = "int64" }, m = { path = "$.m", type = "decimal(18,4)" } }
"#;

const LENIENT: [Decision; 33] = [
    decision(
        "`1e400`",
        b"V:1e400",
        "JSON; text keeps the digits, no number type takes it",
        Row("1e400", "-", "-", "-"),
    ),
    decision("`-1e400`", b"V:-1e400", "as above", Row("-1e400", "-", "-", "-")),
    decision(
        "`1e-400`",
        b"V:1e-400",
        "float64 and decimals round to 0, int64 refuses the fraction",
        Row("1e-400", "-", "0", "0.0000"),
    ),
    decision(
        "an exponent of 20 digits",
        b"V:1e99999999999999999999",
        "as `1e400`, in the same time",
        Row("1e99999999999999999999", "-", "-", "-"),
    ),
    decision(
        "`0e99999999999999999999`",
        b"V:0e99999999999999999999",
        "zero",
        Row("0e99999999999999999999", "0", "0", "0.0000"),
    ),
    decision(
        "`-0`",
        b"V:-0",
        "0 as int64 and decimal, -0 as float64, `-0` as text",
        Row("-0", "0", "-0", "0.0000"),
    ),
    decision(
        "2^53+1",
        b"V:9007199254740993",
        "exact as int64, decimal and text; float64 is the nearest",
        Row("9007199254740993", "9007199254740993", "9007199254740992", "-"),
    ),
    decision(
        "2^63",
        b"V:9223372036854775808",
        "no int64; the nearest float64; exact as text",
        Row("9223372036854775808", "-", "9223372036854776000", "-"),
    ),
    decision(
        "`1.0` and `1e2` as int64",
        b"V:1e2",
        "whole numbers, however written",
        Row("1e2", "100", "100", "100.0000"),
    ),
    decision(
        "`0.00015` as decimal(18,4)",
        b"V:0.00015",
        "rounded half to even from the digits",
        Row("0.00015", "-", "0.00015", "0.0002"),
    ),
    decision(
        "`\"010\"`, `\"+1\"` as numbers",
        b"V:\"+010\"",
        "numeric strings may have a plus and leading zeros",
        Row("+010", "10", "10", "10.0000"),
    ),
    decision(
        "`\"NaN\"`, `\"Infinity\"` as numbers",
        b"V:\"Infinity\"",
        "text only",
        Row("Infinity", "-", "-", "-"),
    ),
    decision(
        "`\"\\u0000\"`",
        b"V:\"a\\u0000b\"",
        "kept, also in the mirror (SQLite's own functions stop there)",
        Row("a\0b", "-", "-", "-"),
    ),
    decision(
        "noncharacters (U+FFFE, U+FDD0)",
        b"V:\"\\uFFFE\\uFDD0\"",
        "kept",
        Row("\u{fffe}\u{fdd0}", "-", "-", "-"),
    ),
    decision(
        "half of a surrogate pair where text may be null",
        b"V:\"\\ud800\"",
        "null (`on_error = \"null\"`)",
        Row("-", "-", "-", "-"),
    ),
    decision(
        "half of a surrogate pair that nobody asks for",
        b"{\"id\":\"x\",\"x\":\"\\udc00\",\"\\ud800\":1}",
        "JSON: the event arrives",
        Events(1),
    ),
    decision(
        "a name twice in an object",
        b"{\"id\":\"no\",\"id\":\"x\",\"v\":1,\"v\":2}",
        "the last counts; counted as a duplicate key",
        Row("2", "2", "2", "2.0000"),
    ),
    decision(
        "a name twice, once escaped",
        b"{\"id\":\"x\",\"v\":1,\"\\u0076\":2}",
        "the same name: the last counts",
        Row("2", "2", "2", "2.0000"),
    ),
    decision(
        "names that differ by case",
        b"{\"id\":\"x\",\"v\":1,\"V\":2,\"ID\":3}",
        "different names",
        Row("1", "1", "1", "1.0000"),
    ),
    decision(
        "a container where a scalar belongs",
        b"V:{\"v\":1}",
        "does not fit: null, or the event is refused",
        Row("-", "-", "-", "-"),
    ),
    decision("a UTF-8 BOM where the file begins", b"\xef\xbb\xbf{\"id\":\"x\"}", "passed over", Events(1)),
    decision(
        "a UTF-8 BOM anywhere else",
        b"{\"id\":\"x\"}\n\xef\xbb\xbf{\"id\":\"y\"}\n{\"id\":\"z\"}",
        "refused: no white space",
        Refused(2, "expected a value"),
    ),
    decision(
        "UTF-16 with a BOM",
        b"\xff\xfe{\0}\0",
        "refused whole, one row of quarantine",
        Refused(0, "UTF-16"),
    ),
    decision("UTF-16 without a BOM", b"{\0}\0", "refused", Refused(0, "expected a member name")),
    decision(
        "invalid, overlong or surrogate UTF-8, also in what nobody asks for",
        b"{\"id\":\"x\",\"x\":\"\xc0\xaf\"}",
        "refused, with the byte",
        Refused(0, "not UTF-8 at byte"),
    ),
    decision(
        "documents without anything between them",
        b"{\"id\":\"x\"}{\"id\":\"y\"}",
        "all of them arrive",
        Events(2),
    ),
    decision("an array of events", b"[{\"id\":\"x\"},{\"id\":\"y\"}]", "each element is an event", Events(2)),
    decision(
        "an array in an array",
        b"[[{\"id\":\"x\"}]]",
        "refused: an array is no event",
        Refused(0, "not an object: an array"),
    ),
    decision(
        "a comma behind the last element",
        b"[{\"id\":\"x\"},]",
        "told; the elements arrive",
        Refused(1, "expected a value"),
    ),
    decision(
        "an array that does not end",
        b"[{\"id\":\"x\"},{\"id\":\"y\"}",
        "told; the elements arrive",
        Refused(2, "ends in the middle of an array"),
    ),
    decision(
        "garbage behind a document",
        b"{\"id\":\"x\"}garbage\n{\"id\":\"y\"}",
        "refused to the line's end; both documents arrive",
        Refused(2, "expected a value"),
    ),
    decision("a scalar, a string, `null`", b"null", "refused: no event", Refused(0, "not an object: null")),
    decision("an empty file, or white space only", b" \n", "one row of quarantine", Refused(0, "empty file")),
];

const STRICTLY: [Decision; 5] = [
    decision(
        "half of a surrogate pair in a text column",
        b"{\"id\":\"x\",\"t\":\"a\\ud800\"}",
        "the event is refused, the column named",
        Refused(0, "surrogate"),
    ),
    decision(
        "`1e400` in a float64 column",
        b"{\"id\":\"x\",\"f\":1e400}",
        "the event is refused",
        Refused(0, "is not float64"),
    ),
    decision(
        "2^63 in an int64 column",
        b"{\"id\":\"x\",\"i\":9223372036854775808}",
        "the event is refused",
        Refused(0, "is not int64"),
    ),
    decision(
        "19 digits in a decimal(18,4) column",
        b"{\"id\":\"x\",\"m\":99999999999999.99995}",
        "the event is refused",
        Refused(0, "is not decimal(18,4)"),
    ),
    decision(
        "129 containers inside each other",
        b"D:129",
        "refused beyond `limits.depth`, also where nobody asks",
        Refused(0, "nested deeper than 128 levels"),
    ),
];

#[test]
fn row_11_what_the_grammar_leaves_open_is_decided() {
    let mut tally = Tally::default();
    for (pipeline, decisions) in [(super::PIPELINE, &LENIENT[..]), (STRICT, &STRICTLY[..])] {
        // One run for all: each in a file of its own, told apart by the id.
        let place = Hostile::with(pipeline);
        for (n, d) in decisions.iter().enumerate() {
            place.put(format!("{n}.json").as_bytes(), &file(n, d.text));
        }
        place.run_once(3);
        let (rows, quarantine) = (place.rows("value"), place.quarantine());
        for (n, d) in decisions.iter().enumerate() {
            let name = format!("{n}.json");
            let bad: Vec<&str> =
                quarantine.iter().filter(|(f, _)| *f == name).map(|(_, why)| &why[..]).collect();
            let arrived: Vec<_> = rows.iter().filter(|(id, _)| id.ends_with(&format!("-{n}"))).collect();
            let as_decided = match d.becomes {
                Row(t, i, f, m) => {
                    let cells = |row: &[Cell]| -> Vec<String> {
                        row.iter().map(|c| c.clone().unwrap_or_else(|| "-".into())).collect()
                    };
                    arrived.len() == 1 && cells(&arrived[0].1[1..5]) == [t, i, f, m] && bad.is_empty()
                }
                Events(count) => arrived.len() == count && bad.is_empty(),
                Refused(count, reason) => arrived.len() == count && bad.len() == 1 && bad[0].contains(reason),
            };
            tally.try_one(as_decided, || format!("{}: {arrived:?} {bad:?}", d.what));
        }
        place.verified();
    }
    tally.tell("decided", &[]);
}

/// The text with ids that no other file has.
fn file(n: usize, text: &[u8]) -> Vec<u8> {
    if text == b"D:129" {
        return format!("{{\"id\":\"x-{n}\",\"x\":{}{}}}", "[".repeat(128), "]".repeat(128)).into_bytes();
    }
    let text = match text.strip_prefix(b"V:") {
        Some(value) => [b"{\"id\":\"x\",\"v\":", value, b"}"].concat(),
        None => text.to_vec(),
    };
    let mut out = Vec::new();
    for (at, byte) in text.iter().enumerate() {
        out.push(*byte);
        let id =
            [&b"\"id\":\"x"[..], b"\"id\":\"y", b"\"id\":\"z"].iter().any(|id| text[..=at].ends_with(id));
        if id {
            out.extend_from_slice(format!("-{n}").as_bytes());
        }
    }
    out
}

/// The page's list, once it has one, is this one.
#[test]
fn row_11_the_page_lists_what_is_decided() {
    let lines: Vec<String> =
        LENIENT.iter().chain(&STRICTLY).map(|d| format!("| {} | {} |", d.what, d.so)).collect();
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/RELIABILITY.md");
    let page = fs::read_to_string(page).unwrap_or_default();
    let Some((_, list)) = page.split_once("<!-- json-decisions:begin -->") else {
        println!("skipped: docs/RELIABILITY.md has no list of decisions; it would be\n{}", lines.join("\n"));
        return;
    };
    let list = list.split("<!-- json-decisions:end -->").next().unwrap_or_default();
    let listed: Vec<&str> = list.lines().filter(|l| l.starts_with("| ")).skip(1).collect();
    assert_eq!(listed, lines, "the page lists other decisions");
}
