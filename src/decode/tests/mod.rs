//! Decode, looked at from outside: what one file becomes.

mod bytes;
mod cuts;
mod files;
mod values;

use std::fmt::Write;

use super::{Guide, Range, Reader};
use crate::batch::{Chunk, Kind, Position, ValueId};
use crate::pipeline::model::{Limits, Shape, ShapeNode};

pub const LIMITS: Limits = Limits {
    depth: 16,
    document_bytes: 1 << 20,
    file_bytes: 1 << 26,
    ratio: 200,
    quarantine_text_bytes: 64,
    quarantine_documents: 8,
};

/// `$.a` (scalar), `$.b.c`, `$.b.d`, `$.l[*].x`, `$.l[*].m[*]`, `$.é"n`
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

/// A document or a bad part, without the places of its text in some chunk.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    Event { position: Position, text: String, hash: u128, values: String },
    Bad { position: Position, reason: String, text: Option<Vec<u8>>, parsed: bool },
}

impl Item {
    pub fn position(&self) -> Position {
        match self {
            Item::Event { position, .. } | Item::Bad { position, .. } => *position,
        }
    }

    /// Short, for tables of expectations.
    pub fn brief(&self) -> String {
        match self {
            Item::Event { text, .. } => text.clone(),
            Item::Bad { reason, .. } => format!("! {reason}"),
        }
    }
}

/// Documents and bad parts in the order of the file.
pub fn items(chunks: &[Chunk]) -> Vec<Item> {
    let mut all = Vec::new();
    for chunk in chunks {
        let text = |start: u32, end: u32| chunk.text[start as usize..end as usize].to_vec();
        for d in &chunk.documents {
            let text = String::from_utf8(text(d.start, d.end)).unwrap();
            let values = projected(chunk, d.root, 0);
            all.push(Item::Event { position: d.position, text, hash: d.hash, values });
        }
        for b in &chunk.bad {
            let text = b.span.map(|(start, end)| text(start, end));
            let (position, reason, parsed) = (b.position, b.reason.clone(), b.parsed);
            all.push(Item::Bad { position, reason, text, parsed });
        }
    }
    // A bad part of no length may stand where a document begins.
    all.sort_by_key(|i| (i.position().offset, matches!(i, Item::Event { .. })));
    all
}

/// The values that the shape kept, as text.
fn projected(chunk: &Chunk, id: ValueId, node: u32) -> String {
    let v = chunk.values[id as usize];
    let node = &shape().nodes[node as usize];
    let text = || String::from_utf8_lossy(&chunk.text[v.start as usize..v.end as usize]);
    let mut out = String::new();
    match v.kind {
        Kind::Absent => out.push('-'),
        Kind::Null => out.push_str("null"),
        Kind::Bool | Kind::Number => out.push_str(&text()),
        Kind::String => {
            assert_eq!(v.escaped, text().contains('\\'));
            write!(out, "{:?}", crate::text::unescape(text().as_bytes()).ok()).unwrap();
        }
        Kind::Object if v.start == crate::batch::NONE => {
            assert!(node.fields.is_empty());
            out.push_str("{..}");
        }
        Kind::Object => {
            let slots = (v.start..).zip(&node.fields);
            slots.for_each(|(id, (_, node))| write!(out, "{{{}}}", projected(chunk, id, *node)).unwrap());
        }
        Kind::Array => {
            let mut count = 0;
            let mut next = v.start;
            while next != crate::batch::NONE {
                write!(out, "[{}]", projected(chunk, next, node.element.unwrap())).unwrap();
                next = chunk.values[next as usize].next;
                count += 1;
            }
            assert!(count == v.end || node.element.is_none());
            write!(out, "*{}", v.end).unwrap();
        }
    }
    out
}

/// The whole file as one sequential walk after another sees it.
pub fn decode(name: &str, text: &[u8], limits: Limits) -> Range {
    super::decode_all(&shape(), limits, name, text.to_vec()).unwrap()
}

pub fn briefs(name: &str, text: &[u8]) -> Vec<String> {
    items(&decode(name, text, LIMITS).chunks).iter().map(Item::brief).collect()
}

/// All ranges of a file in memory.
pub fn ranges(name: &str, text: &[u8], limits: Limits, budget: u64, threads: usize) -> Vec<Range> {
    let guide = Guide::new(&shape());
    let mut reader = Reader::in_memory(name, text.to_vec(), limits).unwrap();
    let mut all = Vec::new();
    while !reader.is_done() {
        all.push(reader.next(&guide, 7, budget, threads).unwrap());
    }
    all
}
