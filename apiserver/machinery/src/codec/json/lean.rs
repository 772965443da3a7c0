//! Stored bodies without their managedFields: for readers in this process that decode a few fields of each change. The
//! bookkeeping of who owns what is up to half of a body, and a decoder that skips it still reads it.

use std::borrow::Cow;

use super::scan::Scanner;

const LIST: &[u8] = b"\"managedFields\":[";

/// The body as text with an empty list of managedFields; as it is where it has none. `None` for what is no UTF-8.
///
/// Within a text, quotes are escaped: the name in quotes, with no escape before it, is a field's. Relies on the body
/// being written without spaces, as ours are; others are given whole.
#[must_use]
pub fn lean(body: &[u8]) -> Option<Cow<'_, str>> {
    let text = std::str::from_utf8(body).ok()?;
    let Some(found) = memchr::memmem::find(body, LIST).filter(|at| *at > 0 && body[at - 1] != b'\\') else {
        return Some(Cow::Borrowed(text));
    };
    let list = found + LIST.len() - 1;
    let mut scanner = Scanner::new(&text[list..]);
    if scanner.skip().is_err() {
        return Some(Cow::Borrowed(text));
    }
    let rest = &text[list + scanner.at()..];
    let mut out = String::with_capacity(list + 2 + rest.len());
    out.push_str(&text[..list]);
    out.push_str("[]");
    out.push_str(rest);
    Some(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::value;

    #[test]
    fn only_the_list_goes() {
        let body = br#"{"metadata":{"name":"x","managedFields":[{"fieldsV1":{"k:{\"a\":\"]\"}":{}}},{}],"uid":"u"},"spec":{"a":[1]}}"#;
        let lean = lean(body).unwrap();
        let expected = value!({"metadata": {"name": "x", "managedFields": [], "uid": "u"}, "spec": {"a": [1]}});
        assert_eq!(parse(lean.as_bytes()).unwrap(), expected);
    }

    #[test]
    fn texts_that_look_like_it_stay() {
        for body in [
            r#"{"metadata":{"annotations":{"a":"{\"managedFields\":[{}]}"}}}"#,
            r#"{"metadata":{"annotations":{"x\"managedFields":[1]}}}"#,
            r#"{"metadata":{}}"#,
            r#"{"managedFields":["#,
        ] {
            assert_eq!(lean(body.as_bytes()).unwrap(), body);
        }
        assert!(lean(b"\xff").is_none());
    }
}
