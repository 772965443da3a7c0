//! What a PodGroup is told: its `PodGroupScheduled` condition (KEP-4671). Once it is `True` it stays so, whatever becomes of
//! pods that join later.

use bytes::Bytes;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_scheduler_core::plan::{GANG_UNSCHEDULABLE, GangName};
use serde_json::{Value, json};

use super::{MANAGER, TRIES_MAX};

/// Status, reason and message of the condition.
pub(super) type Word = (&'static str, &'static str, &'static str);

pub(super) const BOUND: Word = ("True", "Scheduled", "");
pub(super) const REFUSED: Word = ("False", "Unschedulable", GANG_UNSCHEDULABLE);

const CONDITION: &str = "PodGroupScheduled";

/// Writes it, unless it stands there already. A failure is left at that, with a line in the log.
pub(super) async fn write(api: &dyn ResourceApi, clock: Clock, gang: &GangName, word: Word) {
    for _ in 0..TRIES_MAX {
        match try_write(api, clock, gang, word).await {
            // Somebody else changed the group: look again.
            Err(status) if status.code == 409 => {}
            Err(status) if status.code == 404 => return,
            Err(status) => {
                let GangName { namespace, name } = gang;
                tracing::warn!(gang = %name, %namespace, error = %status, "condition not written");
                return;
            }
            Ok(()) => return,
        }
    }
}

async fn try_write(
    api: &dyn ResourceApi,
    clock: Clock,
    gang: &GangName,
    (status, reason, message): Word,
) -> Result<(), Status> {
    let target = Target::object(&gvr::POD_GROUPS, &gang.namespace, &gang.name);
    let object = api.get(&target).await?;
    let Ok(group) = serde_json::from_slice::<Value>(&object.body) else { return Ok(()) };
    let conditions = group["status"]["conditions"].as_array();
    let before = conditions.and_then(|all| all.iter().find(|c| c["type"] == CONDITION));
    let was = |field: &str| before.and_then(|c| c[field].as_str()).unwrap_or_default();
    if was("status") == "True" || (was("status"), was("reason"), was("message")) == (status, reason, message) {
        return Ok(());
    }
    let now = clock.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let since = if was("status") == status { was("lastTransitionTime").to_owned() } else { now };
    let mut condition = json!({
        "type": CONDITION,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": since,
    });
    if let Some(generation) = group["metadata"]["generation"].as_i64() {
        condition["observedGeneration"] = generation.into();
    }
    let others = conditions.into_iter().flatten().filter(|c| c["type"] != CONDITION).cloned();
    let conditions: Vec<Value> = others.chain([condition]).collect();
    // Against this very version: others write conditions, too.
    let patch = json!({
        "metadata": {"uid": group["metadata"]["uid"], "resourceVersion": object.revision.to_string()},
        "status": {"conditions": conditions},
    });
    let patch = PatchBody { kind: PatchKind::Merge, body: Bytes::from(patch.to_string()) };
    let options = WriteOptions { field_manager: MANAGER.to_owned(), ..WriteOptions::default() };
    api.patch(&target.sub("status"), patch, &options).await.map(drop)
}
