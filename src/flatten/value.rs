//! From a path to a value of the document, and from the value to a cell of the column's type.

use std::borrow::Cow;

use super::{number, time};
use crate::batch::{Chunk, Kind, NONE, Value, ValueId};
use crate::cell::Cell;
use crate::pipeline::model::{Step, Type};
use crate::text::unescape;

/// Why a value does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Misfit {
    /// The path goes on into a `wanted` (object or array), but `found` stands there.
    Blocked { found: Kind, wanted: Kind },
    /// The value is not of the type.
    Type,
    /// Text with half of a surrogate pair.
    Surrogate,
}

/// A chunk's values and text, to look things up in. Ids and spans that point nowhere read as absent and empty.
#[derive(Debug, Clone, Copy)]
pub struct View<'c> {
    values: &'c [Value],
    text: &'c [u8],
}

impl<'c> View<'c> {
    pub const EMPTY: View<'static> = View { values: &[], text: &[] };

    pub fn new(chunk: &'c Chunk) -> Self {
        View { values: &chunk.values, text: &chunk.text }
    }

    /// The source text of a bool, number or string.
    pub fn source(self, value: &Value) -> &'c [u8] {
        self.text.get(value.start as usize..value.end as usize).unwrap_or_default()
    }

    /// The value that `steps` lead to from `from`; absent and null are `None`.
    pub fn resolve(self, from: ValueId, steps: &[Step]) -> Result<Option<&'c Value>, Misfit> {
        let mut at = self.present(from);
        for step in steps {
            let Some(value) = at else { return Ok(None) };
            at = self.present(self.step(value, *step)?);
        }
        Ok(at)
    }

    /// The value with this number, unless it is absent or null.
    #[inline]
    pub fn present(self, id: ValueId) -> Option<&'c Value> {
        self.values.get(id as usize).filter(|v| !matches!(v.kind, Kind::Absent | Kind::Null))
    }

    fn step(self, value: &Value, step: Step) -> Result<ValueId, Misfit> {
        match (step, value.kind) {
            (Step::Field(slot), Kind::Object) if value.start != NONE => {
                Ok(value.start.checked_add(slot).unwrap_or(NONE))
            }
            (Step::Field(_), Kind::Object) => Ok(NONE),
            (Step::Index(n), Kind::Array) => Ok(self.elements(value).nth(n as usize).unwrap_or(NONE)),
            (Step::Field(_), found) => Err(Misfit::Blocked { found, wanted: Kind::Object }),
            (Step::Index(_), found) => Err(Misfit::Blocked { found, wanted: Kind::Array }),
        }
    }

    /// The ids of an array's elements, null ones too.
    pub fn elements(self, array: &Value) -> impl Iterator<Item = ValueId> + use<'c> {
        let known = |id: &ValueId| (*id as usize) < self.values.len();
        let first = Some(array.start).filter(known);
        // `end` bounds the walk even if the links made a ring.
        std::iter::successors(first, move |id| Some(self.values.get(*id as usize)?.next).filter(known))
            .take(array.end as usize)
    }

    /// The value as a cell of `kind`, before any mask.
    pub fn fit(self, value: &Value, kind: Type) -> Result<Cell<'c>, Misfit> {
        if kind == Type::Text {
            return text(value, self.source(value)).map(Cell::Text);
        }
        let Some(plain) = self.plain(value)? else { return Ok(Cell::Null) };
        typed(value.kind, &plain, kind).ok_or(Misfit::Type)
    }

    /// The text of a scalar that is to be read as something other than text; `None` for null.
    #[inline(always)]
    fn plain(self, value: &Value) -> Result<Option<Cow<'c, [u8]>>, Misfit> {
        let source = self.source(value);
        match value.kind {
            Kind::Absent | Kind::Null => Ok(None),
            Kind::String if value.escaped => {
                unescape(source).map(|text| Some(bytes(text))).map_err(|_| Misfit::Type)
            }
            Kind::String | Kind::Number | Kind::Bool => Ok(Some(Cow::Borrowed(source))),
            Kind::Object | Kind::Array => Err(Misfit::Type),
        }
    }

    /// Whether the value fits `kind`, without making text: its bytes of text, 0 for other kinds.
    #[inline]
    pub fn weigh(self, value: &Value, kind: Type) -> Result<u64, Misfit> {
        match (kind, value.kind) {
            (_, Kind::Absent | Kind::Null) => Ok(0),
            (Type::Text, Kind::String) if !value.escaped => {
                Ok(u64::from(value.end.saturating_sub(value.start)))
            }
            // Most numbers: no event is refused for them, and only rows that are built need their value.
            (_, Kind::Number) if number::surely_fits(self.source(value), kind) => Ok(0),
            _ => self.weigh_other(value, kind),
        }
    }

    fn weigh_other(self, value: &Value, kind: Type) -> Result<u64, Misfit> {
        if kind != Type::Text {
            let Some(plain) = self.plain(value)? else { return Ok(0) };
            return typed(value.kind, &plain, kind).map(|_| 0).ok_or(Misfit::Type);
        }
        let source = self.source(value);
        match value.kind {
            Kind::String if value.escaped && may_be_lone(source) => {
                text(value, source).map(|t| t.len() as u64)
            }
            Kind::Object | Kind::Array => Err(Misfit::Type),
            Kind::Absent | Kind::Null => Ok(0),
            Kind::String | Kind::Number | Kind::Bool => Ok(source.len() as u64),
        }
    }
}

fn text<'c>(value: &Value, source: &'c [u8]) -> Result<Cow<'c, [u8]>, Misfit> {
    match value.kind {
        Kind::String if value.escaped => unescape(source).map(bytes).map_err(|_| Misfit::Surrogate),
        Kind::String | Kind::Number | Kind::Bool => Ok(Cow::Borrowed(source)),
        _ => Err(Misfit::Type),
    }
}

/// An escape of the surrogate range (or what looks like one): worth undoing the escapes to see.
fn may_be_lone(source: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', source)
        .any(|at| matches!(source.get(at + 1..at + 3), Some([b'u', b'd' | b'D'])))
}

fn bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(t) => Cow::Borrowed(t.as_bytes()),
        Cow::Owned(t) => Cow::Owned(t.into_bytes()),
    }
}

/// `source` is the text of a string, number or bool, as `from` says; `kind` is any but text.
#[inline(always)]
fn typed<'c>(from: Kind, source: &[u8], kind: Type) -> Option<Cell<'c>> {
    let numeric = matches!(from, Kind::Number | Kind::String);
    let string = from == Kind::String;
    match kind {
        Type::Int64 if numeric => number::int64(source).map(Cell::Int),
        Type::Float64 if numeric => number::float64(source).map(Cell::Float),
        Type::Decimal { precision, scale } if numeric => {
            number::decimal(source, precision, scale).map(|unscaled| Cell::Decimal { unscaled, scale })
        }
        Type::Bool if from != Kind::Number => match source {
            b"true" => Some(Cell::Bool(true)),
            b"false" => Some(Cell::Bool(false)),
            _ => None,
        },
        Type::Date if string => time::date(source).map(Cell::Date),
        Type::Timestamp if string => time::timestamp(source).map(Cell::Timestamp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flatten::testing::{Pipe, chunk};

    /// How `json` at `$.v` fits `kind`, as canonical text.
    fn fit(json: &str, kind: Type) -> Result<String, Misfit> {
        let pipe = Pipe::new().key("$.id").sequence("$.at").dimension("t", "", "id");
        let pipeline = pipe.column("id", "$.id", Type::Text).column("v", "$.v", kind).build();
        let chunk = chunk(&pipeline.shape, &[&format!(r#"{{"v":{json}}}"#)]);
        let view = View::new(&chunk);
        let slot = pipeline.shape.nodes[0].fields.iter().position(|(n, _)| &**n == "v").unwrap();
        let value = view.resolve(chunk.documents[0].root, &[Step::Field(slot as u32)]).unwrap();
        let Some(value) = value else { return Ok("<absent>".to_owned()) };
        let cell = view.fit(value, kind);
        assert_eq!(view.weigh(value, kind).is_ok(), cell.is_ok(), "{json} {kind}");
        let mut buf = Vec::new();
        cell.map(|c| String::from_utf8(c.text(&mut buf).unwrap().to_vec()).unwrap())
    }

    const MONEY: Type = Type::Decimal { precision: 18, scale: 4 };

    #[test]
    fn text_takes_scalars_by_their_source() {
        for (json, text) in [
            (r#""""#, ""),
            (r#"" a ""#, " a "),
            ("1.50", "1.50"),
            ("1E+2", "1E+2"),
            ("true", "true"),
            (r#""caf\u00e9 \"x\" \ud83d\ude00""#, "caf\u{e9} \"x\" \u{1f600}"),
            (r#""\\ud83d""#, "\\ud83d"),
            ("null", "<absent>"),
        ] {
            assert_eq!(fit(json, Type::Text).as_deref(), Ok(text));
        }
        assert_eq!(fit(r#""a\ud83d""#, Type::Text), Err(Misfit::Surrogate));
        assert_eq!(fit("{}", Type::Text), Err(Misfit::Type));
        assert_eq!(fit("[]", Type::Text), Err(Misfit::Type));
    }

    #[test]
    fn numbers_and_numeric_strings() {
        for json in ["10", "10.0", "1e1", r#""10""#, r#""10.0""#, r#""+010""#, r#""\u0031\u0030""#] {
            assert_eq!(fit(json, Type::Int64).as_deref(), Ok("10"), "{json}");
            assert_eq!(fit(json, MONEY).as_deref(), Ok("10.0000"), "{json}");
            assert_eq!(fit(json, Type::Float64).as_deref(), Ok("10"), "{json}");
        }
        for kind in [Type::Int64, MONEY, Type::Float64, Type::Bool, Type::Date, Type::Timestamp] {
            for json in [r#""""#, r#"" 10""#, "{}", "[1]", r#""a\ud83d""#] {
                assert_eq!(fit(json, kind), Err(Misfit::Type), "{json} {kind}");
            }
            assert_eq!(fit("null", kind).as_deref(), Ok("<absent>"));
        }
        for kind in [Type::Int64, MONEY, Type::Float64, Type::Date, Type::Timestamp] {
            assert_eq!(fit("true", kind), Err(Misfit::Type), "{kind}");
        }
    }

    #[test]
    fn bools_dates_times() {
        assert_eq!(fit("true", Type::Bool).as_deref(), Ok("true"));
        assert_eq!(fit(r#""false""#, Type::Bool).as_deref(), Ok("false"));
        assert_eq!(fit("1", Type::Bool), Err(Misfit::Type));
        assert_eq!(fit(r#""True""#, Type::Bool), Err(Misfit::Type));
        assert_eq!(fit(r#""2024-02-29""#, Type::Date).as_deref(), Ok("2024-02-29"));
        assert_eq!(fit("20240229", Type::Date), Err(Misfit::Type));
        let time = fit(r#""2024-02-29T01:02:03Z""#, Type::Timestamp);
        assert_eq!(time.as_deref(), Ok("2024-02-29T01:02:03.000000Z"));
        assert_eq!(fit("1709168523", Type::Timestamp), Err(Misfit::Type));
    }
}
