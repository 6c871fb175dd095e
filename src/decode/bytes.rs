//! A file's decompressed bytes, in blocks: plain, gzip (many members), zstd (many frames), with limits.
//!
//! What goes wrong is told apart by what to do about it. The file could not be *read*: an [`io::Error`], the
//! caller tries again later. What was read is no gzip, or grows beyond its limits: an end with a reason, decided
//! by decompressed offsets alone, so that every reading of the file ends at the same byte.

use std::collections::VecDeque;
use std::io::{self, Seek, SeekFrom};
use std::sync::Arc;

use super::format::{Packing, format};
use super::packed::{End, Packed};
use super::raw::{DECOMPRESSED, Raw, read};
use super::spares::Spares;
use crate::pipeline::model::Limits;

enum Source {
    /// With the file's size, as far as it is known, to read it in one call.
    Plain {
        raw: Raw,
        size: u64,
    },
    Packed(Box<Packed>),
}

/// A file's text in order; what was handed out too early can be handed back.
pub struct Feed {
    source: Source,
    end: Option<End>,
    returned: VecDeque<Vec<u8>>,
    spares: Arc<Spares>,
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
        Ok(Feed { source, end, returned: VecDeque::new(), spares: Arc::default() })
    }

    /// Buffers come from here.
    pub fn share(&mut self, spares: Arc<Spares>) {
        self.spares = spares;
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
            Source::Plain { raw, size } => read_plain(raw, size, &mut text, most, &self.spares)?,
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
fn read_plain(
    raw: &mut Raw,
    left: &mut u64,
    text: &mut Vec<u8>,
    most: usize,
    spares: &Spares,
) -> io::Result<Option<End>> {
    let had = text.len();
    let known = *left > 0;
    let expected = if known { left.saturating_add(1) } else { DECOMPRESSED as u64 };
    let room = (most - had).min(usize::try_from(expected).unwrap_or(usize::MAX));
    let mut buffer = spares.text(had + room);
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
