//! Raw bytes of a file or of memory, read so that what a decompressor says is about the data.

use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::sync::{Arc, Mutex, PoisonError};

/// Compressed bytes read at a time.
pub const COMPRESSED: usize = 64 << 10;
/// Decompressed bytes asked of a decompressor at a time. When it meets damage it withholds what it made in that
/// call, so calls must not depend on what our caller asks for.
pub const DECOMPRESSED: usize = 128 << 10;
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
    pub fn rewind(&mut self) -> io::Result<()> {
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
pub fn read(raw: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    loop {
        match raw.read(buf) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}
