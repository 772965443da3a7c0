//! YAML: what `kubectl` sends for apply and people send by hand, read into the same [`Value`]s as JSON, and written for
//! `Accept: application/yaml`.
//!
//! The dialect is that of sigs.k8s.io/yaml, which the API server reads with: YAML 1.1's words for booleans, merge keys,
//! keys of any scalar type turned into texts. A parsed document then passes the same schema-guided checks as JSON.

use serde_saphyr::{DuplicateKeyPolicy, Options};

use super::json::{self, DecodeError, Decoded};
use crate::resource_api::FieldValidation;
use crate::schema::Message;
use crate::status::{Status, quote};
use crate::value::Value;

/// How deep a document may nest: twice what the schemas of large CustomResourceDefinitions need, and what the parser's
/// recursion takes on 2 MiB of stack even without optimization. Clients that nest deeper send JSON.
const DEPTH_MAX: usize = 64;

/// How many nodes aliases may repeat in all: more than any manifest that is written by hand, less than a bomb.
const REPEATED_MAX: usize = 100_000;

/// How many bytes all texts may have, repeated ones included: bodies end at 3 MiB.
const TEXT_BYTES_MAX: usize = 12 << 20;

/// One YAML document as a [`Value`]; of keys given twice the last counts. An empty document is `null`.
/// # Errors
/// [`DecodeError::Syntax`] with the parser's text. Anchors and nesting are bounded by the parser's budget.
pub fn parse(bytes: &[u8]) -> Result<Value, DecodeError> {
    read(bytes, DuplicateKeyPolicy::LastWins)
}

/// The same, but keys given twice are an error: for configuration, where neither can be what was meant.
/// # Errors
/// As [`parse`].
pub fn parse_unique(bytes: &[u8]) -> Result<Value, DecodeError> {
    read(bytes, DuplicateKeyPolicy::Error)
}

fn read(bytes: &[u8], duplicate_keys: DuplicateKeyPolicy) -> Result<Value, DecodeError> {
    let mut options = Options::default();
    options.duplicate_keys = duplicate_keys;
    options.legacy_octal_numbers = true;
    options.alias_limits.max_total_replayed_events = REPEATED_MAX;
    if let Some(budget) = &mut options.budget {
        budget.max_depth = DEPTH_MAX;
        budget.max_recorded_anchor_events = REPEATED_MAX;
        budget.max_recorded_anchor_bytes = TEXT_BYTES_MAX;
        budget.max_total_scalar_bytes = TEXT_BYTES_MAX;
    }
    let text = String::from_utf8_lossy(bytes);
    let fault = |error: serde_saphyr::Error| {
        let text = error.to_string();
        // The parser draws the place in the source on further lines; a Status holds one.
        DecodeError::Syntax(format!("yaml: {}", text.lines().next().unwrap_or_default()))
    };
    let value: Value = serde_saphyr::from_str_with_options(&text, options).map_err(fault)?;
    if value.deeper_than(json::MAX_DEPTH) {
        return Err(DecodeError::Syntax("yaml: exceeded max depth".to_owned()));
    }
    Ok(value)
}

/// The first key that a document gives twice, in upstream's words; `None` if there is none.
#[must_use]
pub fn repeated(bytes: &[u8]) -> Option<String> {
    let Err(DecodeError::Syntax(text)) = read(bytes, DuplicateKeyPolicy::Error) else { return None };
    let place = || {
        let (_, rest) = text.split_once("line ")?;
        let (line, rest) = rest.split_once(' ')?;
        let (_, key) = rest.split_once("duplicate mapping key: ")?;
        let key = key.split_once(", set DuplicateKeyPolicy").map_or(key, |(key, _)| key);
        Some(format!("yaml: unmarshal errors:\n  line {line}: key {} already set in map", quote(key)))
    };
    Some(place().unwrap_or(text.clone()))
}

/// A YAML document as an object of this type, as [`json::decode`] does it.
/// # Errors
/// As [`json::decode`]. Of keys given twice the first is reported, by its line.
pub fn decode(bytes: &[u8], message: &Message, validation: FieldValidation) -> Result<Decoded, DecodeError> {
    let value = parse(bytes)?;
    let repeated = match validation {
        FieldValidation::Ignore => None,
        FieldValidation::Warn | FieldValidation::Strict => repeated(bytes),
    };
    let mut decoded = match (json::decode_value(&value, message, validation), &repeated) {
        (Err(DecodeError::Strict(mut faults)), Some(text)) => {
            faults.insert(0, text.clone());
            return Err(DecodeError::Strict(faults));
        }
        (result, _) => result?,
    };
    match (repeated, validation) {
        (Some(text), FieldValidation::Strict) => Err(DecodeError::Strict(vec![text])),
        (Some(text), _) => {
            decoded.warnings.insert(0, text);
            Ok(decoded)
        }
        (None, _) => Ok(decoded),
    }
}

/// A request's body as an object of the kind its path expects, as [`json::decode_body`] does it.
/// # Errors
/// The 400 for the client.
pub fn decode_body(
    bytes: &[u8],
    message: &Message,
    (group, version, kind): (&str, &str, &str),
    validation: FieldValidation,
) -> Result<Decoded, Status> {
    let mut decoded = decode(bytes, message, validation).map_err(|error| error.to_status(kind, version, bytes))?;
    json::expect_kind(&mut decoded.value, group, version, kind)?;
    Ok(decoded)
}

/// A value as a YAML document, its keys sorted as upstream's are.
#[must_use]
pub fn encode(value: &Value) -> Vec<u8> {
    match serde_saphyr::to_string(&value.sorted()) {
        Ok(text) => text.into_bytes(),
        // JSON is YAML too: nothing a value can hold is beyond it.
        Err(_) => json::encode(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema;
    use crate::value;

    #[test]
    fn the_dialect_is_that_of_the_api_server() {
        let text = b"# a comment\na: yes\nb: 'yes'\nc: 0644\nd: [1, 2.5, ~]\ne: {x: off}\n1: one\nf: &x {k: v}\ng:\n  <<: *x\n  l: w\nt: 2026-11-22T10:00:00Z\ns: |\n  two\n  lines\n";
        assert_eq!(
            parse(text).unwrap(),
            value!({
                "a": true, "b": "yes", "c": 420, "d": [1, 2.5, null], "e": {"x": false}, "1": "one", "f": {"k": "v"},
                "g": {"k": "v", "l": "w"}, "t": "2026-11-22T10:00:00Z", "s": "two\nlines\n",
            })
        );
        assert_eq!(parse(br#"{"a": [1, "x"]}"#).unwrap(), value!({"a": [1, "x"]}));
    }

    #[test]
    fn broken_documents_and_alias_bombs_are_refused() {
        assert!(matches!(parse(b"a: [1\nb: 2"), Err(DecodeError::Syntax(_))));
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for n in 1..12 {
            let items = vec![format!("*a{}", n - 1); 10].join(", ");
            bomb.push_str(&format!("a{n}: &a{n} [{items}]\n"));
        }
        assert!(matches!(parse(bomb.as_bytes()), Err(DecodeError::Syntax(_))));
        let nested = |depth: usize| (0..depth).map(|at| format!("{}a:\n", " ".repeat(at))).collect::<String>();
        assert!(parse(nested(60).as_bytes()).is_ok());
        assert!(parse(nested(70).as_bytes()).is_err());
        let deep = [b"[".repeat(5_000), b"]".repeat(5_000)].concat();
        assert!(matches!(parse(&deep), Err(DecodeError::Syntax(_))));
    }

    #[test]
    fn documents_are_checked_as_json_is() {
        let pod = schema::kind("", "v1", "Pod").unwrap();
        let text = b"kind: Pod\nmetadata:\n  name: x\nspec:\n  foo: 1\n  containers:\n  - name: c\n    resources: {limits: {cpu: 0.5}}\n";
        let decoded = decode(text, pod, FieldValidation::Warn).unwrap();
        assert_eq!(decoded.warnings, [r#"unknown field "spec.foo""#]);
        assert_eq!(
            decoded.value.array_at(&["spec", "containers"])[0].str_at(&["resources", "limits", "cpu"]),
            Some("500m")
        );
        let twice = decode(b"kind: Pod\nkind: Pod\n", pod, FieldValidation::Strict);
        assert!(matches!(twice, Err(DecodeError::Strict(_))));
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let value = value!({
            "kind": "Pod",
            "spec": {"on": "yes", "n": "1", "f": "1.5", "nil": "null", "octal": "0644", "list": [{"a": "x: y"}, []], "empty": {}},
            "text": "two\nlines", "q": "it's \"quoted\"", "t": "2026-11-22", "tilde": "~", "hash": "a # b", "num": 7, "true": "true",
        });
        assert_eq!(parse(&encode(&value)).unwrap(), value);
        assert_eq!(
            encode(&value!({"kind": "K", "apiVersion": "v1", "a": {"c": 1, "b": 2}})),
            b"a:\n  b: 2\n  c: 1\napiVersion: v1\nkind: K\n"
        );
    }
}
