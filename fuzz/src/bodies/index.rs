//! Key index files: entries come back as they went; damage is told, also where the checksum would not say so.

use std::path::Path;
use std::sync::OnceLock;

use millrace::batch::{Entry, EventOrder};
use millrace::error::{Error, Result};
use millrace::tables::index_file::{Entries, IndexFile, describe, encode};

use super::number;

pub fn run(data: &[u8]) {
    let Some((&mode, rest)) = data.split_first() else { return };
    match mode & 1 {
        0 => written_and_torn(rest),
        _ => {
            // Any bytes with their own checksum, as another version or a fault in the writer would leave them.
            let _ = read(rest, &describe(name(), rest, 0));
        }
    }
}

fn written_and_torn(data: &[u8]) {
    let (at, mut rest) = number(data);
    let mut entries = Vec::new();
    while !rest.is_empty() {
        let mut next = || {
            let (n, after) = number(rest);
            rest = after;
            n
        };
        let owner = u128::from(next());
        let order = EventOrder { sequence: [next() as i64, next() as i64], hash: u128::from(next()) << 64 };
        let (content, file, place) = (next(), next() as u32, next());
        entries
            .push((owner, Entry { order, content, file, first: place as u32, count: (place >> 32) as u32 }));
    }
    let bytes = encode(&entries).unwrap();
    let file = describe(name(), &bytes, entries.len());
    assert_eq!(read(&bytes, &file).unwrap(), entries);
    let mut torn = bytes.clone();
    torn[at as usize % bytes.len()] ^= 1 + (at >> 56) as u8 % 255;
    let is_told = |bytes: &[u8]| matches!(read(bytes, &file), Err(Error::Corrupt(_)));
    assert!(is_told(&torn) && is_told(&bytes[..at as usize % bytes.len()]), "damage was not told");
}

fn name() -> String {
    format!("index-{:?}", std::thread::current().id())
}

fn read(bytes: &[u8], file: &IndexFile) -> Result<Vec<(u128, Entry)>> {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder =
        FOLDER.get_or_init(|| tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap());
    let folder: &Path = folder.path();
    std::fs::write(folder.join(&file.name), bytes).unwrap();
    let mut entries = Entries::open(folder, file)?;
    let mut all = Vec::new();
    while let Some(rows) = entries.next_rows()? {
        all.extend(rows);
    }
    Ok(all)
}
