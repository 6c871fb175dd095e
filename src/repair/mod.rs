//! Repair: makes the tables right again after damage or somebody else's commits.
//!
//! Builds anew instead of mending in place: exact by construction where every input is still there, and what was
//! damaged stays beside, untouched, until a person deletes it. The new tables are built beside the old ones and
//! take their place only when everything is in them and was found right; a kill before that costs nothing but the
//! work, a kill after it nothing at all.

mod inputs;
mod old;
mod owners;
mod seed;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::clock::Clock;
use crate::commit::Paths;
use crate::error::{Error, IoContext, Result};
use crate::fault;
use crate::maintain;
use crate::pipeline::model::Pipeline;
use crate::root::{self, Root, swap};
use crate::run::{Options, Places, Quiet, Session, Stop, run};
use crate::tables::Disk;
use crate::text::shown;
use crate::verify;

use inputs::Inputs;
use old::Old;

#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome")]
pub enum Outcome {
    /// Nothing was wrong with the tables.
    Sound,
    /// Built again from the inputs.
    Exact { aside: PathBuf },
    /// Built again from the inputs that are left and, for the rest, from the old rows.
    FromRows { aside: PathBuf, gone: usize, unknown: Vec<String> },
}

/// Everything that a repair works with.
struct Repair<'a> {
    places: &'a Places,
    pipeline: Arc<Pipeline>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
}

/// Looks, and builds anew if anything is wrong. `say` is told what is found and done.
///
/// # Errors
/// [`Error::Busy`] if somebody works on the root, [`Error::Config`] if it belongs to another pipeline; whatever
/// keeps the new tables from being built. The old tables are then still where they were.
pub fn repair(
    places: &Places,
    pipeline: Arc<Pipeline>,
    disk: Arc<dyn Disk>,
    clock: Arc<dyn Clock>,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let repair = Repair { places, pipeline, disk, clock };
    let say: &mut dyn FnMut(&str) = &mut |line| say(&Error::without_advice(line));
    let paths = Paths::new(places.tables.clone());
    if let Some(aside) = swap::finish(repair.disk.as_ref(), &paths)? {
        say(&format!("an earlier repair is finished; the old tables are now in {}", aside.display()));
    }
    let found = repair.look(&paths)?;
    fault::point("repair.looked");
    if found.is_empty() {
        // What an earlier repair left; under the lock, for another repair may be at it.
        let _lock = root::take_lock(&paths)?;
        remove_folder(&swap::building(&paths).tables)?;
        return Ok(Outcome::Sound);
    }
    found.iter().flat_map(|problem| problem.lines()).for_each(|problem| say(&format!("found: {problem}")));
    repair.rebuild(&paths, say)
}

/// How often a repair starts over because inputs vanished or could not be read meanwhile.
const ROUNDS: usize = 5;

impl Repair<'_> {
    /// Opens the root and holds everything against everything. What stops `run` is what repair is for.
    fn look(&self, paths: &Paths) -> Result<Vec<String>> {
        let root = match self.open(paths) {
            Ok(root) => root,
            Err(e @ (Error::Corrupt(_) | Error::Foreign(_))) => return Ok(vec![e.to_string()]),
            Err(e) => return Err(e),
        };
        Ok(verify::tables_only(&root)?.differences)
    }

    fn open(&self, paths: &Paths) -> Result<Root> {
        Root::open(paths.clone(), self.pipeline.clone(), self.disk.clone(), self.clock.clone())
    }

    fn rebuild(&self, paths: &Paths, say: &mut dyn FnMut(&str)) -> Result<Outcome> {
        // Nobody may run on the old tables while they are read; they are not changed.
        self.disk.create_dir(&paths.own).at("making", &paths.own)?;
        let lock = root::take_lock(paths)?;
        swap::is_possible(paths)?;
        let new = swap::building(paths);
        fault::point("repair.locked");
        let mut unreadable = HashSet::new();
        for _ in 0..ROUNDS {
            remove_folder(&new.tables)?;
            let old = Old::open(paths, &self.pipeline, self.disk.clone(), &new.temp)?;
            fault::point("repair.old_opened");
            let inputs = Inputs::find(old.ledger(), &self.pipeline.source.path, &unreadable);
            let unknown = self.build(&new, &old, &inputs, say)?;
            fault::point("repair.built");
            let missing = self.check(&new, &inputs)?;
            if !missing.is_empty() {
                missing
                    .iter()
                    .for_each(|name| say(&format!("{} cannot be read any more; starting over", shown(name))));
                unreadable.extend(missing);
                continue;
            }
            fault::point("repair.checked");
            self.keep_place(paths, &new)?;
            fault::point("repair.completing");
            swap::mark_complete(self.disk.as_ref(), &new)?;
            fault::point("repair.complete");
            drop(lock);
            let aside = swap::finish(self.disk.as_ref(), paths)?
                .ok_or_else(|| Error::Busy("another process finished this repair".into()))?;
            fault::point("repair.swapped");
            self.level(say)?;
            return Ok(match unknown {
                None => Outcome::Exact { aside },
                Some(unknown) => Outcome::FromRows { aside, gone: inputs.gone.len(), unknown },
            });
        }
        Err(Error::Busy("the input files keep changing; nothing was changed. Try again".into()))
    }

    /// Fills new tables: what no input can give any more from the old rows, then the inputs. Returns what cannot be
    /// known; `None`: every input is there.
    fn build(
        &self,
        new: &Paths,
        old: &Old,
        inputs: &Inputs,
        say: &mut dyn FnMut(&str),
    ) -> Result<Option<Vec<String>>> {
        let checkpoint = new.own.join("checkpoint");
        let places = Places { tables: new.tables.clone(), checkpoint: checkpoint.clone(), database: None };
        let policy = maintain::Policy::default();
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let mut session = Session::open(&places, self.pipeline.clone(), disk, clock, policy)?;
        let unknown = if inputs.all_there() {
            None
        } else {
            say(&inputs.told());
            Some(seed::seed(&mut session, old, inputs)?)
        };
        fault::point("repair.seeded");
        say("reading the input files");
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let options = Options { source: self.pipeline.source.path.clone(), once: true, threads };
        run(session, &options, &Stop::default(), &mut Quiet)?;
        // A cache: what a thread that is still ending leaves of it is in nobody's way.
        fault::point("repair.filled");
        let _ = std::fs::remove_dir_all(&checkpoint);
        Ok(unknown)
    }

    /// The new tables are sound, and hold every input that was there. Returns the inputs that they lack.
    fn check(&self, new: &Paths, inputs: &Inputs) -> Result<Vec<Arc<str>>> {
        let root = self.open(new)?;
        let differences = verify::tables_only(&root)?.differences;
        if let Some(first) = differences.first() {
            return Err(Error::Bug(format!("the new tables are not sound: {first}")));
        }
        Ok(inputs.missing(&root.ledger_rows(0)?))
    }

    /// A folder that is kept in version control by a placeholder keeps it.
    fn keep_place(&self, old: &Paths, new: &Paths) -> Result<()> {
        let placeholder = new.tables.join(".gitkeep");
        if old.tables.join(".gitkeep").exists() {
            self.disk.write(&placeholder, b"").at("writing", &placeholder)?;
            self.disk.sync_dir(&new.tables).at("syncing", &new.tables)?;
        }
        Ok(())
    }

    /// Brings the checkpoint, and the mirror if there is one, level with the new tables; the next start would too.
    fn level(&self, say: &mut dyn FnMut(&str)) -> Result<()> {
        let database = self.places.database.clone().filter(|path| path.exists());
        let places = Places { database, ..self.places.clone() };
        let (disk, clock) = (self.disk.clone(), self.clock.clone());
        let session =
            Session::open(&places, self.pipeline.clone(), disk, clock, maintain::Policy::default())?;
        session.notes.iter().for_each(|note| say(note));
        Ok(())
    }
}

/// Removes what an earlier repair left unfinished.
fn remove_folder(path: &Path) -> Result<()> {
    match std::fs::remove_dir_all(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.at("removing", path),
    }
}
