//! Keys: how the parts of a key become the hash that names its owner, and the hash that is stored as text.
//!
//! Both are frozen by a fixture: they must be the same on every run and machine, for ever.

use arrow::array::ArrayRef;
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::cell::Cell;

/// Names an owner in the key index: xxh3-128 over the parts as text, each `<byte length>:<bytes>`.
#[derive(Default)]
pub struct OwnerHash(Xxh3);

impl OwnerHash {
    pub fn new() -> Self {
        OwnerHash(Xxh3::new())
    }

    pub fn part(&mut self, text: &[u8]) {
        self.0.update(decimal(text.len(), &mut [0; 20]));
        self.0.update(b":");
        self.0.update(text);
    }

    pub fn finish(&self) -> u128 {
        self.0.digest128()
    }
}

/// Appends a part as [`OwnerHash`] takes it: quicker than the hash's own state where keys are short and many.
pub fn write_part(parts: &mut Vec<u8>, text: &[u8]) {
    match u8::try_from(text.len()) {
        Ok(short @ 0..=9) => parts.extend_from_slice(&[b'0' + short, b':']),
        Ok(short @ 10..=99) => parts.extend_from_slice(&[b'0' + short / 10, b'0' + short % 10, b':']),
        _ => {
            parts.extend_from_slice(decimal(text.len(), &mut [0; 20]));
            parts.push(b':');
        }
    }
    parts.extend_from_slice(text);
}

/// What [`OwnerHash`] gives for parts collected by [`write_part`].
pub fn parts_hash(parts: &[u8]) -> u128 {
    xxh3_128(parts)
}

/// The owner that a stored row belongs to: `columns` are those of [`Table::owner_columns`], in that order. A null
/// among them, which no table has, is left out.
///
/// [`Table::owner_columns`]: crate::pipeline::model::Table::owner_columns
pub fn owner_of(columns: &[ArrayRef], row: usize) -> u128 {
    let (mut parts, mut buf) = (Vec::new(), Vec::new());
    for column in columns {
        if let Some(text) = Cell::read(column, row).text(&mut buf) {
            write_part(&mut parts, text);
        }
    }
    parts_hash(&parts)
}

/// The stored hash of natural parts: the first 16 bytes of SHA-256, lower-case hex, over the parts as text, each
/// written `<byte length>:<bytes>`, null as `-`. All parts null = no key.
#[derive(Default)]
pub struct StoredHash {
    /// Collected: SHA-256 takes one long text much quicker than many short ones.
    parts: Vec<u8>,
    any: bool,
}

impl StoredHash {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn part(&mut self, text: Option<&[u8]>) {
        match text {
            None => self.parts.push(b'-'),
            Some(t) => {
                self.any = true;
                write_part(&mut self.parts, t);
            }
        }
    }

    /// 32 hex digits, or `None` when every part was null. What is hashed next begins anew.
    pub fn finish(&mut self) -> Option<[u8; 32]> {
        let hash = self.any.then(|| {
            let mut out = [0; 32];
            hex_into(&Sha256::digest(&self.parts)[..16], &mut out);
            out
        });
        self.parts.clear();
        self.any = false;
        hash
    }
}

/// Lower-case hex of `bytes` into `out`, which is twice as long.
pub fn hex_into(bytes: &[u8], out: &mut [u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (b, o) in bytes.iter().zip(out.chunks_exact_mut(2)) {
        o[0] = DIGITS[usize::from(b >> 4)];
        o[1] = DIGITS[usize::from(b & 15)];
    }
}

fn decimal(mut n: usize, buf: &mut [u8; 20]) -> &[u8] {
    let mut at = buf.len();
    loop {
        at -= 1;
        buf[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            return &buf[at..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen() {
        let mut h = StoredHash::new();
        h.part(Some(b"ORD1"));
        h.part(None);
        h.part(Some("caf\u{e9}".as_bytes()));
        let hex = h.finish().map(|h| String::from_utf8_lossy(&h).into_owned());
        // printf '4:ORD1-5:café' | sha256sum | cut -c1-32
        assert_eq!(hex.as_deref(), Some(FROZEN_STORED));
        let mut o = OwnerHash::new();
        o.part(b"ORD1");
        o.part(b"");
        assert_eq!(o.finish(), xxhash_rust::xxh3::xxh3_128(b"4:ORD10:"));
        let mut parts = Vec::new();
        write_part(&mut parts, b"ORD1");
        write_part(&mut parts, b"");
        assert_eq!(parts_hash(&parts), o.finish());
        let mut none = StoredHash::new();
        none.part(None);
        assert_eq!(none.finish(), None);
    }

    const FROZEN_STORED: &str = "b53da14338dec4bece19fecfe11c0f6b";
}
