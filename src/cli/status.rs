//! `millrace status`: how far the tables are, while `run` is running or not.

use clap::Args;
use serde_json::json;

use super::{Global, Output, database, load_pipeline, paths};
use crate::commit::record::Record;
use crate::error::{IoContext, Result};
use crate::mirror::query::{self, Format, Options};
use crate::report::BatchReport;
use crate::report::lines::{self, thousands};
use crate::tables::LocalDisk;

/// Show how far the tables are: batches, files, rows, quarantine, the last report.
///
/// Takes no lock and works while `run` is running.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace status --json")]
pub struct StatusArgs {}

pub fn exec(global: &Global, _args: StatusArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let paths = paths();
    super::must_exist(&paths)?;
    let record = Record::read(&LocalDisk, &paths.decision)?;
    let running = holder(&paths.own.join("lock"))?;
    let last = last_report(&paths.own)?;
    let db = database(&pipeline);
    let mirror = if db.exists() { Some(mirror(&db, &pipeline)?) } else { None };
    let out = Output::new(global.json);
    let batch = record.as_ref().map_or(0, |r| r.batch);
    out.object(
        "status",
        &json!({ "pipeline": pipeline.name, "batch": batch, "running_pid": running, "mirror": mirror, "last": last }),
    );
    out.say(&format!("pipeline   {}", pipeline.name));
    out.say(&match running {
        Some(pid) => format!("running    yes, process {pid}"),
        None => "running    no".to_owned(),
    });
    out.say(&format!("batch      {batch}"));
    match &mirror {
        None => {
            out.say("mirror     none (see `run --no-mirror`): counts come with the next run that has one")
        }
        Some(m) => say_mirror(&out, m),
    }
    if let Some(last) = &last {
        out.say(&format!("last       {}", lines::batch(last)));
    }
    Ok(0)
}

fn say_mirror(out: &Output, mirror: &serde_json::Value) {
    for (name, count) in mirror.as_object().into_iter().flatten() {
        out.say(&format!("{name:<20} {:>12} rows", thousands(count.as_u64().unwrap_or(0))));
    }
}

/// The pid in the lock file, if somebody holds the lock.
fn holder(lock: &std::path::Path) -> Result<Option<u64>> {
    let file = match std::fs::File::open(lock) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.at("opening", lock)?,
    };
    if file.try_lock_shared().is_ok() {
        return Ok(None);
    }
    let pid = std::fs::read_to_string(lock).at("reading", lock)?;
    Ok(Some(pid.trim().parse().unwrap_or(0)))
}

fn last_report(own: &std::path::Path) -> Result<Option<BatchReport>> {
    let path = own.join(crate::report::FILE);
    match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(e).at("reading", &path),
        // A report that was being written is no report.
        Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
    }
}

/// Row counts of every table, as the mirror has them.
fn mirror(db: &std::path::Path, pipeline: &crate::pipeline::model::Pipeline) -> Result<serde_json::Value> {
    let names = pipeline.tables.iter().map(|t| t.name.as_str());
    let all: Vec<&str> = names.chain([crate::system::QUARANTINE, crate::system::FILES]).collect();
    let columns: Vec<String> =
        all.iter().map(|n| format!("(select count(*) from \"{n}\") as \"{n}\"")).collect();
    let mut text = Vec::new();
    let options = Options { format: Format::Json, ..Options::default() };
    query::run(db, &format!("select {}", columns.join(", ")), &options, &mut text)?;
    let rows: serde_json::Value = serde_json::from_slice(&text).map_err(super::output::json_error)?;
    Ok(rows.get(0).cloned().unwrap_or_default())
}
