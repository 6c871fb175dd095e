//! `millrace repair`: makes the tables right again after damage or somebody else's commits.

use std::sync::Arc;

use clap::Args;

use super::{EXIT_UNCLEAN, Global, Output, database, load_pipeline};
use crate::clock;
use crate::commit::Paths;
use crate::error::{Result, is_there};
use crate::pipeline::model::Pipeline;
use crate::repair::{self, Outcome};
use crate::root::{self, swap};
use crate::run::Places;
use crate::tables::{LocalDisk, names};

/// Make damaged tables right again.
///
/// Where every input file that the ledger names is still there, the tables are built again from them, exactly.
/// Otherwise what is gone is taken from the rows of the old tables. The old tables are moved aside, never deleted.
/// Exits with 3 if there is something that the new tables cannot know.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace repair && millrace verify")]
pub struct RepairArgs {}

pub fn exec(global: &Global, _args: RepairArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let paths = super::paths();
    must_exist(&paths, &pipeline)?;
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
        Outcome::FromRows { aside, gone, unknown } => {
            out.say(&format!(
                "built again from the input files and, where {} gone, from the old tables, which are in {}",
                if *gone == 1 { "1 input is".into() } else { format!("{gone} inputs are") },
                aside.display()
            ));
            if !unknown.is_empty() {
                out.say("what this cannot know:");
            }
            unknown.iter().for_each(|u| out.say(&format!("  {u}")));
        }
    }
    let in_doubt = matches!(&done, Outcome::FromRows { unknown, .. } if !unknown.is_empty());
    Ok(if in_doubt { EXIT_UNCLEAN } else { 0 })
}

/// Damage may have left little of a root; what counts is that there was one.
fn must_exist(paths: &Paths, pipeline: &Pipeline) -> Result<()> {
    let mut there = is_there(&paths.own)? || swap::pending(paths)?;
    for def in root::defs(pipeline, paths) {
        there |= is_there(&names::log_dir(&def.dir))?;
    }
    if there { Ok(()) } else { super::must_exist(paths) }
}
