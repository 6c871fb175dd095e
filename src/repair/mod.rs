//! Repair: makes the tables right again after damage or somebody else's commits.
//!
//! Builds anew instead of mending in place: exact by construction where every input is still there, and what was
//! damaged stays beside, untouched, until a person deletes it.

mod salvage;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::commit::Paths;
use crate::error::{Error, IoContext, Result};
use crate::maintain;
use crate::pipeline::model::Pipeline;
use crate::root::{self, Lock, Root};
use crate::run::{Options, Places, Quiet, Session, Stop, run};
use crate::tables::{Disk, Kernel};
use crate::verify;

use salvage::Salvage;

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Nothing was wrong with the tables.
    Sound,
    /// Built again from the inputs.
    Exact { aside: PathBuf },
    /// Built again from the inputs that are left and, for the rest, from the old rows.
    FromRows { aside: PathBuf, unknown: Vec<String> },
}

/// Looks, and builds anew if anything is wrong. `say` is told what is found and done.
pub fn repair(
    places: &Places,
    pipeline: Arc<Pipeline>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    match look(places, &pipeline, &disk, &clock)? {
        Look::Sound => return Ok(Outcome::Sound),
        Look::Wrong(problems) => problems.iter().for_each(|p| say(&format!("found: {p}"))),
    }
    let paths = Paths::new(places.tables.clone());
    // Nobody may run on the old tables while they are read and moved.
    let lock = root::take_lock(&paths)?;
    let salvage = Salvage::of(&paths, &pipeline, disk.clone(), say)?;
    let aside = move_aside(&places.tables)?;
    drop::<Lock>(lock);
    say(&format!("the old tables are now in {}", aside.display()));
    let policy = maintain::Policy::default();
    let mut session = Session::open(places, pipeline.clone(), disk, clock, policy)?;
    let unknown = salvage.seed(&mut session, &aside)?;
    let options = Options { source: pipeline.source.path.clone(), once: true, threads: 1 };
    say("reading the input files");
    run(session, &options, &Stop::default(), &mut Quiet)?;
    Ok(if unknown.is_empty() { Outcome::Exact { aside } } else { Outcome::FromRows { aside, unknown } })
}

enum Look {
    Sound,
    Wrong(Vec<String>),
}

/// Opens the root and holds everything against everything. What stops `run` is what repair is for.
fn look(
    places: &Places,
    pipeline: &Arc<Pipeline>,
    disk: &Arc<dyn Disk>,
    clock: &Arc<dyn Clock>,
) -> Result<Look> {
    let paths = Paths::new(places.tables.clone());
    let root = match Root::open(paths, pipeline.clone(), disk.clone(), clock.clone()) {
        Ok(root) => root,
        Err(e @ (Error::Corrupt(_) | Error::Foreign(_))) => return Ok(Look::Wrong(vec![e.to_string()])),
        Err(e) => return Err(e),
    };
    let findings = verify::tables_only(&root)?;
    Ok(if findings.differences.is_empty() { Look::Sound } else { Look::Wrong(findings.differences) })
}

/// `tables` -> `tables.damaged-<n>`, the first free number.
fn move_aside(tables: &Path) -> Result<PathBuf> {
    let name = tables.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let free = (1..).map(|n| tables.with_file_name(format!("{name}.damaged-{n}"))).find(|p| !p.exists());
    let aside = free.ok_or_else(|| Error::Bug("no free name".into()))?;
    std::fs::rename(tables, &aside).at("moving aside", tables)?;
    std::fs::create_dir_all(tables).at("making", tables)?;
    std::fs::write(tables.join(".gitkeep"), b"").at("writing", tables)?;
    Ok(aside)
}

/// An engine for reading the old tables, which writes nothing to them.
fn kernel(disk: Arc<dyn Disk>, paths: &Paths) -> Result<Kernel> {
    Kernel::new(disk, &paths.temp)
}
