//! The scanner under everything that reads JSON, and the plain parser that knows no schema.

use std::borrow::Cow;

use compact_str::CompactString;
use hashbrown::HashMap;

use crate::value::{Object, Value};

/// How deep values may nest. Go stops at 10,000; every later stage (validation, patches, encoding, dropping) recurses on
/// a thread's stack, so we stop where 2 MiB of it is safe. No object of Kubernetes comes near.
pub const MAX_DEPTH: usize = 500;

/// Why bytes are not JSON, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct SyntaxError {
    /// What is wrong.
    pub text: String,
    /// The byte where it is.
    pub at: usize,
}

/// Bytes as a [`Value`]. Of fields named twice the last counts; bytes that are no UTF-8 become U+FFFD, as in Go.
/// # Errors
/// [`SyntaxError`], whose text is for the user.
pub fn parse(bytes: &[u8]) -> Result<Value, SyntaxError> {
    let text = text(bytes);
    let mut scanner = Scanner::new(&text);
    let value = scanner.value(0)?;
    scanner.end()?;
    Ok(value)
}

/// The same for bytes that this crate encoded itself: fields are taken to be named once.
/// # Errors
/// [`SyntaxError`] for bytes that are no JSON after all.
pub fn parse_own(bytes: &[u8]) -> Result<Value, SyntaxError> {
    let text = text(bytes);
    let mut scanner = Scanner { unique: true, ..Scanner::new(&text) };
    let value = scanner.value(0)?;
    scanner.end()?;
    Ok(value)
}

/// Bytes as text, those that are no UTF-8 replaced. Nearly all are UTF-8, and nearly all of those ASCII, which the plain
/// check passes over by words.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// What a value begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

impl Kind {
    /// Go's word for it in error texts.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

/// A number as written.
#[derive(Clone, Copy, Debug)]
pub(super) enum Number {
    Int(i64),
    Float(f64),
}

/// A position in a text that is known to be UTF-8.
pub(super) struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
    /// No object names a field twice: nobody looks for it.
    unique: bool,
    /// The fields of the objects being read, innermost last: each object takes its own off the end, in one allocation of
    /// the right size.
    pub(super) open: Vec<(CompactString, Value)>,
}

impl<'a> Scanner<'a> {
    pub(super) const fn new(text: &'a str) -> Self {
        Self { text, bytes: text.as_bytes(), at: 0, unique: false, open: Vec::new() }
    }

    pub(super) const fn at(&self) -> usize {
        self.at
    }

    pub(super) fn slice(&self, from: usize) -> &'a str {
        &self.text[from..self.at]
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.bytes.get(self.at) {
            self.at += 1;
        }
    }

    /// The next byte after spaces, not taken.
    #[inline]
    pub(super) fn peek(&mut self) -> Option<u8> {
        self.skip_space();
        self.bytes.get(self.at).copied()
    }

    /// Takes `byte` if it comes next.
    #[inline]
    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    #[cold]
    pub(super) fn fail<T>(&self, context: &str) -> Result<T, SyntaxError> {
        let text = match self.text[self.floor()..].chars().next() {
            None => "unexpected end of JSON input".to_owned(),
            Some('\'') => format!("invalid character '\\'' {context}"),
            Some('"') => format!("invalid character '\"' {context}"),
            Some(c) => {
                let quoted = crate::status::quote(c.encode_utf8(&mut [0; 4]));
                format!("invalid character '{}' {context}", &quoted[1..quoted.len() - 1])
            }
        };
        Err(SyntaxError { text, at: self.at })
    }

    // `at` may stand within a character after a fault inside of one.
    fn floor(&self) -> usize {
        let mut at = self.at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        at
    }

    #[cold]
    fn too_deep<T>(&self) -> Result<T, SyntaxError> {
        Err(SyntaxError { text: "exceeded max depth".to_owned(), at: self.at })
    }

    /// Takes the end of the text.
    pub(super) fn end(&mut self) -> Result<(), SyntaxError> {
        if self.peek().is_none() { Ok(()) } else { self.fail("after top-level value") }
    }

    /// What comes next, not taken.
    #[inline]
    pub(super) fn kind(&mut self) -> Result<Kind, SyntaxError> {
        match self.peek() {
            Some(b'"') => Ok(Kind::String),
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            _ => self.fail("looking for beginning of value"),
        }
    }

    /// Enters an object or list: takes its bracket and, if it is empty, the closing one. Gives whether an item comes.
    #[inline]
    pub(super) fn open(&mut self, close: u8, depth: usize) -> Result<bool, SyntaxError> {
        if depth >= MAX_DEPTH {
            return self.too_deep();
        }
        self.at += 1;
        Ok(!self.eat(close))
    }

    /// Between items: takes the comma (true) or the closing bracket (false).
    #[inline]
    pub(super) fn more(&mut self, close: u8) -> Result<bool, SyntaxError> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(b) if b == close => {
                self.at += 1;
                Ok(false)
            }
            _ => self.fail(if close == b'}' { "after object key:value pair" } else { "after array element" }),
        }
    }

    /// A key and its colon.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        if self.peek() != Some(b'"') {
            return self.fail("looking for beginning of object key string");
        }
        let key = self.string()?;
        if !self.eat(b':') {
            return self.fail("after object key");
        }
        Ok(key)
    }

    /// Moves to the first byte of a string's rest that ends or escapes it, or may not stand in it.
    #[inline]
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGHS: u64 = 0x8080_8080_8080_8080;
        let zero_byte = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
        while let Some(chunk) = self.bytes.get(self.at..self.at + 8) {
            let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes were taken"));
            let quote = zero_byte(word ^ (ONES * b'"' as u64));
            let escape = zero_byte(word ^ (ONES * b'\\' as u64));
            let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
            // The lowest mark is right; higher ones may be borrows of it, which no longer matters.
            let found = quote | escape | control;
            if found != 0 {
                self.at += (found.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while let Some(b) = self.bytes.get(self.at) {
            if matches!(b, b'"' | b'\\' | 0..0x20) {
                return;
            }
            self.at += 1;
        }
    }

    /// A string, which must come next. Borrowed unless it holds escapes.
    #[inline]
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, SyntaxError> {
        self.at += 1;
        let from = self.at;
        self.plain_run();
        if self.bytes.get(self.at) == Some(&b'"') {
            let text = &self.text[from..self.at];
            self.at += 1;
            return Ok(Cow::Borrowed(text));
        }
        self.escaped_string(from)
    }

    fn escaped_string(&mut self, from: usize) -> Result<Cow<'a, str>, SyntaxError> {
        let mut out = String::from(&self.text[from..self.at]);
        loop {
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(Cow::Owned(out));
                }
                Some(b'\\') => {
                    self.at += 1;
                    self.escape(&mut out)?;
                }
                _ => return self.fail("in string literal"),
            }
            let run = self.at;
            self.plain_run();
            out.push_str(&self.text[run..self.at]);
        }
    }

    fn escape(&mut self, out: &mut String) -> Result<(), SyntaxError> {
        let c = match self.bytes.get(self.at) {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.hex4()?;
                out.push(self.character(unit)?);
                return Ok(());
            }
            _ => return self.fail("in string escape code"),
        };
        self.at += 1;
        out.push(c);
        Ok(())
    }

    /// The character of a UTF-16 unit, with its second half if one follows; halves alone become U+FFFD.
    fn character(&mut self, unit: u32) -> Result<char, SyntaxError> {
        if !(0xd800..0xdc00).contains(&unit) {
            return Ok(char::from_u32(unit).unwrap_or('\u{fffd}'));
        }
        if self.bytes.get(self.at..self.at + 2) == Some(b"\\u") {
            let back = self.at;
            self.at += 2;
            let low = self.hex4()?;
            if (0xdc00..0xe000).contains(&low) {
                let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or('\u{fffd}'));
            }
            self.at = back;
        }
        Ok('\u{fffd}')
    }

    fn hex4(&mut self) -> Result<u32, SyntaxError> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = self.bytes.get(self.at).and_then(|b| char::from(*b).to_digit(16));
            match digit {
                Some(digit) => unit = unit * 16 + digit,
                None => return self.fail("in \\u hexadecimal character escape"),
            }
            self.at += 1;
        }
        Ok(unit)
    }

    /// A number, which must come next.
    #[inline]
    pub(super) fn number(&mut self) -> Result<Number, SyntaxError> {
        let from = self.at;
        let negative = self.bytes.get(self.at) == Some(&b'-');
        self.at += usize::from(negative);
        // Summed up below zero, where there is room for one more.
        let mut sum: i64 = 0;
        let mut fits = true;
        let first = self.at;
        while let Some(digit @ b'0'..=b'9') = self.bytes.get(self.at) {
            let next = sum.checked_mul(10).and_then(|s| s.checked_sub(i64::from(digit - b'0')));
            fits &= next.is_some();
            sum = next.unwrap_or(sum);
            self.at += 1;
        }
        match self.at - first {
            0 => return self.fail("in numeric literal"),
            // A leading zero stands alone.
            n if n > 1 && self.bytes[first] == b'0' => {
                self.at = first + 1;
                return self.fail("after top-level value");
            }
            _ => {}
        }
        let mut whole = true;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits("after decimal point in numeric literal")?;
            whole = false;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits("in exponent of numeric literal")?;
            whole = false;
        }
        if whole && fits {
            if negative {
                return Ok(Number::Int(sum));
            }
            if let Some(sum) = sum.checked_neg() {
                return Ok(Number::Int(sum));
            }
        }
        // Rust's grammar of floats includes JSON's.
        let float: f64 = self.text[from..self.at].parse().unwrap_or(f64::INFINITY);
        if float.is_finite() {
            return Ok(Number::Float(float));
        }
        let text = format!("json: cannot unmarshal number {} into Go value of type float64", self.slice(from));
        Err(SyntaxError { text, at: from })
    }

    fn digits(&mut self, context: &str) -> Result<(), SyntaxError> {
        let from = self.at;
        while let Some(b'0'..=b'9') = self.bytes.get(self.at) {
            self.at += 1;
        }
        if self.at == from { self.fail(context) } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static str, context: &str) -> Result<(), SyntaxError> {
        for expected in word.bytes() {
            if self.bytes.get(self.at) != Some(&expected) {
                return self.fail(context);
            }
            self.at += 1;
        }
        Ok(())
    }

    pub(super) fn null(&mut self) -> Result<(), SyntaxError> {
        self.literal("null", "in literal null")
    }

    pub(super) fn bool(&mut self) -> Result<bool, SyntaxError> {
        if self.bytes.get(self.at) == Some(&b't') {
            self.literal("true", "in literal true")?;
            Ok(true)
        } else {
            self.literal("false", "in literal false")?;
            Ok(false)
        }
    }

    /// Any value, without regard to a schema.
    pub(super) fn value(&mut self, depth: usize) -> Result<Value, SyntaxError> {
        Ok(match self.kind()? {
            Kind::Null => {
                self.null()?;
                Value::Null
            }
            Kind::Bool => Value::Bool(self.bool()?),
            Kind::Number => match self.number()? {
                Number::Int(number) => Value::Int(number),
                Number::Float(number) => Value::Float(number),
            },
            Kind::String => Value::String(compact(self.string()?)),
            Kind::Array => {
                let mut items = Vec::new();
                let mut more = self.open(b']', depth)?;
                while more {
                    items.push(self.value(depth + 1)?);
                    more = self.more(b']')?;
                }
                Value::Array(items)
            }
            Kind::Object => {
                let mut fields = Fields::begin(&self.open);
                let mut more = self.open(b'}', depth)?;
                while more {
                    let key = self.key()?;
                    let value = self.value(depth + 1)?;
                    if self.unique {
                        self.open.push((compact(key), value));
                    } else {
                        fields.set(&mut self.open, key, value);
                    }
                    more = self.more(b'}')?;
                }
                Value::Object(fields.end(&mut self.open))
            }
        })
    }

    /// Passes over any value, checking little more than its brackets: for bytes that we encoded ourselves.
    pub(super) fn skip(&mut self) -> Result<(), SyntaxError> {
        let mut open = 0_usize;
        loop {
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    loop {
                        self.plain_run();
                        match self.bytes.get(self.at) {
                            Some(b'"') => break,
                            Some(b'\\') => self.at += 2,
                            _ => return self.fail("in string literal"),
                        }
                    }
                    self.at += 1;
                }
                Some(b'{' | b'[') => {
                    open += 1;
                    self.at += 1;
                    continue;
                }
                Some(b'}' | b']') if open > 0 => {
                    open -= 1;
                    self.at += 1;
                }
                Some(b',' | b':') if open > 0 => {
                    self.at += 1;
                    continue;
                }
                Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') => {
                    while let Some(b'-' | b'+' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'E') = self.bytes.get(self.at) {
                        self.at += 1;
                    }
                }
                _ => return self.fail("looking for beginning of value"),
            }
            if open == 0 {
                return Ok(());
            }
        }
    }
}

/// A string as values hold it.
#[inline]
pub(super) fn compact(text: Cow<'_, str>) -> CompactString {
    match text {
        Cow::Borrowed(text) => CompactString::new(text),
        Cow::Owned(text) => CompactString::from(text),
    }
}

/// The fields of one object among those being read. Duplicates are found by scanning while there are few fields, and by
/// hash from then on, so a body of a million keys costs no square.
pub(super) struct Fields {
    base: usize,
    places: Option<HashMap<CompactString, usize, ahash::RandomState>>,
}

const SCAN_UP_TO: usize = 16;

impl Fields {
    /// An object that begins now.
    pub(super) const fn begin(open: &[(CompactString, Value)]) -> Self {
        Self { base: open.len(), places: None }
    }

    /// Sets a field; gives whether it was there already.
    pub(super) fn set(&mut self, open: &mut Vec<(CompactString, Value)>, key: Cow<'_, str>, value: Value) -> bool {
        let mine = &mut open[self.base..];
        if mine.len() < SCAN_UP_TO {
            if let Some((_, old)) = mine.iter_mut().find(|(name, _)| *name == *key) {
                *old = value;
                return true;
            }
            open.push((compact(key), value));
            return false;
        }
        let places = self
            .places
            .get_or_insert_with(|| mine.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect());
        if let Some(place) = places.get(&*key) {
            mine[*place].1 = value;
            return true;
        }
        let key = compact(key);
        places.insert(key.clone(), mine.len());
        open.push((key, value));
        false
    }

    /// Whether the field is there.
    pub(super) fn position(&self, open: &[(CompactString, Value)], key: &str) -> Option<usize> {
        open[self.base..].iter().position(|(name, _)| name == key).map(|place| self.base + place)
    }

    /// The object, taken off the end.
    pub(super) fn end(self, open: &mut Vec<(CompactString, Value)>) -> Object {
        Object::from_unchecked(open.drain(self.base..).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value;

    #[test]
    fn every_kind_of_value_parses() {
        let text = br#" {"a":[1,-2,3.5,1e3,true,false,null,"x\n\u00e9\ud83d\ude00\/"],"b":{},"c":[], "d":9223372036854775807,
            "e":-9223372036854775808,"f":18446744073709551615,"a long key with more than 24 bytes":"0123456789abcdefghij\"k"} "#;
        let parsed = parse(text).unwrap();
        assert_eq!(parsed.at(&["a"]).unwrap(), &value!([1, (-2), 3.5, 1000.0, true, false, null, "x\né😀/"]));
        assert_eq!(parsed.i64_at(&["d"]), Some(i64::MAX));
        assert_eq!(parsed.i64_at(&["e"]), Some(i64::MIN));
        assert_eq!(parsed.get("f"), Some(&Value::Float(18446744073709551615.0)));
        assert_eq!(parsed.str_at(&["a long key with more than 24 bytes"]), Some("0123456789abcdefghij\"k"));
    }

    #[test]
    fn what_is_no_json_gets_gos_words() {
        for (text, why) in [
            ("", "unexpected end of JSON input"),
            ("{", "unexpected end of JSON input"),
            ("{\"a\":1", "unexpected end of JSON input"),
            ("{a:1}", "invalid character 'a' looking for beginning of object key string"),
            ("{\"a\" 1}", "invalid character '1' after object key"),
            ("{\"a\":1 \"b\"}", "invalid character '\"' after object key:value pair"),
            ("[1 2]", "invalid character '2' after array element"),
            ("[1,]", "invalid character ']' looking for beginning of value"),
            ("nul", "unexpected end of JSON input"),
            ("nulx", "invalid character 'x' in literal null"),
            ("\"a\nb\"", "invalid character '\\n' in string literal"),
            ("\"\\x\"", "invalid character 'x' in string escape code"),
            ("1.x", "invalid character 'x' after decimal point in numeric literal"),
            ("{} x", "invalid character 'x' after top-level value"),
        ] {
            assert_eq!(parse(text.as_bytes()).unwrap_err().text, why, "{text}");
        }
    }

    #[test]
    fn depth_is_bounded() {
        let fits = [b"[".repeat(MAX_DEPTH), b"]".repeat(MAX_DEPTH)].concat();
        assert!(parse(&fits).is_ok());
        let deep = [b"[".repeat(100_000), b"]".repeat(100_000)].concat();
        assert_eq!(parse(&deep).unwrap_err().text, "exceeded max depth");
    }

    #[test]
    fn of_duplicates_the_last_counts_in_small_and_large_objects() {
        let mut text = String::from("{\"k0\":0");
        for n in 1..100 {
            text.push_str(&format!(",\"k{}\":{n}", n % 50));
        }
        text.push('}');
        let parsed = parse(text.as_bytes()).unwrap();
        assert_eq!(parsed.as_object().unwrap().len(), 50);
        assert_eq!(parsed.i64_at(&["k3"]), Some(53));
        assert_eq!(parsed.i64_at(&["k49"]), Some(99));
    }

    #[test]
    fn bytes_that_are_no_utf8_are_replaced() {
        assert_eq!(parse(b"\"a\xffb\"").unwrap(), Value::from("a\u{fffd}b"));
    }
}
