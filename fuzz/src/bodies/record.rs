//! The decision record: any bytes are a record or none; what is one comes back as it went.

use millrace::commit::record::Record;
use millrace::tables::index_file::checksum;

pub fn run(data: &[u8]) {
    comes_back(data);
    // The same as a body whose checksum is right: what is behind the checksum must hold too.
    let head = format!("millrace-decision 1 {}\n", checksum(data));
    let sealed = [head.as_bytes(), data, b"\n"].concat();
    comes_back(&sealed);
    // One changed byte in it is noticed.
    if let Some(&at) = data.first() {
        let mut torn = sealed;
        let at = (usize::from(at) * 7919) % torn.len();
        torn[at] ^= 1;
        assert!(Record::decode(&torn).is_err(), "a flipped bit at {at} went unnoticed");
    }
}

fn comes_back(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        assert_eq!(Record::decode(&record.encode().unwrap()).as_ref(), Ok(&record));
    }
}
