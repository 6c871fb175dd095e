//! What the Delta tables of a root hold, in the oracle's spelling and order.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Decimal128Type, Float64Type, Int64Type, TimestampMicrosecondType};
use millrace::clock;
use millrace::commit::Paths;
use millrace::pipeline::model::Pipeline;
use millrace::root::Root;
use millrace::tables::LocalDisk;

use super::oracle::{self, Row};
use super::values::stamp;

/// The nine tables without their `_` columns.
pub fn tables(root: &Root) -> BTreeMap<&'static str, Vec<Row>> {
    oracle::names().into_iter().map(|name| (name, table(root, name))).collect()
}

/// Opens the root below `folder` to look at it; it must not be in use.
pub fn of_folder(folder: &Path, pipeline: &Arc<Pipeline>) -> BTreeMap<&'static str, Vec<Row>> {
    let paths = Paths::new(folder.join("tables"));
    let root = Root::open(paths, pipeline.clone(), Arc::new(LocalDisk), clock::system()).unwrap();
    tables(&root)
}

fn table(root: &Root, name: &str) -> Vec<Row> {
    let state = root.states.iter().find(|s| s.table.def.name == name).unwrap();
    let mut rows: Vec<Row> = Vec::new();
    for &file in state.table.files.keys() {
        for batch in state.table.read(file).unwrap() {
            let batch = batch.unwrap().rows;
            let columns: Vec<&ArrayRef> =
                oracle::columns(name).iter().map(|c| batch.column_by_name(c).unwrap()).collect();
            rows.extend((0..batch.num_rows()).map(|r| columns.iter().map(|c| cell(c, r)).collect()));
        }
    }
    let key: Vec<usize> = oracle::key_columns(name)
        .iter()
        .map(|k| oracle::columns(name).iter().position(|c| c == k).unwrap())
        .collect();
    rows.sort_by(|a, b| key.iter().map(|&k| &a[k]).cmp(key.iter().map(|&k| &b[k])));
    rows
}

fn cell(column: &ArrayRef, row: usize) -> Option<String> {
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
        other => panic!("no column of the model is {other}"),
    })
}
