//! Numbers from their source text: exact integers and decimals, correctly rounded floats.
//!
//! The grammar is JSON's, plus leading zeros and a leading `+` (numeric strings have them). Work is linear in the
//! text whatever the exponent says.

use crate::pipeline::model::Type;

/// A number's parts, as written.
struct Number<'a> {
    negative: bool,
    whole: &'a [u8],
    fraction: &'a [u8],
    exponent: i64,
}

/// Far beyond any type's range, far from overflowing sums with lengths of text.
const EXPONENT_LIMIT: i64 = 1 << 40;

/// 10 to the n-th: what a decimal's precision and scale are counted in.
const POWERS: [i128; 39] = {
    let mut powers = [1; 39];
    let mut n = 1;
    while n < 39 {
        powers[n] = powers[n - 1] * 10;
        n += 1;
    }
    powers
};

/// Digits of which any number fits 64 bits.
const FEW: usize = 18;

/// Most numbers: a sign, a few digits, perhaps a point and some more; their value without the point, and how many stand
/// behind it. Everything else takes the long way.
#[inline]
fn short(text: &[u8]) -> Option<(i64, usize)> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        _ => (false, text),
    };
    if rest.len() > FEW {
        return None;
    }
    let (mut value, mut behind, mut point) = (0i64, 0, false);
    for b in rest {
        match b {
            b'0'..=b'9' => {
                value = value * 10 + i64::from(b - b'0');
                behind += usize::from(point);
            }
            b'.' if !point => point = true,
            _ => return None,
        }
    }
    // Digits before the point, and behind it if there is one.
    let whole = rest.len() - behind - usize::from(point);
    (whole > 0 && (behind > 0) == point).then_some((if negative { -value } else { value }, behind))
}

/// An integer: the fraction, if written, must be zero.
pub fn int64(text: &[u8]) -> Option<i64> {
    if let Some((value, 0)) = short(text) {
        return Some(value);
    }
    let n = Number::scan(text)?;
    let magnitude = n.integer()?;
    i64::try_from(if n.negative { -magnitude } else { magnitude }).ok()
}

/// The unscaled value of a `decimal(precision, scale)`, rounded half-even; `None` where it does not fit.
pub fn decimal(text: &[u8], precision: u8, scale: i8) -> Option<i128> {
    if let Some((value, behind)) = short(text)
        && let Some(missing) = usize::try_from(scale).ok().and_then(|scale| scale.checked_sub(behind))
        && missing <= FEW
    {
        // One multiplication: neither takes more than 64 bits.
        let unscaled = i128::from(value) * i128::from(POWERS[missing] as i64);
        let limit = POWERS[usize::from(precision.min(38))];
        return (unscaled.abs() < limit).then_some(unscaled);
    }
    let n = Number::scan(text)?;
    let magnitude = n.scaled(precision, scale)?;
    let limit = POWERS[usize::from(precision.min(38))];
    (magnitude < limit).then_some(if n.negative { -magnitude } else { magnitude })
}

/// Whether a number fits, told by its length, without reading its value; false where that does not tell. `text` is a
/// number as JSON writes it, which decoding has seen to.
#[inline]
pub fn surely_fits(text: &[u8], kind: Type) -> bool {
    // What a number without an exponent can be made of, digits alone have the bit 0x10, and only the exponent has 0x40.
    let digits_alone = || text.iter().fold(0x10, |all, b| all & b) != 0;
    let no_exponent = || text.iter().fold(0, |any, b| any | b) & 0x40 == 0;
    match kind {
        Type::Int64 => (1..=FEW).contains(&text.len()) && digits_alone(),
        // If something is to be rounded, then behind a point, which leaves room for the digit that a carry adds.
        Type::Decimal { precision, scale } => {
            let room =
                usize::from(precision.min(38)).checked_sub(usize::try_from(scale).unwrap_or(usize::MAX));
            room.is_some_and(|room| (1..=room).contains(&text.len())) && no_exponent()
        }
        Type::Float64 => (1..=FEW).contains(&text.len()) && no_exponent(),
        _ => false,
    }
}

/// Correctly rounded; infinite does not fit.
pub fn float64(text: &[u8]) -> Option<f64> {
    Number::scan(text)?;
    let value: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    value.is_finite().then_some(value)
}

impl<'a> Number<'a> {
    fn scan(text: &'a [u8]) -> Option<Self> {
        let (negative, rest) = sign(text);
        let (whole, rest) = digits(rest);
        let (fraction, rest) = match rest.split_first() {
            Some((b'.', after)) => Some(digits(after)).filter(|(f, _)| !f.is_empty())?,
            _ => (&rest[..0], rest),
        };
        let exponent = match rest.split_first() {
            None => 0,
            Some((b'e' | b'E', after)) => exponent(after)?,
            Some(_) => return None,
        };
        (!whole.is_empty()).then_some(Number { negative, whole, fraction, exponent })
    }

    fn integer(&self) -> Option<i128> {
        let (value, mut rest) = self.cut(19, 0)?;
        rest.all(|d| d == b'0').then_some(value)
    }

    fn scaled(&self, precision: u8, scale: i8) -> Option<i128> {
        let (value, mut rest) = self.cut(precision.min(38), scale)?;
        let half = rest.next().unwrap_or(b'0').cmp(&b'5');
        let up = half.is_gt() || half.is_eq() && (value % 2 == 1 || rest.any(|d| d != b'0'));
        Some(value + i128::from(up))
    }

    /// The value times 10^scale, cut to an integer, and the digits that were cut off; `None` if the integer has
    /// more than `most` digits (at most 38).
    fn cut(&self, most: u8, scale: i8) -> Option<(i128, impl Iterator<Item = u8> + '_)> {
        let all = || self.whole.iter().chain(self.fraction).copied();
        let zeros = all().take_while(|d| *d == b'0').count();
        let significant = self.whole.len() + self.fraction.len() - zeros;
        // How many digits stand before the cut; the exponent is bounded, so are the lengths.
        let keep = significant as i64 + self.exponent - self.fraction.len() as i64 + i64::from(scale);
        if significant > 0 && keep > i64::from(most) {
            return None;
        }
        let keep = if significant > 0 { keep.max(-1) } else { 0 };
        let mut rest = all().skip(zeros);
        let taken = usize::try_from(keep).unwrap_or(0).min(significant);
        let value = rest.by_ref().take(taken).fold(0i128, |v, d| v * 10 + i128::from(d - b'0'));
        let padding = u32::try_from(keep).unwrap_or(0) - taken as u32;
        // One zero stands for all that a number below 0.1 has between the cut and its digits.
        let gap = (keep < 0).then_some(b'0');
        Some((value * 10i128.pow(padding), gap.into_iter().chain(rest)))
    }
}

fn sign(text: &[u8]) -> (bool, &[u8]) {
    match text.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, text),
    }
}

fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    text.split_at(text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len()))
}

fn exponent(text: &[u8]) -> Option<i64> {
    let (negative, rest) = sign(text);
    let (digits, after) = digits(rest);
    if digits.is_empty() || !after.is_empty() {
        return None;
    }
    let size = digits.iter().fold(0, |v, d| (v * 10 + i64::from(d - b'0')).min(EXPONENT_LIMIT));
    Some(if negative { -size } else { size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn money(text: &str) -> Option<i128> {
        decimal(text.as_bytes(), 18, 4)
    }

    #[test]
    fn integers() {
        for (text, value) in [
            ("10", 10),
            ("10.0", 10),
            ("1e3", 1000),
            ("+007", 7),
            ("-0", 0),
            ("1200e-2", 12),
            ("0e999999999999999999999", 0),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
            ("0.0", 0),
        ] {
            assert_eq!(int64(text.as_bytes()), Some(value), "{text}");
        }
        for text in [
            "9223372036854775808",
            "-9223372036854775809",
            "1.5",
            "1e-1",
            "1e19",
            "1e400",
            "",
            " 1",
            "1 ",
            "--1",
            "+-1",
            "1.",
            ".5",
            "1e",
            "1e+",
            "0x1",
            "1_0",
            "NaN",
            "inf",
            "1e999999999999999999999",
            "1e-999999999999999999999",
        ] {
            assert_eq!(int64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn decimals() {
        for (text, value) in [
            ("10", 100_000),
            ("10.0", 100_000),
            ("0.00005", 0),
            ("0.00015", 2),
            ("0.00025", 2),
            ("0.000250000001", 3),
            ("0.00004999999", 0),
            ("-0.00015", -2),
            ("1.23456e2", 1_234_560),
            ("1e-5", 0),
            ("6e-5", 1),
            ("1e-999999999999", 0),
            ("99999999999999.9999", 999_999_999_999_999_999),
            ("99999999999999.99994", 999_999_999_999_999_999),
            ("0000000000000000000000000000000001.5", 15_000),
        ] {
            assert_eq!(money(text), Some(value), "{text}");
        }
        for text in
            ["100000000000000", "99999999999999.99995", "1e400", "1e14", "1e99999999999999999999", "abc", ""]
        {
            assert_eq!(money(text), None, "{text}");
        }
        assert_eq!(decimal(b"12345", 3, -2), Some(123));
        assert_eq!(decimal(&[b'9'; 38], 38, 0), Some(10i128.pow(38) - 1));
        assert_eq!(decimal(b"0.4", 38, 38), Some(4 * 10i128.pow(37)));
        assert_eq!(decimal(b"1", 38, 38), None);
    }

    #[test]
    fn floats() {
        assert_eq!(float64(b"0.1"), Some(0.1));
        assert_eq!(float64(b"+01.50"), Some(1.5));
        assert_eq!(float64(b"1e-400"), Some(0.0));
        assert_eq!(float64(b"9007199254740993"), Some(9_007_199_254_740_992.0));
        for text in ["1e400", "-1e400", "nan", "inf", "", "1,5", "."] {
            assert_eq!(float64(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn most_numbers_surely_fit() {
        let money = Type::Decimal { precision: 18, scale: 4 };
        for text in ["0", "-1", "129.90", "0.123456789012", "99999999999999"] {
            assert!(surely_fits(text.as_bytes(), money), "{text}");
        }
        assert!(surely_fits(b"999999999999999999", Type::Int64) && surely_fits(b"-0.5", Type::Float64));
        for text in ["", "1e3", "1E3", "100000000000000", "99999999999999.9"] {
            assert!(!surely_fits(text.as_bytes(), money), "{text}");
        }
        for text in ["", "-1", "1.0", "1e3", "9223372036854775808"] {
            assert!(!surely_fits(text.as_bytes(), Type::Int64), "{text}");
        }
        assert!(!surely_fits(b"1e999", Type::Float64) && !surely_fits(b"1", Type::Bool));
        assert!(!surely_fits(b"9999999", Type::Decimal { precision: 5, scale: -2 }));
    }

    #[test]
    fn hostile_lengths_are_quick() {
        let long = format!("0.{}1e1000000", "0".repeat(1_000_000));
        assert_eq!(money(&long), Some(1000));
        let wide = "9".repeat(5_000_000);
        assert_eq!((money(&wide), int64(wide.as_bytes()), float64(wide.as_bytes())), (None, None, None));
    }

    /// The slow reference: long multiplication and comparison on decimal digit strings.
    fn reference(
        negative: bool,
        whole: &str,
        fraction: &str,
        exp: i32,
        precision: u8,
        scale: i8,
    ) -> Option<i128> {
        let mut digits = format!("{whole}{fraction}");
        let mut point = whole.len() as i32 + exp + i32::from(scale);
        while point > digits.len() as i32 {
            digits.push('0');
        }
        while point < 0 {
            digits.insert(0, '0');
            point += 1;
        }
        let (kept, cut) = digits.split_at(point as usize);
        let tail = format!("{cut}0");
        let half = format!("5{}", "0".repeat(tail.len() - 1));
        let odd = kept.ends_with(['1', '3', '5', '7', '9']);
        let mut kept = format!("0{kept}").into_bytes();
        if tail > half || tail == half && odd {
            let mut i = kept.len() - 1;
            while kept[i] == b'9' {
                kept[i] = b'0';
                i -= 1;
            }
            kept[i] += 1;
        }
        let text = String::from_utf8(kept).unwrap();
        let text = text.trim_start_matches('0');
        if text.len() > usize::from(precision) {
            return None;
        }
        let value: i128 = if text.is_empty() { 0 } else { text.parse().unwrap() };
        Some(if negative { -value } else { value })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn decimal_agrees_with_the_reference(
            negative: bool, whole in "[0-9]{1,25}", fraction in "([0-9]{0,25}|[0-9]{0,4}50{0,5})", exp in -45..45i32,
            with_exp: bool, precision in 1..=38u8, scale in -3..=38i8,
        ) {
            let exp = if with_exp { exp } else { 0 };
            let mut text = format!("{}{whole}", if negative { "-" } else { "" });
            if !fraction.is_empty() { text += &format!(".{fraction}"); }
            if with_exp { text += &format!("e{exp}"); }
            let expected = reference(negative, &whole, &fraction, exp, precision, scale);
            prop_assert_eq!(decimal(text.as_bytes(), precision, scale), expected, "{}", text);
        }

        #[test]
        fn what_surely_fits_does(
            number in "-?(0|[1-9][0-9]{0,20})([.](9{1,20}|[0-9]{1,20}))?([eE][-+]?[0-9]{1,3})?",
            precision in 1..=40u8, scale in -3..=40i8,
        ) {
            let text = number.as_bytes();
            let fits = |kind| surely_fits(text, kind);
            prop_assert!(!fits(Type::Int64) || int64(text).is_some());
            prop_assert!(!fits(Type::Float64) || float64(text).is_some());
            let kind = Type::Decimal { precision, scale };
            prop_assert!(!fits(kind) || decimal(text, precision, scale).is_some(), "{} {}", precision, scale);
        }

        #[test]
        fn every_int64_comes_back(n: i64, zeros in 0..30usize) {
            prop_assert_eq!(int64(n.to_string().as_bytes()), Some(n));
            prop_assert_eq!(int64(format!("{n}.{}", "0".repeat(zeros + 1)).as_bytes()), Some(n));
            prop_assert_eq!(int64(format!("{n}{}e-{zeros}", "0".repeat(zeros)).as_bytes()), Some(n));
            prop_assert_eq!(int64(format!("{n}.5").as_bytes()), None);
        }

        #[test]
        fn wide_integers_agree_with_i128(n: i128) {
            prop_assert_eq!(int64(n.to_string().as_bytes()), i64::try_from(n).ok());
        }

        #[test]
        fn no_text_panics(text in "[-+0-9.eE]{0,40}", any in ".*", scale: i8, precision: u8) {
            for t in [&text, &any] {
                let parsed = float64(t.as_bytes()).is_some();
                let fits = int64(t.as_bytes()).is_some() || decimal(t.as_bytes(), precision, scale).is_some();
                prop_assert!(parsed || !fits || t.contains(['e', 'E']) || t.len() > 300);
            }
        }
    }
}
