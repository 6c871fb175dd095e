//! Makes an empty root: folders, empty tables, the first record. Every step can be repeated after a crash.

use std::path::Path;

use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::tables::{Disk, TableDef, names, table};
use crate::threads;

use super::Identity;

/// Log checkpoints are ours to time; these are for foreign readers and for the curious.
const PROPERTIES: [(&str, &str); 4] = [
    ("delta.enableDeletionVectors", "true"),
    ("delta.enableChangeDataFeed", "false"),
    ("delta.deletedFileRetentionDuration", "interval 1 days"),
    ("delta.logRetentionDuration", "interval 1 days"),
];

pub fn folders(disk: &dyn Disk, paths: &Paths) -> Result<()> {
    for dir in [&paths.tables, &paths.own, &paths.temp] {
        disk.create_dir(dir).at("making", dir)?;
        fault::point("create.folder_made");
    }
    // The folder's own name too: a power cut that loses it loses everything in it.
    for dir in [paths.own.as_path(), &paths.tables, parent(&paths.tables)] {
        disk.sync_dir(dir).at("syncing", dir)?;
    }
    Ok(())
}

/// The folder that `path` lies in.
pub fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Creates every table at version 0 and decides "nothing yet" about them.
///
/// # Errors
/// [`Error::Corrupt`] if a table already has commits: then the record is not missing because none was written.
pub fn tables(
    disk: &dyn Disk,
    paths: &Paths,
    defs: &[TableDef],
    identity: &Identity,
    now: i64,
) -> Result<Record> {
    // All are looked at before any is made: nothing may be written into a root that lost its record.
    for def in defs {
        if has_commits(&def.dir)? {
            return Err(Error::Corrupt(format!(
                "the decision record {} is missing although {} has commits; run `millrace repair`",
                paths.decision.display(),
                def.dir.display()
            )));
        }
    }
    // Several at a time: nearly all of it is waiting for syncs.
    threads::each(defs, |def| {
        create_table(disk, paths, def, identity, now)?;
        fault::point("create.table_made");
        Ok(())
    })?;
    disk.sync_dir(&paths.tables).at("syncing", &paths.tables)?;
    fault::point("create.tables_synced");
    let record = Record {
        root: identity.root.clone(),
        batch: 0,
        commits: Vec::new(),
        versions: defs.iter().map(|d| (d.name.clone(), 0)).collect(),
        index: defs.iter().map(|d| (d.name.clone(), Vec::new())).collect(),
    };
    crate::commit::decide(disk, paths, &record)?;
    Ok(record)
}

/// The log holds more than the commit that makes an empty table (which may be cleaned away by then).
fn has_commits(table: &Path) -> Result<bool> {
    let log = names::log_dir(table);
    let entries = match std::fs::read_dir(&log) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        other => other.at("listing", &log)?,
    };
    for entry in entries {
        let name = entry.at("listing", &log)?.file_name();
        if name.to_str() != Some(names::commit_file(0).as_str()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn create_table(disk: &dyn Disk, paths: &Paths, def: &TableDef, identity: &Identity, now: i64) -> Result<()> {
    let log = names::log_dir(&def.dir);
    let first = log.join(names::commit_file(0));
    for dir in [&log, &names::index_dir(&def.dir)] {
        disk.create_dir(dir).at("making", dir)?;
    }
    disk.sync_dir(&def.dir).at("syncing", &def.dir)?;
    fault::point("create.table_folders_made");
    // A crash may have left an empty table of another moment: the same table, so its bytes stand.
    if let Ok(found) = disk.read(&first)
        && !found.is_empty()
    {
        disk.sync_file(&first).at("syncing", &first)?;
        fault::point("create.table_found");
        return disk.sync_dir(&log).at("syncing", &log);
    }
    disk.remove(&first).at("removing", &first)?;
    let mut properties: Vec<(&str, String)> = PROPERTIES.iter().map(|(k, v)| (*k, (*v).to_owned())).collect();
    let keys: Vec<&str> = def.stats.iter().map(|&c| def.schema.field(c).name().as_str()).collect();
    properties.push(("delta.dataSkippingStatsColumns", keys.join(",")));
    let bytes = table::create_bytes(def, &table_id(identity, &def.name), &properties, now / 1000);
    table::publish(disk, &def.dir, 0, &bytes, &paths.temp.join(format!("{}-0", def.name)))
}

/// A table's UUID, derived from the root's id and its name (version 8, "custom").
fn table_id(identity: &Identity, name: &str) -> String {
    let hash = xxhash_rust::xxh3::xxh3_128(format!("{}/{name}", identity.root).as_bytes());
    let hex = format!("{:032x}", (hash & !(0xf << 76) & !(0xc << 60)) | (8 << 76) | (8 << 60));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}
