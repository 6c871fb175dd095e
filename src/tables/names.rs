//! Names of files: each carries the batch that wrote it, so that what no record decided can be told and swept.

use std::path::{Path, PathBuf};

use crate::batch::FileId;

pub const LOG: &str = "_delta_log";
pub const INDEX: &str = "_key_index";
/// Folder below `tables/` with the root's own files.
pub const OWN: &str = "_millrace";

/// `part-0000000012.parquet`: a batch writes at most one data file a table.
pub fn data_file(batch: FileId) -> String {
    format!("part-{batch:010}.parquet")
}

pub fn data_file_id(name: &str) -> Option<FileId> {
    let batch = name.strip_prefix("part-")?.strip_suffix(".parquet")?.parse().ok()?;
    (data_file(batch) == name).then_some(batch)
}

/// The UUID of a batch's deletion vector file. The protocol wants a UUID; this one is the batch id behind a fixed
/// prefix (version 8, "custom"), so that the file's batch can be read off its name.
fn dv_uuid(batch: FileId) -> [u8; 16] {
    let mut id = *b"millrac\0\0\0\0\0\0\0\0\0";
    id[6] = 0x80;
    id[8] = 0x80;
    id[12..].copy_from_slice(&batch.to_be_bytes());
    id
}

/// `deletion_vector_<uuid>.bin`, at the table's root.
pub fn dv_file(batch: FileId) -> String {
    let hex: String = dv_uuid(batch).iter().map(|b| format!("{b:02x}")).collect();
    let (a, b, c, d, e) = (&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
    format!("deletion_vector_{a}-{b}-{c}-{d}-{e}.bin")
}

pub fn dv_file_id(name: &str) -> Option<FileId> {
    let uuid = name.strip_prefix("deletion_vector_")?.strip_suffix(".bin")?;
    let batch = u32::from_str_radix(uuid.get(28..)?, 16).ok()?;
    (dv_file(batch) == name).then_some(batch)
}

/// How a descriptor of storage type `u` names that file: z85 of the UUID.
pub fn dv_path(batch: FileId) -> String {
    z85::encode(dv_uuid(batch))
}

/// The file that a descriptor's `pathOrInlineDv` names, if it is of type `u` without prefix.
pub fn dv_file_of(path_or_inline: &str) -> Option<String> {
    let bytes = z85::decode(path_or_inline).ok()?;
    let batch = u32::from_be_bytes(bytes.get(12..16)?.try_into().ok()?);
    (bytes == dv_uuid(batch)).then(|| dv_file(batch))
}

/// `00000000000000000012.checkpoint.parquet`
pub fn log_checkpoint(version: u64) -> String {
    format!("{version:020}.checkpoint.parquet")
}

/// `00000000000000000012.json`
pub fn commit_file(version: u64) -> String {
    format!("{version:020}.json")
}

pub fn commit_version(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".json")?;
    let version = digits.parse().ok()?;
    (commit_file(version) == name).then_some(version)
}

/// `0000000012-0.arrow`: the newest batch that it holds, and how often it was folded.
pub fn index_file(batch: FileId, level: u32) -> String {
    format!("{batch:010}-{level}.arrow")
}

pub fn index_file_id(name: &str) -> Option<(FileId, u32)> {
    let (batch, level) = name.strip_suffix(".arrow")?.split_once('-')?;
    let (batch, level) = (batch.parse().ok()?, level.parse().ok()?);
    (index_file(batch, level) == name).then_some((batch, level))
}

pub fn log_dir(table: &Path) -> PathBuf {
    table.join(LOG)
}

pub fn index_dir(table: &Path) -> PathBuf {
    table.join(INDEX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_batch() {
        assert_eq!(data_file_id(&data_file(12)), Some(12));
        // Somebody else's file is not taken for the one that we would spell otherwise.
        for other in
            ["part-x.parquet", "part-12.parquet", "part-+000000012.parquet", "part-00000000012.parquet"]
        {
            assert_eq!(data_file_id(other), None, "{other}");
        }
        assert_eq!(index_file_id("9-2.arrow"), None);
        assert_eq!(commit_version("+0000000000000000007.json"), None);
        assert_eq!(dv_file_id(&dv_file(77)), Some(77));
        assert_eq!(dv_file_of(&dv_path(77)), Some(dv_file(77)));
        assert_eq!(dv_path(77).len(), 20);
        assert_eq!(index_file_id(&index_file(9, 2)), Some((9, 2)));
        assert_eq!(commit_version(&commit_file(3)), Some(3));
    }
}
