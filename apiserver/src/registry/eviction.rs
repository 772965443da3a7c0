//! `pods/eviction`: a delete that asks the pod's disruption budget first (what `kubectl drain` does).
//!
//! A pod that does not count for its budget (pending, finished, on its way out) goes at once. For any other the budget
//! is charged first, as upstream does: a charge whose eviction then fails is undone by the disruption controller, which
//! recounts.

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::DeleteOptions;
use gantry_machinery::selector::LabelSelector;
use gantry_machinery::status::{CAUSE_DISRUPTION_BUDGET, Status};
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};

use super::bind::success;
use super::call::{Call, settle_name};
use super::decode::delete_options;
use super::handle::Written;
use super::{Registry, answer, body, metadata};

/// How often a charge is tried again because the budget changed in between.
const CHARGES_MAX: usize = 20;
/// Evictions that a budget's controller has not confirmed yet; more are refused, as upstream does.
const DISRUPTED_PODS_MAX: usize = 2000;

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

impl Registry {
    /// Evicts a pod.
    pub(super) async fn create_eviction(&self, call: &Call<'_>, mut eviction: Value) -> Result<Written, Status> {
        settle_name(call, &mut eviction)
            .map_err(|_| Status::bad_request("name in URL does not match name in Eviction object"))?;
        let mut options = delete_options(eviction.get("deleteOptions"))?;
        options.dry_run |= call.options.dry_run;

        let key = call.key(call.name);
        let stored = self.store.get(&key).ok_or_else(|| Status::not_found(call.row.gvr(), call.name))?;
        let pod = body::decode(&stored)?;
        if counts_for_no_budget(&pod) {
            // A pending pod may become ready meanwhile: then the budget must be asked after all.
            let pending = pod.str_at(&["status", "phase"]) == Some("Pending") && !metadata::is_deleting(&pod);
            if pending && options.resource_version.is_none() {
                options.resource_version = Some(stored.revision.to_string());
            }
            self.delete_object(call, &options).await?;
            return Ok(success(call.name));
        }
        let budgets = self.budgets_of(call.namespace, &pod);
        match budgets.as_slice() {
            [] => {}
            [budget] => {
                let held = body::decode(budget)?;
                let healthy = |field: &str| held.i64_at(&["status", field]).unwrap_or_default();
                let enough = healthy("currentHealthy") >= healthy("desiredHealthy") && healthy("desiredHealthy") > 0;
                let always = held.str_at(&["spec", "unhealthyPodEvictionPolicy"]) == Some("AlwaysAllow");
                if !is_ready(&pod) && (enough || always) {
                    return self.evict_unready(call, &stored, options, metadata::text(&held, "name")).await;
                }
                self.charge(call, budget, options.dry_run).await?;
            }
            _ => {
                return Err(Status {
                    code: 500,
                    message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not \
                              support."
                        .to_owned(),
                    ..Status::default()
                });
            }
        }
        self.delete_object(call, &options).await?;
        Ok(success(call.name))
    }

    /// Evicts a pod that is not ready, provided it does not become ready in between.
    async fn evict_unready(
        &self,
        call: &Call<'_>,
        stored: &StoredObject,
        mut options: DeleteOptions,
        budget: &str,
    ) -> Result<Written, Status> {
        let asked = options.resource_version.is_some();
        if !asked {
            options.resource_version = Some(stored.revision.to_string());
        }
        match self.delete_object(call, &options).await {
            Ok(_) => Ok(success(call.name)),
            Err(status) if status.code == 409 && !asked => Err(still_processed(budget)),
            Err(status) => Err(status),
        }
    }

    /// The budgets that select a pod.
    fn budgets_of(&self, namespace: &str, pod: &Value) -> Vec<std::sync::Arc<StoredObject>> {
        let view = self.store.view();
        let labels = pod.object_at(&["metadata", "labels"]);
        view.scan(&gvr::POD_DISRUPTION_BUDGETS.collection(), Some(namespace), None)
            .filter(|stored| {
                let Ok(budget) = body::decode(stored) else { return false };
                // Nothing, or a selector that is wrong or empty, selects no pod.
                budget.object_at(&["spec", "selector"]).is_some_and(|s| !s.is_empty())
                    && LabelSelector::from_object(budget.at(&["spec", "selector"]))
                        .is_ok_and(|s| !s.is_everything() && s.matches_labels(labels))
            })
            .collect()
    }

    /// Takes one disruption off a budget.
    async fn charge(&self, call: &Call<'_>, budget: &StoredObject, dry_run: bool) -> Result<(), Status> {
        let name = budget.key.name();
        for _ in 0..CHARGES_MAX {
            let Some(stored) = self.store.get(&budget.key) else { return Ok(()) };
            let mut value = (*body::decode(&stored)?).clone();
            let number = |field: &str| value.i64_at(&["status", field]).unwrap_or_default();
            if number("observedGeneration") < value.i64_at(&["metadata", "generation"]).unwrap_or_default() {
                return Err(still_processed(name));
            }
            let allowed = number("disruptionsAllowed");
            if allowed < 0 {
                return Err(forbidden(name, "pdb disruptions allowed is negative"));
            }
            if value.object_at(&["status", "disruptedPods"]).is_some_and(|m| m.len() > DISRUPTED_PODS_MAX) {
                return Err(forbidden(
                    name,
                    "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
                ));
            }
            if allowed == 0 {
                let (desired, current) = (number("desiredHealthy"), number("currentHealthy"));
                return Err(Status::too_many_requests(REFUSED, 0).with_cause(
                    CAUSE_DISRUPTION_BUDGET,
                    "",
                    format!("The disruption budget {name} needs {desired} healthy pods and has {current} currently"),
                ));
            }
            if dry_run {
                return Ok(());
            }
            value.set(&["status", "disruptionsAllowed"], allowed - 1);
            value.set(&["status", "disruptedPods", call.name], time::now());
            let facets = stored.facets.clone();
            let write = Write::Put { body: body::encode(&mut value), facets, ttl: None };
            match self.store.commit(Txn::one(stored.key.clone(), Expect::Revision(stored.revision), write)).await {
                Ok(_) => return Ok(()),
                Err(TxnError::Conflict { .. }) => {}
                Err(error) => return Err(answer::refused(error, &gvr::POD_DISRUPTION_BUDGETS, name)),
            }
        }
        Err(Status::timeout(format_args!("couldn't update PodDisruptionBudget {name:?} due to conflicts"), 10))
    }
}

fn counts_for_no_budget(pod: &Value) -> bool {
    metadata::is_deleting(pod) || matches!(pod.str_at(&["status", "phase"]), Some("Succeeded" | "Failed" | "Pending"))
}

fn is_ready(pod: &Value) -> bool {
    pod.array_at(&["status", "conditions"])
        .iter()
        .any(|c| c.str_at(&["type"]) == Some("Ready") && c.str_at(&["status"]) == Some("True"))
}

fn still_processed(budget: &str) -> Status {
    Status::too_many_requests(REFUSED, 10).with_cause(
        CAUSE_DISRUPTION_BUDGET,
        "",
        format!("The disruption budget {budget} is still being processed by the server."),
    )
}

fn forbidden(budget: &str, why: &str) -> Status {
    Status::forbidden(&gvr::POD_DISRUPTION_BUDGETS, budget, why)
}
