//! Removes what a crash left behind: files that neither a log nor the record names.
//!
//! Runs under the lock, after the record was carried out. A file of a batch that the record does not reach was
//! never decided. Nothing here asks the checkpoint or the clock.

use std::fs;
use std::path::Path;

use crate::commit::Paths;
use crate::commit::record::Record;
use crate::error::{IoContext, Result};
use crate::fault;
use crate::tables::{Disk, TableDef, names};

pub fn undecided(disk: &dyn Disk, paths: &Paths, defs: &[TableDef], record: &Record) -> Result<()> {
    each(&paths.temp, |path, _| {
        disk.remove(path).at("removing", path)?;
        fault::point("sweep.draft_removed");
        Ok(())
    })?;
    for def in defs {
        each(&def.dir, |path, name| {
            let batch = names::data_file_id(name).or_else(|| names::dv_file_id(name));
            match batch {
                Some(batch) if u64::from(batch) > record.batch => disk.remove(path).at("removing", path)?,
                _ => return Ok(()),
            }
            fault::point("sweep.data_removed");
            Ok(())
        })?;
        let named = record.index.get(&def.name).map(Vec::as_slice).unwrap_or_default();
        each(&names::index_dir(&def.dir), |path, name| {
            let ours = names::index_file_id(name).is_some();
            if ours && !named.iter().any(|f| f.name == name) {
                disk.remove(path).at("removing", path)?;
                fault::point("sweep.index_removed");
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn each(dir: &Path, mut f: impl FnMut(&Path, &str) -> Result<()>) -> Result<()> {
    for entry in fs::read_dir(dir).at("listing", dir)? {
        let entry = entry.at("listing", dir)?;
        if let Some(name) = entry.file_name().to_str()
            && entry.file_type().at("listing", dir)?.is_file()
        {
            f(&entry.path(), name)?;
        }
    }
    Ok(())
}
