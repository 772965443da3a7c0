//! ComponentStatuses: the health of scheduler, controllers and store, looked at when somebody asks.
//!
//! A loop of this process says itself how it is ([`Components::add`]). One in a process of its own is known by the Lease
//! it renews in `kube-system`: alive while that has not run out.

use std::sync::Arc;

use gantry_machinery::resource_api::ObjectList;
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value;

use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, StoredObject};
use parking_lot::RwLock;

use super::table::Row;
use super::{Registry, body};

/// Asks a part of the control plane how it is: well, or why not.
type Test = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The parts by name, and the Lease that each of them holds when it runs elsewhere.
const PARTS: [(&str, Option<&str>); 3] =
    [("scheduler", Some("kube-scheduler")), ("controller-manager", Some("kube-controller-manager")), ("etcd-0", None)];

/// The parts that run in this process.
#[derive(Default)]
pub struct Components {
    // Taken alone, for the length of a test.
    here: RwLock<Vec<(&'static str, Test)>>,
}

impl Components {
    /// Says how `name` (`scheduler`, `controller-manager`) is asked how it is.
    pub fn add(&self, name: &'static str, test: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        self.here.write().push((name, Box::new(test)));
    }

    fn ask(&self, name: &str) -> Option<Result<(), String>> {
        self.here.read().iter().find(|(part, _)| *part == name).map(|(_, test)| test())
    }
}

/// Whether a row's objects are computed here instead of read from the store.
pub(super) fn computes(row: &Row) -> bool {
    row.collection == "componentstatuses"
}

impl Registry {
    /// The parts of the control plane in this process, to be told of.
    #[must_use]
    pub fn components(&self) -> &Components {
        &self.components
    }

    /// How one part is; `None` for a name that no part has.
    pub(super) fn component(&self, name: &str) -> Option<Arc<StoredObject>> {
        let (_, lease) = PARTS.iter().find(|(part, _)| *part == name)?;
        let here = match lease {
            None => Some(self.store.health()),
            Some(_) => self.components.ask(name),
        };
        let outcome = here.unwrap_or_else(|| self.lease_held(lease.unwrap_or_default()));
        let mut condition = value!({"type": "Healthy"});
        match outcome {
            Ok(()) => {
                condition.set(&["status"], "True");
                condition.set(&["message"], "ok");
            }
            Err(why) => {
                condition.set(&["status"], "False");
                condition.set(&["message"], why);
            }
        }
        let object = value!({
            "kind": "ComponentStatus", "apiVersion": "v1",
            "metadata": {"name": name, "creationTimestamp": null},
            "conditions": [condition],
        });
        let key = ObjectKey::new("componentstatuses", "", name);
        Some(body::answer(key, self.store.view().revision(), &object, Facets::default()))
    }

    /// All of them, in upstream's order. Selectors are not looked at, as upstream has it.
    pub(super) fn all_components(&self) -> ObjectList {
        let items = PARTS.iter().filter_map(|(name, _)| self.component(name)).collect();
        ObjectList { revision: self.store.view().revision(), items, ..ObjectList::default() }
    }

    fn lease_held(&self, name: &str) -> Result<(), String> {
        let key = ObjectKey::new("leases.coordination.k8s.io", "kube-system", name);
        let none = || format!("no instance holds the Lease kube-system/{name}");
        let lease = self.store.get(&key).ok_or_else(none)?;
        let lease = body::decode(&lease).map_err(|status: Status| status.message)?;
        let held = lease.str_at(&["spec", "holderIdentity"]).is_some_and(|holder| !holder.is_empty());
        let renewed = lease.str_at(&["spec", "renewTime"]).and_then(time::parse);
        let lasts = lease.i64_at(&["spec", "leaseDurationSeconds"]).unwrap_or_default();
        match renewed {
            Some(at) if held && time::now_unix() <= at + lasts => Ok(()),
            Some(_) if held => Err(format!("the Lease kube-system/{name} has run out")),
            _ => Err(none()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_in_this_process_answers_for_itself() {
        let components = Components::default();
        assert!(components.ask("scheduler").is_none());
        components.add("scheduler", || Err("stuck".to_owned()));
        assert_eq!(components.ask("scheduler"), Some(Err("stuck".to_owned())));
    }
}
