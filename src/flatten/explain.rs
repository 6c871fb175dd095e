//! Says in words why an event does not fit. Only events that go to quarantine come here, so it looks everything
//! up again instead of burdening the check.

use std::fmt::Write;

use super::plan::{Flattener, PartPlan, Source, TablePlan};
use super::rows::{NoArray, Row};
use super::scope::fit;
use super::value::{Misfit, View};
use crate::batch::{Kind, Value, ValueId};
use crate::pipeline::model::{Base, Type};

/// Something that does not fit; tables, columns and rows by their index. A `row` is `None` where the value is the
/// event's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Problem {
    /// A part of the event's key.
    Key(usize),
    /// A part of the event's sequence.
    Sequence(usize),
    NoArray(usize, NoArray),
    Value {
        table: usize,
        row: Option<u32>,
        column: usize,
    },
    /// A key column of an owned row is null.
    NoKey {
        table: usize,
        row: u32,
        column: usize,
    },
    /// The table's rows would take so many bytes.
    TooLarge(usize, u64),
}

/// Longest value shown, in characters.
const SHOWN: usize = 100;
/// About the longest reason, in bytes; what is beyond is counted. A small event can have a thousand times its size of
/// reasons, and a batch a hundred thousand events.
const REASON: usize = 4 << 10;

impl Flattener {
    /// The reason for quarantine: every problem, in the order found. `more` were not remembered.
    pub(super) fn explain(&self, view: View<'_>, root: ValueId, problems: &[Problem], more: u64) -> String {
        let mut words = Words { flattener: self, view, root, trail: None };
        let mut reason = String::new();
        let mut left = more;
        for (i, problem) in problems.iter().enumerate() {
            if reason.len() > REASON {
                left += (problems.len() - i) as u64;
                break;
            }
            let separator = if i == 0 { "" } else { "; " };
            reason.push_str(separator);
            reason.push_str(&words.say(*problem).unwrap_or_else(|| format!("{problem:?}")));
        }
        if left > 0 {
            _ = write!(reason, "; and {left} more");
        }
        reason
    }
}

struct Words<'a> {
    flattener: &'a Flattener,
    view: View<'a>,
    root: ValueId,
    /// Of the table that was last asked for.
    trail: Option<(usize, Trail)>,
}

impl Words<'_> {
    /// `None` if the problem names something that is not there.
    fn say(&mut self, problem: Problem) -> Option<String> {
        let flattener = self.flattener;
        let tables = &flattener.tables;
        Some(match problem {
            Problem::Key(i) => self.part("event key", flattener.key.get(i)?),
            Problem::Sequence(i) => self.part("sequence", flattener.sequence.get(i)?),
            Problem::NoArray(table, no_array) => {
                let plan = tables.get(table)?;
                let trail = self.trail(table, plan).indices(no_array.level, no_array.parent);
                let place = place(&plan.each_text, &trail, no_array.level + 1);
                format!("{} ({place}): {}", plan.name, misplaced(no_array.misfit))
            }
            Problem::Value { table, row, column } => self.value(table, tables.get(table)?, row, column)?,
            Problem::NoKey { table, row, column } => {
                let subject = self.subject(table, tables.get(table)?, Some(row), column)?;
                format!("{subject}: the key is missing")
            }
            Problem::TooLarge(table, bytes) => {
                let name = &tables.get(table)?.name;
                format!("{name}: the rows of this event would take {} MiB", bytes >> 20)
            }
        })
    }

    fn part(&self, what: &str, part: &PartPlan) -> String {
        let path = &part.text;
        match self.view.resolve(self.root, &part.steps) {
            Ok(None) => format!("{what} {path} is missing"),
            Ok(Some(value)) => {
                let misfit = self.view.fit(value, part.kind).err().unwrap_or(Misfit::Type);
                format!("{what} ({path}): {}", self.why(value, misfit, part.kind, part.hidden))
            }
            Err(misfit) => format!("{what} ({path}): {}", misplaced(misfit)),
        }
    }

    fn value(&mut self, table: usize, plan: &TablePlan, row: Option<u32>, column: usize) -> Option<String> {
        let subject = self.subject(table, plan, row, column)?;
        let place = match row {
            Some(row) => self.trail(table, plan).row(row)?,
            None => Row { element: self.root, parent: self.root },
        };
        let column = plan.columns.get(column)?;
        let Source::Path { base, steps, kind, .. } = &column.source else { return None };
        let misfit = fit(self.view, column, self.root, place).err()?;
        let from = match base {
            Base::Event => self.root,
            Base::Element => place.element,
            Base::Parent => place.parent,
        };
        let why = match self.view.resolve(from, steps) {
            Ok(Some(value)) => self.why(value, misfit, *kind, column.hidden),
            _ => misplaced(misfit),
        };
        Some(format!("{subject}: {why}"))
    }

    /// The column, its row, and where in the document it comes from.
    fn subject(&mut self, table: usize, plan: &TablePlan, row: Option<u32>, column: usize) -> Option<String> {
        let column = plan.columns.get(column)?;
        let mut subject = format!("{} ({}", column.name, plan.name);
        let row = row.filter(|_| !plan.levels.is_empty());
        if let Some(row) = row {
            _ = write!(subject, "[{row}]");
        }
        if let Source::Path { base, text, .. } = &column.source {
            let levels = match base {
                Base::Event => 0,
                Base::Parent => plan.levels.len().saturating_sub(1),
                Base::Element => plan.levels.len(),
            };
            let steps = text.get(1..).unwrap_or_default();
            let start = match row {
                Some(row) if levels > 0 => {
                    let trail = self.trail(table, plan).indices(plan.levels.len(), row);
                    place(&plan.each_text, &trail, levels)
                }
                _ => "$".to_owned(),
            };
            _ = write!(subject, ", {start}{steps}");
        }
        subject.push(')');
        Some(subject)
    }

    fn trail(&mut self, table: usize, plan: &TablePlan) -> &Trail {
        let known = self.trail.take().filter(|(t, _)| *t == table);
        let (view, root) = (self.view, self.root);
        &self.trail.insert(known.unwrap_or_else(|| (table, Trail::new(view, plan, root)))).1
    }

    fn why(&self, value: &Value, misfit: Misfit, kind: Type, hidden: bool) -> String {
        let shown = match value.kind {
            Kind::Object | Kind::Array => noun(value.kind).to_owned(),
            _ if hidden => "***".to_owned(),
            Kind::String => format!("\"{}\"", short(self.view.source(value))),
            _ => short(self.view.source(value)),
        };
        match misfit {
            Misfit::Surrogate => format!("{shown} is not {kind} (half of a surrogate pair)"),
            _ => format!("{shown} is not {kind}"),
        }
    }
}

/// Where each row's elements stand in their arrays, level by level.
struct Trail {
    /// By level: (index of the element of the level before, index in the array, the row).
    levels: Vec<Vec<(u32, u32, Row)>>,
}

impl Trail {
    fn new(view: View<'_>, plan: &TablePlan, root: ValueId) -> Self {
        let mut levels = vec![vec![(0, 0, Row { element: root, parent: root })]];
        for steps in &plan.levels {
            let mut next = Vec::new();
            for (parent, (_, _, above)) in (0..).zip(levels.last().into_iter().flatten()) {
                let array = view.resolve(above.element, steps).ok().flatten();
                let elements = array.filter(|a| a.kind == Kind::Array).map(|a| view.elements(a));
                for (i, element) in (0..).zip(elements.into_iter().flatten()) {
                    next.push((parent, i, Row { element, parent: above.element }));
                }
            }
            levels.push(next);
        }
        Trail { levels }
    }

    fn row(&self, row: u32) -> Option<Row> {
        self.levels.last()?.get(row as usize).map(|(_, _, row)| *row)
    }

    /// The array indices, outermost first, of the `n`th element of a level.
    fn indices(&self, level: usize, n: u32) -> Vec<u32> {
        let mut at = n;
        let mut indices: Vec<u32> = (1..=level)
            .rev()
            .filter_map(|l| {
                let (parent, index, _) = self.levels.get(l)?.get(at as usize)?;
                at = *parent;
                Some(*index)
            })
            .collect();
        indices.reverse();
        indices
    }
}

/// `each` up to its `levels`th `[*]`, with indices for stars as far as they are known.
fn place(each: &str, indices: &[u32], levels: usize) -> String {
    let mut out = String::new();
    let mut rest = each;
    for level in 0..levels {
        let Some((before, after)) = rest.split_once("[*]") else { break };
        out.push_str(before);
        match indices.get(level) {
            Some(index) => _ = write!(out, "[{index}]"),
            None => out.push_str("[*]"),
        }
        rest = after;
    }
    out
}

fn misplaced(misfit: Misfit) -> String {
    match misfit {
        Misfit::Blocked { found, wanted } => format!("{} stands where {} belongs", noun(found), noun(wanted)),
        Misfit::Type | Misfit::Surrogate => "does not fit".to_owned(),
    }
}

fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::Absent => "nothing",
        Kind::Null => "null",
        Kind::Bool => "a bool",
        Kind::Number => "a number",
        Kind::String => "a string",
        Kind::Object => "an object",
        Kind::Array => "an array",
    }
}

fn short(source: &[u8]) -> String {
    // Four bytes a character at most, and the one that says there is more.
    let head = source.get(..4 * (SHOWN + 1)).unwrap_or(source);
    let text = String::from_utf8_lossy(head);
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}\u{2026}", text.get(..at).unwrap_or_default()),
        None => text.into_owned(),
    }
}
