//! Why a pod is where it is, or nowhere: one look at a cluster's objects, one question to the core. Works against any
//! Kubernetes API server, with no scheduler of ours running.

use std::sync::Arc;

use gantry_machinery::reflector::Delta;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ListOptions, ResourceApi, Target};
use gantry_machinery::status::Status;
use gantry_scheduler_core::cycle::Scheduler;
use gantry_scheduler_core::cycle::explain::Explanation;
use gantry_scheduler_core::rows::PodRow;

use super::config::Configuration;
use super::feed;

/// What can be said of a pod.
#[derive(Debug)]
pub struct Answer {
    /// The pod as the scheduler sees it.
    pub pod: PodRow,
    /// The core's word on it.
    pub explanation: Explanation,
}

/// Explains a pod, with the best `most` nodes.
/// # Errors
/// The API's Status: there is no such pod, or the caller may not see what the answer needs.
pub async fn explain(
    api: Arc<dyn ResourceApi>,
    config: &Configuration,
    namespace: &str,
    name: &str,
    most: usize,
) -> Result<Answer, Status> {
    let object = api.get(&Target::object(&gvr::PODS, namespace, name)).await?;
    let pod = PodRow::from_json(&object.body).map_err(|error| Status::internal(&error))?;
    let mut events = Vec::new();
    for known in &feed::COLLECTIONS {
        let of = Collection { resource: known.resource, namespace: "" };
        let all = match api.list(&of, &ListOptions::default()).await {
            Err(status) if status.code == 404 && known.recent => Vec::new(),
            answer => answer?.items,
        };
        events.extend((known.told)(Delta::Replace(all)));
    }
    // As a pod alone: whether its gang would fit with it is another question.
    let mut core = Scheduler::new(config.core());
    // Nobody is placed: only what is there is taken in.
    core.step(0, events, 0);
    let explanation = core.explain(&pod.uid, most);
    let gone = || Status::not_found(&gvr::PODS, name);
    Ok(Answer { pod, explanation: explanation.ok_or_else(gone)? })
}
