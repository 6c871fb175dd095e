//! Takes a file of any bytes apart the slow way: its documents, and where something in it cannot be taken. Written
//! from the rules that `millrace` promises for broken files, with no code of the crate.

use std::io::{BufRead, BufReader, Read};

use super::json::Bytes;
use super::oracle;

/// Something in a file, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Piece {
    /// In the decompressed text.
    pub offset: usize,
    /// `None`: it ends in quarantine.
    pub event: Option<Vec<u8>>,
}

/// A file, decompressed as far as that goes.
#[derive(Debug, Clone, Default)]
pub struct Contents {
    pub text: Vec<u8>,
    pub pieces: Vec<Piece>,
}

impl Contents {
    pub fn of(name: &str, bytes: &[u8]) -> Contents {
        let (text, broken) = unpacked(name, bytes);
        let mut walk = Walk::new(name, &text);
        walk.all();
        let mut pieces = walk.pieces;
        let begin = if text.starts_with(BOM) { BOM.len() } else { 0 };
        if broken {
            pieces.push(Piece { offset: text.len(), event: None });
        } else if text[begin..].iter().all(|b| WHITE.contains(b)) {
            pieces.push(Piece { offset: 0, event: None });
        }
        Contents { text, pieces }
    }

    /// What begins in these bytes; what stands at the very end belongs to the last range.
    pub fn within(&self, from: u64, to: u64, last: bool) -> impl Iterator<Item = &Piece> {
        let to = if last { usize::MAX } else { to as usize };
        self.pieces.iter().filter(move |p| p.offset >= from as usize && p.offset < to)
    }
}

const BOM: &[u8] = b"\xEF\xBB\xBF";
const WHITE: &[u8] = b" \t\r\n";

/// The text, and whether it ended in damage. Members (frames) are believed up to the first one that is damaged or cut off,
/// and nothing of that.
fn unpacked(name: &str, bytes: &[u8]) -> (Vec<u8>, bool) {
    let packing = name.rsplit('.').next().filter(|e| ["gz", "zst"].contains(e));
    let Some(packing) = packing.filter(|_| !bytes.is_empty()) else { return (bytes.to_vec(), false) };
    let mut input = BufReader::with_capacity(64 << 10, bytes);
    let mut text = Vec::new();
    while !input.fill_buf().unwrap().is_empty() {
        let sound = text.len();
        let member = match packing {
            "gz" => drain(flate2::bufread::GzDecoder::new(&mut input), &mut text),
            _ => zstd::stream::read::Decoder::with_buffer(&mut input)
                .and_then(|decoder| drain(decoder.single_frame(), &mut text)),
        };
        if member.is_err() {
            text.truncate(sound);
            return (text, true);
        }
    }
    (text, false)
}

fn drain(mut from: impl Read, text: &mut Vec<u8>) -> std::io::Result<()> {
    let mut block = vec![0; 128 << 10];
    loop {
        match from.read(&mut block)? {
            0 => return Ok(()),
            n => text.extend_from_slice(&block[..n]),
        }
    }
}

/// Where between documents the walk stands.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Top,
    /// Before an element of an array: the first one or a later one.
    First,
    Next,
    /// Behind an element; `true`: on a later line than its end.
    Behind(bool),
}

struct Walk<'a> {
    text: &'a [u8],
    json: Bytes,
    /// A document a line: `.ndjson`, `.jsonl`.
    lines: bool,
    at: usize,
    place: At,
    pieces: Vec<Piece>,
}

impl<'a> Walk<'a> {
    fn new(name: &str, text: &'a [u8]) -> Self {
        let format = name.trim_end_matches(".gz").trim_end_matches(".zst");
        let at = if text.starts_with(BOM) { BOM.len() } else { 0 };
        let lines = !format.ends_with(".json");
        Walk { text, json: Bytes::new(text), lines, at, place: At::Top, pieces: Vec::new() }
    }

    fn all(&mut self) {
        while self.skip_white() {
            self.step();
        }
        if self.place != At::Top {
            self.bad(self.at);
        }
    }

    /// `false` at the end.
    fn skip_white(&mut self) -> bool {
        while let Some(byte) = self.text.get(self.at).filter(|b| WHITE.contains(b)) {
            if let At::Behind(line) = &mut self.place {
                *line |= *byte == b'\n';
            }
            self.at += 1;
        }
        self.at < self.text.len()
    }

    fn bad(&mut self, offset: usize) {
        self.pieces.push(Piece { offset, event: None });
    }

    fn go(&mut self, place: At) {
        self.at += 1;
        self.place = place;
    }

    fn step(&mut self) {
        match (self.place, self.text[self.at]) {
            (At::Top, b'[') => self.go(At::First),
            (At::First | At::Behind(_), b']') => self.go(At::Top),
            (At::Behind(_), b',') => self.go(At::Next),
            // The comma is missing, but the line before was whole.
            (At::Behind(true), byte) if self.lines || byte == b'{' => {
                self.bad(self.at);
                self.place = if self.lines { At::Top } else { At::Next };
            }
            (At::Behind(_), _) => self.broken(),
            (At::Next, b']') => {
                self.bad(self.at);
                self.go(At::Top);
            }
            _ => self.document(),
        }
    }

    fn document(&mut self) {
        let from = self.at;
        let Some(to) = self.json.value_end(from) else { return self.broken() };
        let text = &self.text[from..to];
        let is_event = text[0] == b'{' && std::str::from_utf8(text).is_ok() && oracle::is_valid(text);
        self.pieces.push(Piece { offset: from, event: is_event.then(|| text.to_vec()) });
        self.at = to;
        if self.place != At::Top {
            self.place = At::Behind(false);
        }
    }

    /// On with the next line (`.ndjson`), the next one that begins with `{` or `[`, in an array with `{` or `]`.
    fn broken(&mut self) {
        self.bad(self.at);
        let in_array = self.place != At::Top;
        let goal: &[u8] = if in_array { b"{]" } else { b"{[" };
        loop {
            let mut rest = &self.text[self.at..];
            let line = rest.skip_until(b'\n').unwrap();
            self.at += line;
            match self.text.get(self.at) {
                None => return self.place = At::Top,
                Some(_) if self.lines => return self.place = At::Top,
                Some(b']') if in_array => return self.go(At::Top),
                Some(byte) if goal.contains(byte) => {
                    return self.place = if in_array { At::Next } else { At::Top };
                }
                Some(_) => {}
            }
        }
    }
}
