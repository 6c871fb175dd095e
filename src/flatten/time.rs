//! Dates and RFC 3339 times from text. Only real calendar days of the years 0001 to 9999 fit.

/// Days since 1970-01-01 of `YYYY-MM-DD`.
pub fn date(text: &[u8]) -> Option<i32> {
    let (days, rest) = day(text)?;
    rest.is_empty().then(|| i32::try_from(days).ok())?
}

/// Microseconds since the epoch of an RFC 3339 time: `T`, `t` or a space; `Z`, `z`, an offset, or nothing for
/// UTC. Digits finer than microseconds are cut.
pub fn timestamp(text: &[u8]) -> Option<i64> {
    let (days, rest) = day(text)?;
    let ([b'T' | b't' | b' '], rest) = rest.split_first_chunk()? else { return None };
    let (time, rest) = rest.split_first_chunk()?;
    let [hour, _, _, minute, _, _, second, _] = TIME.read(time)?.map(i64::from);
    let (micros, rest) = fraction(rest)?;
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset(rest)?;
    within(seconds * 1_000_000 + micros)
}

fn within(micros: i64) -> Option<i64> {
    // 0001-01-01T00:00:00 up to the end of 9999-12-31.
    const YEARS: std::ops::Range<i64> = -62_135_596_800_000_000..253_402_300_800_000_000;
    YEARS.contains(&micros).then_some(micros)
}

fn day(text: &[u8]) -> Option<(i64, &[u8])> {
    let (date, rest) = text.split_first_chunk()?;
    let [century, _, year, _, _, month, ..] = MONTH.read(date)?.map(u32::from);
    let ([day, day2], rest) = rest.split_first_chunk()?;
    let (year, day) = (century * 100 + year, u32::try_from(pair(*day, *day2)?).ok()?);
    let real = year >= 1 && day >= 1 && day <= month_length(year, month);
    real.then(|| (days_from_civil(year, month, day), rest))
}

/// 0 for what is no month.
fn month_length(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    }
}

/// Howard Hinnant's `days_from_civil`, of years that have no sign: they begin in March, so that the leap day comes last.
fn days_from_civil(year: u32, month: u32, day: u32) -> i64 {
    let year = year - u32::from(month <= 2);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    i64::from(year * 365 + year / 4 - year / 100 + year / 400 + of_year) - 719_468
}

const MONTH: Form = Form::new(b"0000-00-");
const TIME: Form = Form::new(b"00:00:00");

/// Eight bytes of which some are digits, and the others stand fast: looked at all at once.
struct Form {
    /// As it would be with zeros.
    zeros: u64,
    /// 6 where a digit stands: what is more than 9 goes beyond its low half.
    six: u64,
    /// Of each byte the bits that have to be clear: of a digit the high half, of what stands fast all.
    clear: u64,
}

impl Form {
    const fn new(form: &[u8; 8]) -> Form {
        let (mut six, mut clear, mut at) = ([0; 8], [0xff; 8], 0);
        while at < form.len() {
            if form[at] == b'0' {
                (six[at], clear[at]) = (6, 0xf0);
            }
            at += 1;
        }
        Form {
            zeros: u64::from_le_bytes(*form),
            six: u64::from_le_bytes(six),
            clear: u64::from_le_bytes(clear),
        }
    }

    /// The number that each byte makes with the next one, if both are digits.
    #[inline]
    fn read(&self, text: &[u8; 8]) -> Option<[u8; 8]> {
        let digits = u64::from_le_bytes(*text) ^ self.zeros;
        // A carry from one byte into the next comes from one that is no digit, and is told by that one.
        if (digits | digits.wrapping_add(self.six)) & self.clear != 0 {
            return None;
        }
        Some((digits * 10 + (digits >> 8)).to_le_bytes())
    }
}

/// Microseconds of `.digits`, of which any number may stand there; 0 without.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = text.strip_prefix(b".") else {
        return Some((0, text));
    };
    // Milliseconds, mostly.
    if let [a, b, c, b'Z' | b'+' | b'-', ..] = rest
        && let (Some(high), true) = (pair(*a, *b), c.is_ascii_digit())
    {
        return Some(((high * 10 + i64::from(c - b'0')) * 1000, rest.get(3..).unwrap_or_default()));
    }
    let length = rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, rest) = rest.split_at(length);
    let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
    let micros = padded.fold(0, |v, d| v * 10 + i64::from(d - b'0'));
    (length > 0).then_some((micros, rest))
}

/// Seconds east of UTC.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first() {
        None => return Some(0),
        Some((b'Z' | b'z', rest)) => return rest.is_empty().then_some(0),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let [h, h2, b':', m, m2] = rest else { return None };
    let (hours, minutes) = (pair(*h, *h2)?, pair(*m, *m2)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

/// The number that two digits make.
#[inline]
fn pair(tens: u8, ones: u8) -> Option<i64> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    (tens <= 9 && ones <= 9).then(|| i64::from(tens) * 10 + i64::from(ones))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cell::write_timestamp;

    fn canonical(text: &str) -> Option<String> {
        let mut out = Vec::new();
        write_timestamp(timestamp(text.as_bytes())?, &mut out);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn forms() {
        for (text, expected) in [
            ("2023-07-22T04:27:02.931Z", "2023-07-22T04:27:02.931000Z"),
            ("2023-07-22t04:27:02z", "2023-07-22T04:27:02.000000Z"),
            ("2023-07-22 04:27:02", "2023-07-22T04:27:02.000000Z"),
            ("2023-07-22T04:27:02-03:00", "2023-07-22T07:27:02.000000Z"),
            ("2023-07-22T04:27:02.1234569+05:30", "2023-07-21T22:57:02.123456Z"),
            ("1969-12-31T23:59:59.9999999Z", "1969-12-31T23:59:59.999999Z"),
            ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000000Z"),
            ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z"),
            ("2024-02-29T00:00:00-00:00", "2024-02-29T00:00:00.000000Z"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(expected), "{text}");
        }
    }

    #[test]
    fn every_byte_at_every_place_of_a_form() {
        for (form, text) in [(MONTH, *b"2024-02-"), (TIME, *b"19:27:58")] {
            for at in 0..text.len() {
                for byte in 0..=255 {
                    let mut changed = text;
                    changed[at] = byte;
                    let digit = |at: usize| text[at].is_ascii_digit();
                    let fits = if digit(at) { byte.is_ascii_digit() } else { byte == text[at] };
                    let read = form.read(&changed);
                    assert_eq!(read.is_some(), fits, "{byte} at {at}");
                    for first in (0..7).filter(|at| digit(*at) && digit(at + 1)) {
                        let pair = |n: [u8; 8]| i64::from(n[first]);
                        assert!(
                            read.is_none_or(
                                |n| Some(pair(n)) == super::pair(changed[first], changed[first + 1])
                            )
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit() {
        for text in [
            "",
            "2023-07-22",
            "2023-07-22T04:27",
            "2023-07-22T04:27:60Z",
            "2023-07-22T24:00:00Z",
            "2023-02-29T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-00-01T00:00:00Z",
            "2023-01-00T00:00:00Z",
            "2023-04-31T00:00:00Z",
            "0000-01-01T00:00:00Z",
            "0001-01-01T00:00:00+00:01",
            "9999-12-31T23:59:59-00:01",
            "2023-07-22T04:27:02.Z",
            "2023-07-22T04:27:02,5Z",
            "2023-07-22T04:27:02+0300",
            "2023-07-22T04:27:02+24:00",
            "2023-07-22T04:27:02+00:60",
            "2023-07-22T04:27:02ZZ",
            " 2023-07-22T04:27:02Z",
            "2023-07-22  04:27:02",
            "+023-07-22T04:27:02Z",
            "1690000000",
        ] {
            assert_eq!(timestamp(text.as_bytes()), None, "{text}");
        }
        for text in ["2023-07-22T00:00:00Z", "2023-7-22", "20230722", "2023-02-30", "0000-12-31", ""] {
            assert_eq!(date(text.as_bytes()), None, "{text}");
        }
    }

    /// Every day of the calendar, counted one by one.
    #[test]
    fn dates_agree_with_a_day_counter() {
        let mut expected = -719_162;
        for year in 1..=9999 {
            for month in 1..=12 {
                let last = match month {
                    2 if year % 400 == 0 || year % 4 == 0 && year % 100 != 0 => 29,
                    2 => 28,
                    4 | 6 | 9 | 11 => 30,
                    _ => 31,
                };
                for day in [1, 15, last, last + 1] {
                    let text = format!("{year:04}-{month:02}-{day:02}");
                    let fits = (day <= last).then_some(expected + day - 1);
                    assert_eq!(date(text.as_bytes()), fits, "{text}");
                }
                expected += last;
            }
        }
        assert_eq!(expected, 2_932_897);
    }

    proptest! {
        #[test]
        fn every_time_comes_back(micros in -62_135_596_800_000_000i64..253_402_300_800_000_000) {
            let mut text = Vec::new();
            write_timestamp(micros, &mut text);
            prop_assert_eq!(timestamp(&text), Some(micros));
        }

        #[test]
        fn no_text_panics(text in "[-0-9TZtz:. +]{0,40}", any in ".*") {
            for t in [&text, &any] {
                let (d, ts) = (date(t.as_bytes()), timestamp(t.as_bytes()));
                prop_assert!(d.is_none() || ts.is_none());
            }
        }
    }
}
