//! `millrace status`: how far the tables are, while `run` is running or not.

use std::collections::BTreeMap;

use clap::Args;
use serde::Serialize;
use serde_json::json;

use super::{Global, Output, database, load_pipeline, paths};
use crate::cell::write_timestamp;
use crate::commit::record::Record;
use crate::error::{IoContext, Result};
use crate::mirror::inspect::Inspector;
use crate::mirror::{self, TableRef};
use crate::pipeline::model::Pipeline;
use crate::report::BatchReport;
use crate::report::lines::{self, thousands};
use crate::root;
use crate::run::contents::system_tables;
use crate::system;
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
    let running = root::holder(&paths)?;
    let last = last_report(&paths.own)?;
    let db = database(&pipeline);
    let mirror = (db.exists() || mirror::is_in_the_making(&db)).then(|| look(&db, &pipeline));
    let out = Output::new(global.json);
    let batch = record.as_ref().map_or(0, |r| r.batch);
    // A mirror that is being made, or is damaged, must not keep the rest from being told.
    let (mirror, trouble) = match mirror {
        None => (None, None),
        Some(Ok(mirror)) => (Some(mirror), None),
        Some(Err(e)) => (None, Some(e.to_string())),
    };
    out.object(
        "status",
        &json!({ "pipeline": pipeline.name, "batch": batch, "running": running.is_some(), "running_pid": running.flatten(), "mirror": mirror,
            "mirror_trouble": trouble, "last": last }),
    );
    out.say(&format!("pipeline    {}", pipeline.name));
    out.say(&match running {
        Some(Some(pid)) => format!("running     yes, process {pid}"),
        Some(None) => "running     yes".to_owned(),
        None => "running     no".to_owned(),
    });
    out.say(&format!("batch       {batch}"));
    out.say(&format!("mirror      {}", tell(mirror.as_ref(), trouble.as_deref(), batch, running.is_some())));
    if let Some(last) = &last {
        let mut at = Vec::new();
        write_timestamp(last.at, &mut at);
        let at = String::from_utf8_lossy(&at);
        // To the second; in UTC, as in the tables.
        let at = at.split('.').next().unwrap_or_default();
        out.say(&format!("last        {at}Z · {}", lines::batch(last)));
        lines::quarantined(last).iter().for_each(|line| out.say(&format!("          {line}")));
    }
    for (name, count) in mirror.iter().flat_map(|m| &m.rows) {
        out.say(&format!("{name:<18} {:>12} rows", thousands(*count)));
    }
    Ok(0)
}

fn tell(mirror: Option<&Mirror>, trouble: Option<&str>, batch: u64, running: bool) -> String {
    match (mirror.map(|m| m.batch), trouble) {
        (Some(Some(at)), _) if at >= batch => "level with the tables".to_owned(),
        (Some(Some(at)), _) if running => format!("behind, at batch {at}; the run brings it level"),
        (Some(Some(at)), _) => {
            format!("behind, at batch {at}; the next `millrace run` with a mirror brings it level")
        }
        (Some(None), _) => "being filled".to_owned(),
        (None, Some(why)) => why.to_owned(),
        (None, None) => {
            "none; `millrace run` without --no-mirror makes it, and counts are shown here".to_owned()
        }
    }
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

/// The mirror as `status` shows it.
#[derive(Serialize)]
struct Mirror {
    batch: Option<u64>,
    rows: BTreeMap<String, u64>,
}

fn look(db: &std::path::Path, pipeline: &Pipeline) -> Result<Mirror> {
    let inspector = Inspector::open(db, pipeline, &system_tables())?;
    let mut rows = BTreeMap::new();
    for (at, table) in pipeline.tables.iter().enumerate() {
        rows.insert(table.name.clone(), inspector.count(TableRef::Pipeline(at))?);
    }
    for name in [system::QUARANTINE, system::FILES] {
        rows.insert(name.to_owned(), inspector.count(TableRef::System(name))?);
    }
    Ok(Mirror { batch: inspector.batch()?, rows })
}
