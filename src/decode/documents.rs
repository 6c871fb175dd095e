//! Document boundaries: walks over text and takes one document after another, the bad ones too.
//!
//! The sequence of documents and bad parts is a function of the file's bytes and the limits alone. So nothing
//! here may depend on where the text at hand happens to end: whatever touches that end is left for a walk over
//! more text, and what is decided is decided from bytes that any walk would have seen.
//!
//! Outside an array, documents follow each other with or without white space; `[` opens an array whose elements
//! are documents. After a fault that began at byte p:
//! - `.ndjson`, `.jsonl`: on with the line after p, outside any array;
//! - `.json`: on with the next line that begins with `{` or `[`; inside an array, with the next line that begins
//!   with `{` (still inside) or `]` (the array's end). The bad part reaches to there.

use simdutf8::basic;
use xxhash_rust::xxh3::xxh3_128;

use super::guide::Guide;
use super::scan::{Fault, Scanned, Scanner};
use super::simd::blank_end;
use super::skip::{Goal, Rule, Skip};
use super::spares::Spares;
use crate::batch::{Bad, Chunk, Document, Kind, Position};
use crate::pipeline::model::Limits;

/// Spans are 32 bits wide, and a walk's text is at most this and a block: larger limits count as this one.
const MOST_DOCUMENT_BYTES: u64 = 1 << 30;

/// Where between documents a walk stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Outside any array.
    Top,
    /// Inside an array: this element comes next (or, for the first, the array's end).
    Element(u64),
    /// Inside an array, behind this element: a comma or the end. `newline`: a line ended in between.
    After { element: u64, newline: bool },
}

impl Place {
    /// A file may be left here and taken up again.
    fn is_boundary(self) -> bool {
        !matches!(self, Place::After { .. })
    }
}

/// What is the same for all walks over a file.
#[derive(Clone, Copy)]
pub struct Terms<'a> {
    pub guide: &'a Guide,
    pub spares: &'a Spares,
    pub limits: Limits,
    pub rule: Rule,
}

impl Terms<'_> {
    fn document_bytes(&self) -> usize {
        self.limits.document_bytes.min(MOST_DOCUMENT_BYTES) as usize
    }

    /// Of a bad part; never more than a document, so that memory stays bounded.
    fn kept_bytes(&self) -> usize {
        self.limits.quarantine_text_bytes.min(self.document_bytes())
    }
}

/// Text to walk over, and what is known about where it lies.
pub struct Block {
    pub text: Vec<u8>,
    /// Of the text's first byte in the file.
    pub offset: u64,
    /// Lines before it.
    pub line: u64,
    pub place: Place,
    /// Nothing follows the text.
    pub whole: bool,
    /// Take no further document from this byte on, once there is one.
    pub enough: usize,
    /// The range has taken something before this block.
    pub taken: bool,
}

/// What a chunk's contents take in memory until they are committed, counted in values. Three bytes make a bad
/// part, which becomes a row with its reason and text; so may any document.
pub fn weight(chunk: &Chunk) -> usize {
    chunk.values.len() + 32 * chunk.documents.len() + 64 * chunk.bad.len()
}

/// Why a walk stopped.
#[derive(Debug, Clone, Copy)]
pub enum Stop {
    /// What begins at `Walked::at` needs more text.
    More,
    /// Enough; `place` is a boundary.
    Enough,
    /// All of the text belongs to a bad part that goes on.
    Skip(Skip),
    /// The end of the file.
    End,
}

/// A block, decoded as far as it goes.
pub struct Walked {
    /// Still holds the block's whole text.
    pub chunk: Chunk,
    /// Bytes dealt with.
    pub at: usize,
    /// Lines before `at`, in the file.
    pub line: u64,
    pub place: Place,
    pub stop: Stop,
    /// There was something besides white space.
    pub touched: bool,
}

/// Decodes a block. Pure.
pub fn walk(terms: Terms<'_>, block: Block) -> Walked {
    let Block { text, offset, line, place, whole, enough, taken } = block;
    let values = terms.spares.values(text.len());
    let mut walk = Walk {
        terms,
        scanner: Scanner::new(terms.guide, terms.limits.depth),
        text: &text,
        offset,
        whole,
        utf8: basic::from_utf8(&text).is_ok(),
        enough,
        taken,
        at: 0,
        line,
        line_at: 0,
        place,
        chunk: Chunk { values, ..Chunk::default() },
    };
    let stop = walk.run();
    let (at, place) = (walk.at, walk.place);
    let line = walk.line_of(at);
    let touched = blank_end(walk.text, 0) < walk.text.len();
    let mut chunk = walk.chunk;
    chunk.text = text;
    Walked { chunk, at, line, place, stop, touched }
}

struct Walk<'a> {
    terms: Terms<'a>,
    scanner: Scanner<'a>,
    text: &'a [u8],
    offset: u64,
    whole: bool,
    /// All of the text is UTF-8; if not, each document is looked at for itself.
    utf8: bool,
    enough: usize,
    taken: bool,
    at: usize,
    /// Lines before byte `line_at`.
    line: u64,
    line_at: usize,
    place: Place,
    chunk: Chunk,
}

/// Goes on, or says why not.
type Flow = Option<Stop>;

impl Walk<'_> {
    fn run(&mut self) -> Stop {
        loop {
            self.skip_blank();
            if let Some(stop) = self.step() {
                return stop;
            }
        }
    }

    fn skip_blank(&mut self) {
        let from = self.at;
        self.at = blank_end(self.text, from);
        if let Place::After { newline, .. } = &mut self.place {
            let blank = self.text.get(from..self.at).unwrap_or_default();
            *newline |= memchr::memchr(b'\n', blank).is_some();
        }
    }

    fn step(&mut self) -> Flow {
        let Some(&byte) = self.text.get(self.at) else { return Some(self.exhausted()) };
        if self.has_enough() {
            return Some(Stop::Enough);
        }
        match (self.place, byte) {
            (Place::Top, b'[') => self.punctuation(Place::Element(0)),
            (Place::Element(0), b']') | (Place::After { .. }, b']') => self.punctuation(Place::Top),
            (Place::After { element, .. }, b',') => self.punctuation(Place::Element(element + 1)),
            (Place::After { element, newline }, _) => self.unseparated(byte, element, newline),
            (Place::Element(_), b']') => self.trailing_comma(),
            _ => self.document(),
        }
    }

    fn punctuation(&mut self, place: Place) -> Flow {
        self.at += 1;
        self.place = place;
        None
    }

    /// Text that yields far more than text is also enough: memory is bounded by both.
    fn has_enough(&self) -> bool {
        let some = self.taken || !self.chunk.documents.is_empty() || !self.chunk.bad.is_empty();
        let full = weight(&self.chunk) > self.text.len() / 4 + (1 << 16);
        some && self.place.is_boundary() && (self.at >= self.enough || full)
    }

    fn exhausted(&mut self) -> Stop {
        if !self.whole {
            return Stop::More;
        }
        if self.place != Place::Top {
            self.push_bad(self.at, self.at, "ends in the middle of an array".into(), false);
            self.place = Place::Top;
        }
        Stop::End
    }

    fn document(&mut self) -> Flow {
        let (start, most) = (self.at, self.terms.document_bytes());
        // One byte beyond the limit tells a document that fits from one that does not, in any walk alike.
        let window = self.text.get(..start + most + 1).unwrap_or(self.text);
        let cut = window.len() - start > most;
        let scanned = self.scanner.scan(window, start, self.whole && !cut, &mut self.chunk.values);
        match scanned {
            Ok(scanned) if scanned.end - start <= most => {
                self.accept(start, scanned);
                None
            }
            Ok(scanned) => {
                self.chunk.values.truncate(scanned.root as usize);
                self.fault(start, self.too_large())
            }
            Err(Fault::Incomplete(_)) if cut => self.fault(start, self.too_large()),
            Err(Fault::Incomplete(_)) if !self.whole => Some(Stop::More),
            Err(fault) => self.fault(start, self.reason(fault)),
        }
    }

    fn too_large(&self) -> String {
        format!("larger than {} bytes", self.terms.document_bytes())
    }

    fn reason(&self, fault: Fault) -> String {
        let byte = |at: usize| self.offset + at as u64;
        match fault {
            Fault::Incomplete(inside) => format!("ends in the middle of {inside}"),
            Fault::Syntax(at, what) => format!("{what} at byte {}", byte(at)),
            Fault::Deep(at) => {
                format!("nested deeper than {} levels at byte {}", self.terms.limits.depth, byte(at))
            }
            Fault::Many(at) => format!("too many values, at byte {}", byte(at)),
        }
    }

    /// A well-formed document, which may still be no event.
    fn accept(&mut self, start: usize, scanned: Scanned) {
        let end = scanned.end;
        let text = self.text.get(start..end).unwrap_or_default();
        let kind = self.chunk.values.get(scanned.root as usize).map_or(Kind::Absent, |v| v.kind);
        if !self.utf8
            && let Err(e) = std::str::from_utf8(text)
        {
            let at = self.offset + (start + e.valid_up_to()) as u64;
            self.refuse(start, scanned, format!("not UTF-8 at byte {at}"), false);
        } else if kind != Kind::Object {
            self.refuse(start, scanned, format!("not an object: {}", name(kind)), true);
        } else {
            let document = Document {
                root: scanned.root,
                start: start as u32,
                end: end as u32,
                hash: xxh3_128(text),
                position: self.position(start),
                duplicate_keys: u32::try_from(scanned.duplicate_keys).unwrap_or(u32::MAX),
            };
            self.chunk.documents.push(document);
        }
        self.at = end;
        if let Place::Element(element) = self.place {
            self.place = Place::After { element, newline: false };
        }
    }

    fn refuse(&mut self, start: usize, scanned: Scanned, reason: String, parsed: bool) {
        self.chunk.values.truncate(scanned.root as usize);
        self.push_bad(start, scanned.end, reason, parsed);
    }

    /// An element follows the one before it without a comma. What ended on an earlier line was whole, so nothing
    /// of this line is lost where the rules would go on with it.
    fn unseparated(&mut self, byte: u8, element: u64, newline: bool) -> Flow {
        let reason = format!("expected `,` or `]` at byte {}", self.offset + self.at as u64);
        let goes_on = match self.terms.rule {
            Rule::Lines => Some(Place::Top),
            Rule::Braces => (byte == b'{').then_some(Place::Element(element + 1)),
        };
        match goes_on {
            Some(place) if newline => {
                self.push_bad(self.at, self.at, reason, false);
                self.place = place;
                None
            }
            _ => self.fault(self.at, reason),
        }
    }

    fn trailing_comma(&mut self) -> Flow {
        let reason = format!("expected a value at byte {}", self.offset + self.at as u64);
        self.push_bad(self.at, self.at + 1, reason, false);
        self.punctuation(Place::Top)
    }

    /// Something bad begins at `start`: it reaches to where reading goes on. Its kept text must not depend on
    /// how much of it is at hand, so with too little of it nothing is decided yet.
    fn fault(&mut self, start: usize, reason: String) -> Flow {
        let mut skip = Skip::new(self.goal());
        let rest = self.text.get(start..).unwrap_or_default();
        let found = skip.feed(rest);
        if found.is_none() && !self.whole && rest.len() <= self.terms.kept_bytes() {
            return Some(Stop::More);
        }
        let end = found.map_or(self.text.len(), |at| start + at);
        self.push_bad(start, end, reason, false);
        self.at = end;
        match found {
            Some(_) => {
                let first = self.text.get(end).copied();
                (self.place, self.at) = resume(skip.goal, self.place, first, end);
                None
            }
            None => {
                self.place = if skip.goal == Goal::Element { self.place } else { Place::Top };
                if !self.whole {
                    return Some(Stop::Skip(skip));
                }
                self.place = Place::Top;
                Some(Stop::End)
            }
        }
    }

    fn goal(&self) -> Goal {
        match (self.terms.rule, self.place) {
            (Rule::Lines, _) => Goal::Line,
            (Rule::Braces, Place::Top) => Goal::Opening,
            (Rule::Braces, _) => Goal::Element,
        }
    }

    fn push_bad(&mut self, start: usize, end: usize, reason: String, parsed: bool) {
        let position = self.position(start);
        let span = kept(self.text, start, end, self.terms.kept_bytes());
        let whole = span == Some((start, end));
        let span = span.map(|(start, end)| (start as u32, end as u32));
        self.chunk.bad.push(Bad { position, reason, span, parsed: parsed && whole });
    }

    fn position(&mut self, at: usize) -> Position {
        let element = match self.place {
            Place::Top => None,
            Place::Element(element) => Some(element),
            Place::After { element, .. } => Some(element + 1),
        };
        Position { offset: self.offset + at as u64, line: self.line_of(at) + 1, element }
    }

    /// Lines before `at`, which never goes back.
    fn line_of(&mut self, at: usize) -> u64 {
        let passed = self.text.get(self.line_at..at).unwrap_or_default();
        self.line += lines(passed);
        self.line_at = self.line_at.max(at);
        self.line
    }
}

/// Where a walk stands when a skip has met its goal at byte `at`, whose value is `first`.
pub fn resume(goal: Goal, place: Place, first: Option<u8>, at: usize) -> (Place, usize) {
    match (goal, place) {
        (Goal::Element, _) if first == Some(b']') => (Place::Top, at + 1),
        (Goal::Element, Place::Element(element) | Place::After { element, .. }) => {
            (Place::Element(element + 1), at)
        }
        _ => (Place::Top, at),
    }
}

/// How many lines end in this text.
pub fn lines(text: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', text).count() as u64
}

/// The part of `start..end` that quarantine keeps: capped, outer white space trimmed, no character cut in two.
fn kept(text: &[u8], start: usize, end: usize, most: usize) -> Option<(usize, usize)> {
    let capped = end.min(start.saturating_add(most));
    let part = text.get(start..capped)?;
    let part = match text.get(capped) {
        Some(0x80..=0xBF) if capped < end => without_cut(part),
        _ => part,
    };
    let part = part.trim_ascii_end();
    (!part.is_empty()).then_some((start, start + part.len()))
}

/// Without the beginning of a character that was cut.
fn without_cut(part: &[u8]) -> &[u8] {
    let lead = part.iter().rev().take(3).position(|b| *b >= 0xC0);
    lead.and_then(|back| part.get(..part.len() - back - 1)).unwrap_or(part)
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Absent => "nothing",
        Kind::Null => "null",
        Kind::Bool => "true or false",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Object => "an object",
        Kind::Array => "an array",
    }
}
