//! ResourceQuota: nothing is written that its namespace's quotas have no room for (Kubernetes, "Resource Quotas").
//!
//! Upstream charges a quota first and writes the object afterwards; here both are one transaction, so that nothing is
//! charged that was not written, and nothing written that was not charged. Room comes back when the resource quota loop
//! counts the namespace anew. A quota holds from the moment on that the loop has put down its first count.

use ahash::RandomState;
use gantry_machinery::quota::{self, Usage};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::store::Store;
use gantry_store_cache::txn::{Expect, Op, Write};
use tokio::sync::{Mutex, MutexGuard};

use super::Operation;
use crate::registry::body;
use crate::registry::call::Call;
use crate::registry::create::Beside;

const COLLECTION: &str = "resourcequotas";

/// Writes that charge quotas at the same time, whatever their namespaces.
const TURNS: usize = 64;

/// Whose turn it is to charge a namespace's quotas. Creations of one namespace would refuse each other's transactions,
/// and each try again; so they go one after the other. Held over a commit; nothing else is waited for under it.
pub(crate) struct Turns {
    turns: [Mutex<()>; TURNS],
    hash: RandomState,
}

impl Default for Turns {
    fn default() -> Self {
        Self { turns: [const { Mutex::const_new(()) }; TURNS], hash: RandomState::new() }
    }
}

impl Turns {
    /// Waits for this creation's turn; `None` for the many that no quota concerns.
    pub(crate) async fn wait(&self, store: &Store, call: &Call<'_>) -> Option<MutexGuard<'_, ()>> {
        if !concerns(store, call, Operation::Create) {
            return None;
        }
        let turn = self.hash.hash_one(call.namespace) as usize % TURNS;
        Some(self.turns[turn].lock().await)
    }
}

/// Whether a write could cost anything. Cheap: asked for every write.
fn concerns(store: &Store, call: &Call<'_>, operation: Operation) -> bool {
    let charged = match (operation, &*call.row.collection, call.subresource) {
        (_, "events" | "events.events.k8s.io", _) | (Operation::Delete, ..) => false,
        (Operation::Create, _, subresource) => subresource.is_empty(),
        (Operation::Update, "services" | "persistentvolumeclaims", "") | (Operation::Update, "pods", "resize") => true,
        (Operation::Update, ..) => false,
    };
    charged && call.row.resource.namespaced && store.view().count(COLLECTION, Some(call.namespace)) > 0
}

/// The operations by which the namespace's quotas are charged for a write, in its own transaction.
///
/// # Errors
/// 403 when a quota has no room for it, does not know yet how much room it has, or wants it to say what it needs.
pub(crate) fn charge(store: &Store, call: &Call<'_>, new: &Value, old: Option<&Value>) -> Result<Beside, Status> {
    let operation = if old.is_some() { Operation::Update } else { Operation::Create };
    if !concerns(store, call, operation) {
        return Ok(Beside::new());
    }
    let collection = &*call.row.collection;
    let now = time::now_unix();
    let costs = quota::usage(collection, new, now);
    let cost_before = old.map(|old| quota::usage(collection, old, now)).unwrap_or_default();
    let mut ops = Beside::new();
    for stored in store.view().scan(COLLECTION, Some(call.namespace), None) {
        let limits = body::decode(&stored)?;
        let hard = quota::amounts(limits.at(&["status", "hard"]));
        let concerned = |resource: &str| quota::draws_on(collection, resource);
        if !hard.keys().any(|resource| concerned(resource)) || !quota::in_scopes(&limits, collection, new) {
            continue;
        }
        let refuse = |why: String| {
            let name = new.str_at(&["metadata", "name"]).unwrap_or(call.name);
            Err(Status::forbidden(call.row.gvr(), name, why))
        };
        let resources = hard.keys().map(|resource| resource.as_str()).filter(|resource| concerned(resource));
        if let Some(missing) = quota::missing(collection, new, resources.clone()) {
            return refuse(format!("failed quota: {}: must specify {missing}", stored.key.name()));
        }
        let mut used = quota::amounts(limits.at(&["status", "used"]));
        if resources.clone().any(|resource| !used.contains_key(resource)) {
            let names: Vec<&str> = resources.collect();
            return refuse(format!("status unknown for quota: {}, resources: {}", stored.key.name(), names.join(",")));
        }
        // What the object cost this quota before.
        let paid = old.is_some_and(|old| quota::in_scopes(&limits, collection, old));
        let mut asked = Usage::new();
        for (resource, cost) in costs.iter().filter(|(resource, _)| hard.contains_key(*resource)) {
            let more = match cost_before.get(resource).filter(|_| paid) {
                Some(before) => cost.minus(*before),
                None => *cost,
            };
            if more.sign() > 0 {
                asked.insert(resource.clone(), more);
            }
        }
        if asked.is_empty() {
            continue;
        }
        let before = used.clone();
        quota::add(&mut used, &asked);
        let exceeded: Vec<_> = asked.keys().filter(|resource| used.get(*resource) > hard.get(*resource)).collect();
        if !exceeded.is_empty() {
            let list = |amounts: &Usage| {
                let each: Vec<String> = exceeded
                    .iter()
                    .filter_map(|resource| Some(format!("{resource}={}", amounts.get(*resource)?)))
                    .collect();
                each.join(",")
            };
            return refuse(format!(
                "exceeded quota: {}, requested: {}, used: {}, limited: {}",
                stored.key.name(),
                list(&asked),
                list(&before),
                list(&hard)
            ));
        }
        ops.push(charged(&stored, &limits, &used));
    }
    Ok(ops)
}

/// The quota with what is used now, if nobody has written it since.
fn charged(stored: &StoredObject, limits: &Value, used: &Usage) -> Op {
    let mut limits = limits.clone();
    limits.set(&["status", "used"], quota::to_value(used));
    let write = Write::Put { body: body::encode(&mut limits), facets: stored.facets.clone(), ttl: None };
    Op { key: stored.key.clone(), expect: Expect::Revision(stored.revision), write }
}
