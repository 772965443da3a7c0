//! Shard selectors: a part of a collection, by ranges of a hash that every server computes alike (KEP-5866, API concepts,
//! "Sharded list and watch").
//!
//! `shardRange(object.metadata.uid, '0x0000000000000000', '0x8000000000000000') || …`: the syntax is CEL's, but nothing
//! is evaluated, and only these calls and `||` between them are allowed. The hash is FNV-1a of 64 bits.

use super::SelectorError;

/// A parsed shard selector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardSelector {
    text: String,
    field: ShardField,
    /// From, and up to but without.
    ranges: Vec<(u128, u128)>,
}

/// What is hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardField {
    /// `object.metadata.uid`
    Uid,
    /// `object.metadata.namespace`
    Namespace,
}

impl ShardField {
    fn path(self) -> &'static str {
        match self {
            Self::Uid => "object.metadata.uid",
            Self::Namespace => "object.metadata.namespace",
        }
    }
}

impl ShardSelector {
    /// Parses a selector.
    ///
    /// # Errors
    /// In upstream's words where it reads the syntax tree; what is no CEL at all is told in our own.
    pub fn parse(text: &str) -> Result<Self, SelectorError> {
        let mut parser = Parser { rest: text.trim() };
        if parser.rest.is_empty() {
            return fail("empty shard selector is not allowed; omit the parameter for unfiltered lists");
        }
        let mut calls = parser.any_of(0)?;
        if !parser.rest.is_empty() {
            return parser.syntax();
        }
        let (field, first) = calls.remove(0);
        let mut ranges = vec![first];
        for (other, range) in calls {
            if other != field {
                return fail(format!(
                    "all shard ranges must use the same field, got {:?} and {:?}",
                    field.path(),
                    other.path()
                ));
            }
            ranges.push(range);
        }
        Ok(Self { text: text.to_owned(), field, ranges })
    }

    /// The selector as it was written: lists say it in their `shardInfo`.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What [`matches`](Self::matches) is to be given.
    #[must_use]
    pub fn field(&self) -> ShardField {
        self.field
    }

    /// Whether an object with this value in the field is of the shard.
    #[must_use]
    pub fn matches(&self, value: &str) -> bool {
        let hash = u128::from(hash(value));
        self.ranges.iter().any(|(from, to)| (*from..*to).contains(&hash))
    }
}

/// FNV-1a.
fn hash(value: &str) -> u64 {
    value.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn fail<T>(text: impl Into<String>) -> Result<T, SelectorError> {
    Err(SelectorError(text.into()))
}

type Call = (ShardField, (u128, u128));

/// Parentheses within parentheses at most.
const DEPTH_MAX: usize = 16;

struct Parser<'t> {
    /// Never begins with white space.
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn syntax<T>(&self) -> Result<T, SelectorError> {
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
        fail(format!("CEL parse error: Syntax error: unexpected {found}"))
    }

    fn advance(&mut self, bytes: usize) {
        self.rest = self.rest[bytes..].trim_start();
    }

    fn takes(&mut self, token: &str) -> bool {
        let found = self.rest.starts_with(token);
        if found {
            self.advance(token.len());
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), SelectorError> {
        if self.takes(token) { Ok(()) } else { self.syntax() }
    }

    fn name(&mut self) -> Option<&'t str> {
        let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let name = &self.rest[..end];
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return None;
        }
        self.advance(end);
        Some(name)
    }

    /// Calls with `||` between them.
    fn any_of(&mut self, depth: usize) -> Result<Vec<Call>, SelectorError> {
        if depth > DEPTH_MAX {
            return fail("CEL parse error: expression recursion limit exceeded");
        }
        let mut calls = Vec::new();
        loop {
            if self.takes("(") {
                calls.extend(self.any_of(depth + 1)?);
                self.expect(")")?;
            } else {
                calls.push(self.call()?);
            }
            if !self.takes("||") {
                return Ok(calls);
            }
        }
    }

    fn call(&mut self) -> Result<Call, SelectorError> {
        let Some(function) = self.name() else { return self.syntax() };
        if !self.takes("(") {
            return fail("unexpected expression kind; expected shardRange() call or || operator");
        }
        if function != "shardRange" {
            return fail(format!("unsupported function {function:?}; only shardRange() and || are allowed"));
        }
        let mut path = String::new();
        while let Some(part) = self.name() {
            path.push_str(part);
            if !self.takes(".") {
                break;
            }
            path.push('.');
        }
        let field = match path.as_str() {
            "" => return fail("shardRange() first argument: expected field path (e.g. object.metadata.uid)"),
            "object.metadata.uid" => ShardField::Uid,
            "object.metadata.namespace" => ShardField::Namespace,
            other => {
                return fail(format!(
                    "unsupported field path {other:?}; supported: object.metadata.uid, object.metadata.namespace"
                ));
            }
        };
        self.expect(",")?;
        let (from_text, from) = self.bound("hexStart")?;
        self.expect(",")?;
        let (to_text, to) = self.bound("hexEnd")?;
        self.expect(")")?;
        if from >= to {
            return fail(format!("shard range start {from_text} must be less than end {to_text}"));
        }
        Ok((field, (from, to)))
    }

    fn bound(&mut self, name: &str) -> Result<(&'t str, u128), SelectorError> {
        let quote = match self.rest.chars().next() {
            Some(quote @ ('\'' | '"')) => quote,
            _ => return fail(format!("{name} must be a string literal (e.g. '0xff')")),
        };
        let Some(end) = self.rest[1..].find(quote) else { return self.syntax() };
        let text = &self.rest[1..=end];
        self.advance(end + 2);
        let Some(hex) = text.strip_prefix("0x") else {
            return fail(format!("{name} must have '0x' prefix, got {text:?}"));
        };
        if hex.is_empty() {
            return fail(format!("{name}: hex value is required after '0x'"));
        }
        if hex.len() > 17 {
            return fail(format!("{name}: hex value too long ({} chars, max 17): {hex:?}", hex.len()));
        }
        if let Some(odd) = hex.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            let odd = odd.to_string();
            return fail(format!("{name}: invalid hex character {odd:?} in {text:?}"));
        }
        match hex.len() {
            17 if hex != "10000000000000000" => {
                fail(format!("{name}: 17-digit hex value must be '0x10000000000000000' (2^64), got {text:?}"))
            }
            16 | 17 => Ok((text, u128::from_str_radix(hex, 16).expect("the digits were looked at"))),
            _ => {
                let padded = format!("0x{hex:0>16}");
                fail(format!(
                    "{name} must be a 0x-prefixed 16-digit hex value, got {text:?} (did you mean {padded:?}?)"
                ))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: &str = "shardRange(object.metadata.uid, '0x0000000000000000', '0x8000000000000000')";
    const HIGH: &str = "shardRange(object.metadata.uid,'0x8000000000000000',\"0x10000000000000000\")";

    #[test]
    fn every_value_is_of_one_of_two_halves_and_of_both_together() {
        let (low, high) = (ShardSelector::parse(LOW).unwrap(), ShardSelector::parse(HIGH).unwrap());
        let both = ShardSelector::parse(&format!(" ({LOW} ||{HIGH})")).unwrap();
        let mut in_low = 0;
        for n in 0..1000_u32 {
            // Random all over, as real ones are: the last few characters alone hardly reach the highest bits.
            let random = n.wrapping_mul(0x9E37_79B9);
            let uid = format!("{random:08x}-0000-4000-8000-{:012x}", u64::from(!random) * 31);
            assert_ne!(low.matches(&uid), high.matches(&uid));
            assert!(both.matches(&uid));
            in_low += usize::from(low.matches(&uid));
        }
        assert!((300..700).contains(&in_low), "{in_low}");
        assert_eq!((low.field(), low.text()), (ShardField::Uid, LOW));
        // As the function's authors publish it.
        assert_eq!(
            [hash(""), hash("a"), hash("foobar")],
            [0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c, 0x8594_4171_f739_67e8]
        );
    }

    #[test]
    fn what_is_no_selector_is_told_why() {
        let range = |field: &str, from: &str, to: &str| format!("shardRange({field}, {from}, {to})");
        let uid = "object.metadata.uid";
        let (zero, end) = ("'0x0000000000000000'", "'0x10000000000000000'");
        let namespace = range("object.metadata.namespace", zero, end);
        for (text, why) in [
            (String::new(), "empty shard selector is not allowed"),
            ("true".to_owned(), "unexpected expression kind"),
            ("size(a)".to_owned(), "unsupported function \"size\""),
            (range("metadata.uid", zero, end), "unsupported field path \"metadata.uid\""),
            (range(uid, "0", end), "hexStart must be a string literal"),
            (range(uid, zero, "'10'"), "hexEnd must have '0x' prefix, got \"10\""),
            (range(uid, "'0x'", end), "hexStart: hex value is required after '0x'"),
            (range(uid, "'0xFF'", end), "hexStart: invalid hex character \"F\" in \"0xFF\""),
            (range(uid, "'0xff'", end), "(did you mean \"0x00000000000000ff\"?)"),
            (range(uid, zero, "'0x20000000000000000'"), "17-digit hex value must be '0x10000000000000000' (2^64)"),
            (range(uid, zero, "'0x000000000000000000'"), "hex value too long (18 chars, max 17)"),
            (range(uid, end, zero), "start 0x10000000000000000 must be less than end 0x0000000000000000"),
            (format!("{LOW} || {namespace}"), "all shard ranges must use the same field"),
            (format!("{LOW} && {HIGH}"), "CEL parse error"),
            (format!("{LOW} ||"), "CEL parse error"),
            (LOW.replace(')', ""), "CEL parse error"),
            (range(uid, "'0x0", "x"), "CEL parse error"),
            ("(".repeat(40), "recursion limit"),
        ] {
            let error = ShardSelector::parse(&text).unwrap_err();
            assert!(error.0.contains(why), "{text}: {error}");
        }
    }
}
