//! Extended resources that somebody wrote into a node's `status.capacity`: as a kubelet does, what is there in capacity
//! can be allocated, and what goes from it no more (Kubernetes, "Assign Extended Resources to a Container").
//!
//! What stands in `status.allocatable` alone is left as it is: whoever wrote it knew better.

use std::collections::BTreeMap;

use gantry_machinery::value::Value;
use hashbrown::HashMap;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, String>;

/// What the nodes of a fleet were last seen to have beyond what they came with.
#[derive(Debug, Default)]
pub struct Extended {
    capacity: HashMap<u32, Amounts>,
}

impl Extended {
    /// What is to be written into `status.allocatable` of a node that was seen with these amounts: a patch of amounts,
    /// null for what goes; `None` where all is well.
    pub fn correction(&mut self, node: u32, capacity: &Amounts, allocatable: &Amounts) -> Option<Value> {
        let mut patch = Value::object();
        let extended = || capacity.iter().filter(|(name, _)| is_extended(name));
        for (name, amount) in extended().filter(|(name, amount)| allocatable.get(*name) != Some(*amount)) {
            patch.set(&[name], amount.as_str());
        }
        let before = self.capacity.remove(&node).unwrap_or_default();
        for (name, _) in before.iter().filter(|(name, amount)| {
            // Changed by others meanwhile is theirs.
            !capacity.contains_key(*name) && allocatable.get(*name) == Some(*amount)
        }) {
            patch.set(&[name], Value::Null);
        }
        let now: Amounts = extended().map(|(name, amount)| (name.clone(), amount.clone())).collect();
        if !now.is_empty() {
            self.capacity.insert(node, now);
        }
        patch.as_object().is_some_and(|fields| !fields.is_empty()).then_some(patch)
    }
}

/// Names with a domain that is not Kubernetes' own.
fn is_extended(name: &str) -> bool {
    name.split_once('/').is_some_and(|(domain, _)| domain != "kubernetes.io" && !domain.ends_with(".kubernetes.io"))
}

#[cfg(test)]
mod tests {
    use gantry_machinery::typed::to_json;

    use super::*;

    fn amounts(rows: &[(&str, &str)]) -> Amounts {
        rows.iter().map(|(name, amount)| ((*name).to_owned(), (*amount).to_owned())).collect()
    }

    fn correction(extended: &mut Extended, capacity: &[(&str, &str)], allocatable: &[(&str, &str)]) -> String {
        let patch = extended.correction(7, &amounts(capacity), &amounts(allocatable));
        patch.map(|patch| String::from_utf8(to_json(&patch)).unwrap()).unwrap_or_default()
    }

    #[test]
    fn what_comes_into_capacity_can_be_allocated_and_goes_with_it() {
        let mut extended = Extended::default();
        let own = ("cpu", "32");
        assert_eq!(correction(&mut extended, &[own], &[own]), "");
        assert_eq!(correction(&mut extended, &[own, ("example.com/foo", "3")], &[own]), r#"{"example.com/foo":"3"}"#);
        let both = [own, ("example.com/foo", "3")];
        assert_eq!(correction(&mut extended, &both, &both), "");
        assert_eq!(correction(&mut extended, &[own, ("example.com/foo", "5")], &both), r#"{"example.com/foo":"5"}"#);
        let five = [own, ("example.com/foo", "5")];
        assert_eq!(correction(&mut extended, &five, &five), "");
        assert_eq!(correction(&mut extended, &[own], &five), r#"{"example.com/foo":null}"#);
        assert_eq!(correction(&mut extended, &[own], &[own]), "");
    }

    #[test]
    fn what_was_only_made_allocatable_stays() {
        let mut extended = Extended::default();
        assert_eq!(correction(&mut extended, &[], &[("example.com/foo", "3")]), "");
        assert_eq!(correction(&mut extended, &[("hugepages-2Mi", "1Gi"), ("x.kubernetes.io/y", "1")], &[]), "");
    }
}
