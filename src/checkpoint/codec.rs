//! What stands in the checkpoint: keys and values as bytes, each with a version and a checksum of its own.
//!
//! sled checks its pages, but its recovery has been seen to give back less than was there. The checksum covers
//! the key too, so a value that ended up under another key is noticed.

use xxhash_rust::xxh3::Xxh3;

use crate::batch::{Fingerprint, Resume};
use crate::ledger::{LedgerEntry, Mark};

/// Of everything below. Another one means another release wrote it: filled anew, not converted.
const VERSION: u8 = 3;
/// Files of a group: one by one, sled takes some microseconds and a good hundred bytes of memory for each of them.
pub const GROUP: usize = 64;
/// No group's key is this short.
pub const META_KEY: &[u8] = b"meta";
const DONE: u8 = 1;
const IN_ARRAY: u8 = 2;
const ITEM: usize = 16 + 1 + 8 * 8;
const META_BODY: usize = 1 + 16 + 8 + 8 + 8 + 16;
const CHECKSUM: usize = 8;

/// What the checkpoint says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// The root whose tables this is a cache of.
    pub root_id: u128,
    /// Every batch up to this one is in here.
    pub watermark: u64,
    /// Everything in here is of the history that has this commit. While it is filled, ahead of the watermark.
    pub mark: Mark,
}

/// Why bytes could not be understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bad {
    Checksum,
    Version(u8),
}

impl std::fmt::Display for Bad {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bad::Checksum => f.write_str("a checksum is wrong"),
            Bad::Version(v) => write!(f, "it has format {v}, this release knows {VERSION}"),
        }
    }
}

/// A file with its key, as it stands in a group.
pub type Item = (u128, LedgerEntry);

pub fn encode_group(number: u64, items: &[Item]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + items.len() * ITEM + CHECKSUM);
    out.push(VERSION);
    items.iter().for_each(|(key, entry)| push_item(&mut out, *key, entry));
    seal(&number.to_be_bytes(), out)
}

fn push_item(out: &mut Vec<u8>, key: u128, entry: &LedgerEntry) {
    out.extend(key.to_le_bytes());
    out.push(u8::from(entry.done) * DONE + u8::from(entry.resume.in_array) * IN_ARRAY);
    let words = [
        entry.fingerprint.size,
        entry.fingerprint.mtime_ns as u64,
        entry.fingerprint.ctime_ns as u64,
        entry.fingerprint.inode,
        entry.resume.offset,
        entry.resume.line,
        entry.resume.element,
        entry.batch,
    ];
    words.iter().for_each(|w| out.extend(w.to_le_bytes()));
}

pub fn decode_group(number: u64, bytes: &[u8]) -> Result<Vec<Item>, Bad> {
    let items = bytes.len().saturating_sub(1 + CHECKSUM) / ITEM;
    let body = unseal(&number.to_be_bytes(), bytes, 1 + items * ITEM)?;
    body[1..].chunks_exact(ITEM).map(decode_item).collect()
}

fn decode_item(item: &[u8]) -> Result<Item, Bad> {
    let flags = item.get(16).copied().ok_or(Bad::Checksum)?;
    let word = |i: usize| number(item, 17 + 8 * i);
    let entry = LedgerEntry {
        fingerprint: Fingerprint {
            size: word(0)?,
            mtime_ns: word(1)? as i64,
            ctime_ns: word(2)? as i64,
            inode: word(3)?,
        },
        resume: Resume {
            offset: word(4)?,
            line: word(5)?,
            element: word(6)?,
            in_array: flags & IN_ARRAY != 0,
        },
        done: flags & DONE != 0,
        batch: word(7)?,
    };
    Ok((long(item, 0)?, entry))
}

pub fn encode_meta(meta: Meta) -> Vec<u8> {
    let mut out = Vec::with_capacity(META_BODY + CHECKSUM);
    out.push(VERSION);
    out.extend(meta.root_id.to_le_bytes());
    [meta.watermark, meta.mark.batch, meta.mark.version].iter().for_each(|w| out.extend(w.to_le_bytes()));
    out.extend(meta.mark.hash.to_le_bytes());
    seal(META_KEY, out)
}

pub fn decode_meta(bytes: &[u8]) -> Result<Meta, Bad> {
    let body = unseal(META_KEY, bytes, META_BODY)?;
    let mark = Mark { batch: number(body, 25)?, version: number(body, 33)?, hash: long(body, 41)? };
    Ok(Meta { root_id: long(body, 1)?, watermark: number(body, 17)?, mark })
}

fn seal(key: &[u8], mut body: Vec<u8>) -> Vec<u8> {
    let sum = checksum(key, &body);
    body.extend(sum.to_le_bytes());
    body
}

/// The checksum is looked at first: a version byte that rotted must not look like another release's.
fn unseal<'a>(key: &[u8], bytes: &'a [u8], length: usize) -> Result<&'a [u8], Bad> {
    let at = bytes.len().checked_sub(CHECKSUM).ok_or(Bad::Checksum)?;
    let (body, sum) = bytes.split_at_checked(at).ok_or(Bad::Checksum)?;
    if sum != checksum(key, body).to_le_bytes() {
        return Err(Bad::Checksum);
    }
    match body.first() {
        Some(&VERSION) if body.len() == length => Ok(body),
        Some(&v) if v != VERSION => Err(Bad::Version(v)),
        _ => Err(Bad::Checksum),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(key);
    hash.update(body);
    hash.digest()
}

fn number(body: &[u8], at: usize) -> Result<u64, Bad> {
    let bytes = body.get(at..).and_then(|rest| rest.first_chunk::<8>()).ok_or(Bad::Checksum)?;
    Ok(u64::from_le_bytes(*bytes))
}

fn long(body: &[u8], at: usize) -> Result<u128, Bad> {
    Ok((u128::from(number(body, at + 8)?) << 64) | u128::from(number(body, at)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry() -> LedgerEntry {
        LedgerEntry {
            fingerprint: Fingerprint { size: 1, mtime_ns: -2, ctime_ns: i64::MIN, inode: u64::MAX },
            resume: Resume { offset: 5, line: 6, element: 7, in_array: true },
            done: false,
            batch: 8,
        }
    }

    #[test]
    fn comes_back_as_it_went() {
        for entry in [entry(), LedgerEntry { done: true, resume: Resume::default(), ..entry() }] {
            let items = vec![(5, entry), (u128::MAX - 7, entry)];
            for items in [&items[..0], &items[..1], &items] {
                assert_eq!(decode_group(9, &encode_group(9, items)), Ok(items.to_vec()));
            }
        }
        let mark = Mark { batch: 78, version: 5, hash: u128::MAX / 3 };
        let meta = Meta { root_id: u128::MAX - 5, watermark: 77, mark };
        assert_eq!(decode_meta(&encode_meta(meta)), Ok(meta));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let good = encode_group(9, &[(5, entry()), (6, entry())]);
        for bit in 0..good.len() * 8 {
            let mut bytes = good.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_group(9, &bytes), Err(Bad::Checksum), "bit {bit}");
        }
        for len in 0..good.len() {
            assert_eq!(decode_group(9, &good[..len]), Err(Bad::Checksum), "{len} bytes");
        }
        assert_eq!(decode_group(10, &good), Err(Bad::Checksum), "under another key");
        assert_eq!(decode_meta(&good), Err(Bad::Checksum));
    }

    #[test]
    fn another_release_is_told_apart_from_damage() {
        let newer = seal(&9u64.to_be_bytes(), vec![4, 0, 0]);
        assert_eq!(decode_group(9, &newer), Err(Bad::Version(4)));
    }

    /// Format 3, for ever: a change here needs a new VERSION.
    #[test]
    fn format_3_is_frozen() {
        let hex: String = encode_group(9, &[(5, entry())]).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, FORMAT_3);
    }

    const FORMAT_3: &str = "030500000000000000000000000000000002\
        0100000000000000feffffffffffffff0000000000000080ffffffffffffffff\
        05000000000000000600000000000000070000000000000008000000000000001543e5517317e2c7";
}
