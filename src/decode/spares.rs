//! Large buffers that go round: what one batch is done with, the next one fills. Given back to the system instead, each of
//! their pages would be fetched and zeroed anew.

use std::sync::{Mutex, PoisonError};

use crate::batch::{Chunk, Value};

/// Smaller buffers are as quickly made anew. (Many small files are one small chunk each.)
const LEAST: usize = 256 << 10;
/// A larger text was an exception, and is not kept.
const MOST_TEXT: usize = 16 << 20;
/// Neither are the values of a dense block: buffers only grow as they go round, and in the end all would be as large.
const MOST_VALUES: usize = 1 << 20;
/// Bytes of each kind that are kept: about what two batches of the default size have.
const KEPT: usize = 160 << 20;

/// Shared by all who read for one pipeline.
#[derive(Debug, Default)]
pub struct Spares {
    texts: Pool<u8>,
    values: Pool<Value>,
}

#[derive(Debug)]
struct Pool<T>(Mutex<Kept<T>>);

#[derive(Debug)]
struct Kept<T> {
    buffers: Vec<Vec<T>>,
    bytes: usize,
}

impl Spares {
    /// A buffer of exactly `len` bytes with anything in it.
    pub fn text(&self, len: usize) -> Vec<u8> {
        let spare = if len < LEAST { None } else { self.texts.pop() };
        match spare {
            Some(mut text) => {
                text.resize(len, 0);
                text
            }
            // A fresh zeroed buffer costs no pass over it: the system's pages are zero.
            None => vec![0; len],
        }
    }

    /// An empty buffer for the values of so many bytes of text.
    pub fn values(&self, text: usize) -> Vec<Value> {
        let spare = if text < LEAST { None } else { self.values.pop() };
        spare.unwrap_or_else(|| Vec::with_capacity(text / 24))
    }

    /// Takes the buffers of chunks that nobody needs any more.
    pub fn take_back(&self, chunks: Vec<Chunk>) {
        for mut chunk in chunks {
            // What is not asked for again must not be kept.
            if chunk.text.len() < LEAST {
                continue;
            }
            self.texts.keep(chunk.text, MOST_TEXT);
            chunk.values.clear();
            self.values.keep(chunk.values, MOST_VALUES);
        }
    }
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool(Mutex::new(Kept { buffers: Vec::new(), bytes: 0 }))
    }
}

impl<T> Pool<T> {
    fn pop(&self) -> Option<Vec<T>> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let buffer = kept.buffers.pop()?;
        kept.bytes -= bytes(&buffer);
        Some(buffer)
    }

    fn keep(&self, buffer: Vec<T>, most: usize) {
        let size = bytes(&buffer);
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if size <= most && kept.bytes + size <= KEPT {
            kept.bytes += size;
            kept.buffers.push(buffer);
        }
    }
}

fn bytes<T>(buffer: &Vec<T>) -> usize {
    buffer.capacity() * size_of::<T>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Kind, NONE};

    fn chunk(text: usize, values: usize) -> Chunk {
        let value = Value { kind: Kind::Null, escaped: false, start: 0, end: 0, next: NONE };
        Chunk { text: vec![b'x'; text], values: vec![value; values], ..Chunk::default() }
    }

    fn kept(spares: &Spares) -> (usize, usize) {
        (spares.texts.0.lock().unwrap().buffers.len(), spares.values.0.lock().unwrap().buffers.len())
    }

    #[test]
    fn large_buffers_come_back_and_small_ones_do_not() {
        let spares = Spares::default();
        spares.take_back(vec![chunk(LEAST, 5_000), chunk(100, 100), chunk(2 * MOST_TEXT, 5_000)]);
        assert_eq!(kept(&spares), (1, 2));
        assert_eq!(spares.text(100), [0; 100]);
        assert_eq!(spares.text(LEAST + 7).len(), LEAST + 7);
        assert!(spares.values(100).capacity() < 5_000);
        for _ in 0..2 {
            let values = spares.values(LEAST);
            assert!(values.is_empty() && values.capacity() >= 5_000);
        }
        assert_eq!(kept(&spares), (0, 0));
        assert_eq!(spares.texts.0.lock().unwrap().bytes, 0);
    }

    #[test]
    fn what_is_kept_is_bounded_and_would_all_be_used_again() {
        let spares = Spares::default();
        // Small chunks with many values, and dense ones, round after round.
        for _ in 0..3 {
            spares.take_back((0..200).map(|_| chunk(LEAST - 1, 30_000)).collect());
            spares.take_back((0..5).map(|_| chunk(LEAST, MOST_VALUES)).collect());
        }
        assert_eq!(kept(&spares), (15, 0));
        spares.take_back((0..40).map(|_| chunk(MOST_TEXT, 1)).collect());
        assert!(spares.texts.0.lock().unwrap().bytes <= KEPT);
        assert!(kept(&spares).0 < 30);
    }
}
