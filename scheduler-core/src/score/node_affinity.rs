//! NodeAffinity: the sum of the weights of the preferred terms that match.

use crate::columns::{Columns, Slot};
use crate::profile::Profile;
use crate::rows::Demand;
use crate::selector::CompiledTerm;

/// The preferred terms of one class, compiled.
#[derive(Debug)]
pub struct Preferred {
    terms: Box<[(i32, CompiledTerm)]>,
}

impl Preferred {
    /// Compiles the preferred terms of a demand, and those that its profile adds.
    pub fn new(columns: &mut Columns, demand: &Demand, profile: &Profile) -> Self {
        let terms = demand.preferred_node_terms.iter().chain(&profile.added_preferred_node_terms);
        let terms = terms.filter(|p| p.weight != 0);
        Self { terms: terms.map(|p| (p.weight, CompiledTerm::new(columns, &p.term))).collect() }
    }

    /// Whether the rule has nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// The raw score of a node.
    #[must_use]
    pub fn raw(&self, columns: &Columns, slot: Slot) -> i32 {
        self.terms.iter().filter(|(_, t)| t.holds(columns, slot)).map(|(w, _)| w).sum()
    }
}

/// The normalised score.
#[inline]
#[must_use]
pub fn score(raw: i32, most: i32) -> u32 {
    super::normalise(raw.into(), most.into(), false)
}
