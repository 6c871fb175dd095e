//! Large ones: strings of many megabytes, events of a hundred thousand members, deep nesting, rows that multiply.

use super::place::{Hostile, peak_of};
use super::tally::Tally;
use super::{PIPELINE, taken};
use crate::figures::tell;
use crate::scale::pick;
use crate::support::place::{Place, order};

/// A string of 5 MB (long: 100 MB), as it stands and all escapes, arrives as it was, in the mirror too.
#[test]
fn row_11_long_strings() {
    let size: usize = pick(5_000_000, 100_000_000);
    let limits = "[limits]\ndocument_bytes = \"1000 MiB\"\n[tables.value]";
    let place = Hostile::with(&PIPELINE.replacen("[tables.value]", limits, 1));
    let event =
        |id: &str, text: &str| format!("{{\"id\":\"{id}\",\"v\":\"{text}\"}}\n{{\"id\":\"{id} next\"}}");
    place.put(b"plain.ndjson", event("plain", &"x".repeat(size)).as_bytes());
    place.put(b"escaped.json", event("escaped", &"\\u00e9\\n".repeat(size / 8)).as_bytes());
    place.put(b"wide.json", event("wide", &"\u{1f600}".repeat(size / 4)).as_bytes());
    place.put(
        b"nobody.json",
        event("nobody", "y").replace("\"v\":\"y", &format!("\"x\":\"{}", "y".repeat(size))).as_bytes(),
    );
    place.run_once(0);
    let rows = place.rows("value");
    assert_eq!(rows.len(), 8);
    let text = |id: &str| rows[id][1].as_deref().unwrap_or("-");
    let mut tally = Tally::default();
    tally.try_one(text("plain") == "x".repeat(size), || "the plain one".into());
    tally.try_one(text("escaped") == "\u{e9}\n".repeat(size / 8), || "the escaped one".into());
    tally.try_one(text("wide") == "\u{1f600}".repeat(size / 4), || "the wide one".into());
    tally.try_one(text("nobody") == "-", || "the one that nobody asks for".into());
    let mirrored = place
        .mirror("select id, length(cast(t as blob)) as bytes from value where t is not null order by id");
    let bytes: Vec<u64> = mirrored.iter().map(|r| r["bytes"].as_u64().unwrap()).collect();
    assert_eq!(bytes, [size as u64 / 8 * 3, size as u64, size as u64]);
    tally.tell("long strings", &[("bytes", size as u64)]);
}

/// Beyond the limit it is quarantined, and what stands behind it arrives.
#[test]
fn row_11_documents_beyond_the_limit() {
    let limits = "[limits]\ndocument_bytes = \"1 MiB\"\n[tables.value]";
    let place = Hostile::with(&PIPELINE.replacen("[tables.value]", limits, 1));
    let event = |id: &str, size: usize| {
        let frame = format!("{{\"id\":\"{id}\",\"v\":\"\"}}").len();
        format!("{{\"id\":\"{id}\",\"v\":\"{}\"}}\n", "x".repeat(size - frame))
    };
    let file = [event("fits", 1 << 20), event("beyond", (1 << 20) + 1), event("after", 100)].concat();
    place.put(b"x.ndjson", file.as_bytes());
    place.put(b"y.json", file.replace("\"}", " y\"}").replacen("x", "", 6).as_bytes());
    place.run_once(3);
    let found = place.quarantine();
    assert!(
        found.iter().any(|(file, why)| file == "x.ndjson" && why == "larger than 1048576 bytes"),
        "{found:?}"
    );
    let ids = place.ids();
    assert!(["fits", "after"].iter().all(|id| ids.iter().any(|i| i == id)), "{ids:?}");
    assert!(!ids.iter().any(|i| i == "beyond"), "{ids:?}");
}

/// A hundred thousand members: unknown ones, the same one again and again, and names that share a beginning.
#[test]
fn row_11_very_wide_events() {
    let width = 100_000;
    let members = |name: &dyn Fn(usize) -> String| -> String {
        (0..width).map(|n| format!("\"{}\":{n},", name(n))).collect()
    };
    let long = "v".repeat(200);
    let events = [
        ("unknown", members(&|n| format!("member {n}")), 0),
        ("same", members(&|_| "v".into()), width as u64),
        ("escaped", members(&|n| if n % 2 == 0 { "v".into() } else { "\\u0076".into() }), width as u64),
        ("alike", members(&|n| format!("{long}{n}")), 0),
        ("empty", members(&|_| String::new()), 0),
        ("array", format!("\"x\":[{}{{}}],", "{\"v\":[]},".repeat(width)), 0),
    ];
    let place = Hostile::new();
    for (name, members, _) in &events {
        let event = format!("{{{members}\"id\":\"{name}\",\"v\":\"last\"}}\n{{\"id\":\"{name} next\"}}\n");
        place.put(format!("{name}.ndjson").as_bytes(), event.as_bytes());
    }
    place.run_once(0);
    let rows = place.rows("value");
    assert_eq!(rows.len(), 2 * events.len());
    let mut tally = Tally::default();
    let counted = place.mirror("select file, duplicate_keys as n from _files order by file");
    for (name, _, duplicates) in &events {
        let file = format!("{name}.ndjson");
        let row = counted.iter().find(|r| r["file"] == file.as_str()).unwrap();
        let right = rows[*name][1].as_deref() == Some("last") && row["n"].as_u64() == Some(*duplicates);
        tally.try_one(right, || format!("{name}: {row} {:?}", rows[*name]));
    }
    tally.tell("wide events", &[("members", width as u64)]);
}

/// A hundred thousand levels, of every kind and in every place, open or closed: quarantined, no stack is used up.
#[test]
fn row_11_deep_nesting() {
    let depth = 100_000;
    let mut tally = Tally::default();
    for (open, close) in
        [("[", "]"), ("{\"v\":", "}"), ("[{\"v\":", "}]"), ("[[],", "]"), ("{\"a\":{},\"v\":", "}")]
    {
        let (open, close) = (open.repeat(depth), close.repeat(depth));
        for deep in [format!("{open}1{close}"), open.clone(), format!("{open}}}")] {
            for text in [
                deep.clone(),
                format!("{{\"id\":\"case\",\"v\":{deep}}}"),
                format!("{{\"x\":{deep},\"id\":\"case\"}}"),
            ] {
                for name in ["x.json", "x.ndjson", "x.json.gz"] {
                    let file = format!("{{\"id\":\"before\"}}\n{text}\n{{\"id\":\"after\"}}\n");
                    let taken = taken(name, &super::archives::packed(name, file.as_bytes()));
                    let arrived = ["before", "after", "case"].map(|id| taken.times(id)) == [1, 1, 0];
                    let told = taken.bad.iter().any(|b| b.contains("nested deeper than 128 levels"));
                    tally.try_one(arrived && told, || format!("{name}: {open:.10} {:?}", taken.bad));
                }
            }
        }
    }
    tally.tell("deep nesting", &[("levels", depth as u64)]);
}

/// 40 items an event, each of which repeats 4 MB of the order: 160 MB of rows an event, 1.3 GB together in the long form.
#[test]
fn row_11_events_that_ask_for_much_memory_are_taken_a_few_at_a_time() {
    let place = Place::quick();
    let items: Vec<String> = (0..40).map(|n| format!("I{n}")).collect();
    let items: Vec<&str> = items.iter().map(String::as_str).collect();
    let long = "x".repeat(4 << 20);
    let orders = pick(3, 8);
    let lines: Vec<String> =
        (0..orders).map(|n| order(&format!("O{n}"), "10:00:00", &format!("{n}{long}"), &items)).collect();
    place.put("large.ndjson", lines.join("\n"));
    let mut run = place.start(&["run", "--once", "--no-mirror", "--json"]);
    let peak = peak_of(&mut run);
    assert_eq!(run.ended(1).code(), Some(0), "{}", run.err());
    assert!(run.out().matches("\"type\":\"batch\"").count() > 1, "{}", run.out());
    place.expect(&["status", "--json"], 0);
    let again = place.expect(&["run", "--once", "--no-mirror"], 0).out;
    assert!(again.contains("nothing new"), "{again}");
    place.expect(&["verify"], 0);
    tell(11, "rows that multiply", &[("rows", 40 * orders), ("peak MB", peak)]);
}
