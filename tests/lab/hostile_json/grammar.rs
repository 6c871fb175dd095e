//! What is JSON and what is not: every class in every position, every short number, every byte in every place.

use serde::de::IgnoredAny;

use super::cases::{Case, values, wholes};
use super::tally::Tally;
use super::{Taken, taken};
use crate::scale::pick;
use crate::support::json::{Number, parse};

const BEFORE: &str = "{\"id\":\"before\"}";
const AFTER: &str = "{\"id\":\"after\",\"v\":[1,{}]}";

/// Where a line of text stands in a file.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Position {
    Alone(&'static str),
    /// Between two good documents, a line each.
    Lines(&'static str),
    /// Between two good elements of an array.
    Element(&'static str),
}

const ALONE: [Position; 4] = [
    Position::Alone("x.json"),
    Position::Alone("x.ndjson"),
    Position::Alone("x.json.gz"),
    Position::Alone("x.jsonl.zst"),
];
const AMONG: [Position; 4] = [
    Position::Lines("x.ndjson"),
    Position::Lines("x.json"),
    Position::Lines("x.ndjson.gz"),
    Position::Lines("x.json.zst"),
];
const ELEMENTS: [Position; 2] = [Position::Element("x.json"), Position::Element("x.ndjson")];

impl Position {
    /// The file with the text in this position, decoded.
    fn taken(self, text: &[u8], tally: &mut Tally) -> Taken {
        let (name, parts) = match self {
            Position::Alone(name) => (name, vec![text]),
            Position::Lines(name) => {
                (name, vec![BEFORE.as_bytes(), b"\n", text, b"\n", AFTER.as_bytes(), b"\n"])
            }
            Position::Element(name) => {
                (name, vec![b"[\n", BEFORE.as_bytes(), b",\n", text, b",\n", AFTER.as_bytes(), b"\n]\n"])
            }
        };
        let file = super::archives::packed(name, &parts.concat());
        let taken = taken(name, &file);
        let neighbours = usize::from(!matches!(self, Position::Alone(_)));
        let shown = String::from_utf8_lossy(&text[..text.len().min(200)]);
        for id in ["before", "after"] {
            let say = || format!("{id} is lost: {self:?} {shown}\n{taken:?}");
            tally.expect(taken.times(id) == neighbours, say);
        }
        taken
    }
}

/// The ways to put a value's text into an event.
fn events(text: &[u8], is_string: bool) -> Vec<Vec<u8>> {
    let around = |head: &[u8], tail: &[u8]| [head, text, tail].concat();
    let mut all = vec![
        around(b"{\"id\":\"case\",\"v\":", b"}"),
        around(b"{\"v\":", b",\"id\":\"case\"}"),
        around(b"{\"id\":\"case\",\"nobody asks\":", b"}"),
        around(b"{\"id\":\"case\",\"x\":[0,{\"y\":", b"}]}"),
    ];
    if is_string {
        all.push(around(b"{", b":0,\"id\":\"case\"}"));
    }
    all
}

/// What two readers that are not ours say about a text.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| serde_json::from_str::<IgnoredAny>(t).is_ok())
}

#[test]
fn row_11_every_class_in_every_position() {
    let (mut tally, mut invalid) = (Tally::default(), 0);
    for Case { class, text, valid } in values() {
        let string = class == "strings" || class == "utf-8";
        for event in events(&text, string && text.first() == Some(&b'"')) {
            let shown = String::from_utf8_lossy(&event[..event.len().min(200)]);
            assert!(
                is_json(&event) == valid || class == "too deep",
                "the generator is wrong about {class}: {shown}"
            );
            for position in ALONE.into_iter().chain(AMONG).chain(ELEMENTS) {
                let taken = position.taken(&event, &mut tally);
                let arrived = (taken.times("case"), !taken.bad.is_empty());
                let right = arrived == (usize::from(valid), !valid);
                tally.try_one(right, || format!("{class}: {position:?} {shown}\n{taken:?}"));
                invalid += u64::from(!valid);
            }
        }
    }
    for whole in wholes() {
        let text: Vec<u8> = replaced(&whole.text, b"ID", b"case");
        for position in ALONE.into_iter().chain(AMONG) {
            let taken = position.taken(&text, &mut tally);
            let arrived = (taken.times("case"), !taken.bad.is_empty());
            let right = arrived == (whole.documents, whole.bad);
            tally.try_one(right, || format!("{position:?} {}\n{taken:?}", String::from_utf8_lossy(&text)));
            invalid += u64::from(whole.bad);
        }
    }
    tally.tell("classes in every position", &[("invalid", invalid)]);
}

fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(after) => {
                out.extend_from_slice(to);
                rest = after;
            }
            None => {
                out.push(*first);
                rest = after;
            }
        }
    }
    out
}

/// A BOM is welcome where a file begins, and nowhere else.
#[test]
fn row_11_byte_order_marks() {
    let mut tally = Tally::default();
    let doc = b"\xef\xbb\xbf{\"id\":\"case\"}";
    for position in ALONE {
        let taken = position.taken(doc, &mut tally);
        let right = taken.times("case") == 1 && taken.bad.is_empty();
        tally.try_one(right, || format!("{position:?}: {taken:?}"));
    }
    for position in AMONG.into_iter().chain(ELEMENTS) {
        let taken = position.taken(doc, &mut tally);
        let right = taken.times("case") == 0 && !taken.bad.is_empty();
        tally.try_one(right, || format!("{position:?}: {taken:?}"));
    }
    for (text, reason) in [
        (&b"\xef\xbb\xbf"[..], "empty file"),
        (b"\xef\xbb\xbf \n", "empty file"),
        (b"", "empty file"),
        (b" \r\n\t", "empty file"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"\xfe\xff\0{\0}", "UTF-16"),
    ] {
        for position in ALONE {
            let taken = position.taken(text, &mut tally);
            let right = taken.ids.is_empty() && taken.bad.len() == 1 && taken.bad[0].contains(reason);
            tally.try_one(right, || format!("{position:?}: {taken:?}"));
        }
    }
    tally.tell("byte order marks", &[]);
}

/// Every text over the characters of numbers, up to a length.
#[test]
fn row_11_every_short_number() {
    let alphabet = b"01.-+eE ";
    let longest = pick(5, 7);
    let (mut tally, mut numbers) = (Tally::default(), 0);
    let mut all: Vec<Vec<u8>> = vec![Vec::new()];
    for _ in 0..longest {
        all = all.iter().flat_map(|t| alphabet.iter().map(move |b| [&t[..], &[*b]].concat())).collect();
        // A file a thousand: the neighbours of each are the others.
        for part in all.chunks(1000) {
            let line = |t: &Vec<u8>| [b"{\"id\":\"", &t[..], b"\",\"v\":", t, b"}\n"].concat();
            let file: Vec<u8> = part.iter().flat_map(line).collect();
            let taken = self::taken("x.ndjson", &file);
            let text = |t: &Vec<u8>| String::from_utf8(t.clone()).unwrap();
            let valid: Vec<String> =
                part.iter().map(text).filter(|t| Number::read(t.trim_matches(' ')).is_some()).collect();
            let bad = part.len() - valid.len();
            for text in part.iter().map(text) {
                let right = taken.times(&text) == usize::from(valid.contains(&text));
                tally.try_one(right, || format!("{text:?} as a number"));
            }
            tally.expect(taken.bad.len() == bad, || format!("{} refused of {bad}", taken.bad.len()));
            numbers += valid.len() as u64;
        }
    }
    tally.tell("every short number", &[("numbers", numbers)]);
}

/// One byte put in, put over another, or taken out, in every place of a small event: as two other readers say.
#[test]
fn row_11_every_byte_in_every_place() {
    let event = "{\"id\":\"case\",\"v\":[-1.5e3,{\"a\\u00e9\u{e9}\\n\":null},true]}".as_bytes();
    let (mut tally, mut accepted) = (Tally::default(), 0);
    for at in 0..=event.len() {
        for byte in 0..=255u8 {
            let put_in = [&event[..at], &[byte], &event[at..]].concat();
            let over = at < event.len();
            let put_over = over.then(|| [&event[..at], &[byte], &event[at + 1..]].concat());
            let taken_out = (over && byte == 0).then(|| [&event[..at], &event[at + 1..]].concat());
            for text in [Some(put_in), put_over, taken_out].into_iter().flatten() {
                let valid = is_json(&text);
                // A string of half surrogates is JSON to the one reader, nothing to the other; no such thing here.
                assert_eq!(valid, parse(&text).is_some(), "the readers differ: {text:?}");
                let name = if byte % 2 == 0 { "x.json" } else { "x.ndjson" };
                let taken = taken(name, &[BEFORE.as_bytes(), b"\n", &text, b"\n", AFTER.as_bytes()].concat());
                let whole = taken.ids.len() == 3 && taken.bad.is_empty();
                let arrived = (taken.times("before"), taken.times("after")) == (1, 1);
                let say = || format!("{}\n{taken:?}", String::from_utf8_lossy(&text));
                tally.try_one(whole == valid && arrived, say);
                accepted += u64::from(valid);
            }
        }
    }
    tally.tell("every byte in every place", &[("valid", accepted)]);
}

/// Every pair of bytes inside a string, and in the long form with every third one of some.
#[test]
fn row_11_every_pair_of_bytes_in_a_string() {
    let thirds: &[&[u8]] = pick(&[b""], &[b"", b"\x80", b"\xbf", b"\"", b"\\", b"n", b"\n", b"0"]);
    let mut tally = Tally::default();
    for third in thirds {
        for first in 0..=255u8 {
            let texts =
                (0..=255u8).map(|second| [b"{\"v\":\"", &[first, second][..], third, b"\"}"].concat());
            // A line's end ends more than a string, and a bracket behind a quote ends the document too.
            let ends_early =
                |t: &Vec<u8>| t.contains(&b'\n') || t[6..t.len() - 2].windows(2).any(|w| w == b"\"}");
            let texts: Vec<Vec<u8>> = texts.filter(|t| !ends_early(t)).collect();
            let file: Vec<u8> = texts.iter().flat_map(|t| [&t[..], b"\n"].concat()).collect();
            let valid = texts.iter().filter(|t| is_json(t)).count();
            let taken = self::taken("x.ndjson", &file);
            // Each by itself if the file's sums are not right, to say which.
            let sums = taken.ids.len() == valid && taken.bad.len() == texts.len() - valid;
            for text in &texts {
                let right = sums || (self::taken("x.ndjson", text).ids.len() == 1) == is_json(text);
                tally.try_one(right, || format!("{:?}", String::from_utf8_lossy(text)));
            }
            tally.expect(sums || texts.is_empty(), || format!("strings that begin with {first:#x}"));
        }
    }
    tally.tell("every pair of bytes in a string", &[]);
}
