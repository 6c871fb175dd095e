//! The checkpoint's values: any bytes are an entry or damage; what was written comes back; a flipped bit is noticed.

use millrace::batch::{Fingerprint, Resume};
use millrace::checkpoint::codec::{Meta, decode_group, decode_meta, encode_group, encode_meta};
use millrace::ledger::{LedgerEntry, Mark};

use super::number;

pub fn run(data: &[u8]) {
    if let Ok(items) = decode_group(9, data) {
        assert_eq!(decode_group(9, &encode_group(9, &items)), Ok(items));
    }
    let _ = decode_meta(data);
    let mut rest = data;
    let mut next = || {
        let (n, after) = number(rest);
        rest = after;
        n
    };
    let (group, at) = (next(), next() as usize);
    let key = u128::from(group);
    let fingerprint =
        Fingerprint { size: next(), mtime_ns: next() as i64, ctime_ns: next() as i64, inode: next() };
    let resume = Resume { offset: next(), line: next(), element: next(), in_array: at & 1 == 1 };
    let entry = LedgerEntry { fingerprint, resume, done: at & 2 == 2, batch: next() };
    let items = vec![(key, entry); at % 3];
    let mut bytes = encode_group(group, &items);
    assert_eq!(decode_group(group, &bytes), Ok(items));
    assert!(decode_group(group ^ 1, &bytes).is_err(), "taken under another key");
    let bit = at % (bytes.len() * 8);
    bytes[bit / 8] ^= 1 << (bit % 8);
    assert!(decode_group(group, &bytes).is_err(), "bit {bit} flipped unnoticed");
    let mark = Mark { batch: next(), version: next(), hash: key << 64 | u128::from(next()) };
    let meta = Meta { root_id: key << 64 | u128::from(next()), watermark: next(), mark };
    assert_eq!(decode_meta(&encode_meta(meta)), Ok(meta));
}
