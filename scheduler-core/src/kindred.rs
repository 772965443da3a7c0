//! Which pods are spread together when they say nothing of it themselves: those that the same Services and the same
//! controller select. Upstream's `helper.DefaultSelector`, on Services and controllers as they are now.

use ahash::RandomState;
use hashbrown::HashMap;

use crate::intern::fixed_hasher;
use crate::profile::SpreadDefaults;
use crate::rows::{Demand, Keeper, KindredRow, Own, Selector, SpreadConstraint};

type Key = (Keeper, Box<str>, Box<str>);

/// All Services and controllers.
#[derive(Debug)]
pub struct Kindred {
    services: HashMap<Box<str>, Vec<KindredRow>, RandomState>,
    controllers: HashMap<Key, Selector, RandomState>,
    version: u64,
}

impl Default for Kindred {
    fn default() -> Self {
        Self {
            services: HashMap::with_hasher(fixed_hasher()),
            controllers: HashMap::with_hasher(fixed_hasher()),
            version: 0,
        }
    }
}

impl Kindred {
    /// One as it is now.
    pub fn set(&mut self, row: KindredRow) {
        if row.keeper != Keeper::Service {
            let key = (row.keeper, row.namespace, row.name);
            let selector = row.selector.unwrap_or_default();
            if self.controllers.get(&key) != Some(&selector) {
                self.version += 1;
                self.controllers.insert(key, selector);
            }
            return;
        }
        let all = self.services.entry(row.namespace.clone()).or_default();
        match all.iter_mut().find(|known| known.name == row.name) {
            Some(known) if *known == row => return,
            Some(known) => *known = row,
            None => all.push(row),
        }
        // Labels that several Services name are taken from the last.
        all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        self.version += 1;
    }

    /// One is gone.
    pub fn remove(&mut self, keeper: Keeper, namespace: &str, name: &str) {
        self.version += 1;
        if keeper != Keeper::Service {
            self.controllers.remove(&(keeper, namespace.into(), name.into()));
        } else if let Some(all) = self.services.get_mut(namespace) {
            all.retain(|row| *row.name != *name);
            if all.is_empty() {
                self.services.remove(namespace);
            }
        }
    }

    /// These are all of a kind.
    pub fn replace(&mut self, keeper: Keeper, rows: Vec<KindredRow>) {
        self.version += 1;
        if keeper == Keeper::Service {
            self.services.clear();
        } else {
            self.controllers.retain(|(known, ..), _| *known != keeper);
        }
        rows.into_iter().for_each(|row| self.set(row));
    }

    /// Counts every change.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// What selects a pod and those it is to be spread with; `None` when nothing does.
    #[must_use]
    pub fn selector(
        &self,
        namespace: &str,
        labels: &[(Box<str>, Box<str>)],
        owner: Option<&(Keeper, Box<str>)>,
    ) -> Option<Selector> {
        let mut merged = Selector::default();
        let mut add = |selector: &Selector| {
            for requirement in &selector.requirements {
                if !merged.requirements.contains(requirement) {
                    merged.requirements.push(requirement.clone());
                }
            }
        };
        for service in self.services.get(namespace).into_iter().flatten() {
            if let Some(selector) = service.selector.as_ref().filter(|s| s.matches(labels)) {
                add(selector);
            }
        }
        if let Some((keeper, name)) = owner
            && let Some(selector) = self.controllers.get(&(*keeper, namespace.into(), name.clone()))
        {
            add(selector);
        }
        if merged.requirements.is_empty() {
            return None;
        }
        merged.requirements.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        Some(merged)
    }
}

/// Adds the constraints that a profile has for pods without any of their own.
pub fn add_defaults(
    demand: &mut Demand,
    defaults: &SpreadDefaults,
    selector: Selector,
    namespace: &str,
    labels: &[(Box<str>, Box<str>)],
) {
    let system = |key: &str, max_skew| SpreadConstraint {
        max_skew,
        topology_key: key.into(),
        hard: false,
        ..SpreadConstraint::default()
    };
    demand.defaulted = true;
    demand.spread = match defaults {
        SpreadDefaults::System => {
            // A node without a zone is rated by the rest.
            demand.lenient = true;
            vec![system("kubernetes.io/hostname", 3), system("topology.kubernetes.io/zone", 5)]
        }
        SpreadDefaults::List(list) => list.clone(),
    };
    for constraint in &mut demand.spread {
        constraint.selector = Some(selector.clone());
    }
    if demand.own.is_none() {
        demand.own = Some(Box::new(Own { namespace: namespace.into(), labels: labels.to_vec() }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::{Operator, Requirement};

    #[test]
    fn services_and_the_controller_select_together() {
        let selector = |key: &str, value: &str| Selector {
            requirements: vec![Requirement { key: key.into(), operator: Operator::In, values: vec![value.into()] }],
        };
        let row = |keeper, name: &str, selector| KindredRow {
            keeper,
            namespace: "d".into(),
            name: name.into(),
            selector: Some(selector),
        };
        let mut kindred = Kindred::default();
        kindred.set(row(Keeper::Service, "s", selector("app", "web")));
        kindred.set(row(Keeper::Service, "t", selector("app", "db")));
        kindred.set(row(Keeper::ReplicaSet, "r", selector("hash", "1")));
        let labels: Vec<(Box<str>, Box<str>)> = vec![("app".into(), "web".into()), ("hash".into(), "1".into())];
        let owner = (Keeper::ReplicaSet, "r".into());
        let both = kindred.selector("d", &labels, Some(&owner)).expect("selected");
        assert_eq!(both.requirements.len(), 2);
        assert_eq!(kindred.selector("d", &labels, None), Some(selector("app", "web")));
        assert_eq!(kindred.selector("e", &labels, Some(&owner)), None);
        let version = kindred.version();
        kindred.set(row(Keeper::Service, "s", selector("app", "web")));
        assert_eq!(kindred.version(), version);
        kindred.remove(Keeper::Service, "d", "s");
        assert_eq!(kindred.selector("d", &labels, None), None);
    }
}
