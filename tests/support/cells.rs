//! Arrow rows of the orders model in the oracle's spelling and order.

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};

use super::oracle::{self, Row};
use super::values::stamp;

/// The rows of a table of the model, its columns in the oracle's order.
pub fn rows(table: &str, batch: &RecordBatch) -> Vec<Row> {
    let columns: Vec<&ArrayRef> =
        oracle::columns(table).iter().map(|c| batch.column_by_name(c).unwrap()).collect();
    (0..batch.num_rows()).map(|r| columns.iter().map(|c| cell(c, r)).collect()).collect()
}

/// Brings rows into the order of their keys.
pub fn sort(table: &str, rows: &mut [Row]) {
    let key: Vec<usize> = oracle::key_columns(table)
        .iter()
        .map(|k| oracle::columns(table).iter().position(|c| c == k).unwrap())
        .collect();
    rows.sort_by(|a, b| key.iter().map(|&k| &a[k]).cmp(key.iter().map(|&k| &b[k])));
}

/// A value in the oracle's spelling.
pub fn cell(column: &ArrayRef, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    Some(match column.data_type() {
        DataType::Utf8 => column.as_string::<i32>().value(row).to_owned(),
        DataType::Int64 => column.as_primitive::<Int64Type>().value(row).to_string(),
        DataType::Float64 => column.as_primitive::<Float64Type>().value(row).to_string(),
        DataType::Timestamp(_, _) => stamp(column.as_primitive::<TimestampMicrosecondType>().value(row)),
        DataType::Decimal128(_, 4) => {
            let n = column.as_primitive::<Decimal128Type>().value(row);
            let sign = if n < 0 { "-" } else { "" };
            format!("{sign}{}.{:04}", n.abs() / 10_000, n.abs() % 10_000)
        }
        DataType::Boolean => column.as_boolean().value(row).to_string(),
        other => panic!("no column of the model is {other}"),
    })
}
