//! Times as the API writes them: RFC 3339 in UTC, with seconds (`Time`) or microseconds (`MicroTime`), and ages as
//! kubectl shows them.

use std::time::{SystemTime, UNIX_EPOCH};

use compact_str::CompactString;

/// The present moment as a `metav1.Time` (`2026-11-22T10:00:00Z`).
#[must_use]
pub fn now() -> CompactString {
    time(now_unix())
}

/// The present moment as a `metav1.MicroTime` (`2026-11-22T10:00:00.123456Z`).
#[must_use]
pub fn now_micro() -> CompactString {
    micro_time(now_unix_micros())
}

/// The present moment in Unix seconds.
#[must_use]
pub fn now_unix() -> i64 {
    now_unix_micros() / 1_000_000
}

/// The present moment in Unix microseconds.
#[must_use]
pub fn now_unix_micros() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// Unix seconds as a `metav1.Time`; seconds outside the years 0 to 9999 are held to the nearer end.
#[must_use]
pub fn time(unix_seconds: i64) -> CompactString {
    let mut out = CompactString::with_capacity(20);
    push_seconds(&mut out, unix_seconds);
    out.push('Z');
    out
}

/// Unix microseconds as a `metav1.MicroTime`.
#[must_use]
pub fn micro_time(unix_micros: i64) -> CompactString {
    let mut out = CompactString::with_capacity(27);
    push_seconds(&mut out, unix_micros.div_euclid(1_000_000));
    out.push('.');
    push_digits(&mut out, unix_micros.rem_euclid(1_000_000), 6);
    out.push('Z');
    out
}

fn push_seconds(out: &mut CompactString, unix_seconds: i64) {
    // The civil date of a day count, by eras of 400 years beginning in March.
    let seconds = unix_seconds.clamp(-62_167_219_200, 253_402_300_799);
    let (days, of_day) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let shifted = days + 719_468;
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    push_digits(out, year, 4);
    out.push('-');
    push_digits(out, month, 2);
    out.push('-');
    push_digits(out, day, 2);
    out.push('T');
    push_digits(out, of_day / 3_600, 2);
    out.push(':');
    push_digits(out, of_day / 60 % 60, 2);
    out.push(':');
    push_digits(out, of_day % 60, 2);
}

fn push_digits(out: &mut CompactString, number: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = (number / 10_i64.pow(place)) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

/// Any RFC 3339 time, as Unix nanoseconds; `None` where it is none.
#[must_use]
pub fn parse_nanos(text: &str) -> Option<i128> {
    // What the API itself writes needs no general parser.
    if let Some(seconds) = parse_plain(text) {
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    // A date and time as above but for the zone, then perhaps a fraction, then the zone.
    let (plain, rest) = (text.get(..19)?, text.get(19..)?);
    let seconds = parse_plain(&[plain, "Z"].concat())?;
    let (nanos, zone) = match rest.strip_prefix(['.', ',']) {
        None => (0, rest),
        Some(rest) => {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            // What is finer than a nanosecond is cut off.
            let kept = digits.min(9);
            if kept == 0 {
                return None;
            }
            (rest[..kept].parse::<i128>().ok()? * 10_i128.pow(9 - kept as u32), &rest[digits..])
        }
    };
    Some((i128::from(seconds) - i128::from(zone_seconds(zone)?)) * 1_000_000_000 + nanos)
}

/// How far a zone (`Z`, `+01:00`) is ahead of UTC.
fn zone_seconds(zone: &str) -> Option<i64> {
    let &[sign, h1, h2, b':', m1, m2] = zone.as_bytes() else { return (zone == "Z").then_some(0) };
    let number = |ten: u8, one: u8| {
        (ten.is_ascii_digit() && one.is_ascii_digit()).then(|| i64::from(ten - b'0') * 10 + i64::from(one - b'0'))
    };
    let (hours, minutes) = (number(h1, h2)?, number(m1, m2)?);
    if hours > 24 || minutes > 60 {
        return None;
    }
    match sign {
        b'+' => Some(hours * 3_600 + minutes * 60),
        b'-' => Some(-(hours * 3_600 + minutes * 60)),
        _ => None,
    }
}

/// Any RFC 3339 time, as Unix seconds (fractions cut off); `None` where it is none.
#[must_use]
pub fn parse(text: &str) -> Option<i64> {
    if let Some(seconds) = parse_plain(text) {
        return Some(seconds);
    }
    i64::try_from(parse_nanos(text)?.div_euclid(1_000_000_000)).ok()
}

/// Any RFC 3339 time, as Unix microseconds; `None` where it is none.
#[must_use]
pub fn parse_micros(text: &str) -> Option<i64> {
    i64::try_from(parse_nanos(text)?.div_euclid(1_000)).ok()
}

/// `2026-11-22T10:00:00Z` and nothing else.
fn parse_plain(text: &str) -> Option<i64> {
    let bytes: &[u8; 20] = text.as_bytes().try_into().ok()?;
    for (at, expected) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':'), (19, b'Z')] {
        if bytes[at] != expected {
            return None;
        }
    }
    let number = |from: usize, to: usize| {
        bytes[from..to].iter().try_fold(0_i64, |sum, b| b.is_ascii_digit().then(|| sum * 10 + i64::from(b - b'0')))
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let month_days = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => return None,
    };
    if day == 0 || day > month_days || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let march_year = if month <= 2 { year - 1 } else { year };
    let era = march_year.div_euclid(400);
    let of_era = march_year.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
    Some(days * 86_400 + hour * 3_600 + minute * 60 + second)
}

/// An age as kubectl shows it: two or three significant figures (`5m30s`, `3h`, `2d4h`, `400d`).
#[must_use]
pub fn human_duration(seconds: i64) -> CompactString {
    use compact_str::format_compact;
    let two = |big: i64, big_unit: char, small: i64, small_unit: char| {
        if small == 0 {
            format_compact!("{big}{big_unit}")
        } else {
            format_compact!("{big}{big_unit}{small}{small_unit}")
        }
    };
    let (minutes, hours) = (seconds / 60, seconds / 3_600);
    match seconds {
        ..-1 => CompactString::const_new("<invalid>"),
        -1 => CompactString::const_new("0s"),
        0..120 => format_compact!("{seconds}s"),
        120..600 => two(minutes, 'm', seconds % 60, 's'),
        600..10_800 => format_compact!("{minutes}m"),
        10_800..28_800 => two(hours, 'h', minutes % 60, 'm'),
        28_800..172_800 => format_compact!("{hours}h"),
        172_800..691_200 => two(hours / 24, 'd', hours % 24, 'h'),
        691_200..63_072_000 => format_compact!("{}d", hours / 24),
        63_072_000..252_288_000 => two(hours / 24 / 365, 'y', hours / 24 % 365, 'd'),
        _ => format_compact!("{}y", hours / 24 / 365),
    }
}

/// The age of something made at `created` (RFC 3339), as kubectl shows it; `<unknown>` where there is no time.
#[must_use]
pub fn age(created: Option<&str>, now_unix: i64) -> CompactString {
    match created.and_then(parse) {
        Some(then) => human_duration(now_unix - then),
        None => CompactString::const_new("<unknown>"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_go_both_ways() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_341_845, "2026-11-22T10:04:05Z"),
            (-1, "1969-12-31T23:59:59Z"),
            (253_402_207_200, "9999-12-30T22:00:00Z"),
        ] {
            assert_eq!(time(unix), text);
            assert_eq!(parse(text), Some(unix));
            assert_eq!(text.parse::<jiff::Timestamp>().unwrap().as_second(), unix);
        }
        assert_eq!(micro_time(1_795_341_845_000_120), "2026-11-22T10:04:05.000120Z");
        assert_eq!(parse_micros("2026-11-22T10:04:05.000120Z"), Some(1_795_341_845_000_120));
        assert_eq!(parse("2026-11-22T11:04:05+01:00"), Some(1_795_341_845));
        assert_eq!(parse("2026-11-22T05:34:05.9-04:30"), Some(1_795_341_845));
        assert_eq!(parse_nanos("2026-11-22T10:04:05.0000000019Z"), Some(1_795_341_845_000_000_001));
        // The last second that has a form, which means "never" in many objects.
        assert_eq!(parse_micros("9999-12-31T23:59:59.999999Z"), Some(253_402_300_799_999_999));
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22 10:04:05Z",
            "2026-13-22T10:04:05Z",
            "2026-02-29T10:04:05Z",
            "2026-11-22T10:04:05",
            "2026-11-22T10:04:05.Z",
            "2026-11-22T10:04:05.5",
            "2026-11-22T10:04:05+0100",
            "2026-11-22T10:04:60Z",
            "2026-11-22t10:04:05z",
            "2026-11-22T10:04:05+01:é",
            "x",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn ages_are_kubectls() {
        for (seconds, text) in [
            (-5, "<invalid>"),
            (-1, "0s"),
            (119, "119s"),
            (120, "2m"),
            (330, "5m30s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (11_460, "3h11m"),
            (28_800, "8h"),
            (172_800, "2d"),
            (187_200, "2d4h"),
            (691_200, "8d"),
            (63_072_000, "2y"),
            (63_158_400, "2y1d"),
            (252_288_000, "8y"),
        ] {
            assert_eq!(human_duration(seconds), text, "{seconds}");
        }
    }
}
