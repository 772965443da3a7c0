//! The paths and definitions of a document, each kept as its JSON text. A tree of a whole document takes ten times the
//! memory of its text, and leaves the heap in holes; made piece by piece, a document costs little more than itself.

use std::collections::BTreeMap;

use serde_json::Value as Json;

/// Named pieces, in the order of their names.
#[derive(Default)]
pub(super) struct Pieces(BTreeMap<String, Box<str>>);

impl Pieces {
    pub(super) fn contains(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    /// Puts a piece in the place of the one before it.
    pub(super) fn insert(&mut self, name: String, piece: &Json) {
        self.0.insert(name, piece.to_string().into_boxed_str());
    }

    /// Appends all of them as one JSON object.
    pub(super) fn write(self, out: &mut String) {
        out.push('{');
        for (n, (name, piece)) in self.0.into_iter().enumerate() {
            if n > 0 {
                out.push(',');
            }
            out.push_str(&Json::from(name).to_string());
            out.push(':');
            out.push_str(&piece);
        }
        out.push('}');
    }

    /// Each piece as a value again, one at a time.
    pub(super) fn into_values(self) -> impl Iterator<Item = (String, Json)> {
        self.0.into_iter().map(|(name, piece)| (name, serde_json::from_str(&piece).expect("written by us")))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_make_the_object_that_they_are_of() {
        let whole = json!({"a\"b": {"x": [1, null]}, "": "text", "z": true});
        let mut pieces = Pieces::default();
        for (name, piece) in whole.as_object().unwrap() {
            pieces.insert(name.clone(), &Json::Null);
            pieces.insert(name.clone(), piece);
        }
        assert!(pieces.contains("z") && !pieces.contains("y"));
        let mut text = String::new();
        pieces.write(&mut text);
        assert_eq!(text, whole.to_string());
    }
}
