//! An expression's text as tokens.

use std::sync::Arc;

use crate::value::Value;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Token {
    /// A name or a keyword.
    Name(Box<str>),
    /// A field's name between backticks.
    Quoted(Box<str>),
    Int(u64),
    Uint(u64),
    Double(f64),
    Text(Arc<str>),
    Bytes(Arc<[u8]>),
    /// Brackets and operators.
    Sign(&'static str),
    End,
}

/// A token and where it starts, in bytes.
pub(crate) type Placed = (Token, usize);

/// What is wrong, and where.
pub(crate) type Wrong = (String, usize);

/// Longer ones first.
const SIGNS: &[&str] = &[
    "==", "!=", "<=", ">=", "&&", "||", "[", "]", "{", "}", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*", "/", "%",
    "<", ">",
];

/// The tokens of a text, with an [`End`](Token::End).
pub(crate) fn tokens(text: &str) -> Result<Vec<Placed>, Wrong> {
    let mut all = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        let rest = &text[at..];
        if c.is_ascii_whitespace() || c == '\u{c}' {
            at += 1;
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, length) = if let Some((raw, bytes, prefix)) = text_prefix(rest) {
            text_literal(rest, raw, bytes, prefix).map_err(|why| (why, at))?
        } else if c.is_ascii_digit() || (c == '.' && rest[1..].starts_with(|d: char| d.is_ascii_digit())) {
            number(rest).map_err(|why| (why, at))?
        } else if c.is_ascii_alphabetic() || c == '_' {
            let length = rest.bytes().position(|b| !(b.is_ascii_alphanumeric() || b == b'_')).unwrap_or(rest.len());
            (Token::Name(rest[..length].into()), length)
        } else if c == '`' {
            let end = rest[1..].find('`').filter(|end| *end > 0);
            let end = end.ok_or_else(|| (format!("token recognition error at: '{c}'"), at))?;
            (Token::Quoted(rest[1..=end].into()), end + 2)
        } else {
            let sign = SIGNS.iter().find(|sign| rest.starts_with(**sign));
            let sign = sign.ok_or_else(|| (format!("token recognition error at: '{c}'"), at))?;
            (Token::Sign(sign), sign.len())
        };
        all.push((token, at));
        at += length;
    }
    all.push((Token::End, text.len()));
    Ok(all)
}

/// Whether a text or bytes literal begins here: raw, bytes, and how long the letters before the quote are.
fn text_prefix(rest: &str) -> Option<(bool, bool, usize)> {
    let (mut raw, mut bytes) = (false, false);
    for (at, b) in rest.bytes().enumerate() {
        match b {
            b'"' | b'\'' => return Some((raw, bytes, at)),
            b'r' | b'R' if !raw => raw = true,
            b'b' | b'B' if !bytes => bytes = true,
            _ => return None,
        }
    }
    None
}

fn text_literal(rest: &str, raw: bool, is_bytes: bool, prefix: usize) -> Result<(Token, usize), String> {
    const OPEN: &str = "a text does not end";
    let body = &rest[prefix..];
    let quote = &body[..1];
    let triple = quote.repeat(3);
    let quote = if body.starts_with(&triple) { &*triple } else { quote };
    let mut at = prefix + quote.len();
    let mut out: Vec<u8> = Vec::new();
    loop {
        let here = &rest[at..];
        if here.starts_with(quote) {
            at += quote.len();
            break;
        }
        let c = here.chars().next().filter(|c| quote.len() == 3 || !matches!(c, '\n' | '\r')).ok_or(OPEN)?;
        at += c.len_utf8();
        if c != '\\' || raw {
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        at += escape(&rest[at..], is_bytes, &mut out)?;
    }
    let token = if is_bytes {
        Token::Bytes(out.into())
    } else {
        Token::Text(String::from_utf8(out).map_err(|_| "a text is not UTF-8")?.into())
    };
    Ok((token, at))
}

/// Takes one escape sequence, its backslash aside; says how long it is.
fn escape(rest: &str, is_bytes: bool, out: &mut Vec<u8>) -> Result<usize, String> {
    let wrong = || "unable to unescape string".to_owned();
    let c = rest.chars().next().ok_or_else(wrong)?;
    let simple = match c {
        'a' => 7,
        'b' => 8,
        'f' => 12,
        'n' => b'\n',
        'r' => b'\r',
        't' => b'\t',
        'v' => 11,
        '\\' | '\'' | '"' | '`' | '?' => c as u8,
        _ => 0,
    };
    if simple != 0 {
        out.push(simple);
        return Ok(1);
    }
    let (start, digits, radix) = match c {
        'x' | 'X' => (1, 2, 16),
        'u' if !is_bytes => (1, 4, 16),
        'U' if !is_bytes => (1, 8, 16),
        '0'..='3' => (0, 3, 8),
        _ => return Err(wrong()),
    };
    let number = rest.get(start..start + digits).ok_or_else(wrong)?;
    let code = u32::from_str_radix(number, radix).map_err(|_| wrong())?;
    if is_bytes {
        out.push(u8::try_from(code).map_err(|_| wrong())?);
    } else {
        let c = char::from_u32(code).ok_or_else(wrong)?;
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Ok(start + digits)
}

fn number(rest: &str) -> Result<(Token, usize), String> {
    let wrong = |text: &str| format!("invalid number literal: {text}");
    let unsigned = |value: u64, end: usize| match rest.as_bytes().get(end) {
        Some(b'u' | b'U') => (Token::Uint(value), end + 1),
        _ => (Token::Int(value), end),
    };
    if let Some(hex) = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X")) {
        let end = hex.bytes().position(|b| !b.is_ascii_hexdigit()).unwrap_or(hex.len());
        let value = u64::from_str_radix(&hex[..end], 16).map_err(|_| wrong(&rest[..end + 2]))?;
        return Ok(unsigned(value, end + 2));
    }
    let bytes = rest.as_bytes();
    let digits = |from: usize| bytes[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = digits(0);
    let mut whole = true;
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
        whole = false;
    }
    if matches!(bytes.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(bytes.get(end + 1), Some(b'+' | b'-')));
        let exponent = if end + 1 + sign <= bytes.len() { digits(end + 1 + sign) } else { 0 };
        if exponent > 0 {
            end += 1 + sign + exponent;
            whole = false;
        }
    }
    if whole {
        let value = rest[..end].parse().map_err(|_| wrong(&rest[..end]))?;
        return Ok(unsigned(value, end));
    }
    Ok((Token::Double(rest[..end].parse().map_err(|_| wrong(&rest[..end]))?), end))
}

impl Token {
    /// The value of a literal; the sign of a whole number is not known yet.
    pub(crate) fn literal(&self) -> Option<Value> {
        Some(match self {
            Self::Uint(value) => Value::Uint(*value),
            Self::Double(value) => Value::Double(*value),
            Self::Text(text) => Value::Text(text.clone()),
            Self::Bytes(bytes) => Value::Bytes(bytes.clone()),
            Self::Name(name) => match &**name {
                "true" => Value::Bool(true),
                "false" => Value::Bool(false),
                "null" => Value::Null,
                _ => return None,
            },
            _ => return None,
        })
    }

    /// As it is shown in errors.
    pub(crate) fn shown(&self, text: &str, at: usize) -> String {
        match self {
            Self::End => "<EOF>".to_owned(),
            Self::Name(name) => name.to_string(),
            Self::Sign(sign) => (*sign).to_owned(),
            _ => text[at..].chars().take(20).collect(),
        }
    }
}
