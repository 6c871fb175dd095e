//! The `_` columns: where a row came from. No part of a row's content.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};

use crate::batch::{FileRange, OwnerRows, TableRows};
use crate::error::{Error, Result};
use crate::pipeline::model::{Event, Type};
use crate::system::timestamp;

pub const BATCH: &str = "_batch_id";
pub const FILE: &str = "_source_file";
pub const SEQUENCE: &str = "_sequence";
pub const VERSION: &str = "_sequence_version";
pub const INGESTED: &str = "_ingested_at";

/// `schema` with the `_` columns behind it.
pub fn with_origin(schema: &SchemaRef, event: &Event) -> SchemaRef {
    let mut fields: Vec<Field> = schema.fields().iter().map(|f| f.as_ref().clone()).collect();
    fields.push(Field::new(BATCH, DataType::Int64, true));
    fields.push(Field::new(FILE, DataType::Utf8, true));
    fields.push(Field::new(SEQUENCE, part_type(event, 0), true));
    fields.push(Field::new(VERSION, part_type(event, 1), true));
    fields.push(Field::new(INGESTED, timestamp(), true));
    Arc::new(Schema::new(fields))
}

fn part_type(event: &Event, part: usize) -> DataType {
    match event.sequence.get(part).map(|p| p.kind) {
        Some(Type::Timestamp) => timestamp(),
        _ => DataType::Int64,
    }
}

/// Adds the `_` columns to a batch's new rows.
pub fn add(
    rows: &TableRows,
    event: &Event,
    files: &[FileRange],
    batch: u64,
    now_micros: i64,
) -> Result<RecordBatch> {
    let count = rows.rows.num_rows();
    let mut columns = rows.rows.columns().to_vec();
    columns.push(Arc::new(Int64Array::from(vec![batch as i64; count])));
    let name = |o: &OwnerRows| files.get(o.file as usize).map(|f| &*f.name);
    columns.push(Arc::new(StringArray::from_iter(each_row(&rows.owners, name))));
    columns.push(sequence(rows, event, 0));
    columns.push(sequence(rows, event, 1));
    columns.push(Arc::new(TimestampMicrosecondArray::from(vec![now_micros; count]).with_timezone("UTC")));
    RecordBatch::try_new(with_origin(&rows.rows.schema(), event), columns)
        .map_err(|e| Error::Bug(format!("adding the origin of rows: {e}")))
}

/// One value a row.
fn each_row<T: Clone>(owners: &[OwnerRows], value: impl Fn(&OwnerRows) -> T) -> Vec<T> {
    owners.iter().flat_map(|o| std::iter::repeat_n(value(o), o.count as usize)).collect()
}

fn sequence(rows: &TableRows, event: &Event, part: usize) -> ArrayRef {
    let unused = part >= event.sequence.len();
    let values =
        each_row(&rows.owners, |o| Some(o.order.sequence[part]).filter(|v| *v != i64::MIN && !unused));
    match part_type(event, part) {
        DataType::Timestamp(_, _) => {
            Arc::new(TimestampMicrosecondArray::from_iter(values).with_timezone("UTC"))
        }
        _ => Arc::new(Int64Array::from_iter(values)),
    }
}
