//! Bytes to documents: the same documents, values and bad parts as two other readers find, however the file is
//! packed and cut.

use std::io::Write;

use millrace::batch::{Chunk, Kind, NONE, Position, ValueId};
use millrace::decode::{Guide, Range, Reader, decode_all};
use millrace::pipeline::model::{Limits, Shape, ShapeNode};
use millrace::text::unescape;
use serde::de::IgnoredAny;

use crate::support::json::{Json, documents, parse};

const LIMITS: Limits = Limits {
    depth: 100,
    document_bytes: 1 << 20,
    file_bytes: 1 << 26,
    ratio: 200,
    quarantine_text_bytes: 64,
    quarantine_documents: 100,
};
const SMALL: Limits =
    Limits { depth: 3, document_bytes: 40, file_bytes: 1000, quarantine_text_bytes: 8, ..LIMITS };

/// The first byte says how the file is named, packed and cut; the rest is what stands in it.
pub fn run(data: &[u8]) {
    let Some((&mode, text)) = data.split_first() else { return };
    let lines = mode & 1 == 1;
    let (plain, gz, zst) = match lines {
        true => ("x.ndjson", "x.jsonl.gz", "x.ndjson.zst"),
        false => ("x.json", "x.json.gz", "x.json.zst"),
    };
    match (mode >> 1) & 3 {
        // Whatever the bytes are, they are no panic, and no cut shows.
        0 => cut_anyhow(gz, text, mode),
        1 => cut_anyhow(zst, text, mode),
        2 => {
            cut_anyhow(plain, text, mode);
            as_others_read_it(plain, text);
        }
        _ => {
            let cut = text.len() * usize::from(mode >> 3) / 32;
            let expected = items(&whole(plain, text, LIMITS));
            assert_eq!(items(&whole(gz, &gzip(text, cut), LIMITS)), expected, "as gzip of two members");
            assert_eq!(items(&whole(zst, &zstd(text, cut), LIMITS)), expected, "as zstd of two frames");
        }
    }
}

fn gzip(text: &[u8], cut: usize) -> Vec<u8> {
    // No text at all would be a file of no bytes otherwise: both are "empty".
    let member = |part: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(part).unwrap();
        encoder.finish().unwrap()
    };
    [member(&text[..cut]), member(&text[cut..])].concat()
}

fn zstd(text: &[u8], cut: usize) -> Vec<u8> {
    let skippable = b"\x50\x2a\x4d\x18\x03\x00\x00\x00abc";
    let frame = |part: &[u8]| zstd::bulk::compress(part, 1).unwrap();
    [&frame(&text[..cut])[..], skippable, &frame(&text[cut..])].concat()
}

/// `$.a` and `$.\u{e9}"n` (scalars), `$.b.c`, `$.b.d`, `$.l[*].x`, `$.l[*].m[*]`
pub fn shape() -> Shape {
    let node = |fields: &[(&str, u32)], element: Option<u32>| ShapeNode {
        fields: fields.iter().map(|(n, i)| ((*n).into(), *i)).collect(),
        element,
        scalar: fields.is_empty() && element.is_none(),
    };
    Shape {
        nodes: vec![
            node(&[("a", 1), ("b", 2), ("l", 3), ("\u{e9}\"n", 1)], None),
            node(&[], None),
            node(&[("c", 1), ("d", 1)], None),
            node(&[], Some(4)),
            node(&[("x", 1), ("m", 5)], None),
            node(&[], Some(1)),
        ],
    }
}

fn whole(name: &str, bytes: &[u8], limits: Limits) -> Range {
    decode_all(&shape(), limits, name, bytes.to_vec()).unwrap()
}

#[derive(Debug, PartialEq)]
struct Item {
    position: Position,
    /// The text of a document, or what is kept of a bad part.
    text: Option<Vec<u8>>,
    /// Of a bad part.
    reason: Option<String>,
}

fn items(range: &Range) -> Vec<Item> {
    let mut all = Vec::new();
    range.chunks.iter().for_each(|chunk| add(chunk, &mut all));
    // A bad part of no length may stand where a document begins.
    all.sort_by_key(|i| (i.position.offset, i.reason.is_none()));
    all
}

fn add(chunk: &Chunk, all: &mut Vec<Item>) {
    let text = |start: u32, end: u32| Some(chunk.text[start as usize..end as usize].to_vec());
    for d in &chunk.documents {
        all.push(Item { position: d.position, text: text(d.start, d.end), reason: None });
    }
    for b in &chunk.bad {
        let text = b.span.and_then(|(start, end)| text(start, end));
        all.push(Item { position: b.position, text, reason: Some(b.reason.clone()) });
    }
}

/// Read in one go, and in small blocks and ranges on two threads: the same.
fn cut_anyhow(name: &str, bytes: &[u8], mode: u8) {
    let limits = if mode & 8 == 0 { SMALL } else { LIMITS };
    let expected = items(&whole(name, bytes, limits));
    let guide = Guide::new(&shape());
    let mut reader = Reader::in_memory(name, bytes.to_vec(), limits).unwrap();
    let (size, budget) = (1 + usize::from(mode >> 6) * 7, 1 + u64::from((mode >> 4) & 3) * 30);
    let mut found = Vec::new();
    let mut end = 0;
    while !reader.is_done() {
        let range = reader.next_in_blocks(&guide, 0, budget, size, 1 + usize::from(mode & 1)).unwrap();
        assert_eq!(range.range.start.offset, end, "ranges leave a hole");
        end = range.range.end.offset;
        range.chunks.iter().for_each(|chunk| add(chunk, &mut found));
    }
    found.sort_by_key(|i| (i.position.offset, i.reason.is_none()));
    assert_eq!(found, expected, "in blocks of {size}, ranges of {budget}");
}

// ------------------------------------------------------------------------------------------------ other readers

fn as_others_read_it(name: &str, bytes: &[u8]) {
    let range = whole(name, bytes, LIMITS);
    let found = items(&range);
    let deep = found.iter().any(|i| i.reason.as_ref().is_some_and(|r| r.contains("nested deeper")));
    for item in &found {
        stands_where_it_says(bytes, item);
    }
    for chunk in &range.chunks {
        for document in &chunk.documents {
            let text = &chunk.text[document.start as usize..document.end as usize];
            assert!(is_json(text), "serde_json refuses this document");
            match parse(text) {
                Some(json) => same(chunk, document.root, 0, &json),
                None => assert!(may_be_lone(text), "the plain reader refuses this document"),
            }
        }
    }
    // What is JSON from end to end is taken from end to end.
    let Ok(text) = std::str::from_utf8(bytes) else {
        return assert!(found.iter().any(|i| i.reason.is_some()), "no UTF-8, and nothing bad");
    };
    match documents(text) {
        _ if deep => {}
        Some(expected) if expected.is_empty() => {}
        Some(expected) => {
            let refused = |r: &String| r.starts_with("not an object");
            assert!(found.iter().all(|i| i.reason.as_ref().is_none_or(refused)), "{found:?}");
            let kept = |i: &Item, e: &Vec<u8>| i.text.as_deref().unwrap_or_default().len() <= e.len();
            assert_eq!(found.len(), expected.len(), "other documents: {found:?}");
            for (item, text) in found.iter().zip(&expected) {
                let begins = text.starts_with(item.text.as_deref().unwrap_or_default());
                assert!(kept(item, text) && begins, "{item:?}");
                assert_eq!(item.reason.is_none(), text.starts_with(b"{"), "{item:?}");
                assert!(item.reason.is_some() || item.text.as_ref() == Some(text), "{item:?}");
            }
        }
        None if may_be_lone(bytes) => {}
        None => assert!(found.iter().any(|i| i.reason.is_some()), "no JSON, and nothing bad"),
    }
}

fn stands_where_it_says(bytes: &[u8], item: &Item) {
    let at = item.position.offset as usize;
    if let Some(text) = &item.text {
        assert!(bytes[at..].starts_with(text), "{item:?} does not stand at its byte");
    }
    let lines = bytes[..at].iter().filter(|b| **b == b'\n').count() as u64;
    assert_eq!(item.position.line, lines + 1, "{item:?}");
}

/// By serde_json, which passes over what it ignores without asking whether numbers fit a float or halves of
/// surrogates are paired.
fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|t| serde_json::from_str::<IgnoredAny>(t).is_ok())
}

/// There is an escape of the surrogates' range: the plain reader refuses halves of a pair, which are JSON.
fn may_be_lone(text: &[u8]) -> bool {
    text.windows(4).any(|w| w[..2] == *b"\\u" && matches!(w[2], b'd' | b'D'))
}

/// The arena holds what the plain reader finds, as far as the shape wants it.
fn same(chunk: &Chunk, id: ValueId, node: u32, json: &Json) {
    let (value, shape) = (chunk.values[id as usize], &shape().nodes[node as usize]);
    let source = || &chunk.text[value.start as usize..value.end as usize];
    match (value.kind, json) {
        (Kind::Null, Json::Null) => {}
        (Kind::Bool, Json::Bool(b)) => assert_eq!(source(), b.to_string().as_bytes()),
        (Kind::Number, Json::Number(text)) => assert_eq!(source(), text.as_bytes()),
        (Kind::String, Json::Text(text)) => assert_eq!(unescape(source()).unwrap(), text.as_str()),
        (Kind::Object, Json::Object(members)) => {
            for (slot, (name, node)) in (0..).zip(&shape.fields) {
                let last = members.iter().rev().find(|(n, _)| **n == **name);
                match last {
                    Some((_, json)) => same(chunk, value.start + slot, *node, json),
                    None => assert_eq!(chunk.values[(value.start + slot) as usize].kind, Kind::Absent),
                }
            }
        }
        (Kind::Array, Json::Array(elements)) => {
            assert_eq!(value.end as usize, elements.len());
            let Some(node) = shape.element else { return assert_eq!(value.start, NONE) };
            let mut at = value.start;
            for json in elements {
                same(chunk, at, node, json);
                at = chunk.values[at as usize].next;
            }
            assert_eq!(at, NONE);
        }
        (kind, json) => panic!("{kind:?} where the plain reader has {json:?}"),
    }
}
