//! Rows as an aligned table, as JSON or as CSV, written as they come and never all in memory.

use std::io::{Result, Write};

use rusqlite::types::ValueRef;

use super::bind::text_of;
use super::text::{hex, real_text};
use crate::text::{shown, shown_json};

/// Takes the rows of one answer.
pub trait Render {
    fn begin(&mut self, names: Vec<String>) -> Result<()>;
    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<()>;
    fn end(&mut self, rows: u64) -> Result<()>;
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// Aligned columns for people.
    #[default]
    Table,
    /// An array of objects, one a row; blobs in hex, and in hex only.
    Json,
    /// RFC 4180; null is an empty field, empty text is `""`.
    Csv,
}

/// `cell`: longest cell of a table.
pub fn of<'o>(format: Format, cell: Option<usize>, out: &'o mut dyn Write) -> Box<dyn Render + 'o> {
    match format {
        Format::Table => {
            Box::new(Table { out, cell, names: Vec::new(), held: Vec::new(), size: 0, layout: None })
        }
        Format::Json => Box::new(Json { out, names: Vec::new(), any: false }),
        Format::Csv => Box::new(Csv { out }),
    }
}

// ---------------------------------------------------------------------------------------------------- table

/// Rows that decide the widths of columns are held back; later ones are written at once, in the same widths.
const HELD_ROWS: usize = 1_000;
const HELD_BYTES: usize = 8 << 20;

struct Table<'o> {
    out: &'o mut dyn Write,
    cell: Option<usize>,
    names: Vec<String>,
    held: Vec<Vec<Cell>>,
    size: usize,
    /// Width and right-alignment of each column, once settled.
    layout: Option<Vec<(usize, bool)>>,
}

struct Cell {
    text: String,
    /// `None` = null, which says nothing about its column.
    number: Option<bool>,
}

impl Render for Table<'_> {
    fn begin(&mut self, names: Vec<String>) -> Result<()> {
        self.names = names.iter().map(|n| cut(shown(n), self.cell)).collect();
        Ok(())
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<()> {
        let cells: Vec<Cell> = values.iter().map(|&v| cell(v, self.cell)).collect();
        if let Some(layout) = &self.layout {
            return line(self.out, layout, cells.iter().map(|c| c.text.as_str()));
        }
        self.size += cells.iter().map(|c| c.text.len()).sum::<usize>();
        self.held.push(cells);
        if self.held.len() >= HELD_ROWS || self.size >= HELD_BYTES { self.settle() } else { Ok(()) }
    }

    fn end(&mut self, rows: u64) -> Result<()> {
        if self.layout.is_none() {
            self.settle()?;
        }
        writeln!(self.out, "({rows} {})", if rows == 1 { "row" } else { "rows" })?;
        self.out.flush()
    }
}

impl Table<'_> {
    fn settle(&mut self) -> Result<()> {
        let layout: Vec<(usize, bool)> = (0..self.names.len()).map(|i| self.column(i)).collect();
        if !layout.is_empty() {
            line(self.out, &layout, self.names.iter().map(String::as_str))?;
            let rules: Vec<String> = layout.iter().map(|(w, _)| "-".repeat(*w)).collect();
            line(self.out, &layout, rules.iter().map(String::as_str))?;
        }
        for cells in std::mem::take(&mut self.held) {
            line(self.out, &layout, cells.iter().map(|c| c.text.as_str()))?;
        }
        self.layout = Some(layout);
        Ok(())
    }

    fn column(&self, index: usize) -> (usize, bool) {
        let cells = || self.held.iter().filter_map(|row| row.get(index));
        let name = self.names.get(index).map_or(0, |n| width(n));
        let widest = cells().map(|c| width(&c.text)).max().unwrap_or(0).max(name);
        let mut known = cells().filter_map(|c| c.number).peekable();
        (widest, known.peek().is_some() && known.all(|number| number))
    }
}

fn line<'t>(
    out: &mut dyn Write,
    layout: &[(usize, bool)],
    texts: impl Iterator<Item = &'t str>,
) -> Result<()> {
    let mut text = String::new();
    for (i, (cell, (wide, right))) in texts.zip(layout).enumerate() {
        let pad = " ".repeat(wide.saturating_sub(width(cell)));
        text.push_str(if i == 0 { "" } else { "  " });
        text.push_str(if *right { &pad } else { "" });
        text.push_str(cell);
        text.push_str(if *right { "" } else { &pad });
    }
    writeln!(out, "{}", text.trim_end_matches(' '))
}

fn cell(value: ValueRef<'_>, limit: Option<usize>) -> Cell {
    match value {
        ValueRef::Null => Cell { text: "NULL".into(), number: None },
        ValueRef::Integer(i) => Cell { text: i.to_string(), number: Some(true) },
        ValueRef::Real(r) => Cell { text: tidy(r), number: Some(true) },
        ValueRef::Text(t) => {
            Cell { text: cut(shown(&String::from_utf8_lossy(t)), limit), number: Some(false) }
        }
        ValueRef::Blob(b) => Cell { text: cut(hex(b), limit), number: Some(false) },
    }
}

/// Fifteen digits, as SQLite shows a double: `0.1 + 0.2` is 0.3 to a person.
fn tidy(r: f64) -> String {
    let rounded: f64 = format!("{r:.14e}").parse().unwrap_or(r);
    match rounded.abs() {
        0.0 => "0.0".into(),
        a if !(1e-5..1e15).contains(&a) && r.is_finite() => format!("{rounded:e}"),
        _ if rounded.fract() == 0.0 => format!("{rounded:.1}"),
        _ => real_text(rounded),
    }
}

fn cut(text: String, limit: Option<usize>) -> String {
    let Some(limit) = limit.filter(|l| width(&text) > *l) else { return text };
    let mut used = 1;
    let kept = text.chars().take_while(|&c| {
        used += char_width(c);
        used <= limit
    });
    let mut out: String = kept.collect();
    out.push('…');
    out
}

/// Columns that a text takes on a terminal, near enough: East Asian characters and emoji take two, combining ones
/// none.
pub fn width(text: &str) -> usize {
    // A blob in hex may be long.
    if text.is_ascii() { text.len() } else { text.chars().map(char_width).sum() }
}

fn char_width(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200f | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0xa4cf | 0xac00..=0xd7a3 | 0xf900..=0xfaff | 0xfe30..=0xfe6f => 2,
        0xff00..=0xff60 | 0xffe0..=0xffe6 | 0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

// ----------------------------------------------------------------------------------------------------- JSON

struct Json<'o> {
    out: &'o mut dyn Write,
    /// Each `"name":`, escaped.
    names: Vec<String>,
    any: bool,
}

impl Render for Json<'_> {
    fn begin(&mut self, names: Vec<String>) -> Result<()> {
        for name in distinct(names) {
            self.names.push(format!("{}:", shown_json(&serde_json::to_string(&name)?)));
        }
        write!(self.out, "[")
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<()> {
        self.out.write_all(if self.any { b",\n{" } else { b"{" })?;
        self.any = true;
        for (i, (name, &value)) in self.names.iter().zip(values).enumerate() {
            write!(self.out, "{}{name}", if i == 0 { "" } else { "," })?;
            json(self.out, value)?;
        }
        write!(self.out, "}}")
    }

    fn end(&mut self, _: u64) -> Result<()> {
        writeln!(self.out, "]")?;
        self.out.flush()
    }
}

/// A double in the digits that read back as the same one. JSON has no infinity: it becomes text.
fn json(out: &mut dyn Write, value: ValueRef<'_>) -> Result<()> {
    match value {
        ValueRef::Null => write!(out, "null"),
        ValueRef::Integer(i) => write!(out, "{i}"),
        ValueRef::Real(r) if r.is_finite() => Ok(serde_json::to_writer(out, &r)?),
        other => {
            let text = serde_json::to_string(text_of(other).unwrap_or_default().as_ref())?;
            out.write_all(shown_json(&text).as_bytes())
        }
    }
}

/// Gives the second `id` the name `id_2`, or the next that is free: an object cannot have both.
fn distinct(names: Vec<String>) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(names.len());
    for name in &names {
        let free = |n: &String| !out.contains(n) && (n == name || !names.contains(n));
        let numbered = (2u32..).map(|i| format!("{name}_{i}"));
        if let Some(chosen) = std::iter::once(name.clone()).chain(numbered).find(free) {
            out.push(chosen);
        }
    }
    out
}

// ------------------------------------------------------------------------------------------------------ CSV

struct Csv<'o> {
    out: &'o mut dyn Write,
}

impl Render for Csv<'_> {
    fn begin(&mut self, names: Vec<String>) -> Result<()> {
        self.record(names.iter().map(|n| field(n)))
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<()> {
        self.record(values.iter().map(|&v| text_of(v).map_or_else(String::new, |t| field(&t))))
    }

    fn end(&mut self, _: u64) -> Result<()> {
        self.out.flush()
    }
}

impl Csv<'_> {
    fn record(&mut self, fields: impl Iterator<Item = String>) -> Result<()> {
        let fields: Vec<String> = fields.collect();
        write!(self.out, "{}\r\n", fields.join(","))
    }
}

fn field(text: &str) -> String {
    if text.is_empty() || text.contains(['"', ',', '\r', '\n']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}
