//! The pipeline file: as typed, checked, compiled.
//!
//! TOML text becomes a tree with places (`tree`), the tree typed values (`file`, by `reader`, `path`), names are
//! bound to what they name (`bind`), the rules checked (`check`), and the whole compiled (`compile`, `shape`,
//! `order`, `fingerprint`) into [`model::Pipeline`]. Every mistake on that way is told, all at once.

mod bind;
mod check;
mod compile;
mod diagram;
mod file;
mod fingerprint;
pub mod model;
mod order;
mod path;
mod problem;
mod reader;
mod shape;
#[cfg(test)]
mod tests;
mod tree;

use std::path::Path;

pub use diagram::diagram;
pub use model::Pipeline;
pub use problem::Problem;

use crate::error::Error;

/// The built-in pipeline: orders.
pub const DEFAULT: &str = include_str!("../../resources/pipelines/orders.toml");

/// What messages call the built-in pipeline.
const DEFAULT_NAME: &str = "orders.toml (built in)";

/// A pipeline file's text to a compiled pipeline, or every mistake in it, in the order of the file (a TOML syntax
/// error comes alone). `file_name` is what messages call the file.
pub fn parse(text: &str, file_name: &str) -> Result<Pipeline, Vec<Problem>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut problems = problem::Problems::new(text);
    let root = tree::parse(text, &mut problems);
    let pipeline = root.map(|root| {
        let file = file::read(&mut problems, &root);
        compile::compile(&mut problems, file)
    });
    match pipeline.filter(|_| problems.is_empty()) {
        Some(pipeline) => Ok(pipeline),
        None => Err(problems.finish(file_name)),
    }
}

/// The pipeline of a file, or the built-in one. Errors are [`Error::Config`]: the file's name and why it cannot
/// be read, or its mistakes, one a line.
pub fn load(path: Option<&Path>) -> Result<Pipeline, Error> {
    let (text, name) = match path {
        None => (DEFAULT.to_owned(), DEFAULT_NAME.to_owned()),
        Some(path) => (read(path)?, path.display().to_string()),
    };
    parse(&text, &name).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(Problem::to_string).collect();
        Error::Config(lines.join("\n"))
    })
}

fn read(path: &Path) -> Result<String, Error> {
    let wrong = |why: String| Error::Config(format!("pipeline file {}: {why}", path.display()));
    let bytes = std::fs::read(path).map_err(|e| wrong(e.to_string()))?;
    String::from_utf8(bytes).map_err(|e| {
        let line = e.as_bytes()[..e.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
        wrong(format!("not UTF-8 in line {line}"))
    })
}

impl Pipeline {
    /// Tables in the order in which an event's rows are made: a table comes before those that look it up.
    pub fn flatten_order(&self) -> Vec<usize> {
        let lookups = |table: &model::Table| {
            let source = |column: &model::Column| match &column.source {
                model::ColumnSource::Lookup(lookup) => Some(lookup.table),
                model::ColumnSource::Path { .. } | model::ColumnSource::Hash(_) => None,
            };
            table.columns.iter().filter_map(source).collect()
        };
        order::topological(&self.tables.iter().map(lookups).collect::<Vec<Vec<usize>>>())
    }
}
