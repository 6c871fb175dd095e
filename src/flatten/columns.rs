//! Columns in the making: cells go in, Arrow arrays come out.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanBuilder, Date32Builder, Decimal128Builder, Float64Builder, Int64Builder, StringArray,
    TimestampMicrosecondBuilder,
};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{DataType, SchemaRef};

use crate::cell::Cell;
use crate::error::{Error, Result};

pub enum ColumnBuilder {
    Text(Text),
    Int(Int64Builder),
    Float(Float64Builder),
    Bool(BooleanBuilder),
    Date(Date32Builder),
    Timestamp(TimestampMicrosecondBuilder),
    Decimal(Decimal128Builder),
}

/// Rows from whose text that of the others can be guessed.
const SOME: usize = 64;
/// Bytes that the offsets of a column can count.
const MOST_TEXT: usize = i32::MAX as usize;

/// Text is collected as bytes and checked to be UTF-8 once, at the end.
pub struct Text {
    bytes: Vec<u8>,
    offsets: Vec<i32>,
    valid: Vec<bool>,
}

/// One builder a column, for about `rows` rows.
pub fn builders(schema: &SchemaRef, rows: usize) -> Result<Vec<ColumnBuilder>> {
    schema.fields().iter().map(|f| ColumnBuilder::new(f.data_type(), rows)).collect()
}

impl ColumnBuilder {
    fn new(kind: &DataType, rows: usize) -> Result<Self> {
        Ok(match kind {
            DataType::Utf8 => ColumnBuilder::Text(Text::new(rows)),
            DataType::Int64 => ColumnBuilder::Int(Int64Builder::with_capacity(rows)),
            DataType::Float64 => ColumnBuilder::Float(Float64Builder::with_capacity(rows)),
            DataType::Boolean => ColumnBuilder::Bool(BooleanBuilder::with_capacity(rows)),
            DataType::Date32 => ColumnBuilder::Date(Date32Builder::with_capacity(rows)),
            DataType::Timestamp(..) => {
                let builder = TimestampMicrosecondBuilder::with_capacity(rows);
                ColumnBuilder::Timestamp(builder.with_data_type(kind.clone()))
            }
            DataType::Decimal128(..) => {
                let builder = Decimal128Builder::with_capacity(rows);
                ColumnBuilder::Decimal(builder.with_data_type(kind.clone()))
            }
            other => return Err(Error::Bug(format!("no column is of type {other}"))),
        })
    }

    /// An error means that the cell is not of the column's type, or that text passes 2 GiB.
    pub fn append(&mut self, cell: &Cell<'_>) -> Result<()> {
        match (self, cell) {
            (ColumnBuilder::Text(b), Cell::Null) => b.append(None)?,
            (ColumnBuilder::Text(b), Cell::Text(t)) => b.append(Some(t))?,
            (ColumnBuilder::Text(b), Cell::Hash(h)) => b.append(Some(h))?,
            (ColumnBuilder::Int(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Int(b), Cell::Int(v)) => b.append_value(*v),
            (ColumnBuilder::Float(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Float(b), Cell::Float(v)) => b.append_value(*v),
            (ColumnBuilder::Bool(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Bool(b), Cell::Bool(v)) => b.append_value(*v),
            (ColumnBuilder::Date(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Date(b), Cell::Date(v)) => b.append_value(*v),
            (ColumnBuilder::Timestamp(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Timestamp(b), Cell::Timestamp(v)) => b.append_value(*v),
            (ColumnBuilder::Decimal(b), Cell::Null) => b.append_null(),
            (ColumnBuilder::Decimal(b), Cell::Decimal { unscaled, .. }) => b.append_value(*unscaled),
            (_, cell) => return Err(Error::Bug(format!("{cell:?} is not of its column's type"))),
        }
        Ok(())
    }

    pub fn finish(self) -> Result<ArrayRef> {
        Ok(match self {
            ColumnBuilder::Text(b) => Arc::new(b.finish()?),
            ColumnBuilder::Int(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Float(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Bool(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Date(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Timestamp(mut b) => Arc::new(b.finish()),
            ColumnBuilder::Decimal(mut b) => Arc::new(b.finish()),
        })
    }
}

impl Text {
    fn new(rows: usize) -> Self {
        let mut offsets = Vec::with_capacity(rows.saturating_add(1));
        offsets.push(0);
        Text { bytes: Vec::new(), offsets, valid: Vec::with_capacity(rows) }
    }

    fn append(&mut self, text: Option<&[u8]>) -> Result<()> {
        let end = self.bytes.len() + text.map_or(0, <[u8]>::len);
        let too_much = |_| {
            let what = "a column of one batch holds more than 2 GiB of text";
            Error::Config(format!("{what}; let the pipeline's source take fewer bytes a batch"))
        };
        self.offsets.push(i32::try_from(end).map_err(too_much)?);
        if end > self.bytes.capacity() {
            self.grow(end);
        }
        self.bytes.extend_from_slice(text.unwrap_or_default());
        self.valid.push(text.is_some());
        Ok(())
    }

    /// Makes room for `least` bytes; once there are some rows, for about as much as all of them will take, if that is not
    /// many times as much: the first may be the longest.
    #[cold]
    fn grow(&mut self, least: usize) {
        let (done, all) = (self.valid.len(), self.valid.capacity());
        let expected = if done < SOME { 0 } else { (least / done).saturating_mul(all) };
        let room =
            expected.saturating_add(expected / 16).clamp(least.saturating_mul(2), least.saturating_mul(4));
        self.bytes.reserve_exact(room.min(MOST_TEXT) - self.bytes.len());
    }

    fn finish(self) -> Result<StringArray> {
        let nulls = self.valid.contains(&false).then(|| NullBuffer::from(self.valid));
        let offsets = OffsetBuffer::new(ScalarBuffer::from(self.offsets));
        StringArray::try_new(offsets, Buffer::from_vec(self.bytes), nulls)
            .map_err(|e| Error::Bug(format!("text that passed decoding is not UTF-8: {e}")))
    }
}
