//! Arrow values as SQLite values: bound straight from the arrays, and as the text that `verify` compares.

use std::borrow::Cow;

use arrow::array::{
    Array, ArrayAccessor, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array,
    Float64Array, Int32Array, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int32Type, Int64Type, TimeUnit,
    TimestampMicrosecondType,
};
use rusqlite::Statement;
use rusqlite::types::{ToSql, ToSqlOutput, ValueRef};

use super::ddl::TableDdl;
use super::text::{Number, decimal, hex, push_date, push_timestamp, real_text};
use crate::error::{Error, Result};

/// A column of a batch, its type settled once instead of once a value.
pub enum Column<'a> {
    Text(&'a StringArray),
    LargeText(&'a LargeStringArray),
    TextView(&'a StringViewArray),
    Int64(&'a Int64Array),
    Int32(&'a Int32Array),
    Float64(&'a Float64Array),
    Bool(&'a BooleanArray),
    Date(&'a Date32Array),
    Timestamp(&'a TimestampMicrosecondArray),
    Decimal(&'a Decimal128Array, i8),
    Binary(&'a BinaryArray),
}

impl<'a> Column<'a> {
    /// # Errors
    /// `Bug` for an Arrow type that no table of ours has.
    pub fn new(array: &'a ArrayRef) -> Result<Self> {
        Ok(match array.data_type() {
            DataType::Utf8 => Column::Text(array.as_string()),
            DataType::LargeUtf8 => Column::LargeText(array.as_string()),
            DataType::Utf8View => Column::TextView(array.as_string_view()),
            DataType::Int64 => Column::Int64(array.as_primitive::<Int64Type>()),
            DataType::Int32 => Column::Int32(array.as_primitive::<Int32Type>()),
            DataType::Float64 => Column::Float64(array.as_primitive::<Float64Type>()),
            DataType::Boolean => Column::Bool(array.as_boolean()),
            DataType::Date32 => Column::Date(array.as_primitive::<Date32Type>()),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Column::Timestamp(array.as_primitive::<TimestampMicrosecondType>())
            }
            DataType::Decimal128(_, scale) => Column::Decimal(array.as_primitive::<Decimal128Type>(), *scale),
            DataType::Binary => Column::Binary(array.as_binary()),
            other => return Err(Error::Bug(format!("the mirror has no column of type {other}"))),
        })
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Column::Text(a) => a.is_null(row),
            Column::LargeText(a) => a.is_null(row),
            Column::TextView(a) => a.is_null(row),
            Column::Int64(a) => a.is_null(row),
            Column::Int32(a) => a.is_null(row),
            Column::Float64(a) => a.is_null(row),
            Column::Bool(a) => a.is_null(row),
            Column::Date(a) => a.is_null(row),
            Column::Timestamp(a) => a.is_null(row),
            Column::Decimal(a, _) => a.is_null(row),
            Column::Binary(a) => a.is_null(row),
        }
    }

    /// The text of a row of a text column.
    pub fn text(&self, row: usize) -> Option<&[u8]> {
        match self {
            Column::Text(a) if !a.is_null(row) => Some(a.value(row).as_bytes()),
            Column::LargeText(a) if !a.is_null(row) => Some(a.value(row).as_bytes()),
            Column::TextView(a) if !a.is_null(row) => Some(a.value(row).as_bytes()),
            _ => None,
        }
    }

    /// All rows are equal, or null.
    pub fn is_constant(&self) -> bool {
        match self {
            Column::Text(a) => all_equal(*a),
            Column::LargeText(a) => all_equal(*a),
            Column::TextView(a) => all_equal(*a),
            Column::Int64(a) => all_equal(*a),
            Column::Int32(a) => all_equal(*a),
            Column::Bool(a) => all_equal(*a),
            Column::Date(a) => all_equal(*a),
            Column::Timestamp(a) => all_equal(*a),
            Column::Decimal(a, _) => all_equal(*a),
            Column::Binary(a) => all_equal(*a),
            // Two that are equal need not be the same: there are two zeros.
            Column::Float64(_) => false,
        }
    }

    /// The value of a row; what has to be written out is written to `scratch`.
    pub fn value<'v>(&'v self, row: usize, scratch: &'v mut String) -> ValueRef<'v> {
        if self.is_null(row) {
            return ValueRef::Null;
        }
        match self {
            Column::Text(a) => ValueRef::Text(a.value(row).as_bytes()),
            Column::LargeText(a) => ValueRef::Text(a.value(row).as_bytes()),
            Column::TextView(a) => ValueRef::Text(a.value(row).as_bytes()),
            Column::Int64(a) => ValueRef::Integer(a.value(row)),
            Column::Int32(a) => ValueRef::Integer(a.value(row).into()),
            Column::Float64(a) => ValueRef::Real(a.value(row)),
            Column::Bool(a) => ValueRef::Integer(a.value(row).into()),
            Column::Date(a) => spelled(scratch, |out| push_date(out, a.value(row).into())),
            Column::Timestamp(a) => spelled(scratch, |out| push_timestamp(out, a.value(row))),
            Column::Decimal(a, scale) => match decimal(a.value(row), *scale) {
                Number::Int(i) => ValueRef::Integer(i),
                Number::Real(r) => ValueRef::Real(r),
            },
            Column::Binary(a) => ValueRef::Blob(a.value(row)),
        }
    }
}

fn all_equal<A: ArrayAccessor>(array: A) -> bool
where
    A::Item: PartialEq,
{
    let at = |row: usize| array.is_valid(row).then(|| array.value(row));
    // The last first: it is the one that differs where rows come in some order.
    array.null_count() == array.len() || (1..array.len()).rev().all(|row| at(row) == at(0))
}

fn spelled(scratch: &mut String, write: impl FnOnce(&mut String)) -> ValueRef<'_> {
    scratch.clear();
    write(scratch);
    ValueRef::Text(scratch.as_bytes())
}

/// The batch's columns in the order in which the table declares them, found by name.
///
/// # Errors
/// `Bug` if one is missing or of a type that no table has.
pub fn columns<'a>(table: &TableDdl, batch: &'a RecordBatch) -> Result<Vec<Column<'a>>> {
    let find = |name: &str| {
        let array = batch.column_by_name(name);
        array.ok_or_else(|| Error::Bug(format!("rows for `{}` come without column `{name}`", table.name)))
    };
    table.columns.iter().map(|c| Column::new(find(&c.name)?)).collect()
}

struct Bound<'a>(ValueRef<'a>);

impl ToSql for Bound<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(self.0))
    }
}

/// Binds the parameters from `first` on (counted from 1) to the values of one row.
pub fn bind_row<'a>(
    statement: &mut Statement<'_>,
    first: usize,
    columns: impl IntoIterator<Item = &'a Column<'a>>,
    row: usize,
    scratch: &mut String,
) -> rusqlite::Result<()> {
    for (i, column) in columns.into_iter().enumerate() {
        statement.raw_bind_parameter(first + i, Bound(column.value(row, scratch)))?;
    }
    Ok(())
}

/// A value of the mirror as text: numbers in their shortest exact form, blobs in hex.
pub fn text_of(value: ValueRef<'_>) -> Option<Cow<'_, str>> {
    Some(match value {
        ValueRef::Null => return None,
        // SQLite keeps NaN as null.
        ValueRef::Real(r) if r.is_nan() => return None,
        ValueRef::Integer(i) => Cow::Owned(i.to_string()),
        ValueRef::Real(r) => Cow::Owned(real_text(r)),
        ValueRef::Text(t) => String::from_utf8_lossy(t),
        ValueRef::Blob(b) => Cow::Owned(hex(b)),
    })
}

/// The text that `contents` gives for a value that came from `column`, if the mirror agrees with it: decimals
/// beyond 15 digits are compared as the doubles that SQLite keeps.
pub fn canonical(column: &Column<'_>, row: usize, scratch: &mut String) -> Option<String> {
    text_of(column.value(row, scratch)).map(Cow::into_owned)
}
