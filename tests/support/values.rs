//! The oracle's reading of numbers and times from their texts, in plain schoolbook steps: digits are cut and counted
//! as text, days are counted year by year.

use super::json::Number;

// ------------------------------------------------------------------------------------------------- numbers

/// `number × 10^scale` as a whole number, rounded half to even; and whether anything was rounded away. `None`
/// beyond 60 digits: nothing of that size fits anywhere.
fn scaled(source: &str, scale: i64) -> Option<(String, bool)> {
    let number = Number::in_text(source)?;
    let digits = number.digits.trim_start_matches('0');
    if digits.is_empty() {
        return Some(("0".to_owned(), false));
    }
    // The point stands `cut` places before the end of the digits.
    let cut = number.places - scale;
    let (kept, rest) = if cut <= 0 {
        if digits.len() as i64 - cut > 60 {
            return None;
        }
        (format!("{digits}{}", "0".repeat(cut.unsigned_abs() as usize)), String::new())
    } else if cut > digits.len() as i64 {
        (String::new(), format!("0{digits}")) // less than a tenth: the first place cut off is 0
    } else {
        let (kept, rest) = digits.split_at(digits.len() - cut as usize);
        (kept.to_owned(), rest.to_owned())
    };
    if kept.len() > 30 {
        return None;
    }
    let kept: u128 = if kept.is_empty() { 0 } else { kept.parse().ok()? };
    let half = format!("5{}", "0".repeat(rest.len().saturating_sub(1)));
    let up = !rest.is_empty() && (rest > half || (rest == half && kept % 2 == 1));
    let whole = kept + u128::from(up);
    let sign = if number.negative && whole > 0 { "-" } else { "" };
    Some((format!("{sign}{whole}"), rest.bytes().any(|b| b != b'0')))
}

pub fn integer(source: &str) -> Option<i64> {
    match scaled(source, 0)? {
        (whole, false) => whole.parse().ok(),
        (_, true) => None,
    }
}

/// decimal(18,4).
pub fn money(source: &str) -> Option<String> {
    let (whole, _) = scaled(source, 4)?;
    let (sign, digits) = whole.strip_prefix('-').map_or(("", whole.as_str()), |d| ("-", d));
    let digits = format!("{digits:0>5}");
    if digits.len() > 18 {
        return None;
    }
    let (before, after) = digits.split_at(digits.len() - 4);
    Some(format!("{sign}{before}.{after}"))
}

pub fn float(source: &str) -> Option<String> {
    Number::in_text(source)?;
    let value: f64 = source.parse().ok()?;
    value.is_finite().then(|| format!("{value}"))
}

// --------------------------------------------------------------------------------------------------- times

/// Microseconds since the epoch of an RFC 3339 text; without an offset it is UTC. `T` and `Z` may be small, the `T`
/// a space. Only the years 0001 to 9999 count.
pub fn micros(text: &str) -> Option<i64> {
    if !text.is_ascii() || text.len() < 19 {
        return None;
    }
    let (moment, rest) = text.split_at(19);
    let separators: String = [4, 7, 10, 13, 16].iter().map(|i| &moment[*i..=*i]).collect();
    if !["--T::", "--t::", "-- ::"].contains(&&*separators) {
        return None;
    }
    let part = |from: usize, to: usize| -> Option<i64> {
        let digits = &moment[from..to];
        digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    let in_month = *days_of_months(year).get(usize::try_from(month - 1).ok()?)?;
    if year == 0 || !(1..=in_month).contains(&day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, offset) = fraction(rest)?;
    let seconds = days_before(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let seconds = seconds - offset_seconds(offset)?;
    let years = days_before(1, 1, 1) * 86_400..days_before(10_000, 1, 1) * 86_400;
    years.contains(&seconds).then_some(seconds * 1_000_000 + fraction)
}

/// Microseconds of `.ffffff…` (finer digits are cut), and what follows.
fn fraction(rest: &str) -> Option<(i64, &str)> {
    let Some(rest) = rest.strip_prefix('.') else { return Some((0, rest)) };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    if digits == 0 {
        return None;
    }
    let six: String = rest[..digits].chars().chain("000000".chars()).take(6).collect();
    Some((six.parse().ok()?, &rest[digits..]))
}

fn offset_seconds(offset: &str) -> Option<i64> {
    if ["", "Z", "z"].contains(&offset) {
        return Some(0);
    }
    let sign = match offset.as_bytes()[0] {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let (hours, minutes) = offset[1..].split_once(':')?;
    let two = |t: &str| -> Option<i64> {
        (t.len() == 2 && t.bytes().all(|b| b.is_ascii_digit())).then(|| t.parse().ok())?
    };
    let (hours, minutes) = (two(hours)?, two(minutes)?);
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of_months(year: i64) -> [i64; 12] {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
}

/// Days from the epoch to that day, counted year by year.
fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let of_year = |y: i64| days_of_months(y).iter().sum::<i64>();
    let years: i64 =
        if year >= 1970 { (1970..year).map(of_year).sum() } else { -(year..1970).map(of_year).sum::<i64>() };
    years + days_of_months(year).iter().take(month as usize - 1).sum::<i64>() + day - 1
}

pub fn stamp(micros: i64) -> String {
    let mut days = micros.div_euclid(86_400_000_000);
    let rest = micros.rem_euclid(86_400_000_000);
    let mut year = 1970;
    while days < 0 {
        year -= 1;
        days += days_of_months(year).iter().sum::<i64>();
    }
    while days >= days_of_months(year).iter().sum::<i64>() {
        days -= days_of_months(year).iter().sum::<i64>();
        year += 1;
    }
    let mut month = 0;
    while days >= days_of_months(year)[month] {
        days -= days_of_months(year)[month];
        month += 1;
    }
    let (seconds, fraction) = (rest / 1_000_000, rest % 1_000_000);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z", month + 1, days + 1)
}
