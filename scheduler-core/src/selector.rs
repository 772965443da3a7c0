//! Selectors, two ways: on a pod's labels as texts, and compiled against the nodes' label columns.
//!
//! Semantics are those of `labels.Requirement` and of component-helpers' node affinity: `NotIn` and `DoesNotExist` hold
//! where the label is absent; `Gt` and `Lt` never hold where it is absent or no integer; a node term without any
//! requirement holds nowhere.

use smallvec::SmallVec;

use crate::columns::{Columns, Slot};
use crate::intern::{NO_TEXT, TextId};
use crate::rows::{NodeTerm, Operator, Requirement, Selector};

impl Selector {
    /// Whether labels (sorted by key) satisfy all requirements.
    #[must_use]
    pub fn matches(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        self.requirements.iter().all(|r| {
            let at = labels.binary_search_by(|(k, _)| k.cmp(&r.key)).ok();
            r.holds(at.map(|at| &*labels[at].1))
        })
    }
}

impl NodeTerm {
    /// Whether a node's labels (sorted by key) satisfy it; a term about fields, or about nothing, never does.
    #[must_use]
    pub fn matches_labels(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        self.fields.is_empty() && !self.labels.is_empty() && self.holds_for(labels)
    }

    /// Whether a node of this name and labels (sorted by key) satisfies it; a term about nothing never does.
    #[must_use]
    pub fn matches_node(&self, name: &str, labels: &[(Box<str>, Box<str>)]) -> bool {
        let named = |r: &Requirement| &*r.key == "metadata.name" && r.holds(Some(name));
        if !self.fields.iter().all(named) {
            return false;
        }
        (!self.labels.is_empty() || !self.fields.is_empty()) && self.holds_for(labels)
    }

    fn holds_for(&self, labels: &[(Box<str>, Box<str>)]) -> bool {
        self.labels.iter().all(|r| {
            let at = labels.binary_search_by(|(k, _)| k.cmp(&r.key)).ok();
            r.holds(at.map(|at| &*labels[at].1))
        })
    }
}

impl Requirement {
    /// Whether a label of this value (`None`: no such label) satisfies it.
    #[must_use]
    pub fn holds(&self, value: Option<&str>) -> bool {
        let among = |v: &str| self.values.binary_search_by(|known| (**known).cmp(v)).is_ok();
        match (self.operator, value) {
            (Operator::In, Some(v)) => among(v),
            (Operator::NotIn, Some(v)) => !among(v),
            (Operator::Exists, v) => v.is_some(),
            (Operator::DoesNotExist, v) => v.is_none(),
            (Operator::NotIn, None) => true,
            (Operator::Gt, Some(v)) => self.bound().zip(integer(v)).is_some_and(|(bound, v)| v > bound),
            (Operator::Lt, Some(v)) => self.bound().zip(integer(v)).is_some_and(|(bound, v)| v < bound),
            (Operator::In | Operator::Gt | Operator::Lt, None) => false,
        }
    }

    fn bound(&self) -> Option<i64> {
        match &*self.values {
            [only] => integer(only),
            _ => None,
        }
    }
}

fn integer(text: &str) -> Option<i64> {
    text.parse().ok()
}

/// A requirement against a label column: numbers are compared, not texts.
#[derive(Clone, Debug)]
pub struct NodeRequirement {
    column: Column,
    operator: Operator,
    /// Sorted.
    values: SmallVec<[TextId; 2]>,
    /// For `Gt` and `Lt`, which compare the texts themselves.
    texts: Option<Box<Requirement>>,
}

#[derive(Clone, Copy, Debug)]
enum Column {
    Label(usize),
    Name,
}

impl NodeRequirement {
    /// A requirement on a label; makes the label's column if no class asked for it before.
    pub fn on_label(columns: &mut Columns, r: &Requirement) -> Self {
        let column = Column::Label(columns.label_column(&r.key));
        Self::new(columns, column, r)
    }

    /// A requirement on a field: `metadata.name`, the only one the API server admits.
    pub fn on_field(columns: &mut Columns, r: &Requirement) -> Self {
        Self::new(columns, Column::Name, r)
    }

    fn new(columns: &mut Columns, column: Column, r: &Requirement) -> Self {
        let mut values: SmallVec<[TextId; 2]> = r.values.iter().map(|v| columns.texts.id(v)).collect();
        values.sort_unstable();
        let texts = matches!(r.operator, Operator::Gt | Operator::Lt).then(|| Box::new(r.clone()));
        Self { column, operator: r.operator, values, texts }
    }

    /// Whether the node at `slot` satisfies it.
    #[inline]
    #[must_use]
    pub fn holds(&self, columns: &Columns, slot: Slot) -> bool {
        let value = match self.column {
            Column::Label(column) => columns.label(column, slot),
            Column::Name => columns.name_id(slot),
        };
        match self.operator {
            Operator::In => value != NO_TEXT && self.values.contains(&value),
            Operator::NotIn => !self.values.contains(&value),
            Operator::Exists => value != NO_TEXT,
            Operator::DoesNotExist => value == NO_TEXT,
            Operator::Gt | Operator::Lt => {
                let text = (value != NO_TEXT).then(|| columns.texts.text(value));
                self.texts.as_ref().is_some_and(|r| r.holds(text))
            }
        }
    }
}

/// A node term, compiled.
#[derive(Clone, Debug)]
pub struct CompiledTerm {
    requirements: SmallVec<[NodeRequirement; 2]>,
}

impl CompiledTerm {
    /// Compiles a term.
    pub fn new(columns: &mut Columns, term: &NodeTerm) -> Self {
        let mut requirements: SmallVec<[NodeRequirement; 2]> = SmallVec::new();
        requirements.extend(term.labels.iter().map(|r| NodeRequirement::on_label(columns, r)));
        for field in &term.fields {
            requirements.push(NodeRequirement::on_field(columns, field));
        }
        Self { requirements }
    }

    /// Whether the node at `slot` satisfies all of it, and there is something to satisfy.
    #[inline]
    #[must_use]
    pub fn holds(&self, columns: &Columns, slot: Slot) -> bool {
        !self.requirements.is_empty() && self.requirements.iter().all(|r| r.holds(columns, slot))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_hold_as_upstream_says() {
        let r = |operator, values: &[&str]| Requirement {
            key: "k".into(),
            operator,
            values: values.iter().map(|v| Box::from(*v)).collect(),
        };
        for (requirement, absent, seven, word) in [
            (r(Operator::In, &["7"]), false, true, false),
            (r(Operator::NotIn, &["7"]), true, false, true),
            (r(Operator::Exists, &[]), false, true, true),
            (r(Operator::DoesNotExist, &[]), true, false, false),
            (r(Operator::Gt, &["6"]), false, true, false),
            (r(Operator::Lt, &["6"]), false, false, false),
            (r(Operator::Gt, &["6", "7"]), false, false, false),
        ] {
            let got = (requirement.holds(None), requirement.holds(Some("7")), requirement.holds(Some("x")));
            assert_eq!(got, (absent, seven, word), "{requirement:?}");
        }
    }

    #[test]
    fn an_empty_selector_selects_everything() {
        assert!(Selector::default().matches(&[]));
    }
}
