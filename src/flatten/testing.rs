//! Test input: small pipelines made by hand, and chunks made of JSON text without the decode step.

use std::path::PathBuf;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_128;

use crate::batch::{Chunk, Document, Kind, NONE, Position, Value};
use crate::pipeline::model::*;

pub const MONEY: Type = Type::Decimal { precision: 18, scale: 4 };

/// Builds a pipeline; columns belong to the table named last.
pub struct Pipe(Pipeline);

enum Token {
    Name(String),
    Index(u32),
    Star,
}

impl Pipe {
    pub fn new() -> Self {
        Pipe(Pipeline {
            views: Vec::new(),
            name: "test".to_owned(),
            source: Source { path: PathBuf::new(), settle_ms: 0, batch_files: 1, batch_bytes: 1 },
            limits: Limits {
                depth: 128,
                document_bytes: 0,
                file_bytes: 0,
                ratio: 0,
                quarantine_text_bytes: 0,
                quarantine_documents: 1000,
            },
            event: Event { key: Vec::new(), sequence: Vec::new() },
            tables: Vec::new(),
            shape: Shape { nodes: vec![ShapeNode::default()] },
            quarantine_raw: false,
            mirror: false,
            history_commits: None,
            fingerprint: 0,
        })
    }

    pub fn key(self, path: &str) -> Self {
        self.key_of(path, Type::Text)
    }

    pub fn key_of(mut self, path: &str, kind: Type) -> Self {
        let path = self.path(path, "");
        self.0.event.key.push(Part { path, kind, optional: false });
        self
    }

    pub fn sequence(self, path: &str) -> Self {
        self.sequence_of(path, Type::Timestamp, false)
    }

    pub fn sequence_of(mut self, path: &str, kind: Type, optional: bool) -> Self {
        let path = self.path(path, "");
        self.0.event.sequence.push(Part { path, kind, optional });
        self
    }

    /// `owner` and `key` are column names, with blanks between.
    pub fn owned(self, name: &str, each: &str, owner: &str, key: &str) -> Self {
        self.table(name, each, Some(owner), key)
    }

    pub fn dimension(self, name: &str, each: &str, key: &str) -> Self {
        self.table(name, each, None, key)
    }

    fn table(mut self, name: &str, each: &str, owner: Option<&str>, key: &str) -> Self {
        let each_levels = self.levels(each);
        // Names become indexes in `build`, once the columns are there.
        let names = format!("{}|{key}", owner.unwrap_or("-"));
        self.0.tables.push(Table {
            name: format!("{name}|{names}"),
            kind: TableKind::Dimension,
            key: Vec::new(),
            each: each_levels,
            each_text: each.to_owned(),
            columns: Vec::new(),
            order: Vec::new(),
            fact: false,
        });
        self
    }

    pub fn column(self, name: &str, path: &str, kind: Type) -> Self {
        self.path_column(name, path, kind, None, false)
    }

    pub fn masked(self, name: &str, path: &str, kind: Type, mask: Mask) -> Self {
        self.path_column(name, path, kind, Some(mask), false)
    }

    pub fn lenient(self, name: &str, path: &str, kind: Type) -> Self {
        self.path_column(name, path, kind, None, true)
    }

    fn path_column(mut self, name: &str, path: &str, kind: Type, mask: Option<Mask>, lenient: bool) -> Self {
        let each = self.0.tables.last().unwrap().each_text.clone();
        let path = self.path(path, &each);
        let stored = if matches!(mask, Some(Mask::Sha256 | Mask::Redact)) { Type::Text } else { kind };
        self.push(name, stored, ColumnSource::Path { path, kind }, mask, lenient)
    }

    pub fn hash(self, name: &str, parts: &[&str]) -> Self {
        let table = self.0.tables.last().unwrap();
        let parts = parts.iter().map(|p| table.column(p).unwrap()).collect();
        self.push(name, Type::Text, ColumnSource::Hash(parts), None, false)
    }

    /// `matches` are (their column, our column).
    pub fn lookup(self, name: &str, table: &str, matches: &[(&str, &str)], take: &str) -> Self {
        let ours = self.0.tables.last().unwrap();
        let at = self.0.tables.iter().position(|t| t.name.split('|').next() == Some(table)).unwrap();
        let theirs = &self.0.tables[at];
        let pair = |(t, o): &(&str, &str)| (theirs.column(t).unwrap(), ours.column(o).unwrap());
        let take = theirs.column(take).unwrap();
        let kind = theirs.columns[take].kind;
        let lookup = Lookup { table: at, matches: matches.iter().map(pair).collect(), take };
        self.push(name, kind, ColumnSource::Lookup(lookup), None, false)
    }

    fn push(
        mut self,
        name: &str,
        kind: Type,
        source: ColumnSource,
        mask: Option<Mask>,
        null_on_error: bool,
    ) -> Self {
        let table = self.0.tables.last_mut().unwrap();
        table.order.push(table.columns.len());
        table.columns.push(Column {
            name: name.to_owned(),
            kind,
            source,
            mask,
            null_on_error,
            reference: None,
        });
        self
    }

    pub fn build(mut self) -> Pipeline {
        for table in &mut self.0.tables {
            let names = table.name.clone();
            let (name, owner, key) = match names.split('|').collect::<Vec<_>>()[..] {
                [name, owner, key] => (name, owner, key),
                _ => panic!("{names}"),
            };
            let columns =
                |names: &str| names.split_whitespace().map(|n| table.column(n).unwrap()).collect::<Vec<_>>();
            let (key, kind) = match owner {
                "-" => (columns(key), TableKind::Dimension),
                owner => (columns(key), TableKind::Owned { owner: columns(owner) }),
            };
            (table.key, table.kind) = (key, kind);
            table.name = name.to_owned();
        }
        self.0
    }

    fn path(&mut self, text: &str, each: &str) -> Path {
        let (base, rest) = match text.split_at(1) {
            ("$", rest) => (Base::Event, rest),
            ("@", rest) => (Base::Element, rest),
            (_, rest) => (Base::Parent, rest),
        };
        let stars: Vec<usize> = each.match_indices("[*]").map(|(i, _)| i + 3).collect();
        let levels = match base {
            Base::Event => 0,
            Base::Element => stars.len(),
            Base::Parent => stars.len().saturating_sub(1),
        };
        let above = if levels == 0 { "" } else { &each[1..stars[levels - 1]] };
        let mut node = 0;
        for token in tokens(above) {
            self.step(&mut node, &token);
        }
        let steps = tokens(rest).iter().map(|t| self.step(&mut node, t)).collect();
        self.0.shape.nodes[node].scalar = true;
        Path { base, steps, text: Arc::from(text) }
    }

    fn levels(&mut self, each: &str) -> Vec<Level> {
        let (mut node, mut levels, mut steps) = (0, Vec::new(), Vec::new());
        for token in tokens(each.trim_start_matches('$')) {
            let step = self.step(&mut node, &token);
            match token {
                Token::Star => levels.push(Level { steps: std::mem::take(&mut steps) }),
                _ => steps.push(step),
            }
        }
        levels
    }

    fn step(&mut self, node: &mut usize, token: &Token) -> Step {
        let new = self.0.shape.nodes.len() as u32;
        let here = &mut self.0.shape.nodes[*node];
        let (step, next) = match token {
            Token::Name(name) => {
                let known = here.fields.iter().position(|(n, _)| **n == **name);
                let slot = known.unwrap_or_else(|| {
                    here.fields.push((name.clone().into(), new));
                    here.fields.len() - 1
                });
                (Step::Field(slot as u32), here.fields[slot].1)
            }
            Token::Index(n) => (Step::Index(*n), *here.element.get_or_insert(new)),
            Token::Star => (Step::Index(0), *here.element.get_or_insert(new)),
        };
        if next == new {
            self.0.shape.nodes.push(ShapeNode::default());
        }
        *node = next as usize;
        step
    }
}

fn tokens(path: &str) -> Vec<Token> {
    let names = path.replace('[', ".[");
    names
        .split('.')
        .filter(|t| !t.is_empty())
        .map(|t| match t.trim_matches(['[', ']']) {
            "*" => Token::Star,
            n if t.starts_with('[') => Token::Index(n.parse().unwrap()),
            name => Token::Name(name.to_owned()),
        })
        .collect()
}

/// Decodes well-formed documents.
pub fn chunk(shape: &Shape, texts: &[&str]) -> Chunk {
    let mut chunk = Chunk::default();
    for text in texts {
        let start = chunk.text.len();
        chunk.text.extend_from_slice(text.as_bytes());
        let mut parser =
            Parser { shape, text: text.as_bytes(), at: 0, offset: start, values: &mut chunk.values };
        let root = parser.value(Some(0));
        chunk.values.push(root);
        chunk.documents.push(Document {
            root: chunk.values.len() as u32 - 1,
            start: start as u32,
            end: chunk.text.len() as u32,
            hash: xxh3_128(text.as_bytes()),
            position: Position { offset: start as u64, line: 1, element: None },
            duplicate_keys: 0,
        });
        chunk.text.push(b'\n');
    }
    chunk
}

struct Parser<'a> {
    shape: &'a Shape,
    text: &'a [u8],
    at: usize,
    offset: usize,
    values: &'a mut Vec<Value>,
}

const ABSENT: Value = Value { kind: Kind::Absent, escaped: false, start: 0, end: 0, next: NONE };

impl Parser<'_> {
    fn peek(&mut self) -> u8 {
        while self.text[self.at].is_ascii_whitespace() {
            self.at += 1;
        }
        self.text[self.at]
    }

    fn take(&mut self, byte: u8) -> bool {
        let is = self.peek() == byte;
        self.at += usize::from(is);
        is
    }

    fn value(&mut self, node: Option<u32>) -> Value {
        match self.peek() {
            b'{' => self.object(node),
            b'[' => self.array(node),
            b'"' => self.string(),
            _ => self.scalar(),
        }
    }

    fn object(&mut self, node: Option<u32>) -> Value {
        let fields = node.map(|n| self.shape.nodes[n as usize].fields.clone()).unwrap_or_default();
        let start = self.values.len();
        self.values.resize(start + fields.len(), ABSENT);
        self.at += 1;
        while !self.take(b'}') {
            let name = self.string();
            let name = &self.text[name.start as usize - self.offset..name.end as usize - self.offset];
            let slot = fields.iter().position(|(n, _)| *n.as_bytes() == *name);
            assert!(self.take(b':'));
            let value = self.value(slot.map(|s| fields[s].1));
            if let Some(slot) = slot {
                self.values[start + slot] = value;
            }
            self.take(b',');
        }
        let start = if fields.is_empty() { NONE } else { start as u32 };
        Value { kind: Kind::Object, start, ..ABSENT }
    }

    fn array(&mut self, node: Option<u32>) -> Value {
        let element = node.and_then(|n| self.shape.nodes[n as usize].element);
        let (mut first, mut last, mut count) = (NONE, NONE, 0);
        self.at += 1;
        while !self.take(b']') {
            let value = self.value(element);
            if element.is_some() {
                let id = self.values.len() as u32;
                self.values.push(value);
                match last {
                    NONE => first = id,
                    last => self.values[last as usize].next = id,
                }
                last = id;
            }
            count += 1;
            self.take(b',');
        }
        Value { kind: Kind::Array, start: first, end: count, ..ABSENT }
    }

    fn string(&mut self) -> Value {
        assert!(self.take(b'"'));
        let start = self.at;
        while self.text[self.at] != b'"' {
            self.at += 1 + usize::from(self.text[self.at] == b'\\');
        }
        self.at += 1;
        let escaped = self.text[start..self.at].contains(&b'\\');
        self.span(Kind::String, start, self.at - 1, escaped)
    }

    fn scalar(&mut self) -> Value {
        let start = self.at;
        while self.at < self.text.len() && !b",]} \t\r\n".contains(&self.text[self.at]) {
            self.at += 1;
        }
        assert!(self.at > start);
        let kind = match self.text[start] {
            b'n' => Kind::Null,
            b't' | b'f' => Kind::Bool,
            _ => Kind::Number,
        };
        self.span(kind, start, self.at, false)
    }

    fn span(&self, kind: Kind, start: usize, end: usize, escaped: bool) -> Value {
        Value {
            kind,
            escaped,
            start: (self.offset + start) as u32,
            end: (self.offset + end) as u32,
            next: NONE,
        }
    }
}
