//! Mistakes in a pipeline file: where they are, and what the writer probably meant.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Bytes of the file's text.
pub(super) type Span = Range<usize>;

/// A value as typed, and where.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub value: T,
    pub span: Span,
}

impl<T> At<T> {
    pub fn new(value: T, span: Span) -> Self {
        At { value, span }
    }
}

/// One mistake in a pipeline file. Line and column count from 1; the column counts characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub file: Arc<str>,
    pub line: usize,
    pub column: usize,
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.message)
    }
}

/// Collects mistakes, so that a file is checked to its end and all of them are told at once.
#[derive(Debug)]
pub(super) struct Problems<'a> {
    text: &'a str,
    found: Vec<(usize, String)>,
}

impl<'a> Problems<'a> {
    pub fn new(text: &'a str) -> Self {
        Problems { text, found: Vec::new() }
    }

    pub fn add(&mut self, span: &Span, message: impl Into<String>) {
        self.found.push((span.start, message.into()));
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The text between two bytes, if they are its boundaries.
    pub fn text(&self, span: Span) -> Option<&'a str> {
        self.text.get(span)
    }

    /// In the order of the file, each once.
    pub fn finish(mut self, file: &str) -> Vec<Problem> {
        self.found.sort();
        self.found.dedup();
        let file: Arc<str> = file.into();
        let lines: Vec<usize> = self.text.match_indices('\n').map(|(at, _)| at).collect();
        let place = |offset: usize| {
            let line = lines.partition_point(|&newline| newline < offset);
            let start = line.checked_sub(1).and_then(|l| lines.get(l)).map_or(0, |newline| newline + 1);
            (
                line + 1,
                self.text.char_indices().skip_while(|c| c.0 < start).take_while(|c| c.0 < offset).count() + 1,
            )
        };
        let problem = |(offset, message): &(usize, String)| {
            let (line, column) = place(*offset);
            Problem { file: file.clone(), line, column, message: message.clone() }
        };
        self.found.iter().map(problem).collect()
    }
}

/// `what "name"` is unknown; says the nearest valid name, or lists the valid ones when none is near.
pub(super) fn unknown<'v>(what: &str, name: &str, valid: impl IntoIterator<Item = &'v str>) -> String {
    let valid: Vec<&str> = valid.into_iter().collect();
    let hint = match nearest(name, &valid) {
        Some(near) => format!("; did you mean {near:?}?"),
        None if valid.is_empty() => String::new(),
        None => format!("; valid: {}", list(&valid)),
    };
    format!("{what} {}{hint}", quoted(name))
}

fn nearest<'v>(name: &str, valid: &[&'v str]) -> Option<&'v str> {
    /// Jaro-Winkler, as clap has it: below this, a hint misleads more than it helps.
    const NEAR: f64 = 0.7;
    // Comparing is quadratic, and nobody mistypes a novel.
    if name.len() > 100 {
        return None;
    }
    let name = name.to_lowercase();
    let score = |v: &&'v str| (strsim::jaro_winkler(&name, &v.to_lowercase()), *v);
    let scored = valid.iter().filter(|v| v.len() <= 100).map(score);
    scored.filter(|s| s.0 >= NEAR).max_by(|a, b| a.0.total_cmp(&b.0)).map(|s| s.1)
}

/// At most a dozen names, so that a message stays one line.
pub(super) fn list(names: &[&str]) -> String {
    let shown: Vec<String> = names.iter().take(12).map(|n| quoted(n)).collect();
    let more = if names.len() > shown.len() { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// `text` in quotes, escaped, cut to a length that fits a message.
pub(super) fn quoted(text: &str) -> String {
    let cut: String = text.chars().take(80).collect();
    if cut.len() < text.len() { format!("{cut:?}…") } else { format!("{cut:?}") }
}
