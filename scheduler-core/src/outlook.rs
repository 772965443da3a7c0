//! What a class thinks of each node, whatever is on it: the verdict of the rules about the node and its raw scores.
//!
//! Classes that differ in requests alone think alike, so they share it: a class that is new may have thought of all nodes
//! already. Repaired from the columns' journal of nodes, which pods that come and go leave alone.

use crate::class::{Class, NodeView, UNSEEN};
use crate::columns::{Columns, Slot};
use crate::rows::Demand;
use crate::score::image_locality::ImageWorth;
use std::sync::Arc;

/// One such view of all nodes.
#[derive(Debug)]
pub struct Outlook {
    /// A demand of those who share it.
    of: Arc<Demand>,
    worth: ImageWorth,
    cursor: u64,
    views: Vec<NodeView>,
    admits: Vec<u8>,
    /// How many nodes that admit the class have a raw score of any kind.
    special: usize,
}

impl Outlook {
    fn new(class: &Class, columns: &Columns, worth: ImageWorth) -> Self {
        let mut outlook = Self {
            of: Arc::clone(&class.demand),
            worth,
            cursor: columns.nodes_journal.head(),
            views: Vec::new(),
            admits: Vec::new(),
            special: 0,
        };
        outlook.grow(columns.slots());
        (0..columns.slots() as Slot).for_each(|slot| outlook.resettle(class, columns, slot));
        outlook
    }

    /// Brings it up to date; `false` when it must be made anew. Any class that shares it may do that.
    fn repair(&mut self, class: &Class, columns: &Columns) -> bool {
        let Some(changes) = columns.nodes_journal.since(self.cursor) else { return false };
        self.grow(columns.slots());
        for (slot, _) in changes {
            self.resettle(class, columns, slot);
        }
        self.cursor = columns.nodes_journal.head();
        true
    }

    fn grow(&mut self, slots: usize) {
        self.views.resize(slots, UNSEEN);
        self.admits.resize(slots, 0);
    }

    fn resettle(&mut self, class: &Class, columns: &Columns, slot: Slot) {
        let at = slot as usize;
        let view = class.view(columns, slot, &self.worth);
        self.special -= usize::from(self.views[at].is_special());
        self.special += usize::from(view.is_special());
        self.views[at] = view;
        self.admits[at] = u8::from(view.verdict.fits());
    }

    /// The views on all nodes.
    #[must_use]
    pub fn views(&self) -> &[NodeView] {
        &self.views
    }

    /// 1 for each slot whose node admits the class.
    #[must_use]
    pub fn admits(&self) -> &[u8] {
        &self.admits
    }

    /// Whether all nodes that admit the class are the same to it.
    #[must_use]
    pub fn is_flat(&self) -> bool {
        self.special == 0
    }

    fn is_of(&self, demand: &Demand, worth: &ImageWorth) -> bool {
        let of = &*self.of;
        of.profile == demand.profile
            && of.tolerations == demand.tolerations
            && of.features == demand.features
            && of.node_selector == demand.node_selector
            && of.node_terms == demand.node_terms
            && of.preferred_node_terms == demand.preferred_node_terms
            && self.worth == *worth
    }
}

/// The outlooks that were used lately, the last used first.
#[derive(Debug, Default)]
pub struct Outlooks {
    all: Vec<Outlook>,
}

/// How many are kept.
const KEPT_MAX: usize = 16;

impl Outlooks {
    /// A class's outlook, up to date. The class must have [learned](Class::learn) of all taints.
    pub fn of(&mut self, class: &Class, columns: &Columns) -> &Outlook {
        let worth = ImageWorth::new(columns, &class.demand.images);
        let known = self.all.iter().position(|outlook| outlook.is_of(&class.demand, &worth));
        let known = known.filter(|at| self.all[*at].repair(class, columns));
        match known {
            Some(0) => {}
            Some(at) => self.all[..=at].rotate_right(1),
            None => {
                self.all.retain(|outlook| !outlook.is_of(&class.demand, &worth));
                self.all.truncate(KEPT_MAX - 1);
                self.all.insert(0, Outlook::new(class, columns, worth));
            }
        }
        &self.all[0]
    }
}
