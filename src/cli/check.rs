//! `millrace check`: validate the pipeline; show the rows that files would give, writing nothing.

use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::Args;
use serde_json::json;

use super::{EXIT_UNCLEAN, Global, Output, load_pipeline};
use crate::batch::Chunk;
use crate::decode;
use crate::discover;
use crate::error::{Error, IoContext, Result};
use crate::flatten::Flattener;
use crate::merge::{self, KeyIndex};
use crate::mirror;
use crate::pipeline::model::Pipeline;
use crate::report::lines::count;
use crate::run::level::system_tables;
use crate::text::shown;

/// Validate the pipeline file; show the rows that files would give, per table, without writing anything.
///
/// The rows are what these files alone would make of empty tables. Exits with 3 if anything would be quarantined.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  millrace check                                   is the pipeline file right?
  millrace check input_events/2024-03-01/*.json    what rows would these files give?
  millrace -p mine.toml check --json events.ndjson")]
pub struct CheckArgs {
    /// Event files (.json .ndjson .jsonl, also .gz and .zst).
    files: Vec<PathBuf>,
}

pub fn exec(global: &Global, args: CheckArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    mirror::Ddl::of(&pipeline, &system_tables()).check_views()?;
    let out = Output::new(global.json);
    if args.files.is_empty() {
        describe(&pipeline, &out);
        return Ok(0);
    }
    let flattener = Flattener::new(&pipeline);
    let mut chunks = Vec::new();
    let mut claims = vec![Vec::new(); pipeline.tables.len()];
    let mut bad = 0;
    for file in &args.files {
        bad += take(&pipeline, &flattener, file, &mut chunks, &mut claims, &out)?;
    }
    for (at, table) in pipeline.tables.iter().enumerate() {
        let winners = merge::choose(&KeyIndex::default(), &claims[at]);
        let rows = flattener.build(at, &chunks, &winners.claims)?;
        show(&table.name, &rows.rows, &out)?;
    }
    Ok(if bad > 0 { EXIT_UNCLEAN } else { 0 })
}

fn describe(pipeline: &Pipeline, out: &Output) {
    let tables: Vec<_> = pipeline
        .tables
        .iter()
        .map(|t| {
            let kind = if t.kind.is_owned() { "owned" } else { "dimension" };
            let key: Vec<&str> = t.key.iter().map(|&k| t.columns[k].name.as_str()).collect();
            json!({ "table": t.name, "kind": kind, "each": t.each_text, "key": key, "columns": t.columns.len() })
        })
        .collect();
    out.say(&format!("pipeline `{}` is right: {} tables", pipeline.name, tables.len()));
    for (table, t) in tables.iter().zip(&pipeline.tables) {
        out.say(&format!(
            "  {:<18} {:<9}  {:>2} columns  key {}  from {}",
            t.name,
            table["kind"].as_str().unwrap_or_default(),
            t.columns.len(),
            t.key.iter().map(|&k| t.columns[k].name.as_str()).collect::<Vec<_>>().join(", "),
            t.each_text
        ));
    }
    out.object("pipeline", &json!({ "name": pipeline.name, "tables": tables }));
}

/// Decodes and checks one file. Returns how much of it would be quarantined.
fn take(
    pipeline: &Pipeline,
    flattener: &Flattener,
    path: &Path,
    chunks: &mut Vec<Chunk>,
    claims: &mut [Vec<crate::batch::Claim>],
    out: &Output,
) -> Result<usize> {
    let bytes = read(path)?;
    let name = path.to_string_lossy();
    let range = decode::decode_all(&pipeline.shape, pipeline.limits, &name, bytes).at("reading", path)?;
    let mut bad = 0;
    let mut tell = |position: crate::batch::Position, reason: &str| {
        bad += 1;
        let (name, reason) = (shown(&name), shown(reason));
        out.say(&format!("{name}:{}: would be quarantined: {reason}", position.line));
        out.object(
            "quarantine",
            &json!({ "file": name, "line": position.line, "byte_offset": position.offset,
            "element": position.element, "reason": reason }),
        );
    };
    for chunk in range.chunks {
        let checked = flattener.check(&chunk, chunks.len() as u32);
        chunk.bad.iter().for_each(|b| tell(b.position, &b.reason));
        checked.bad.iter().for_each(|(_, b)| tell(b.position, &b.reason));
        for (all, more) in claims.iter_mut().zip(checked.claims.tables) {
            all.extend(more);
        }
        chunks.push(chunk);
    }
    Ok(bad)
}

/// What is named like an event file and is none (a pipe, a device) is not waited for: a pattern of the shell may have
/// found it. `/dev/stdin` and the like are read, whatever they are.
fn read(path: &Path) -> Result<Vec<u8>> {
    let name = path.file_name().unwrap_or_default();
    let is_file = std::fs::metadata(path).at("reading", path)?.is_file();
    if !is_file && discover::is_event_name(name) {
        return Err(Error::Config(format!("{} is not a regular file", shown(&path.to_string_lossy()))));
    }
    std::fs::read(path).at("reading", path)
}

fn show(table: &str, rows: &RecordBatch, out: &Output) -> Result<()> {
    let columns: Vec<mirror::Column<'_>> =
        rows.columns().iter().map(mirror::Column::new).collect::<Result<_>>()?;
    let schema = rows.schema();
    let mut scratch = String::new();
    out.say(&format!("{table}: {}", count(rows.num_rows() as u64, "row")));
    for row in 0..rows.num_rows() {
        let values: Vec<(String, Option<String>)> = schema
            .fields()
            .iter()
            .zip(&columns)
            .map(|(f, c)| (f.name().clone(), mirror::canonical(c, row, &mut scratch)))
            .collect();
        let line: Vec<String> =
            values.iter().filter_map(|(n, v)| v.as_ref().map(|v| format!("{n}={}", shown(v)))).collect();
        out.say(&format!("  {}", line.join("  ")));
        let object: serde_json::Map<_, _> = values.into_iter().map(|(n, v)| (n, json!(v))).collect();
        out.object("row", &json!({ "table": table, "row": object }));
    }
    Ok(())
}
