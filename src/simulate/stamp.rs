//! Milliseconds since the epoch as RFC 3339 text, UTC.

const DAY_MS: i64 = 86_400_000;

/// `2024-03-01T12:30:00.250Z`.
pub fn stamp(ms: i64) -> String {
    let (year, month, day) = civil(ms.div_euclid(DAY_MS));
    let ms = ms.rem_euclid(DAY_MS);
    let mut out = *b"0000-00-00T00:00:00.000Z";
    let parts = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, ms / 3_600_000),
        (14, 2, ms / 60_000 % 60),
        (17, 2, ms / 1000 % 60),
        (20, 3, ms % 1000),
    ];
    for (at, width, mut n) in parts {
        for slot in out.iter_mut().skip(at).take(width).rev() {
            *slot = b'0' + n.rem_euclid(10) as u8;
            n /= 10;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Year, month and day of the days since the epoch (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        assert_eq!(stamp(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(stamp(1_709_208_000_001), "2024-02-29T12:00:00.001Z");
        assert_eq!(stamp(1_735_689_599_999), "2024-12-31T23:59:59.999Z");
        assert_eq!(stamp(-1), "1969-12-31T23:59:59.999Z");
    }
}
