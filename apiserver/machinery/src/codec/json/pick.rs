//! A few fields out of a stored body, without building a tree: one pass that skips what nobody asked for.

use std::borrow::Cow;

use super::scan::{Scanner, compact};
use crate::value::Value;

/// A value as it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<'a>(&'a str);

impl<'a> Raw<'a> {
    /// The JSON text.
    #[must_use]
    pub const fn json(self) -> &'a str {
        self.0
    }

    /// The text of a string; borrowed unless it holds escapes.
    #[must_use]
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        if !self.0.starts_with('"') {
            return None;
        }
        Scanner::new(self.0).string().ok()
    }

    /// The number of an integer.
    #[must_use]
    pub fn as_i64(self) -> Option<i64> {
        self.0.parse().ok()
    }

    /// The truth of a boolean.
    #[must_use]
    pub fn as_bool(self) -> Option<bool> {
        match self.0 {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        }
    }

    /// The whole value, decoded.
    #[must_use]
    pub fn to_value(self) -> Option<Value> {
        Scanner::new(self.0).value(0).ok()
    }

    /// The text of a string as values hold it.
    #[must_use]
    pub fn to_text(self) -> Option<compact_str::CompactString> {
        self.as_str().map(compact)
    }
}

/// The values at up to 64 paths of field names, in one pass; `None` where a path leads nowhere, and for all that follows
/// a fault in the bytes (stored bodies have none). No path may be empty or begin another.
#[must_use]
pub fn pick<'a, const N: usize>(bytes: &'a [u8], paths: [&[&str]; N]) -> [Option<Raw<'a>>; N] {
    const { assert!(N <= 64, "the paths still open are kept in 64 bits") };
    let mut found = [None; N];
    let Ok(text) = std::str::from_utf8(bytes) else { return found };
    let mut scanner = Scanner::new(text);
    if scanner.peek() == Some(b'{') {
        let all = if N == 64 { u64::MAX } else { (1 << N) - 1 };
        let mut left = N;
        // `None` ends the search early: all found, or broken bytes.
        let _ = walk(&mut scanner, &paths, all, 0, &mut found, &mut left);
    }
    found
}

/// Looks through one object for the paths in `open`, whose first `depth` names lead here. `None` ends the search.
fn walk<'a>(
    scanner: &mut Scanner<'a>,
    paths: &[&[&str]],
    open: u64,
    depth: usize,
    found: &mut [Option<Raw<'a>>],
    left: &mut usize,
) -> Option<()> {
    let mut more = scanner.open(b'}', depth).ok()?;
    while more {
        let key = scanner.key().ok()?;
        let mut ends = None;
        let mut deeper = 0;
        let mut candidates = open;
        while candidates != 0 {
            let path = candidates.trailing_zeros() as usize;
            candidates &= candidates - 1;
            if paths[path][depth] == key {
                if paths[path].len() == depth + 1 {
                    ends = Some(path);
                } else {
                    deeper |= 1 << path;
                }
            }
        }
        let next = scanner.peek()?;
        if let Some(path) = ends {
            let from = scanner.at();
            scanner.skip().ok()?;
            *left -= usize::from(found[path].replace(Raw(scanner.slice(from))).is_none());
            if *left == 0 {
                return None;
            }
        } else if deeper != 0 && next == b'{' {
            walk(scanner, paths, deeper, depth + 1, found, left)?;
        } else {
            scanner.skip().ok()?;
        }
        more = scanner.more(b'}').ok()?;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_wherever_they_stand() {
        let body =
            br#"{"kind":"Pod","metadata":{"labels":{"a":"{\"x\":1}"},"name":"w\u0065b","uid":"u"},"spec":{"priority":7,
            "containers":[{"name":"no"}],"hostNetwork":true},"status":{"phase":"Running"}}"#;
        let [name, priority, host, phase, containers, missing] = pick(
            body,
            [
                &["metadata", "name"],
                &["spec", "priority"],
                &["spec", "hostNetwork"],
                &["status", "phase"],
                &["spec", "containers"],
                &["spec", "nodeName"],
            ],
        );
        assert_eq!(name.unwrap().as_str().unwrap(), "web");
        assert_eq!(priority.unwrap().as_i64(), Some(7));
        assert_eq!(host.unwrap().as_bool(), Some(true));
        assert!(matches!(phase.unwrap().as_str(), Some(Cow::Borrowed("Running"))));
        assert_eq!(containers.unwrap().to_value().unwrap(), crate::value!([{"name": "no"}]));
        assert_eq!(missing, None);
    }

    #[test]
    fn broken_bytes_give_what_came_before() {
        let [a, b] = pick(br#"{"a":1,"x":[}"#, [&["a"], &["b"]]);
        assert_eq!((a.unwrap().as_i64(), b), (Some(1), None));
        assert_eq!(pick(b"", [&["a"]]), [None]);
        assert_eq!(pick(b"[]", [&["a"]]), [None]);
    }
}
