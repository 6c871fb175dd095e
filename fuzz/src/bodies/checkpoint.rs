//! The checkpoint's values: any bytes are an entry or damage; what was written comes back; a flipped bit is noticed.

use millrace::batch::{Fingerprint, Resume};
use millrace::checkpoint::codec::{Meta, decode_entry, decode_meta, encode_entry, encode_meta};
use millrace::ledger::{LedgerEntry, Mark};

use super::number;

pub fn run(data: &[u8]) {
    if let Ok(entry) = decode_entry(9, data) {
        assert_eq!(decode_entry(9, &encode_entry(9, &entry)), Ok(entry));
    }
    let _ = decode_meta(data);
    let mut rest = data;
    let mut next = || {
        let (n, after) = number(rest);
        rest = after;
        n
    };
    let (key, at) = (u128::from(next()), next() as usize);
    let fingerprint =
        Fingerprint { size: next(), mtime_ns: next() as i64, ctime_ns: next() as i64, inode: next() };
    let resume = Resume { offset: next(), line: next(), element: next(), in_array: at & 1 == 1 };
    let entry = LedgerEntry { fingerprint, resume, done: at & 2 == 2, batch: next() };
    let mut bytes = encode_entry(key, &entry);
    assert_eq!(decode_entry(key, &bytes), Ok(entry));
    assert!(decode_entry(key ^ 1, &bytes).is_err(), "taken under another key");
    let bit = at % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    assert!(decode_entry(key, &bytes).is_err(), "bit {bit} flipped unnoticed");
    let mark = Mark { batch: next(), version: next(), hash: key << 64 | u128::from(next()) };
    let meta = Meta { root_id: key << 64 | u128::from(next()), watermark: next(), mark };
    assert_eq!(decode_meta(&encode_meta(meta)), Ok(meta));
}
