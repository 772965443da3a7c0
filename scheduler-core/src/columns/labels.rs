//! One label key as a column, and whether its values tell nodes apart.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::{NO_TEXT, TextId, fixed_hasher};

/// One label of all nodes.
#[derive(Debug)]
pub(super) struct LabelColumn {
    pub(super) values: Vec<TextId>,
    /// How many nodes have each value.
    nodes: HashMap<TextId, u32, RandomState>,
    /// How many values more than one node has.
    pub(super) shared: usize,
}

impl LabelColumn {
    pub(super) fn new(values: Vec<TextId>) -> Self {
        let nodes = HashMap::with_capacity_and_hasher(values.len().min(1024), fixed_hasher());
        let mut column = Self { values: Vec::new(), nodes, shared: 0 };
        column.values.resize(values.len(), NO_TEXT);
        values.into_iter().enumerate().for_each(|(at, value)| column.set(at, value));
        column
    }

    pub(super) fn set(&mut self, at: usize, value: TextId) {
        let before = std::mem::replace(&mut self.values[at], value);
        if before == value {
            return;
        }
        if before != NO_TEXT
            && let Some(nodes) = self.nodes.get_mut(&before)
        {
            *nodes -= 1;
            match *nodes {
                0 => drop(self.nodes.remove(&before)),
                1 => self.shared -= 1,
                _ => {}
            }
        }
        if value != NO_TEXT {
            let nodes = self.nodes.entry(value).or_default();
            *nodes += 1;
            self.shared += usize::from(*nodes == 2);
        }
    }
}
