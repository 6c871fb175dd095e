//! Reads a folder of event files the slow way: every document's text, for the oracle.

use std::io::Read;
use std::path::{Path, PathBuf};

use super::json::documents;

const EXTENSIONS: [&str; 3] = ["json", "ndjson", "jsonl"];

/// The texts of all documents in all event files below `folder`, file names in order. Panics on a file that is
/// not well-formed from end to end.
pub fn event_texts(folder: &Path) -> Vec<Vec<u8>> {
    event_files(folder).iter().flat_map(|path| texts_of(path)).collect()
}

/// All event files below `folder`, sorted by path.
pub fn event_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(event_files(&path));
        } else if EXTENSIONS.contains(&extension(&path).trim_end_matches(".gz").trim_end_matches(".zst")) {
            found.push(path);
        }
    }
    found.sort();
    found
}

pub fn texts_of(path: &Path) -> Vec<Vec<u8>> {
    let text = String::from_utf8(unpacked(path)).unwrap();
    documents(&text).unwrap_or_else(|| panic!("{} is not well-formed", path.display()))
}

fn unpacked(path: &Path) -> Vec<u8> {
    let bytes = std::fs::read(path).unwrap();
    let extension = extension(path);
    let mut out = Vec::new();
    if extension.ends_with(".gz") {
        flate2::read::MultiGzDecoder::new(bytes.as_slice()).read_to_end(&mut out).unwrap();
        out
    } else if extension.ends_with(".zst") {
        zstd::decode_all(bytes.as_slice()).unwrap()
    } else {
        bytes
    }
}

/// `json`, `ndjson.gz`, …: the last part of the name, with the compression.
fn extension(path: &Path) -> String {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let parts: Vec<&str> = name.split('.').collect();
    match parts.as_slice() {
        [.., format, compression @ ("gz" | "zst")] => format!("{format}.{compression}"),
        [_, .., format] => (*format).to_owned(),
        _ => String::new(),
    }
}
