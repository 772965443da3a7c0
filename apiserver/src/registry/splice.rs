//! Reads and edits stored JSON as bytes, without decoding it: what the hottest paths (binding a pod, showing an object
//! that left a selection, reading facets back) need of a body is a handful of spans.
//!
//! Works on what our own encoder wrote, but relies only on its being JSON: white space and any order of fields are
//! taken as they come. Keys are compared as written; no field name that is looked up here needs an escape.

use std::ops::Range;

/// A part of a body.
pub(crate) type Span = Range<usize>;

/// Where the value that begins at `at` (white space skipped) lies; `None` where there is no whole value.
pub(crate) fn value(body: &[u8], at: usize) -> Option<Span> {
    let start = space(body, at);
    let end = match body.get(start)? {
        b'"' => string_end(body, start)?,
        b'{' | b'[' => container_end(body, start)?,
        _ => {
            start + body[start..].iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n' | b'\t' | b'\r'))?
        }
    };
    Some(start..end)
}

/// Where the root object lies, white space behind it included; an empty span for what is no JSON object.
pub(crate) fn root(body: &[u8]) -> Span {
    let start = space(body, 0);
    if body.get(start) == Some(&b'{') { start..body.len() } else { 0..0 }
}

/// The members of the object that lies at `object`, in order: key (without quotes) and value.
pub(crate) fn members<'b>(body: &'b [u8], object: &Span) -> Members<'b> {
    let open = body.get(object.start) == Some(&b'{');
    Members { body: &body[..object.end], at: if open { object.start + 1 } else { object.end } }
}

/// The items of the array that lies at `array`, in order.
pub(crate) fn items<'b>(body: &'b [u8], array: &Span) -> Items<'b> {
    let open = body.get(array.start) == Some(&b'[');
    Items { body: &body[..array.end], at: if open { array.start + 1 } else { array.end } }
}

/// The values of `keys` in the object at `object`, found in one pass that ends when all are found.
pub(crate) fn find<const N: usize>(body: &[u8], object: &Span, keys: [&str; N]) -> [Option<Span>; N] {
    let mut found = [const { None }; N];
    let mut missing = N;
    for (key, span) in members(body, object) {
        if let Some(at) = keys.iter().position(|k| k.as_bytes() == key)
            && found[at].is_none()
        {
            found[at] = Some(span);
            missing -= 1;
            if missing == 0 {
                break;
            }
        }
    }
    found
}

/// The value of one key.
pub(crate) fn get(body: &[u8], object: &Span, key: &str) -> Option<Span> {
    let [found] = find(body, object, [key]);
    found
}

/// The text of a string that holds no escapes; `None` for anything else.
pub(crate) fn text<'b>(body: &'b [u8], span: &Span) -> Option<&'b str> {
    let inner = body.get(span.clone())?.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return None;
    }
    std::str::from_utf8(inner).ok()
}

/// Whether the value is there and neither `null` nor an empty text, list or object.
pub(crate) fn filled(body: &[u8], span: Option<&Span>) -> bool {
    span.is_some_and(|s| !matches!(&body[s.clone()], b"null" | b"\"\"" | b"[]" | b"{}"))
}

/// Writes `text` as a JSON string.
pub(crate) fn write_string(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.push(HEX[usize::from(byte >> 4)]);
                out.push(HEX[usize::from(byte & 15)]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

/// Edits of one body, applied in one copy.
#[derive(Default)]
pub(crate) struct Edits {
    /// What is replaced by what, in any order; spans do not overlap.
    parts: smallvec::SmallVec<[(Span, Vec<u8>); 6]>,
}

impl Edits {
    /// Replaces a span.
    pub(crate) fn replace(&mut self, span: Span, with: Vec<u8>) {
        self.parts.push((span, with));
    }

    /// Puts a member at the head of the object at `object`.
    pub(crate) fn insert_member(&mut self, body: &[u8], object: &Span, key: &str, write: impl FnOnce(&mut Vec<u8>)) {
        let mut member = Vec::with_capacity(64);
        write_string(&mut member, key);
        member.push(b':');
        write(&mut member);
        if members(body, object).next().is_some() {
            member.push(b',');
        }
        self.parts.push((object.start + 1..object.start + 1, member));
    }

    /// Puts an item at the end of the array at `array`.
    pub(crate) fn push_item(&mut self, body: &[u8], array: &Span, item: &[u8]) {
        let mut with = Vec::with_capacity(item.len() + 1);
        if items(body, array).next().is_some() {
            with.push(b',');
        }
        with.extend_from_slice(item);
        self.parts.push((array.end - 1..array.end - 1, with));
    }

    /// The edited body. `mark` is a position in the old body (not inside a replaced span); its place in the new one
    /// comes back with it.
    pub(crate) fn apply(mut self, body: &[u8], mark: usize) -> (Vec<u8>, usize) {
        self.parts.sort_by_key(|(span, _)| (span.start, span.end));
        let grown: usize = self.parts.iter().map(|(_, with)| with.len()).sum();
        let mut out = Vec::with_capacity(body.len() + grown);
        let (mut from, mut moved) = (0, mark);
        for (span, with) in self.parts {
            out.extend_from_slice(&body[from..span.start]);
            out.extend_from_slice(&with);
            from = span.end;
            if span.end <= mark {
                moved = moved + with.len() - (span.end - span.start);
            }
        }
        out.extend_from_slice(&body[from..]);
        (out, moved)
    }
}

/// See [`members`].
pub(crate) struct Members<'b> {
    body: &'b [u8],
    at: usize,
}

impl<'b> Members<'b> {
    /// The next key and where its value begins. [`resume`](Self::resume) where it ends.
    pub(crate) fn key(&mut self) -> Option<(&'b [u8], usize)> {
        let key_at = space(self.body, self.at);
        if self.body.get(key_at) != Some(&b'"') {
            return None;
        }
        let key_end = string_end(self.body, key_at)?;
        let colon = space(self.body, key_end);
        if self.body.get(colon) != Some(&b':') {
            return None;
        }
        Some((&self.body[key_at + 1..key_end - 1], space(self.body, colon + 1)))
    }

    /// Goes on after the value that ends at `end`.
    pub(crate) fn resume(&mut self, end: usize) {
        self.at = after_comma(self.body, end);
    }

    /// Where the object ends, once all its members have been seen.
    pub(crate) fn close(&self) -> usize {
        (space(self.body, self.at) + 1).min(self.body.len())
    }
}

impl<'b> Iterator for Members<'b> {
    type Item = (&'b [u8], Span);

    fn next(&mut self) -> Option<Self::Item> {
        let (key, at) = self.key()?;
        let span = value(self.body, at)?;
        self.resume(span.end);
        Some((key, span))
    }
}

/// See [`items`].
pub(crate) struct Items<'b> {
    body: &'b [u8],
    at: usize,
}

impl Iterator for Items<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        let at = space(self.body, self.at);
        if matches!(self.body.get(at), None | Some(b']')) {
            return None;
        }
        let span = value(self.body, at)?;
        self.at = after_comma(self.body, span.end);
        Some(span)
    }
}

fn after_comma(body: &[u8], at: usize) -> usize {
    let at = space(body, at);
    if body.get(at) == Some(&b',') { at + 1 } else { at }
}

fn space(body: &[u8], mut at: usize) -> usize {
    while matches!(body.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
        at += 1;
    }
    at
}

/// The end of the string whose opening quote is at `at`.
fn string_end(body: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let hit = from + memchr::memchr2(b'"', b'\\', body.get(from..)?)?;
        if body[hit] == b'"' {
            return Some(hit + 1);
        }
        from = hit + 2;
    }
}

/// The end of the object or array that opens at `at`.
fn container_end(body: &[u8], at: usize) -> Option<usize> {
    let mut depth = 0_usize;
    let mut from = at;
    loop {
        match body.get(from)? {
            b'"' => {
                from = string_end(body, from)?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(from + 1);
                }
            }
            _ => {}
        }
        from += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &[u8] =
        br#"{"kind":"Pod","metadata":{"name":"a\"}{","resourceVersion":"7"},"spec":{"n":[1,{"x":"]"},true]} , "z":null}"#;

    #[test]
    fn spans_are_found_past_strings_that_look_like_structure() {
        let root = root(POD);
        let [spec, metadata, z, none] = find(POD, &root, ["spec", "metadata", "z", "none"]);
        assert_eq!(&POD[z.clone().unwrap()], b"null");
        assert!(none.is_none());
        let metadata = metadata.unwrap();
        assert_eq!(text(POD, &get(POD, &metadata, "resourceVersion").unwrap()), Some("7"));
        assert_eq!(text(POD, &get(POD, &metadata, "name").unwrap()), None, "escapes are not undone");
        let list = get(POD, &spec.unwrap(), "n").unwrap();
        let parts: Vec<&[u8]> = items(POD, &list).map(|s| &POD[s]).collect();
        assert_eq!(parts, [&b"1"[..], br#"{"x":"]"}"#, b"true"]);
        assert!(!filled(POD, z.as_ref()));
    }

    #[test]
    fn edits_apply_together_and_move_the_mark() {
        let body = br#"{"m":{"rv":"12"},"s":{},"c":[1],"d":[]}"#;
        let root = root(body);
        let [m, s, c, d] = find(body, &root, ["m", "s", "c", "d"]).map(Option::unwrap);
        let rv = get(body, &m, "rv").unwrap();
        let mut edits = Edits::default();
        edits.push_item(body, &d, b"3");
        edits.push_item(body, &c, b"2");
        edits.insert_member(body, &s, "k", |out| write_string(out, "v\n"));
        edits.replace(rv.start + 1..rv.end - 1, Vec::new());
        let (out, mark) = edits.apply(body, rv.end - 1);
        assert_eq!(out, br#"{"m":{"rv":""},"s":{"k":"v\n"},"c":[1,2],"d":[3]}"#);
        assert_eq!(&out[mark..=mark], b"\"");
        assert_eq!(mark, 12);
    }

    #[test]
    fn broken_text_yields_nothing_and_does_not_panic() {
        for text in ["", "{", "{\"a", "{\"a\"", "{\"a\":", "[", "{\"a\":{}", "nul", "{]", "\"\\"] {
            let body = text.as_bytes();
            let span = root(body);
            // `{"a":{}` is cut off after a whole member.
            assert_eq!(members(body, &span).count(), usize::from(text.ends_with("{}")), "{text}");
        }
    }
}
