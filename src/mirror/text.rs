//! Values as the mirror keeps them: text for dates and times, the number SQLite makes of a decimal.

use std::fmt::Write as _;

/// What a NUMERIC column keeps of a number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Number {
    Int(i64),
    Real(f64),
}

/// A decimal as SQLite's NUMERIC affinity would store its text: a whole number that fits is an INTEGER, exact;
/// anything else is the nearest double, exact to 15 digits. Bound as a number because that spares SQLite the
/// parsing; the tests hold it against what SQLite makes of the text.
pub fn decimal(unscaled: i128, scale: i8) -> Number {
    // Most fit a word, which divides much faster.
    if let (Ok(n), Ok(scale @ 0..=18)) = (i64::try_from(unscaled), u32::try_from(scale)) {
        let power = 10i64.pow(scale);
        if n % power == 0 {
            return Number::Int(n / power);
        }
        if n.unsigned_abs() < 1 << 53 {
            return Number::Real(n as f64 / power as f64);
        }
    }
    let power = 10i128.checked_pow(u32::from(scale.unsigned_abs()));
    match power {
        Some(p) if scale <= 0 => unscaled.checked_mul(p).map_or(Number::Real(parsed(unscaled, scale)), whole),
        Some(p) if unscaled % p == 0 => whole(unscaled / p),
        // Both sides are exact as doubles, so the division rounds once: it gives the nearest double.
        Some(p) if unscaled.unsigned_abs() < 1 << 53 && scale <= 22 => {
            Number::Real(unscaled as f64 / p as f64)
        }
        _ => real(parsed(unscaled, scale)),
    }
}

fn whole(n: i128) -> Number {
    i64::try_from(n).map_or(Number::Real(n as f64), Number::Int)
}

/// SQLite turns a double without a fraction into an integer when nothing is lost.
fn real(r: f64) -> Number {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if r.fract() == 0.0 && r > -LIMIT && r < LIMIT { Number::Int(r as i64) } else { Number::Real(r) }
}

fn parsed(unscaled: i128, scale: i8) -> f64 {
    format!("{unscaled}e{}", -i32::from(scale)).parse().unwrap_or(f64::NAN)
}

/// Appends `YYYY-MM-DDTHH:MM:SS.ffffffZ`; `micros` since the epoch, UTC. Sorts as text within years 0 to 9999.
pub fn push_timestamp(out: &mut String, micros: i64) {
    const DAY: i64 = 86_400_000_000;
    push_date(out, micros.div_euclid(DAY));
    // Less than a day: it fits.
    let rest = micros.rem_euclid(DAY) as u64;
    let (seconds, fraction) = ((rest / 1_000_000) as u32, (rest % 1_000_000) as u32);
    let mut text = *b"T00:00:00.000000Z";
    let parts = [
        (1, seconds / 3600),
        (4, seconds / 60 % 60),
        (7, seconds % 60),
        (10, fraction / 10_000),
        (12, fraction / 100 % 100),
        (14, fraction % 100),
    ];
    parts.into_iter().for_each(|(at, two)| put_two(&mut text, at, two));
    push_ascii(out, &text);
}

/// Adds two digits to the zeros at `at`.
fn put_two(text: &mut [u8], at: usize, two: u32) {
    text[at] += (two / 10) as u8;
    text[at + 1] += (two % 10) as u8;
}

fn push_ascii(out: &mut String, text: &[u8]) {
    out.push_str(std::str::from_utf8(text).unwrap_or_default());
}

/// Appends `YYYY-MM-DD`; `days` since the epoch, in the Gregorian calendar carried back for ever.
/// The algorithm is Howard Hinnant's `civil_from_days`.
pub fn push_date(out: &mut String, days: i64) {
    let z = days.saturating_add(719_468);
    let era = z.div_euclid(146_097);
    // Less than an era: small numbers divide faster.
    let doe = z.rem_euclid(146_097) as u32;
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let day = doy - (153 * mp + 2) / 5 + 1;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = i64::from(yoe).saturating_add(era.saturating_mul(400)).saturating_add(i64::from(month <= 2));
    let mut text = *b"-00-00";
    put_two(&mut text, 1, month);
    put_two(&mut text, 4, day);
    push_year(out, year);
    push_ascii(out, &text);
}

/// Four digits, more if it has more.
fn push_year(out: &mut String, year: i64) {
    match u32::try_from(year) {
        Ok(year @ 0..=9999) => {
            let mut text = *b"0000";
            put_two(&mut text, 0, year / 100);
            put_two(&mut text, 2, year % 100);
            push_ascii(out, &text);
        }
        _ => {
            let sign = if year < 0 { "-" } else { "" };
            let _ = write!(out, "{sign}{:04}", year.unsigned_abs());
        }
    }
}

/// A double in the fewest digits that read back as the same double.
pub fn real_text(r: f64) -> String {
    // SQLite does not promise to keep the sign of zero.
    format!("{}", if r == 0.0 { 0.0 } else { r })
}

pub fn hex(bytes: &[u8]) -> String {
    let mut out = vec![0; bytes.len().saturating_mul(2)];
    crate::key::hex_into(bytes, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rusqlite::Connection;
    use rusqlite::types::ValueRef;

    fn stamp(micros: i64) -> String {
        let mut out = String::new();
        push_timestamp(&mut out, micros);
        out
    }

    #[test]
    fn times() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(stamp(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(stamp(1_709_164_800_000_000), "2024-02-29T00:00:00.000000Z");
        assert_eq!(stamp(-62_135_596_800_000_000), "0001-01-01T00:00:00.000000Z");
        assert_eq!(stamp(253_402_300_799_999_999), "9999-12-31T23:59:59.999999Z");
        assert_eq!(stamp(i64::MAX), "294247-01-10T04:00:54.775807Z");
        assert_eq!(stamp(i64::MIN), "-290308-12-21T19:59:05.224192Z");
    }

    fn stored_by_sqlite(db: &Connection, text: &str) -> Number {
        db.execute("DELETE FROM t", []).unwrap();
        db.execute("INSERT INTO t VALUES (?)", [text]).unwrap();
        db.query_row("SELECT d FROM t", [], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Integer(i) => Number::Int(i),
                ValueRef::Real(r) => Number::Real(r),
                other => panic!("{text} is kept as {other:?}"),
            })
        })
        .unwrap()
    }

    fn written(unscaled: i128, scale: usize) -> String {
        let digits = format!("{:0>width$}", unscaled.unsigned_abs(), width = scale + 1);
        let (whole, fraction) = digits.split_at(digits.len() - scale);
        let sign = if unscaled < 0 { "-" } else { "" };
        if scale == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }

    fn numeric() -> Connection {
        let db = Connection::open_in_memory().unwrap();
        db.execute("CREATE TABLE t (d DECIMAL(18,4))", []).unwrap();
        db
    }

    proptest! {
        #[test]
        fn decimals_up_to_15_digits_are_what_sqlite_makes_of_their_text(
            cases in proptest::collection::vec((-999_999_999_999_999i64..=999_999_999_999_999, 0usize..=8), 64)
        ) {
            let db = numeric();
            for (unscaled, scale) in cases {
                let text = written(unscaled.into(), scale);
                prop_assert_eq!(decimal(unscaled.into(), scale as i8), stored_by_sqlite(&db, &text), "{}", text);
            }
        }

        #[test]
        fn any_decimal_is_its_nearest_double_or_exact(unscaled: i128, scale in -38i8..=38) {
            let nearest: f64 = format!("{unscaled}e{}", -i32::from(scale)).parse().unwrap();
            match decimal(unscaled, scale) {
                Number::Int(i) => prop_assert_eq!(i as f64, nearest),
                Number::Real(r) => prop_assert_eq!(r, nearest),
            }
        }
    }

    #[test]
    fn decimals_at_the_edges() {
        let db = numeric();
        assert_eq!(decimal(162_200, 4), Number::Real(16.22));
        assert_eq!(decimal(160_000, 4), Number::Int(16));
        for n in [i64::MAX, i64::MIN, i64::MAX - 1] {
            assert_eq!(decimal(n.into(), 0), Number::Int(n));
            assert_eq!(stored_by_sqlite(&db, &n.to_string()), Number::Int(n));
        }
        // Beyond 15 digits SQLite does not keep the text: the design says so, and Delta is exact.
        assert_eq!(stored_by_sqlite(&db, "12345678901234.5678"), Number::Real(12_345_678_901_234.568));
        assert_eq!(decimal(123_456_789_012_345_678, 4), Number::Real(12_345_678_901_234.568));
    }
}
