//! `format`: the texts that OpenAPI formats allow, as upstream's registry of formats has them. Formats that are not known
//! here allow everything, as upstream does.

use std::net::{Ipv4Addr, Ipv6Addr};

use gantry_machinery::time;

/// Whether `text` is of this format.
pub(crate) fn is(format: &str, text: &str) -> bool {
    match format {
        "date-time" | "datetime" => time::parse_nanos(text).is_some(),
        "date" => is_date(text),
        "duration" => is_duration(text),
        "ipv4" => text.parse::<Ipv4Addr>().is_ok(),
        "ipv6" => text.contains(':') && text.parse::<Ipv6Addr>().is_ok(),
        "cidr" => is_cidr(text),
        "mac" => is_mac(text),
        "uuid" => is_uuid(text, None),
        "uuid3" => is_uuid(text, Some(b'3')),
        "uuid4" => is_uuid(text, Some(b'4')),
        "uuid5" => is_uuid(text, Some(b'5')),
        "hostname" => is_hostname(text),
        "email" => is_email(text),
        "uri" => is_uri(text),
        "byte" => is_base64(text),
        "bsonobjectid" => text.len() == 24 && text.bytes().all(|b| b.is_ascii_hexdigit()),
        "hexcolor" => {
            let digits = text.strip_prefix('#').unwrap_or(text);
            matches!(digits.len(), 3 | 6) && digits.bytes().all(|b| b.is_ascii_hexdigit())
        }
        "k8s-short-name" => gantry_machinery::names::dns_label(text).is_empty(),
        "k8s-long-name" => gantry_machinery::names::dns_subdomain(text).is_empty(),
        "isbn10" | "isbn13" | "isbn" | "creditcard" | "ssn" => text.bytes().any(|b| b.is_ascii_digit()),
        _ => true,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && time::parse_nanos(&format!("{text}T00:00:00Z")).is_some()
}

/// Go's durations (`1h30m`), and upstream's longer units (`2 days`).
fn is_duration(text: &str) -> bool {
    const UNITS: [&str; 31] = [
        "ns",
        "us",
        "µs",
        "μs",
        "ms",
        "s",
        "m",
        "h",
        "d",
        "w",
        "nano",
        "nanosecond",
        "nanoseconds",
        "micro",
        "micros",
        "microsecond",
        "microseconds",
        "milli",
        "millis",
        "millisecond",
        "milliseconds",
        "sec",
        "secs",
        "second",
        "seconds",
        "min",
        "mins",
        "minute",
        "minutes",
        "hr",
        "hrs",
    ];
    const LONG: [&str; 8] = ["hour", "hours", "day", "days", "week", "weeks", "wk", "wks"];
    let mut rest = text.strip_prefix(['-', '+']).unwrap_or(text);
    if rest == "0" {
        return true;
    }
    let mut any = false;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        if !rest[..digits].bytes().any(|b| b.is_ascii_digit()) {
            return false;
        }
        rest = rest[digits..].trim_start();
        let unit = rest.find(|c: char| !c.is_alphabetic()).unwrap_or(rest.len());
        if !UNITS.contains(&&rest[..unit]) && !LONG.contains(&&rest[..unit]) {
            return false;
        }
        rest = rest[unit..].trim_start();
        any = true;
    }
    any
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    let most = if address.contains(':') {
        if address.parse::<Ipv6Addr>().is_err() {
            return false;
        }
        128
    } else {
        if address.parse::<Ipv4Addr>().is_err() {
            return false;
        }
        32
    };
    !bits.is_empty() && bits.bytes().all(|b| b.is_ascii_digit()) && bits.parse::<u8>().is_ok_and(|b| b <= most)
}

fn is_mac(text: &str) -> bool {
    let separator = if text.contains(':') { ':' } else { '-' };
    let parts: Vec<&str> = text.split(separator).collect();
    matches!(parts.len(), 6 | 8 | 20) && parts.iter().all(|p| p.len() == 2 && p.bytes().all(|b| b.is_ascii_hexdigit()))
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let digits: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let dashes = text.len() - digits.len();
    digits.len() == 32
        && dashes <= 4
        && digits.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|v| digits[12] == v)
        && (!matches!(version, Some(b'4' | b'5')) || matches!(digits[16], b'8' | b'9' | b'a' | b'b' | b'A' | b'B'))
}

fn is_hostname(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    text.len() <= 255 && text.strip_suffix('.').unwrap_or(text).split('.').all(label)
}

fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    !local.is_empty()
        && local.len() <= 64
        && !local.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '<' | '>' | '(' | ')' | ','))
        && is_hostname(domain)
}

/// As Go's `url.ParseRequestURI`: a scheme, or a path from the root.
fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b.is_ascii_control() || b == b' ') {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    text.split_once(':').is_some_and(|(scheme, rest)| {
        scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
            && !rest.is_empty()
    })
}

fn is_base64(text: &str) -> bool {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.decode(text).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is;

    #[test]
    fn formats_tell_good_from_bad() {
        for (format, good, bad) in [
            ("date-time", "2026-11-23T12:00:00Z", "yesterday"),
            ("date", "2026-11-23", "2026-13-01"),
            ("duration", "1h30m", "one hour"),
            ("duration", "2 days", "5"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "fe80::1", "10.0.0.1"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("mac", "00:11:22:33:44:55", "00:11"),
            ("uuid", "6ba7b810-9dad-11d1-80b4-00c04fd430c8", "x"),
            ("uuid4", "f47ac10b-58cc-4372-a567-0e02b2c3d479", "6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
            ("hostname", "example.com", "-a.com"),
            ("email", "a@example.com", "a"),
            ("uri", "https://example.com/x", "example"),
            ("byte", "aGVsbG8=", "a!"),
        ] {
            assert!(is(format, good), "{format}: {good}");
            assert!(!is(format, bad), "{format}: {bad}");
        }
        assert!(is("made-up", "anything"));
    }
}
