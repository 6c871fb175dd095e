//! The decision record: from the moment it is durable, its batch will happen; before that, it did not.
//!
//! It holds the very bytes of every commit, so that a start after a crash can publish what is missing and compare
//! what is there, and the whole list of index files with their checksums, so that no damaged one is believed.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::tables::Disk;
use crate::tables::index_file::{IndexFile, checksum};

const MAGIC: &str = "millrace-decision";
const FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Names the root this record belongs to.
    pub root: String,
    /// The batch (or compaction) that it decides. 0: an empty root.
    pub batch: u64,
    /// In the order in which they are published.
    pub commits: Vec<TableCommit>,
    /// Of every table, changed or not, the version it has once this record is carried out.
    pub versions: BTreeMap<String, u64>,
    /// Of every table with a key index, its files, oldest first.
    pub index: BTreeMap<String, Vec<IndexFile>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TableCommit {
    pub table: String,
    pub base: u64,
    pub version: u64,
    /// The commit file, byte by byte.
    pub bytes: String,
}

impl Record {
    pub fn encode(&self) -> Result<Vec<u8>> {
        let body = serde_json::to_string(self).map_err(|e| Error::Bug(format!("decision record: {e}")))?;
        Ok(format!("{MAGIC} {FORMAT} {}\n{body}\n", checksum(body.as_bytes())).into_bytes())
    }

    /// What a reader can believe, or why it cannot.
    pub fn decode(bytes: &[u8]) -> Result<Record, String> {
        let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
        let (head, body) = text.split_once('\n').ok_or("it ends in the first line")?;
        let body = body.strip_suffix('\n').ok_or("its end is missing")?;
        match head.split(' ').collect::<Vec<_>>()[..] {
            [MAGIC, format, _] if format != FORMAT.to_string() => {
                Err(format!("it has format {format}; this millrace knows format {FORMAT}"))
            }
            [MAGIC, _, sum] if sum == checksum(body.as_bytes()) => {
                serde_json::from_str(body).map_err(|e| e.to_string())
            }
            [MAGIC, _, _] => Err("its checksum does not match".into()),
            _ => Err("its first line is not a decision record's".into()),
        }
    }

    /// Reads the record of a root; `None` if none was ever written.
    pub fn read(disk: &dyn Disk, path: &Path) -> Result<Option<Record>> {
        let bytes = match disk.read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other.at("reading", path)?,
        };
        Record::decode(&bytes).map(Some).map_err(|why| {
            Error::Corrupt(format!(
                "the decision record {} is damaged: {why}; run `millrace repair`",
                path.display()
            ))
        })
    }

    /// Makes the record durable. An error here means that nobody knows whether the batch will happen.
    pub fn write(&self, disk: &dyn Disk, path: &Path, temp: &Path) -> Result<()> {
        let bytes = self.encode()?;
        let dir = path.parent().unwrap_or(Path::new("."));
        disk.write(temp, &bytes).at("writing", temp)?;
        fault::point("decide.written");
        let unknown = |e| Error::Unknown(format!("writing {}: {e}", path.display()));
        disk.replace(temp, path).map_err(unknown)?;
        fault::point("decide.renamed");
        disk.sync_dir(dir).map_err(unknown)?;
        fault::point("decide.synced");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            root: "r".into(),
            batch: 3,
            commits: vec![TableCommit { table: "t".into(), base: 1, version: 2, bytes: "{}\n".into() }],
            versions: [("t".to_owned(), 2)].into(),
            index: BTreeMap::new(),
        }
    }

    #[test]
    fn every_torn_or_flipped_record_is_refused() {
        let bytes = record().encode().unwrap();
        assert_eq!(Record::decode(&bytes).unwrap(), record());
        for cut in 0..bytes.len() {
            assert!(Record::decode(&bytes[..cut]).is_err(), "cut at {cut}");
            let mut flipped = bytes.clone();
            flipped[cut] ^= 1;
            assert!(Record::decode(&flipped).is_err(), "flipped at {cut}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let text = String::from_utf8(record().encode().unwrap()).unwrap().replacen(" 1 ", " 9 ", 1);
        assert!(Record::decode(text.as_bytes()).unwrap_err().contains("format 9"));
    }
}
