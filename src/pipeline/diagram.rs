//! The pipeline as a Mermaid `erDiagram`, for people who read the README.

use std::fmt::Write;

use super::model::{Column, Mask, Pipeline, Table, Type};

/// Tables with columns, types, keys and references. The same text for the same pipeline.
pub fn diagram(pipeline: &Pipeline) -> String {
    let mut out = "erDiagram\n".to_owned();
    for table in pipeline.tables.iter().rev() {
        // In quotes, because a table may be called `class`. Writing to a String cannot fail.
        let _ = writeln!(out, "    \"{}\" {{", table.name);
        for (i, column) in table.columns.iter().enumerate() {
            let (keys, note) = (keys(table, i), note(column));
            let _ = writeln!(out, "        {} {}{keys}{note}", kind(column.kind), column.name);
        }
        out.push_str("    }\n");
    }
    for table in pipeline.tables.iter().rev() {
        table.columns.iter().for_each(|column| relation(&mut out, pipeline, table, column));
    }
    out
}

/// Mermaid's attribute types take no comma: `decimal_18_4`.
fn kind(kind: Type) -> String {
    match kind {
        Type::Decimal { precision, scale } => format!("decimal_{precision}_{scale}"),
        other => other.to_string(),
    }
}

fn keys(table: &Table, column: usize) -> &'static str {
    let mut references = table.columns.iter().filter_map(|c| c.reference.as_ref());
    let foreign = references.any(|r| r.columns.iter().any(|pair| pair.0 == column));
    match (table.key.contains(&column), foreign) {
        (true, true) => " PK, FK",
        (true, false) => " PK",
        (false, true) => " FK",
        (false, false) => "",
    }
}

fn note(column: &Column) -> &'static str {
    match column.mask {
        None => "",
        Some(Mask::Sha256) => " \"stored as its SHA-256\"",
        Some(Mask::Redact) => " \"redacted\"",
        Some(Mask::Drop) => " \"not stored\"",
    }
}

/// Many rows here, at most one there: a reference may be null, and an orphan is reported, not refused.
fn relation(out: &mut String, pipeline: &Pipeline, table: &Table, column: &Column) {
    let Some(reference) = &column.reference else { return };
    let Some(other) = pipeline.tables.get(reference.table) else { return };
    let names = reference.columns.iter().filter_map(|pair| table.columns.get(pair.0));
    let names: Vec<&str> = names.map(|c| c.name.as_str()).collect();
    let _ = writeln!(out, "    \"{}\" }}o--o| \"{}\" : \"{}\"", table.name, other.name, names.join(", "));
}
