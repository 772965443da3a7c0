//! What every verb promises, through the one door: [`ResourceApi`] on a registry over a store in memory.

#![allow(clippy::unwrap_used, reason = "a test ends at the first thing that is not as it should be")]

#[path = "verbs/admission.rs"]
mod admission;
#[path = "verbs/bind.rs"]
mod bind;
#[path = "verbs/create.rs"]
mod create;
#[path = "verbs/delete.rs"]
mod delete;
#[path = "verbs/discovery.rs"]
mod discovery;
#[path = "verbs/eviction.rs"]
mod eviction;
#[path = "verbs/list.rs"]
mod list;
#[path = "verbs/patch.rs"]
mod patch;
#[path = "verbs/pod_status.rs"]
mod pod_status;
#[path = "verbs/services.rs"]
mod services;
#[path = "verbs/support.rs"]
mod support;
#[path = "verbs/update.rs"]
mod update;
#[path = "verbs/versions.rs"]
mod versions;
#[path = "verbs/watch.rs"]
mod watch;
