//! A file's decompressed bytes, in blocks: plain, gzip (many members), zstd (many frames), with limits.
//!
//! What goes wrong is told apart by what to do about it. The file could not be *read*: an [`io::Error`], the
//! caller tries again later. What was read is no gzip, or grows beyond its limits: an end with a reason, decided
//! by decompressed offsets alone, so that every reading of the file ends at the same byte.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::sync::{Arc, Mutex, PoisonError};

use flate2::bufread::MultiGzDecoder;

use super::skip::Rule;
use super::survey::{Survey, survey};
use crate::pipeline::model::Limits;

/// Compressed bytes read at a time.
pub const COMPRESSED: usize = 64 << 10;
/// Decompressed bytes asked of a decompressor at a time. When it meets damage it withholds what it made in that
/// call, so calls must not depend on what our caller asks for.
pub const DECOMPRESSED: usize = 128 << 10;
/// The ratio of decompressed to compressed bytes is not looked at below this.
const RATIO_FREE: u64 = 16 << 20;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

/// What a name says about a file; `None` if it names no event file. Case does not matter.
fn format(name: &str) -> Option<(Rule, Packing)> {
    let (stem, packing) = match strip(name, ".gz") {
        Some(stem) => (stem, Packing::Gzip),
        None => strip(name, ".zst").map_or((name, Packing::Plain), |stem| (stem, Packing::Zstd)),
    };
    if strip(stem, ".json").is_some() {
        return Some((Rule::Braces, packing));
    }
    let lines = strip(stem, ".ndjson").or_else(|| strip(stem, ".jsonl")).is_some();
    lines.then_some((Rule::Lines, packing))
}

fn strip<'a>(name: &'a str, ending: &str) -> Option<&'a str> {
    let (stem, tail) = name.split_at_checked(name.len().checked_sub(ending.len())?)?;
    tail.eq_ignore_ascii_case(ending).then_some(stem)
}

/// `.json`, `.ndjson`, `.jsonl`, each also with `.gz` or `.zst` behind it.
pub fn is_event_file(name: &str) -> bool {
    format(name).is_some()
}

/// How documents of a file with this name are told apart. Names that say nothing count as `.json`.
pub fn rule(name: &str) -> Rule {
    format(name).map_or(Rule::Braces, |(rule, _)| rule)
}

/// Where raw bytes come from.
pub enum Raw {
    File(Arc<File>),
    Memory(Cursor<Vec<u8>>),
}

impl Read for Raw {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        match self {
            Raw::File(file) => file.as_ref().read(buf),
            Raw::Memory(bytes) => bytes.read(buf),
        }
    }
}

impl Raw {
    fn rewind(&mut self) -> io::Result<()> {
        match self {
            Raw::File(file) => file.as_ref().rewind(),
            Raw::Memory(bytes) => bytes.rewind(),
        }
    }
}

/// Where a reader's own error is kept while a decompressor passes on something like it.
#[derive(Debug, Clone, Default)]
pub struct Failure(Arc<Mutex<Option<io::Error>>>);

impl Failure {
    /// The error, if there was one.
    pub fn take(&self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take().map_or(Ok(()), Err)
    }
}

/// Fills every buffer to its end, and notes errors of its own, so that what a decompressor reports is known to be
/// about the data. (A short read in the middle of a file would move the decompressor's steps.)
pub struct Steady<R> {
    raw: R,
    failure: Failure,
}

impl<R: Read> Steady<R> {
    pub fn new(raw: R, failure: &Failure) -> Self {
        Steady { raw, failure: failure.clone() }
    }
}

impl<R: Read> Read for Steady<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        fill(&mut self.raw, buf).map_err(|e| {
            let kind = e.kind();
            *self.failure.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(e);
            kind.into()
        })
    }
}

/// Reads until `buf` is full or there is no more.
fn fill(raw: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match read(raw, buf.get_mut(filled..).unwrap_or_default())? {
            0 => break,
            got => filled += got,
        }
    }
    Ok(filled)
}

/// One read; signals do not count.
fn read(raw: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match raw.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

enum Source {
    /// With the file's size, as far as it is known, to read it in one call.
    Plain {
        raw: Raw,
        size: u64,
    },
    Packed(Box<Packed>),
}

struct Packed {
    decoder: Box<dyn Read + Send>,
    failure: Failure,
    what: &'static str,
    /// Everything was made ready at once.
    whole: bool,
    /// Decompressed but not handed out: `ready[used..]`.
    ready: Vec<u8>,
    used: usize,
    /// Decompressed bytes so far, and how many there may be.
    made: u64,
    most: u64,
    /// What to say beyond `most`.
    excess: String,
}

impl Packed {
    fn new(mut raw: Raw, packing: Packing, size: u64, limits: &Limits) -> io::Result<Self> {
        let what = if packing == Packing::Zstd { "zstd" } else { "gzip" };
        let (mut most, mut excess) = bound(size, limits);
        let (mut ready, mut whole) = (Vec::new(), false);
        match survey(&mut raw, packing, most)? {
            Survey::Small(text) => (ready, whole) = (text, true),
            Survey::Damaged { sound, why } => (most, excess) = (sound, damaged(what, why)),
            Survey::Sound => {}
        }
        raw.rewind()?;
        let failure = Failure::default();
        let input = BufReader::with_capacity(COMPRESSED, Steady::new(raw, &failure));
        let decoder: Box<dyn Read + Send> = match packing {
            Packing::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(input)?),
            _ => Box::new(MultiGzDecoder::new(input)),
        };
        Ok(Packed { decoder, failure, what, whole, ready, used: 0, made: 0, most, excess })
    }

    /// Makes more bytes ready; the end, if there are none.
    fn refill(&mut self) -> io::Result<Option<End>> {
        if self.whole {
            return Ok(Some(End::Clean));
        }
        if self.made > self.most {
            return Ok(Some(End::Broken(self.excess.clone())));
        }
        self.ready.resize(DECOMPRESSED, 0);
        self.used = 0;
        match self.decoder.read(&mut self.ready) {
            Ok(0) => {
                self.ready.clear();
                Ok(Some(End::Clean))
            }
            Ok(n) => {
                let allowed = (n as u64).min(self.most - self.made);
                self.ready.truncate(allowed as usize);
                self.made += n as u64;
                Ok(None)
            }
            Err(e) => {
                self.ready.clear();
                self.damage(e).map(Some)
            }
        }
    }

    /// The reader's own failure, or else damaged data.
    fn damage(&mut self, error: io::Error) -> io::Result<End> {
        self.failure.take()?;
        Ok(End::Broken(damaged(self.what, error)))
    }

    fn read_into(&mut self, text: &mut Vec<u8>, most: usize) -> io::Result<Option<End>> {
        while text.len() < most {
            if self.used >= self.ready.len()
                && let Some(end) = self.refill()?
            {
                return Ok(Some(end));
            }
            let rest = self.ready.get(self.used..).unwrap_or_default();
            let part = rest.get(..most - text.len()).unwrap_or(rest);
            text.extend_from_slice(part);
            self.used += part.len();
        }
        Ok(None)
    }
}

fn damaged(what: &str, why: impl std::fmt::Display) -> String {
    format!("damaged {what} data: {why}")
}

/// How many bytes a compressed file of this size may decompress to, and what to say when there are more.
fn bound(size: u64, limits: &Limits) -> (u64, String) {
    let by_ratio = limits.ratio.saturating_mul(size).max(RATIO_FREE);
    if limits.file_bytes <= by_ratio {
        return (limits.file_bytes, format!("decompresses to more than {} bytes", limits.file_bytes));
    }
    (by_ratio, format!("decompresses to more than {} times its size", limits.ratio))
}

/// Why there are no more bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    Clean,
    /// Damaged, or beyond a limit.
    Broken(String),
}

/// A file's text in order; what was handed out too early can be handed back.
pub struct Feed {
    source: Source,
    end: Option<End>,
    returned: VecDeque<Vec<u8>>,
}

impl Feed {
    /// `size` of the file as it lies there, compressed or not.
    pub fn new(raw: Raw, name: &str, size: u64, limits: &Limits) -> io::Result<Self> {
        let packing = format(name).map_or(Packing::Plain, |(_, packing)| packing);
        let source = match packing {
            Packing::Plain => Source::Plain { raw, size },
            _ => Source::Packed(Box::new(Packed::new(raw, packing, size, limits)?)),
        };
        // No bytes are no gzip either, but "empty" says it better.
        let end = (size == 0 && packing != Packing::Plain).then_some(End::Clean);
        Ok(Feed { source, end, returned: VecDeque::new() })
    }

    /// Goes to this byte of the decompressed text; only right after `new`.
    pub fn skip_to(&mut self, offset: u64) -> io::Result<()> {
        match &mut self.source {
            Source::Plain { raw: Raw::File(file), size } => {
                *size = size.saturating_sub(offset);
                file.as_ref().seek(SeekFrom::Start(offset)).map(|_| ())
            }
            _ => self.discard(offset),
        }
    }

    fn discard(&mut self, mut bytes: u64) -> io::Result<()> {
        while bytes > 0 {
            let step = bytes.min(DECOMPRESSED as u64);
            if self.take(step as usize)?.is_empty() {
                break;
            }
            bytes -= step;
        }
        Ok(())
    }

    /// The next bytes: `most` of them, fewer only at the end.
    pub fn take(&mut self, most: usize) -> io::Result<Vec<u8>> {
        let mut text = self.take_returned(most);
        if text.len() >= most || self.end.is_some() || !self.returned.is_empty() {
            return Ok(text);
        }
        self.end = match &mut self.source {
            Source::Plain { raw, size } => read_plain(raw, size, &mut text, most)?,
            Source::Packed(packed) => packed.read_into(&mut text, most)?,
        };
        Ok(text)
    }

    /// What was handed back, joined as far as it fits; split if the first piece alone is too much.
    fn take_returned(&mut self, most: usize) -> Vec<u8> {
        let Some(mut text) = self.returned.pop_front() else { return Vec::new() };
        while text.len() < most
            && let Some(next) = self.returned.pop_front()
        {
            text.extend_from_slice(&next);
        }
        if text.len() > most {
            self.returned.push_front(text.split_off(most));
        }
        text
    }

    /// Hands text back: `take` will return it again, before anything else.
    pub fn hand_back(&mut self, text: Vec<u8>) {
        if !text.is_empty() {
            self.returned.push_front(text);
        }
    }

    /// A piece of the next bytes, as it comes: about `size`, or a piece that was handed back. Empty at the end.
    pub fn piece(&mut self, size: usize) -> io::Result<Vec<u8>> {
        match self.returned.pop_front() {
            Some(text) => Ok(text),
            None => self.take(size),
        }
    }

    /// Nothing is left to take.
    pub fn is_done(&self) -> bool {
        self.end.is_some() && self.returned.is_empty()
    }

    /// Why the file ended, once it has.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }
}

/// One read call for a whole small file: a buffer one byte larger than what should be left is not filled, which
/// shows the end without asking again.
fn read_plain(raw: &mut Raw, left: &mut u64, text: &mut Vec<u8>, most: usize) -> io::Result<Option<End>> {
    let had = text.len();
    let known = *left > 0;
    let expected = if known { left.saturating_add(1) } else { DECOMPRESSED as u64 };
    let room = (most - had).min(usize::try_from(expected).unwrap_or(usize::MAX));
    // A fresh zeroed buffer costs no pass over it (the system's pages are zero), a grown one would.
    let mut buffer = vec![0; had + room];
    if let Some(head) = buffer.get_mut(..had) {
        head.copy_from_slice(text);
    }
    let mut filled = had;
    let mut ended = false;
    while !ended && filled < buffer.len() {
        let got = read(raw, buffer.get_mut(filled..).unwrap_or_default())?;
        filled += got;
        *left = left.saturating_sub(got as u64);
        ended = got == 0 || (known && *left == 0 && filled < buffer.len());
    }
    buffer.truncate(filled);
    *text = buffer;
    Ok(ended.then_some(End::Clean))
}
