//! `millrace query`: SQL over the mirror, read-only, while `run` is running or not.

use std::io::IsTerminal;
use std::time::Duration;

use clap::Args;

use super::{Global, database, load_pipeline};
use crate::error::{Error, Result};
use crate::mirror::query::{self, Format, Options};

/// Ask the tables in SQL (SQLite's dialect).
///
/// Runs read-only on database/<pipeline>.db, which also has `_files` (the ledger) and `_quarantine`. It works
/// while `run` is running and can neither write nor attach other files.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millrace query 'select * from orders limit 5'
  millrace query --csv 'select file, line, reason from _quarantine' > bad.csv
  millrace query --json 'select count(*) as n from order_item'")]
pub struct QueryArgs {
    /// One SELECT statement.
    sql: String,
    /// Print CSV (RFC 4180) with a header.
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Give up after so many seconds.
    #[arg(long, value_name = "SECONDS", allow_negative_numbers = true)]
    timeout: Option<f64>,
}

pub fn exec(global: &Global, args: QueryArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let format = match (global.json, args.csv) {
        (true, _) => Format::Json,
        (_, true) => Format::Csv,
        _ => Format::Table,
    };
    let timeout = args.timeout.map(seconds).transpose()?;
    let terminal = std::io::stdout().is_terminal();
    let options =
        Options { format, cell: (terminal && format == Format::Table).then_some(48), timeout, stop: None };
    query::run(&database(&pipeline), &args.sql, &options, &mut std::io::stdout().lock())?;
    Ok(0)
}

fn seconds(given: f64) -> Result<Duration> {
    let time = Duration::try_from_secs_f64(given).ok().filter(|t| !t.is_zero());
    time.ok_or_else(|| Error::Config(format!("--timeout {given}: give a number of seconds above 0")))
}
