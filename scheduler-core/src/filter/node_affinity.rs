//! NodeAffinity: `spec.nodeSelector` and required node affinity, against the nodes' label columns.

use smallvec::SmallVec;

use crate::columns::{Columns, Slot};
use crate::intern::TextId;
use crate::rows::{Demand, NodeTerm, Operator, Requirement};
use crate::selector::{CompiledTerm, NodeRequirement};

/// The selector and required terms of one class, compiled.
#[derive(Debug)]
pub struct NodeAffinity {
    /// The only nodes that can match, when every term names nodes: upstream's PreFilter result. Sorted.
    named: Option<Vec<TextId>>,
    selector: SmallVec<[NodeRequirement; 2]>,
    terms: Option<Vec<CompiledTerm>>,
}

impl NodeAffinity {
    /// Compiles the selector and terms of a demand.
    pub fn new(columns: &mut Columns, demand: &Demand) -> Self {
        let selector = demand
            .node_selector
            .iter()
            .map(|(key, value)| {
                let r = Requirement { key: key.clone(), operator: Operator::In, values: vec![value.clone()] };
                NodeRequirement::on_label(columns, &r)
            })
            .collect();
        let terms =
            demand.node_terms.as_ref().map(|terms| terms.iter().map(|t| CompiledTerm::new(columns, t)).collect());
        let named = demand.node_terms.as_deref().and_then(named).map(|names| {
            let mut ids: Vec<TextId> = names.iter().map(|n| columns.texts.id(n)).collect();
            ids.sort_unstable();
            ids
        });
        Self { named, selector, terms }
    }

    /// Whether no node can match because the terms name no node that is common to them ("pod affinity terms conflict").
    #[must_use]
    pub fn conflicts(&self) -> bool {
        self.named.as_ref().is_some_and(Vec::is_empty)
    }

    /// Whether the node is among those the terms name, if they name any.
    #[inline]
    #[must_use]
    pub fn is_named(&self, columns: &Columns, slot: Slot) -> bool {
        self.named.as_ref().is_none_or(|named| named.binary_search(&columns.name_id(slot)).is_ok())
    }

    /// Whether the node matches selector and terms.
    #[inline]
    #[must_use]
    pub fn matches(&self, columns: &Columns, slot: Slot) -> bool {
        self.selector.iter().all(|r| r.holds(columns, slot))
            && self.terms.as_ref().is_none_or(|terms| terms.iter().any(|t| t.holds(columns, slot)))
    }
}

/// The nodes that the terms name with `metadata.name In`: the union over the terms; `None` as soon as one term names
/// none, because then any node may match.
fn named(terms: &[NodeTerm]) -> Option<Vec<&str>> {
    if terms.is_empty() {
        return None;
    }
    let mut all: Vec<&str> = Vec::new();
    for term in terms {
        let mut of_term: Option<Vec<&str>> = None;
        for r in term.fields.iter().filter(|r| &*r.key == "metadata.name" && r.operator == Operator::In) {
            let values = r.values.iter().map(|v| &**v);
            of_term = Some(match of_term {
                None => values.collect(),
                Some(known) => values.filter(|v| known.contains(v)).collect(),
            });
        }
        all.extend(of_term?);
    }
    all.sort_unstable();
    all.dedup();
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::NodeRow;

    fn node(name: &str, labels: &[(&str, &str)]) -> NodeRow {
        NodeRow {
            name: name.into(),
            labels: labels.iter().map(|(k, v)| (Box::from(*k), Box::from(*v))).collect(),
            ..NodeRow::default()
        }
    }

    fn named_term(name: &str) -> NodeTerm {
        let r = Requirement { key: "metadata.name".into(), operator: Operator::In, values: vec![name.into()] };
        NodeTerm { labels: vec![], fields: vec![r] }
    }

    #[test]
    fn selector_and_terms_must_both_match_and_any_term_will_do() {
        let mut columns = Columns::new(0);
        columns.set_node(node("a", &[("disk", "ssd"), ("zone", "1")]));
        columns.set_node(node("b", &[("disk", "ssd"), ("zone", "2")]));
        columns.set_node(node("c", &[("disk", "hdd"), ("zone", "1")]));
        let zone = |v: &str| NodeTerm {
            labels: vec![Requirement { key: "zone".into(), operator: Operator::In, values: vec![v.into()] }],
            fields: vec![],
        };
        let demand = Demand {
            node_selector: vec![("disk".into(), "ssd".into())],
            node_terms: Some(vec![zone("1"), zone("3")]),
            ..Demand::default()
        };
        let rule = NodeAffinity::new(&mut columns, &demand);
        assert_eq!([0, 1, 2].map(|slot| rule.matches(&columns, slot)), [true, false, false]);
    }

    #[test]
    fn terms_without_requirements_match_nothing() {
        let mut columns = Columns::new(0);
        columns.set_node(node("a", &[]));
        for terms in [vec![], vec![NodeTerm::default()]] {
            let demand = Demand { node_terms: Some(terms), ..Demand::default() };
            assert!(!NodeAffinity::new(&mut columns, &demand).matches(&columns, 0));
        }
    }

    #[test]
    fn names_narrow_the_search_and_may_conflict() {
        let mut columns = Columns::new(0);
        columns.set_node(node("a", &[]));
        columns.set_node(node("b", &[]));
        let demand = Demand { node_terms: Some(vec![named_term("b")]), ..Demand::default() };
        let rule = NodeAffinity::new(&mut columns, &demand);
        assert_eq!([0, 1].map(|slot| rule.is_named(&columns, slot)), [false, true]);
        let both =
            NodeTerm { fields: [named_term("a").fields, named_term("b").fields].concat(), ..NodeTerm::default() };
        let demand = Demand { node_terms: Some(vec![both]), ..Demand::default() };
        assert!(NodeAffinity::new(&mut columns, &demand).conflicts());
    }
}
