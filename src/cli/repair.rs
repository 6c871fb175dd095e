//! `millrace repair`: makes the tables right again after damage or somebody else's commits.

use std::sync::Arc;

use clap::Args;

use super::{Global, Output, database, load_pipeline};
use crate::clock;
use crate::error::Result;
use crate::repair::{self, Outcome};
use crate::run::Places;
use crate::tables::LocalDisk;

/// Make damaged tables right again.
///
/// Where every input file that the ledger names is still there, the tables are built again from them, exactly.
/// Otherwise what is gone is taken from the rows of the old tables. The old tables are moved aside, never deleted.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace repair && millrace verify")]
pub struct RepairArgs {}

pub fn exec(global: &Global, _args: RepairArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let paths = super::paths();
    super::must_exist(&paths)?;
    let places = Places {
        tables: paths.tables,
        checkpoint: "checkpoint".into(),
        database: pipeline.mirror.then(|| database(&pipeline)),
    };
    let out = Output::new(global.json);
    let done =
        repair::repair(&places, pipeline, Arc::new(LocalDisk), clock::system(), &mut |line| out.say(line))?;
    out.object("repair", &done);
    match &done {
        Outcome::Sound => out.say("the tables are sound; nothing to repair"),
        Outcome::Exact { aside } => out.say(&format!(
            "built again from the input files: exact. The old tables are in {}",
            aside.display()
        )),
        Outcome::FromRows { aside, unknown } => {
            out.say(&format!(
                "built again; the old tables are in {}. What this cannot know:",
                aside.display()
            ));
            unknown.iter().for_each(|u| out.say(&format!("  {u}")));
        }
    }
    Ok(0)
}
