//! `millrace check`: validate the pipeline; show the rows that files would give, writing nothing.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use clap::Args;
use serde_json::json;

use super::{EXIT_UNCLEAN, Global, Output, load_pipeline};
use crate::batch::{Bad, Chunk, Claim};
use crate::decode::{Guide, Range, Reader};
use crate::discover;
use crate::error::{Error, IoContext, Result};
use crate::flatten::Flattener;
use crate::merge::{self, KeyIndex};
use crate::mirror;
use crate::pipeline::model::Pipeline;
use crate::report::lines::count;
use crate::run::contents::system_tables;
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
    /// Event files (.json .ndjson .jsonl, also .gz and .zst): samples, together no more text than a batch.
    files: Vec<PathBuf>,
    /// Show all rows and all that would be quarantined, not the first 1,000 of a table and 100 of a file.
    #[arg(long)]
    all: bool,
}

/// What is shown without `--all`: rows of a table, bad documents of a file.
const ROWS: usize = 1000;
const BAD: usize = 100;

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
    let (rows_shown, bad_shown) = if args.all { (usize::MAX, usize::MAX) } else { (ROWS, BAD) };
    let (mut bad, mut left) = (0, pipeline.source.batch_bytes);
    for file in &args.files {
        let range = decoded(&pipeline, file, left)?;
        left = left.saturating_sub(range.range.end.offset);
        bad += take(&flattener, file, range, &mut chunks, &mut claims, &mut Bads::new(&out, bad_shown));
    }
    for (at, table) in pipeline.tables.iter().enumerate() {
        let winners = merge::choose(&KeyIndex::default(), &claims[at]);
        let rows = flattener.build(at, &chunks, &winners.claims)?;
        show(&table.name, &rows.rows, rows_shown, &out)?;
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

/// Decodes a file that has at most `left` bytes of text.
fn decoded(pipeline: &Pipeline, path: &Path, left: u64) -> Result<Range> {
    let too_much = || {
        Error::Config(format!(
            "{}: check is for samples, and with this file there is more text than one batch takes ({} MiB); \
             give it fewer, or a part of the file",
            shown(&path.to_string_lossy()),
            pipeline.source.batch_bytes >> 20
        ))
    };
    let bytes = read(path, left)?.ok_or_else(too_much)?;
    let name = path.to_string_lossy();
    let mut reader = Reader::in_memory(&name, bytes, pipeline.limits).at("reading", path)?;
    let range = reader.next(&Guide::new(&pipeline.shape), 0, left, 1).at("reading", path)?;
    if reader.is_done() { Ok(range) } else { Err(too_much()) }
}

/// Checks what a file held. Returns how much of it would be quarantined.
fn take(
    flattener: &Flattener,
    path: &Path,
    range: Range,
    chunks: &mut Vec<Chunk>,
    claims: &mut [Vec<Claim>],
    bads: &mut Bads<'_>,
) -> u64 {
    let name = path.to_string_lossy();
    for chunk in range.chunks {
        let checked = flattener.check(&chunk, chunks.len() as u32);
        chunk.bad.iter().for_each(|bad| bads.tell(&name, bad));
        checked.bad.iter().for_each(|(_, bad)| bads.tell(&name, bad));
        for (all, more) in claims.iter_mut().zip(checked.claims.tables) {
            all.extend(more);
        }
        chunks.push(chunk);
    }
    bads.end(&name)
}

/// Tells what of a file would be quarantined, up to a number.
struct Bads<'o> {
    out: &'o Output,
    most: usize,
    seen: u64,
}

impl<'o> Bads<'o> {
    fn new(out: &'o Output, most: usize) -> Self {
        Bads { out, most, seen: 0 }
    }

    fn tell(&mut self, name: &str, bad: &Bad) {
        self.seen += 1;
        if self.seen > self.most as u64 {
            return;
        }
        let (name, reason, position) = (shown(name), shown(&bad.reason), bad.position);
        self.out.say(&format!("{name}:{}: would be quarantined: {reason}", position.line));
        self.out.object(
            "quarantine",
            &json!({ "file": name, "line": position.line, "byte_offset": position.offset,
            "element": position.element, "reason": reason }),
        );
    }

    fn end(&self, name: &str) -> u64 {
        let more = self.seen.saturating_sub(self.most as u64);
        if more > 0 {
            let name = shown(name);
            let documents = count(more, "document");
            self.out.say(&format!("{name}: and {documents} more would be quarantined (--all shows them)"));
            self.out.object("quarantine_more", &json!({ "file": name, "documents": more }));
        }
        self.seen
    }
}

/// `None` if there are more than `most` bytes.
///
/// What is named like an event file and is none (a pipe, a device) is not waited for: a pattern of the shell may have
/// found it. `/dev/stdin` and the like are read, whatever they are.
fn read(path: &Path, most: u64) -> Result<Option<Vec<u8>>> {
    let name = path.file_name().unwrap_or_default();
    let is_file = std::fs::metadata(path).at("reading", path)?.is_file();
    if !is_file && discover::is_event_name(name) {
        return Err(Error::Config(format!("{} is not a regular file", shown(&path.to_string_lossy()))));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).at("reading", path)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).at("reading", path)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}

fn show(table: &str, rows: &RecordBatch, most: usize, out: &Output) -> Result<()> {
    let columns: Vec<mirror::Column<'_>> =
        rows.columns().iter().map(mirror::Column::new).collect::<Result<_>>()?;
    let schema = rows.schema();
    let mut scratch = String::new();
    out.say(&format!("{table}: {}", count(rows.num_rows() as u64, "row")));
    for row in 0..rows.num_rows().min(most) {
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
    if let Some(more) = rows.num_rows().checked_sub(most).filter(|more| *more > 0) {
        out.say(&format!("  and {} more (--all shows them)", count(more as u64, "row")));
        out.object("rows_more", &json!({ "table": table, "rows": more }));
    }
    Ok(())
}
