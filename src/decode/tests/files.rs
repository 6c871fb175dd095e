//! Documents in all their arrangements, and where reading goes on after a bad one.

use super::super::{Guide, Reader};
use super::{Item, LIMITS, briefs, decode, items};
use crate::batch::{Chunk, Position};
use crate::pipeline::model::Limits;

#[test]
fn every_arrangement_of_documents() {
    let two = ["{\"a\":1}", "{\"a\":2}"];
    for text in [
        "{\"a\":1}{\"a\":2}",
        "{\"a\":1}\n{\"a\":2}\n",
        "  {\"a\":1}\r\n\r\n\t{\"a\":2}  ",
        "[{\"a\":1},{\"a\":2}]",
        "[\n{\"a\":1}\n,\n{\"a\":2}\n]\n",
        "[]{\"a\":1}[ ][{\"a\":2}]",
        "\u{feff}{\"a\":1} {\"a\":2}",
        "\u{feff}[{\"a\":1}, {\"a\":2}]",
    ] {
        assert_eq!(briefs("x.json", text.as_bytes()), two, "{text}");
        assert_eq!(briefs("x.ndjson", text.as_bytes()), two, "{text}");
    }
    let pretty = "{\n  \"a\": 1,\n  \"b\": {\n    \"c\": null\n  }\n}";
    assert_eq!(briefs("x.jsonl", pretty.as_bytes()), [pretty]);
}

#[test]
fn positions_are_exact() {
    let text = "\n{\"a\":1}\n\n[{}, {},\n 7] x\n{}";
    let found: Vec<_> = items(&decode("x.json", text.as_bytes(), LIMITS).chunks)
        .iter()
        .map(|i| (i.position(), i.brief()))
        .collect();
    let at = |offset, line, element| Position { offset, line, element };
    assert_eq!(
        found,
        [
            (at(1, 2, None), "{\"a\":1}".into()),
            (at(11, 4, Some(0)), "{}".into()),
            (at(15, 4, Some(1)), "{}".into()),
            (at(20, 5, Some(2)), "! not an object: a number".into()),
            (at(23, 5, None), "! expected a value at byte 23".into()),
            (at(25, 6, None), "{}".to_string()),
        ]
    );
}

#[test]
fn well_formed_but_no_object() {
    let found = items(&decode("x.json", b"42 \"x\" null true [[1],{}]", LIMITS).chunks);
    let expected = ["a number", "a string", "null", "true or false", "an array"];
    for (item, name) in found.iter().zip(expected) {
        let Item::Bad { reason, text: Some(_), parsed: true, .. } = item else { panic!("{item:?}") };
        assert_eq!(*reason, format!("not an object: {name}"));
    }
    assert_eq!(found.len(), 6);
    assert_eq!(found[5].brief(), "{}");
}

#[test]
fn a_bad_line_costs_no_neighbour() {
    for bad in [
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":\"x",
        "{a}",
        "]",
        "}",
        ",",
        "[",
        "[{},",
        "[1,",
        "nul",
        "\u{1}",
        "{\"a\":1,}",
    ] {
        let text = format!("{{\"a\":1}}\n{bad}\n{{\"a\":2}}\n");
        let found = briefs("x.ndjson", text.as_bytes());
        let good: Vec<_> = found.iter().filter(|b| b.starts_with("{\"a\"")).collect();
        assert_eq!(good, ["{\"a\":1}", "{\"a\":2}"], "{bad}: {found:?}");
        assert!(found.len() > 2, "{bad}: {found:?}");
        assert_eq!(briefs("x.jsonl", text.as_bytes()), found);
    }
    assert_eq!(
        briefs("x.ndjson", b"{\"a\":1} garbage {\"a\":3}\n{\"a\":2}"),
        ["{\"a\":1}", "! expected a value at byte 8", "{\"a\":2}"]
    );
    // The first line is cut off, its neighbour is complete and would also complete it.
    let cut = briefs("x.ndjson", b"{\"a\":\n{\"a\":2}\n");
    assert_eq!(cut, ["! ends in the middle of an object", "{\"a\":2}"]);
    assert_eq!(briefs("x.ndjson", b"[{\"a\":1}\n{\"a\":2}\n")[0], "{\"a\":1}");
    assert_eq!(briefs("x.ndjson", b"[{\"a\":1}\n{\"a\":2}\n")[2], "{\"a\":2}");
}

#[test]
fn a_broken_pretty_document_is_one_bad_part() {
    let broken = "{\n  \"a\": 1,\n  \"l\": [\n    {\n      \"x\": oops\n    }\n  ]\n}\n";
    let text = format!("{broken}{{\"a\":2}}\n{broken}[\n{{\"a\":3}}]");
    let found = items(&decode("x.json", text.as_bytes(), LIMITS).chunks);
    assert_eq!(found.len(), 4, "{found:?}");
    assert_eq!(found[1].brief(), "{\"a\":2}");
    assert_eq!(found[3].brief(), "{\"a\":3}");
    let Item::Bad { reason, text: Some(kept), parsed: false, .. } = &found[0] else { panic!() };
    let at = text.find("oops").unwrap();
    assert_eq!(*reason, format!("expected a value at byte {at}"));
    assert_eq!(kept, broken.trim_end().as_bytes());
    let cut = &text[..broken.len() - 3];
    assert_eq!(briefs("x.json", &cut.as_bytes()[..30]), ["! ends in the middle of an object"]);
}

#[test]
fn a_broken_element_costs_the_elements_of_its_lines() {
    let lines = "[\n{\"a\":1},\n{\"a\":bad},\n{\"a\":3}\n]\n{\"a\":4}";
    let found = items(&decode("x.json", lines.as_bytes(), LIMITS).chunks);
    let brief: Vec<_> = found.iter().map(Item::brief).collect();
    assert_eq!(brief, ["{\"a\":1}", "! expected a value at byte 16", "{\"a\":3}", "{\"a\":4}"]);
    assert_eq!(found[2].position().element, Some(2));
    assert_eq!(found[3].position().element, None);
    let pretty = "[\n  {\"a\": 1},\n  {\"a\": bad},\n  {\"a\": 3}\n]\n{\"a\":4}";
    assert_eq!(
        briefs("x.json", pretty.as_bytes()),
        ["{\"a\": 1}", "! expected a value at byte 22", "{\"a\":4}"]
    );
    assert_eq!(briefs("x.json", b"[{},]{}"), ["{}", "! expected a value at byte 4", "{}"]);
    assert_eq!(briefs("x.json", b"[{}\n{}\n]{}"), ["{}", "! expected `,` or `]` at byte 4", "{}", "{}"]);
    assert_eq!(briefs("x.json", b"[{} {}\n]{}"), ["{}", "! expected `,` or `]` at byte 4", "{}"]);
}

#[test]
fn an_end_in_the_middle() {
    for (text, inside) in [
        ("{", "an object"),
        ("{\"a\"", "an object"),
        ("{\"a\":[1", "an array"),
        ("{\"a\":[1,", "a document"),
        ("{\"a\":[1 ", "an array"),
        ("{\"a\":\"\\u00", "a string"),
        ("{\"a\":tr", "a literal"),
        ("[", "an array"),
        ("[{}", "an array"),
        ("-", "a number"),
        ("fals", "a literal"),
    ] {
        let found = briefs("x.json", text.as_bytes());
        assert_eq!(found.last().unwrap(), &format!("! ends in the middle of {inside}"), "{text}");
    }
}

#[test]
fn empty_files_say_so() {
    for text in ["", " \n\t\r\n ", "\u{feff}", "\u{feff}\n"] {
        let range = decode("x.json", text.as_bytes(), LIMITS);
        assert_eq!(briefs("x.json", text.as_bytes()), ["! empty file"]);
        assert!(range.range.last);
        assert_eq!(range.range.end.offset, text.len() as u64);
        assert_eq!(range.chunks[0].bad[0].position, Position { offset: 0, line: 1, element: None });
    }
    assert!(briefs("x.json", b"[]").is_empty());
}

#[test]
fn utf16_is_one_bad_part() {
    for text in [&b"\xff\xfe{\0}\0\n\0{\0"[..], b"\xfe\xff\0{\0}"] {
        let range = decode("x.json", text, LIMITS);
        assert_eq!(briefs("x.json", text), ["! UTF-16, where UTF-8 is read"]);
        assert_eq!((range.range.end.offset, range.range.last), (text.len() as u64, true));
    }
}

#[test]
fn only_documents_with_invalid_bytes_are_bad() {
    let text = b"{\"a\":\"\xc3\xa9\"}{\"a\":\"\xff\"}{\"a\":\"\xed\xa0\x80\"}{\"a\":\"\\ud800\"}{\"a\":\"\xf0\x9f\x98\x80\"}";
    assert_eq!(
        briefs("x.json", text),
        [
            "{\"a\":\"\u{e9}\"}",
            "! not UTF-8 at byte 16",
            "! not UTF-8 at byte 25",
            "{\"a\":\"\\ud800\"}",
            "{\"a\":\"\u{1f600}\"}"
        ]
    );
}

#[test]
fn depth_and_size_have_limits() {
    let nested = |n: usize| format!("{{\"z\":{}{}}}", "[".repeat(n - 1), "]".repeat(n - 1));
    assert_eq!(briefs("x.json", nested(16).as_bytes()).len(), 1);
    assert_eq!(briefs("x.json", nested(16).as_bytes())[0], nested(16));
    let deep = format!("{}\n{{}}", nested(17));
    assert_eq!(briefs("x.json", deep.as_bytes()), ["! nested deeper than 16 levels at byte 20", "{}"]);
    let limits = Limits { document_bytes: 12, ..LIMITS };
    for (text, fits) in [("{\"a\":\"12345\"}", false), ("{\"a\":\"1234\"}", true), ("{\"a\":1234567", false)]
    {
        for rest in ["", "\n{}"] {
            let found = items(&decode("x.json", format!("{text}{rest}").as_bytes(), limits).chunks);
            let expected = if fits {
                text
            } else if text.len() == 12 {
                ""
            } else {
                "! larger than 12 bytes"
            };
            assert!(found[0].brief().starts_with(expected), "{found:?}");
            assert_eq!(found.len(), 1 + usize::from(!rest.is_empty()));
        }
    }
}

#[test]
fn kept_text_is_capped_between_characters() {
    for shift in 0..4 {
        let text = format!("{{{}\"{}\"", " ".repeat(shift), "\u{1f600}".repeat(40));
        let found = items(&decode("x.json", text.as_bytes(), LIMITS).chunks);
        let Item::Bad { text: Some(kept), .. } = &found[0] else { panic!() };
        assert!(std::str::from_utf8(kept).is_ok() && kept.len() > 60 && kept.len() <= 64);
    }
}

#[test]
fn counts_and_hash_are_of_the_range() {
    let text = b" {\"a\":1,\"a\":2,\"z\":1,\"z\":2,\"b\":{\"c\":1,\"\\u0063\":2}}\n{\"a\":1,\"a\":}\n{} ";
    let range = decode("x.json", text, LIMITS).range;
    assert_eq!((range.events, range.quarantined, range.duplicate_keys), (2, 1, 2));
    assert_eq!(range.content_hash, xxhash_rust::xxh3::xxh3_128(text));
    let event = items(&decode("x.json", text, LIMITS).chunks).remove(0);
    let Item::Event { text, hash, .. } = event else { panic!() };
    assert_eq!(hash, xxhash_rust::xxh3::xxh3_128(text.as_bytes()));
}

/// A block that is full by what it holds, not by its text, makes the next one larger, but not without end: its places
/// could pass 4 GiB.
#[test]
fn blocks_have_a_bound_however_dense_the_text() {
    let guide = Guide::new(&super::shape());
    for line in ["{}\n", "{\"id\":1}\n"] {
        let text = line.repeat((10 << 20) / line.len());
        for threads in [1, 2] {
            let mut reader = Reader::in_memory("a.ndjson", text.clone().into_bytes(), LIMITS).unwrap();
            let mut walked = Vec::new();
            while !reader.is_done() {
                let look = |chunk: &Chunk| chunk.text.len();
                walked.extend(reader.next_with(&guide, 0, 64 << 20, threads, &look).unwrap().1);
            }
            let largest = walked.iter().max();
            assert!(largest.is_some_and(|bytes| *bytes <= 5 << 20), "{line:?}: {largest:?}");
        }
    }
}
