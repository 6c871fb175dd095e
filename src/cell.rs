//! A stored value: the text that stands for it in keys and hashes, and the bytes that stand for it in content.
//!
//! Flatten makes cells from events; repair and verification read the same cells back from Arrow, so a key or a
//! content hash comes out the same whichever way it was reached.

use std::borrow::Cow;
use std::io::Write;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Decimal128Type, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType,
};
use xxhash_rust::xxh3::xxh3_64;

/// One value as stored.
///
/// The tag is a word of its own: with a byte, cells would be moved in odd pieces, which is slow when they are read again at
/// once (some percent of what building rows takes).
#[derive(Debug, Clone, PartialEq)]
#[repr(u64)]
pub enum Cell<'a> {
    Null,
    /// UTF-8.
    Text(Cow<'a, [u8]>),
    /// Text too: a stored hash, kept inline because every event makes some.
    Hash([u8; 32]),
    Int(i64),
    /// Finite.
    Float(f64),
    Bool(bool),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since the epoch, UTC.
    Timestamp(i64),
    Decimal {
        unscaled: i128,
        scale: i8,
    },
}

impl<'a> Cell<'a> {
    pub fn is_null(&self) -> bool {
        matches!(self, Cell::Null)
    }

    /// The canonical text; `None` for null. `buf` is room for kinds that are not text already.
    pub fn text<'b>(&'b self, buf: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        buf.clear();
        match self {
            Cell::Null => return None,
            Cell::Text(t) => return Some(t),
            Cell::Hash(h) => return Some(h),
            // Writing into a Vec cannot fail.
            Cell::Int(i) => _ = write!(buf, "{i}"),
            Cell::Float(f) => _ = write!(buf, "{f}"),
            Cell::Bool(b) => _ = write!(buf, "{b}"),
            Cell::Date(d) => write_date(i64::from(*d), buf),
            Cell::Timestamp(t) => write_timestamp(*t, buf),
            Cell::Decimal { unscaled, scale } => write_decimal(*unscaled, *scale, buf),
        }
        Some(buf)
    }

    /// Appends bytes that tell this cell from every other one of its column (null from empty too). They feed
    /// [`content_of`], whose hashes are kept on disk: frozen by a fixture.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Cell::Null => out.push(0),
            Cell::Text(t) => encode_text(t, out),
            Cell::Hash(h) => encode_text(h, out),
            Cell::Int(i) | Cell::Timestamp(i) => encode_bytes::<9>(&i.to_le_bytes(), out),
            Cell::Float(f) => encode_bytes::<9>(&f.to_bits().to_le_bytes(), out),
            Cell::Bool(b) => encode_bytes::<2>(&[u8::from(*b)], out),
            Cell::Date(d) => encode_bytes::<5>(&d.to_le_bytes(), out),
            Cell::Decimal { unscaled, .. } => encode_bytes::<17>(&unscaled.to_le_bytes(), out),
        }
    }

    /// Reads a cell of a column that a pipeline can have; of any other, and beyond the end, null.
    pub fn read(column: &'a dyn Array, row: usize) -> Cell<'a> {
        if row >= column.len() || column.is_null(row) {
            return Cell::Null;
        }
        match column.data_type() {
            DataType::Utf8 => Cell::Text(Cow::Borrowed(column.as_string::<i32>().value(row).as_bytes())),
            DataType::Int64 => Cell::Int(column.as_primitive::<Int64Type>().value(row)),
            DataType::Float64 => Cell::Float(column.as_primitive::<Float64Type>().value(row)),
            DataType::Boolean => Cell::Bool(column.as_boolean().value(row)),
            DataType::Date32 => Cell::Date(column.as_primitive::<Date32Type>().value(row)),
            DataType::Timestamp(TimeUnit::Microsecond, _) => {
                Cell::Timestamp(column.as_primitive::<TimestampMicrosecondType>().value(row))
            }
            DataType::Decimal128(_, scale) => {
                Cell::Decimal { unscaled: column.as_primitive::<Decimal128Type>().value(row), scale: *scale }
            }
            _ => Cell::Null,
        }
    }
}

/// Hash of the rows' values, as in [`crate::batch::OwnerRows::content`]: `columns` are the pipeline's, in order,
/// without the `_` columns.
pub fn content_of(columns: &[ArrayRef], first: usize, count: usize) -> u64 {
    let mut bytes = Vec::new();
    for row in first..first.saturating_add(count) {
        for column in columns {
            Cell::read(column, row).encode(&mut bytes);
        }
    }
    content_hash(&bytes)
}

/// Of encoded cells, row by row.
pub fn content_hash(encoded: &[u8]) -> u64 {
    xxh3_64(encoded)
}

fn encode_text(text: &[u8], out: &mut Vec<u8>) {
    encode_bytes::<9>(&(text.len() as u64).to_le_bytes(), out);
    out.extend_from_slice(text);
}

/// A byte that says "not null" before `bytes`, `N` in all: appended at once, for there are a hundred cells a row.
fn encode_bytes<const N: usize>(bytes: &[u8], out: &mut Vec<u8>) {
    let mut all = [1; N];
    all[1..].copy_from_slice(bytes);
    out.extend_from_slice(&all);
}

/// `YYYY-MM-DD` of days since 1970-01-01.
pub fn write_date(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(days);
    _ = write!(out, "{year:04}-{month:02}-{day:02}");
}

/// `YYYY-MM-DDTHH:MM:SS.ffffffZ` of microseconds since the epoch.
pub fn write_timestamp(micros: i64, out: &mut Vec<u8>) {
    const DAY: i64 = 86_400_000_000;
    write_date(micros.div_euclid(DAY), out);
    let rest = micros.rem_euclid(DAY);
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    _ = write!(out, "T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z");
}

/// Plain, with exactly `scale` digits behind the point.
fn write_decimal(unscaled: i128, scale: i8, out: &mut Vec<u8>) {
    if unscaled < 0 {
        out.push(b'-');
    }
    let digits = unscaled.unsigned_abs();
    let Ok(fraction) = u32::try_from(scale) else {
        _ = write!(out, "{digits}");
        let zeros = if digits == 0 { 0 } else { scale.unsigned_abs() };
        out.extend(std::iter::repeat_n(b'0', usize::from(zeros)));
        return;
    };
    // Beyond u128 the whole part is 0: a decimal has 38 digits at most.
    let (whole, part) = match 10u128.checked_pow(fraction) {
        Some(one) => (digits / one, digits % one),
        None => (0, digits),
    };
    _ = write!(out, "{whole}");
    if fraction > 0 {
        _ = write!(out, ".{part:0width$}", width = fraction as usize);
    }
}

/// Year, month and day of days since 1970-01-01, by the proleptic Gregorian calendar (Howard Hinnant's
/// `civil_from_days`: years begin in March, so that the leap day comes last).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march + 2) / 5 + 1;
    let month = if march < 10 { march + 3 } else { march - 9 };
    (year + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(cell: Cell<'_>) -> String {
        let mut buf = Vec::new();
        String::from_utf8_lossy(cell.text(&mut buf).unwrap_or(b"<null>")).into_owned()
    }

    fn decimal(unscaled: i128, scale: i8) -> String {
        text(Cell::Decimal { unscaled, scale })
    }

    #[test]
    fn canonical_text() {
        assert_eq!(text(Cell::Null), "<null>");
        assert_eq!(text(Cell::Text(Cow::Borrowed(b""))), "");
        assert_eq!(text(Cell::Int(i64::MIN)), "-9223372036854775808");
        assert_eq!(text(Cell::Float(0.1)), "0.1");
        assert_eq!(text(Cell::Float(1e21)), "1000000000000000000000");
        assert_eq!(text(Cell::Bool(true)), "true");
        assert_eq!(text(Cell::Date(0)), "1970-01-01");
        assert_eq!(text(Cell::Date(-719_162)), "0001-01-01");
        assert_eq!(text(Cell::Date(2_932_896)), "9999-12-31");
        assert_eq!(text(Cell::Timestamp(-1)), "1969-12-31T23:59:59.999999Z");
        assert_eq!(text(Cell::Timestamp(951_782_400_000_001)), "2000-02-29T00:00:00.000001Z");
        _ = text(Cell::Timestamp(i64::MIN)) + &text(Cell::Timestamp(i64::MAX));
    }

    #[test]
    fn decimals_are_plain() {
        assert_eq!(decimal(-500, 4), "-0.0500");
        assert_eq!(decimal(123_450, 4), "12.3450");
        assert_eq!(decimal(7, 0), "7");
        assert_eq!(decimal(0, 2), "0.00");
        assert_eq!(decimal(12, -2), "1200");
        assert_eq!(decimal(0, -2), "0");
        assert_eq!(decimal(i128::MIN, 127).len(), 130);
    }

    /// Content hashes live in the key index: another encoding would make every row look changed.
    #[test]
    fn encoding_is_frozen() {
        let mut bytes = Vec::new();
        for cell in [
            Cell::Null,
            Cell::Text(Cow::Borrowed(b"ab")),
            Cell::Int(-2),
            Cell::Float(1.0),
            Cell::Bool(true),
            Cell::Date(1),
            Cell::Timestamp(1),
            Cell::Decimal { unscaled: 1, scale: 4 },
        ] {
            cell.encode(&mut bytes);
        }
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        let expected = concat!(
            "00",
            "0102000000000000006162",
            "01feffffffffffffff",
            "01000000000000f03f",
            "0101",
            "0101000000",
            "010100000000000000",
            "0101000000000000000000000000000000"
        );
        assert_eq!(hex, expected);
        assert_eq!(content_hash(b""), 0x2d06_8005_38d3_94c2);
    }

    #[test]
    fn hash_and_text_are_one_kind() {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        Cell::Hash([b'f'; 32]).encode(&mut a);
        Cell::Text(Cow::Borrowed(&[b'f'; 32])).encode(&mut b);
        assert_eq!(a, b);
    }
}
