//! Puts repaired tables in the place of damaged ones, so that a kill at any moment leaves the one or the other,
//! whole.
//!
//! `repair` builds in `tables.repairing`, beside the damaged tables, which stay as they are. Once everything is in
//! there, a mark is made durable: from then on the exchange will happen, and every opening of the root finishes it
//! before it looks at anything else.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::commit::Paths;
use crate::error::{Error, IoContext, Result, is_there};
use crate::fault;
use crate::tables::Disk;

use super::create::parent;
use super::lock;

/// The mark, in the new root's own folder.
const MARK: &str = "repaired";

/// Where a repair builds: beside the tables, on the same file system.
pub fn building(paths: &Paths) -> Paths {
    Paths::new(sibling(&real(&paths.tables), "repairing"))
}

/// Where a link leads, there or not: the tables are exchanged where they are, not where they are called.
fn real(tables: &Path) -> PathBuf {
    let mut path = tables.to_path_buf();
    // As many links as Linux follows.
    for _ in 0..40 {
        let Ok(to) = std::fs::read_link(&path) else { break };
        path = parent(&path).join(to);
    }
    path
}

/// The tables can be exchanged, as far as can be told before.
///
/// # Errors
/// `Config` if they are a mount point: no other folder can take its place.
pub fn is_possible(paths: &Paths) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let tables = real(&paths.tables);
    let device = |path: &Path| std::fs::metadata(path).at("looking at", path).map(|m| m.dev());
    if device(&tables)? == device(parent(&tables))? { Ok(()) } else { Err(mounted(&tables)) }
}

fn mounted(tables: &Path) -> Error {
    Error::Config(format!(
        "{} is a mount point, and no repaired tables can take its place; nothing was changed. Mount its parent folder \
         instead (the tables a folder in it), and repair again",
        tables.display()
    ))
}

/// The new tables are complete: they replace the old ones, whatever happens from here on.
pub fn mark_complete(disk: &dyn Disk, new: &Paths) -> Result<()> {
    let mark = new.own.join(MARK);
    disk.sync_dir(parent(&new.tables)).at("syncing", parent(&new.tables))?;
    disk.write(&mark, b"").at("writing", &mark)?;
    fault::point("swap.marked");
    disk.sync_dir(&new.own).at("syncing", &new.own)
}

/// There are complete new tables that are not in their place yet.
pub fn pending(paths: &Paths) -> Result<bool> {
    is_there(&building(paths).own.join(MARK))
}

/// Finishes an exchange that was begun. Returns where the old tables went, if this moved them.
///
/// # Errors
/// [`Error::Busy`] if another process is at it.
pub fn finish(disk: &dyn Disk, paths: &Paths) -> Result<Option<PathBuf>> {
    let mut aside = None;
    let tables = real(&paths.tables);
    if pending(paths)? {
        let new = building(paths);
        let _new = lock::take(&new.own.join("lock"))?;
        // The other name may be gone: then a kill came between the two renames.
        if is_there(&paths.tables)? {
            let _old = if is_there(&paths.own)? { Some(lock::take(&paths.own.join("lock"))?) } else { None };
            let free = free_name(&tables)?;
            match rename(disk, &tables, &free) {
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::ResourceBusy => {
                    // Nothing has happened: without its mark this repair never was.
                    let mark = new.own.join(MARK);
                    disk.remove(&mark).at("removing", &mark)?;
                    disk.sync_dir(&new.own).at("syncing", &new.own)?;
                    return Err(mounted(&tables));
                }
                done => done?,
            }
            aside = Some(free);
        }
        fault::point("swap.old_aside");
        rename(disk, &new.tables, &tables)?;
    }
    fault::point("swap.in_place");
    let mark = paths.own.join(MARK);
    if is_there(&mark)? {
        disk.remove(&mark).at("removing", &mark)?;
        fault::point("swap.mark_removed");
        disk.sync_dir(&paths.own).at("syncing", &paths.own)?;
    }
    Ok(aside)
}

fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> Result<()> {
    disk.replace(from, to).at("renaming", from)?;
    fault::point("swap.renamed");
    disk.sync_dir(parent(to)).at("syncing", parent(to))
}

/// `tables.damaged-<n>`, the first free number.
fn free_name(tables: &Path) -> Result<PathBuf> {
    (1..10_000)
        .map(|n| sibling(tables, &format!("damaged-{n}")))
        .find(|p| p.symlink_metadata().is_err())
        .ok_or_else(|| Error::Config(format!("too many old tables beside {}", tables.display())))
}

fn sibling(tables: &Path, end: &str) -> PathBuf {
    let name = tables.file_name().unwrap_or_default().to_string_lossy().into_owned();
    tables.with_file_name(format!("{name}.{end}"))
}
