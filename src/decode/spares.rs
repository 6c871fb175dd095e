//! Large buffers that go round: what one batch is done with, the next one fills. Given back to the system instead, each of
//! their pages would be fetched and zeroed anew.

use std::sync::{Mutex, PoisonError};

use crate::batch::{Chunk, Value};

/// Smaller buffers are as quickly made anew. (Many small files are one small chunk each.)
const LEAST: usize = 256 << 10;
/// A larger one was an exception, and is not kept.
const MOST: usize = 16 << 20;
/// Buffers of each kind that are kept; more are not in use at once with the largest batches that make sense.
const KEPT: usize = 512;

/// Shared by all who read for one pipeline.
#[derive(Debug, Default)]
pub struct Spares {
    texts: Mutex<Vec<Vec<u8>>>,
    values: Mutex<Vec<Vec<Value>>>,
}

impl Spares {
    /// A buffer of exactly `len` bytes with anything in it.
    pub fn text(&self, len: usize) -> Vec<u8> {
        let spare = if len < LEAST { None } else { pop(&self.texts) };
        match spare {
            Some(mut text) => {
                text.resize(len, 0);
                text
            }
            // A fresh zeroed buffer costs no pass over it: the system's pages are zero.
            None => vec![0; len],
        }
    }

    /// An empty buffer for about `len` values.
    pub fn values(&self, len: usize) -> Vec<Value> {
        let spare = if len * size_of::<Value>() < LEAST { None } else { pop(&self.values) };
        spare.unwrap_or_else(|| Vec::with_capacity(len))
    }

    /// Takes the buffers of chunks that nobody needs any more.
    pub fn take_back(&self, chunks: Vec<Chunk>) {
        for mut chunk in chunks {
            keep(&self.texts, chunk.text);
            chunk.values.clear();
            keep(&self.values, chunk.values);
        }
    }
}

fn pop<T>(spares: &Mutex<Vec<Vec<T>>>) -> Option<Vec<T>> {
    spares.lock().unwrap_or_else(PoisonError::into_inner).pop()
}

fn keep<T>(spares: &Mutex<Vec<Vec<T>>>, buffer: Vec<T>) {
    if (LEAST..=MOST).contains(&(buffer.capacity() * size_of::<T>())) {
        let mut spares = spares.lock().unwrap_or_else(PoisonError::into_inner);
        if spares.len() < KEPT {
            spares.push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::{Kind, NONE};

    #[test]
    fn large_buffers_come_back_and_small_ones_do_not() {
        let spares = Spares::default();
        let value = Value { kind: Kind::Null, escaped: false, start: 0, end: 0, next: NONE };
        let chunk =
            |len: usize| Chunk { text: vec![b'x'; len], values: vec![value; len], ..Chunk::default() };
        spares.take_back(vec![chunk(LEAST), chunk(100), chunk(2 * MOST)]);
        assert_eq!((spares.texts.lock().unwrap().len(), spares.values.lock().unwrap().len()), (1, 1));
        assert_eq!(spares.text(100), [0; 100]);
        assert_eq!(spares.text(LEAST + 7).len(), LEAST + 7);
        assert!(spares.texts.lock().unwrap().is_empty());
        let values = spares.values(LEAST);
        assert!(values.is_empty() && values.capacity() >= LEAST);
    }
}
