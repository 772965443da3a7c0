//! Texts as small numbers, so that a label comparison on the hot path is an integer comparison.
//!
//! One table per scheduler. Numbers are never reused and texts never forgotten: the table grows with the distinct
//! label keys and values of nodes and of selectors, not with pods.

use ahash::RandomState;
use hashbrown::HashMap;

/// The number of a text; meaningful only with the [`Interner`] that gave it.
pub type TextId = u32;

/// The number no text has: "this node has no such label".
pub const NO_TEXT: TextId = 0;

/// A table of texts.
#[derive(Debug)]
pub struct Interner {
    ids: HashMap<Box<str>, TextId, RandomState>,
    texts: Vec<Box<str>>,
}

impl Default for Interner {
    fn default() -> Self {
        // Fixed keys: iteration order is never used, but a run should be repeatable to the last detail.
        Self { ids: HashMap::with_hasher(fixed_hasher()), texts: vec!["".into()] }
    }
}

/// A hasher without per-process randomness, for repeatable runs. Keys come from authenticated API objects, and every
/// map built on it is bounded by the number of objects.
#[must_use]
pub fn fixed_hasher() -> RandomState {
    RandomState::with_seeds(0x6761_6e74_7279, 0x7363_6865_6475, 0x6c65_7220_636f, 0x7265)
}

impl Interner {
    /// The number of `text`, given one if it has none yet.
    pub fn id(&mut self, text: &str) -> TextId {
        if let Some(id) = self.ids.get(text) {
            return *id;
        }
        let id = TextId::try_from(self.texts.len()).expect("fewer than 2^32 distinct labels fit in memory");
        self.texts.push(text.into());
        self.ids.insert(text.into(), id);
        id
    }

    /// The number of `text`, if it has one.
    #[must_use]
    pub fn find(&self, text: &str) -> Option<TextId> {
        self.ids.get(text).copied()
    }

    /// How many numbers are given, the reserved one included: every number is below.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "never empty: the reserved number is there from the beginning")]
    pub fn len(&self) -> usize {
        self.texts.len()
    }

    /// The text of a number.
    ///
    /// # Panics
    /// For a number of another table.
    #[must_use]
    pub fn text(&self, id: TextId) -> &str {
        &self.texts[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_share_a_number_and_none_has_the_reserved_one() {
        let mut table = Interner::default();
        let (zone, empty) = (table.id("zone"), table.id(""));
        assert_eq!(table.id("zone"), zone);
        assert_ne!(zone, NO_TEXT);
        assert_ne!(empty, NO_TEXT);
        assert_eq!((table.text(zone), table.text(empty)), ("zone", ""));
        assert_eq!(table.find("other"), None);
    }
}
