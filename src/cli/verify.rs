//! `millrace verify`: do tables, ledger, key index and mirror agree?

use clap::Args;

use super::{Global, Output, database, load_pipeline, paths};
use crate::clock;
use crate::error::Result;
use crate::report::lines::{count, thousands};
use crate::root::Root;
use crate::tables::LocalDisk;
use crate::verify::{Findings, verify};

/// Check that tables, ledger, key index and mirror agree.
///
/// Reads everything and changes nothing, apart from carrying out a decided batch that a crash interrupted. Takes
/// the lock: stop `run` first. Exits with 1 and says what differs if anything does.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  millrace verify --json")]
pub struct VerifyArgs {}

pub fn exec(global: &Global, _args: VerifyArgs) -> Result<u8> {
    let pipeline = load_pipeline(global)?;
    let paths = paths();
    super::must_exist(&paths)?;
    let database = database(&pipeline);
    let root = Root::open(paths, pipeline, std::sync::Arc::new(LocalDisk), clock::system())?;
    let findings = verify(&root, &database)?;
    let out = Output::new(global.json);
    root.notes.iter().for_each(|note| out.note(note));
    out.object("verify", &findings);
    text(&findings).iter().for_each(|line| out.say(line));
    Ok(u8::from(!findings.differences.is_empty()))
}

fn text(f: &Findings) -> Vec<String> {
    let row = |t: &str, rows: &str, files: &str, version: &str, owners: &str| {
        format!("{t:<18} {rows:>12} {files:>8} {version:>8} {owners:>12}")
    };
    let mut lines = vec![row("table", "rows", "files", "version", "owners")];
    lines.extend(f.tables.iter().map(|t| {
        let (rows, owners) = (thousands(t.rows), thousands(t.owners));
        row(&t.table, &rows, &t.files.to_string(), &t.version.to_string(), &owners)
    }));
    for o in &f.orphans {
        lines.push(format!(
            "note: {} of {} refer to rows that are not there ({})",
            thousands(o.rows),
            o.table,
            o.reference
        ));
    }
    match f.mirror_batch {
        Some(batch) => lines.push(format!("mirror: batch {batch}; tables: batch {}", f.batch)),
        None if f.mirror_behind => lines.push(format!("mirror: never filled; tables: batch {}", f.batch)),
        None => lines.push(format!("no mirror; tables: batch {}", f.batch)),
    }
    if f.mirror_behind {
        let so_far = if f.differences.is_empty() { "what it has is right" } else { "see below" };
        lines.push(format!("note: the mirror is behind ({so_far}); the next `millrace run` brings it level"));
    }
    lines.extend(f.differences.iter().map(|d| format!("DIFFERENCE: {d}")));
    lines.push(match f.differences.len() {
        0 => "everything agrees".to_owned(),
        n => count(n as u64, "difference"),
    });
    lines
}
