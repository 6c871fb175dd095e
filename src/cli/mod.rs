//! The command line: one file a command, each with its arguments and its `exec`.

mod check;
mod output;
pub mod query;
mod repair;
mod run;
mod simulate;
mod status;
mod verify;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, Parser, Subcommand};

use crate::commit::Paths;
use crate::error::{Error, Result};
use crate::pipeline::{self, model::Pipeline};
use crate::text::shown;

pub use output::Output;

/// Exit codes besides 0, 1 (failed, locked, a difference found) and 2 (usage or pipeline error).
pub const EXIT_UNCLEAN: u8 = 3;
pub const EXIT_SECOND_INTERRUPT: u8 = 130;

const EXAMPLES: &str = "\
Examples:
  millrace                       replay input_events/, then watch it
  millrace run --once            replay what is there and leave
  millrace query 'select * from orders limit 5'
  millrace simulate -n 1000      write a thousand order events into input_events/

Exit codes:
  0    done, or stopped gracefully
  1    failed, locked by another process, or `verify` found a difference
  2    usage or pipeline error
  3    `run --once` finished, but this run quarantined something or left a file unread
  130  interrupted a second time";

/// Turns a folder of nested JSON event files into a live star schema: Delta tables and a SQLite mirror.
#[derive(Debug, Parser)]
#[command(name = "millrace", version, after_help = EXAMPLES)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Option<Command>,
}

#[derive(Debug, Args)]
pub struct Global {
    /// Work in DIR instead of the current directory: all relative paths start there.
    #[arg(short = 'C', value_name = "DIR", global = true)]
    pub dir: Option<PathBuf>,
    /// Use this pipeline file instead of the built-in orders pipeline.
    #[arg(short = 'p', long = "pipeline", value_name = "FILE", global = true)]
    pub pipeline: Option<PathBuf>,
    /// Print JSON, one object a line, instead of text for people.
    #[arg(long, global = true)]
    pub json: bool,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    Run(run::RunArgs),
    Status(status::StatusArgs),
    Query(query::QueryArgs),
    Check(check::CheckArgs),
    Verify(verify::VerifyArgs),
    Repair(repair::RepairArgs),
    Simulate(simulate::SimulateArgs),
}

/// Runs the command and returns the process's exit code; errors are printed.
pub fn exec(cli: Cli) -> u8 {
    output::tracing(cli.global.json);
    let command = cli.command.unwrap_or_else(|| Command::Run(run::RunArgs::default()));
    let done = enter(&cli.global).and_then(|()| match command {
        Command::Run(args) => run::exec(&cli.global, args),
        Command::Status(args) => status::exec(&cli.global, args),
        Command::Query(args) => query::exec(&cli.global, args),
        Command::Check(args) => check::exec(&cli.global, args),
        Command::Verify(args) => verify::exec(&cli.global, args),
        Command::Repair(args) => repair::exec(&cli.global, args),
        Command::Simulate(args) => simulate::exec(&cli.global, args),
    });
    done.unwrap_or_else(|e| {
        output::error(&e, cli.global.json);
        e.exit_code()
    })
}

/// `-C DIR`: as in git, everything relative starts there. The pipeline file too.
fn enter(global: &Global) -> Result<()> {
    match &global.dir {
        None => Ok(()),
        Some(dir) => std::env::set_current_dir(dir)
            .map_err(|e| Error::Config(format!("-C {}: {e}", shown(&dir.to_string_lossy())))),
    }
}

/// For messages: a bare `tables` says little to who looks at a log.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn load_pipeline(global: &Global) -> Result<Arc<Pipeline>> {
    pipeline::load(global.pipeline.as_deref()).map(Arc::new)
}

/// `tables/` in the working directory.
fn paths() -> Paths {
    Paths::new(PathBuf::from("tables"))
}

/// `database/<pipeline>.db` in the working directory.
fn database(pipeline: &Pipeline) -> PathBuf {
    Path::new("database").join(format!("{}.db", pipeline.name))
}

/// Commands that look at a root say so when there is none.
fn must_exist(paths: &Paths) -> Result<()> {
    if paths.own.join("root.json").exists() {
        return Ok(());
    }
    Err(Error::Config(format!(
        "there is nothing in {} yet; `millrace run` makes the tables",
        absolute(&paths.tables).display()
    )))
}
