//! What an add action says of its file's rows: how many, and the ranges and nulls of some columns.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::{max, max_string, min, min_string};
use arrow::datatypes::{DataType, Int64Type};
use serde_json::{Map, Value, json};

/// Text longer than this gets no minimum and maximum: they would bloat the log.
const STATS_TEXT: usize = 64;

/// The `stats` text of an add action: row count always, ranges and null counts of `columns`.
pub fn stats(rows: &RecordBatch, columns: &[usize]) -> String {
    let mut stats = Stats::new(columns);
    stats.add(rows);
    stats.text()
}

/// The same, of rows that come a few at a time.
#[derive(Debug)]
pub struct Stats {
    rows: u64,
    columns: Vec<Column>,
}

#[derive(Debug)]
struct Column {
    at: usize,
    name: String,
    nulls: usize,
    range: Option<Range>,
}

#[derive(Debug)]
enum Range {
    Int(i64, i64),
    Text(String, String),
}

impl Stats {
    pub fn new(columns: &[usize]) -> Self {
        let column = |at: &usize| Column { at: *at, name: String::new(), nulls: 0, range: None };
        Stats { rows: 0, columns: columns.iter().map(column).collect() }
    }

    pub fn rows(&self) -> u64 {
        self.rows
    }

    pub fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows() as u64;
        for column in &mut self.columns {
            let array = rows.column(column.at);
            rows.schema_ref().field(column.at).name().clone_into(&mut column.name);
            column.nulls += array.null_count();
            column.range = match (column.range.take(), range(array)) {
                (Some(before), Some(new)) => Some(before.and(new)),
                (before, new) => before.or(new),
            };
        }
    }

    pub fn text(&self) -> String {
        let (mut mins, mut maxs, mut nulls) = (Map::new(), Map::new(), Map::new());
        for Column { name, nulls: count, range, .. } in self.columns.iter().filter(|c| !c.name.is_empty()) {
            nulls.insert(name.clone(), json!(count));
            if let Some((low, high)) = range.as_ref().and_then(Range::values) {
                mins.insert(name.clone(), low);
                maxs.insert(name.clone(), high);
            }
        }
        json!({ "numRecords": self.rows, "tightBounds": true, "minValues": mins, "maxValues": maxs,
                "nullCount": nulls })
        .to_string()
    }
}

impl Range {
    fn and(self, other: Range) -> Range {
        match (self, other) {
            (Range::Int(a, b), Range::Int(c, d)) => Range::Int(a.min(c), b.max(d)),
            (Range::Text(a, b), Range::Text(c, d)) => Range::Text(a.min(c), b.max(d)),
            // A column has one type.
            (first, _) => first,
        }
    }

    fn values(&self) -> Option<(Value, Value)> {
        match self {
            Range::Int(low, high) => Some((json!(low), json!(high))),
            Range::Text(low, high) => {
                (low.len() <= STATS_TEXT && high.len() <= STATS_TEXT).then(|| (json!(low), json!(high)))
            }
        }
    }
}

fn range(column: &dyn Array) -> Option<Range> {
    match column.data_type() {
        DataType::Int64 => {
            let values = column.as_primitive::<Int64Type>();
            Some(Range::Int(min(values)?, max(values)?))
        }
        DataType::Utf8 => {
            let values = column.as_string::<i32>();
            Some(Range::Text(min_string(values)?.to_owned(), max_string(values)?.to_owned()))
        }
        _ => None,
    }
}

/// `stats` once rows of the file are deleted: the bounds are no longer tight.
pub fn loosen(stats: &str) -> String {
    match serde_json::from_str::<Value>(stats) {
        Ok(mut value) if value.is_object() => {
            value["tightBounds"] = json!(false);
            value.to_string()
        }
        _ => stats.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn rows_in_pieces_have_the_statistics_of_all() {
        let long = "z".repeat(STATS_TEXT + 1);
        let ints = [Some(5), None, Some(-3), Some(9), None, None];
        let texts = [Some("b"), Some("a"), None, Some("c"), Some("é"), None];
        let longs = [None, Some("y"), Some(long.as_str()), None, None, None];
        let all = RecordBatch::try_from_iter([
            ("n", Arc::new(Int64Array::from(ints.to_vec())) as ArrayRef),
            ("t", Arc::new(StringArray::from(texts.to_vec()))),
            ("l", Arc::new(StringArray::from(longs.to_vec()))),
        ]);
        let all = all.unwrap();
        let whole = stats(&all, &[0, 1, 2]);
        for cut in 0..=ints.len() {
            let mut pieces = Stats::new(&[0, 1, 2]);
            pieces.add(&all.slice(0, cut));
            pieces.add(&all.slice(cut, ints.len() - cut));
            assert_eq!((pieces.text(), pieces.rows()), (whole.clone(), 6), "cut at {cut}");
        }
        let told: Value = serde_json::from_str(&whole).unwrap();
        assert_eq!(told["minValues"], json!({ "n": -3, "t": "a" }));
        assert_eq!(told["maxValues"], json!({ "n": 9, "t": "é" }));
        assert_eq!(told["nullCount"], json!({ "n": 3, "t": 2, "l": 4 }));
    }
}
