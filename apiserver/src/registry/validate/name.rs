//! Checks of single texts and numbers, each at its place: the rules and words of `machinery::names`, as errors.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::view::Held;
use super::{Errors, Path};

/// What is wrong with the name of an object, for kinds whose names are DNS subdomains.
#[must_use]
pub fn subdomain_errors(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::dns_subdomain(&names::mask_trailing_dash(name)) } else { names::dns_subdomain(name) }
}

/// What is wrong with the name of an object, for kinds whose names are DNS labels.
#[must_use]
pub fn label_errors(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::dns_label(&names::mask_trailing_dash(name)) } else { names::dns_label(name) }
}

/// What is wrong with the name of an object, for kinds whose names are DNS labels that begin with a letter.
#[must_use]
pub fn label_1035_errors(name: &str, prefix: bool) -> Vec<String> {
    if prefix { names::dns_1035_label(&names::mask_trailing_dash(name)) } else { names::dns_1035_label(name) }
}

fn each(value: &str, wrong: Vec<String>, at: &Path<'_>, errors: &mut Errors) {
    for detail in wrong {
        errors.invalid(at, value, detail);
    }
}

/// A DNS label (RFC 1123).
pub fn label(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::dns_label(value), at, errors);
}

/// A DNS subdomain (RFC 1123).
pub fn subdomain(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::dns_subdomain(value), at, errors);
}

/// A DNS subdomain in which labels may begin with an underscore and hold more of them (search paths of resolvers).
pub fn subdomain_with_underscores(value: &str, at: &Path<'_>, errors: &mut Errors) {
    const LABEL: &str = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
    const RULE: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
                        '.', and must start and end with an alphanumeric character";
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let fits = |label: &str| {
        let bytes = label.strip_prefix('_').unwrap_or(label).as_bytes();
        bytes.first().is_some_and(|b| plain(*b))
            && bytes.last().is_some_and(|b| plain(*b))
            && bytes.iter().all(|b| plain(*b) || matches!(b, b'-' | b'_'))
    };
    if value.len() > 253 {
        errors.invalid(at, value, names::max_len_error(253));
    }
    if !value.split('.').all(fits) {
        let regex = format!("{LABEL}(\\.{LABEL})*");
        errors.invalid(at, value, names::regex_error(RULE, &regex, &["example.com"]));
    }
}

/// `domain/path`, as controllers are named (`acme.io/foo`).
pub fn domain_prefixed_path(value: &str, at: &Path<'_>, errors: &mut Errors) {
    const PATH: &str = r"[A-Za-z0-9/\-._~%!$&'()*+,;=:]+";
    if value.is_empty() {
        return errors.required(at, "");
    }
    let Some((domain, path)) = value.split_once('/').filter(|(domain, path)| !domain.is_empty() && !path.is_empty())
    else {
        return errors.invalid(at, value, "must be a domain-prefixed path (such as \"acme.io/foo\")");
    };
    subdomain(domain, at, errors);
    if !path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-._~%!$&'()*+,;=:".contains(&b)) {
        errors.invalid(at, path, names::regex_error("Invalid path", PATH, &[]));
    }
}

/// A name with an optional DNS prefix: label keys, resource names, gates, conditions.
pub fn qualified(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::qualified_name(value), at, errors);
}

/// A label's value.
pub fn label_value(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::label_value(value), at, errors);
}

/// A key of a ConfigMap or Secret.
pub fn config_key(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::config_map_key(value), at, errors);
}

/// The name of an environment variable.
pub fn env_var(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::env_var_name(value), at, errors);
}

/// The name of an HTTP header.
pub fn http_header(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::http_header_name(value), at, errors);
}

/// The name of a port.
pub fn port_name(value: &str, at: &Path<'_>, errors: &mut Errors) {
    each(value, names::port_name(value), at, errors);
}

/// The number of a port.
pub fn port_number(value: i64, at: &Path<'_>, errors: &mut Errors) {
    if !(1..=65535).contains(&value) {
        errors.invalid(at, value, names::inclusive_range_error(1, 65535));
    }
}

/// A port by number or name; absence is port 0, which is none.
pub fn port(value: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    match value.and_then(Value::as_str) {
        Some(text) => port_name(text, at, errors),
        None => port_number(value.number(), at, errors),
    }
}

/// A number from 0 up.
pub fn non_negative(value: i64, at: &Path<'_>, errors: &mut Errors) {
    if value < 0 {
        errors.invalid(at, value, "must be greater than or equal to 0");
    }
}

/// A number that must lie between two others, both allowed.
pub fn range(value: i64, low: i64, high: i64, at: &Path<'_>, errors: &mut Errors) {
    if !(low..=high).contains(&value) {
        errors.invalid(at, value, names::inclusive_range_error(low, high));
    }
}

/// A text that must be one of a few; empty is [`Errors::required`].
pub fn one_of(value: &str, allowed: &[&str], at: &Path<'_>, errors: &mut Errors) {
    if value.is_empty() {
        errors.required(at, "");
    } else if !allowed.contains(&value) {
        errors.not_supported(at, value, allowed);
    }
}

/// An IP address of either family, in a form that everybody reads alike (KEP-4858).
pub fn ip(value: &str, at: &Path<'_>, errors: &mut Errors) {
    match value.parse::<std::net::IpAddr>() {
        Ok(std::net::IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            errors.invalid(at, value, "must not be an IPv4-mapped IPv6 address");
        }
        Ok(_) => {}
        Err(_) if without_leading_zeros(value).parse::<std::net::Ipv4Addr>().is_ok() => {
            errors.invalid(at, value, "must not have leading 0s");
        }
        Err(_) => errors.invalid(at, value, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"),
    }
}

fn without_leading_zeros(dotted: &str) -> String {
    let part = |part: &str| match part.trim_start_matches('0') {
        "" if !part.is_empty() => "0".to_owned(),
        rest => rest.to_owned(),
    };
    dotted.split('.').map(part).collect::<Vec<_>>().join(".")
}

/// An IP block of either family, in a form that everybody reads alike.
pub fn cidr(value: &str, at: &Path<'_>, errors: &mut Errors) {
    const VALID: &str = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)";
    let Some((address, bits)) = value.split_once('/') else { return errors.invalid(at, value, VALID) };
    let plain = bits == "0" || !bits.starts_with('0');
    let prefix = bits.parse::<u32>().ok().filter(|_| bits.bytes().all(|b| b.is_ascii_digit()));
    let wrong = match (address.parse::<std::net::IpAddr>(), prefix) {
        (Ok(std::net::IpAddr::V4(four)), Some(prefix @ 0..=32)) => {
            let beyond = u32::MAX.checked_shr(prefix).unwrap_or_default() & u32::from(four);
            block_wrong(plain, false, beyond != 0)
        }
        (Ok(std::net::IpAddr::V6(six)), Some(prefix @ 0..=128)) => {
            let beyond = u128::MAX.checked_shr(prefix).unwrap_or_default() & u128::from(six);
            block_wrong(plain, six.to_ipv4_mapped().is_some(), beyond != 0)
        }
        (Err(_), Some(0..=32)) if without_leading_zeros(address).parse::<std::net::Ipv4Addr>().is_ok() => {
            block_wrong(false, false, false)
        }
        _ => Some(VALID),
    };
    if let Some(wrong) = wrong {
        errors.invalid(at, value, wrong);
    }
}

const fn block_wrong(plain: bool, mapped: bool, beyond: bool) -> Option<&'static str> {
    match (plain, mapped, beyond) {
        (false, _, _) => Some("must not have leading 0s in IP or prefix length"),
        (true, true, _) => Some("must not have an IPv4-mapped IPv6 address"),
        (true, false, true) => Some("must not have bits set beyond the prefix length"),
        (true, false, false) => None,
    }
}

/// A block of addresses: of which family, the bits of its first address from the left, how many of them count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    six: bool,
    bits: u128,
    length: u32,
}

impl Block {
    /// Whether another block is a part of it, and not all.
    #[must_use]
    pub fn holds(&self, other: &Self) -> bool {
        let beyond = u128::MAX.checked_shr(self.length).unwrap_or_default();
        self.six == other.six && self.length < other.length && (self.bits ^ other.bits) & !beyond == 0
    }
}

/// The block that a text stands for.
#[must_use]
pub fn block(value: &str) -> Option<Block> {
    let (address, length) = value.split_once('/')?;
    let length: u32 = length.parse().ok()?;
    match address.parse().ok()? {
        std::net::IpAddr::V4(four) if length <= 32 => {
            Some(Block { six: false, bits: u128::from(u32::from(four)) << 96, length })
        }
        std::net::IpAddr::V6(six) if length <= 128 => Some(Block { six: true, bits: u128::from(six), length }),
        _ => None,
    }
}

/// Whether an IP block is of IPv6, if it is one at all.
#[must_use]
pub fn cidr_family(value: &str) -> Option<bool> {
    let (address, bits) = value.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv6() { 128 } else { 32 }).then_some(address.is_ipv6())
}

/// A number or a percentage from 0 up (`maxUnavailable` and the like).
pub fn int_or_percent(value: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    match value.and_then(Value::as_str) {
        Some(text) => each(text, names::percent(text), at, errors),
        None => non_negative(value.number(), at, errors),
    }
}

/// The number of a percentage.
#[must_use]
pub fn percent_of(value: Option<&Value>) -> Option<i64> {
    value.and_then(Value::as_str)?.strip_suffix('%')?.parse().ok()
}
