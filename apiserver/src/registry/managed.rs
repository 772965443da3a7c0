//! managedFields: who is recorded as the owner of what a write sets (server-side apply's bookkeeping). The rules live in
//! machinery; this says who writes, and where.

use gantry_machinery::patch::apply::{self, Writer};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;

use super::call::Call;

/// What a write does to managedFields.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The writer comes to own what it changes.
    Update,
    /// They are as they should be: an apply has settled them.
    Settled,
}

/// Paths that a write of the object itself does not reach.
const OBJECT_RESET: &[&[&str]] = &[&["status"]];
/// Paths that a write of status does not reach.
const STATUS_RESET: &[&[&str]] = &[&["spec"]];

fn writer<'a>(call: &Call<'a>, api_version: &'a str, now: &'a str) -> Writer<'a> {
    let reset: &[&[&str]] = match call.subresource {
        "status" => STATUS_RESET,
        _ if call.row.resource.subresource("status").is_some() => OBJECT_RESET,
        _ => &[],
    };
    Writer { manager: call.manager(), api_version, subresource: call.subresource, now, reset }
}

/// Records the creator of a new object.
pub(super) fn on_create(call: &Call<'_>, object: &mut Value, ownership: Ownership, now: &str) {
    if ownership == Ownership::Update {
        let api_version = call.row.resource.api_version();
        let writer = Writer { subresource: "", ..writer(call, &api_version, now) };
        apply::update_managed_fields(None, object, &writer, call.row.strategy.message());
    }
}

/// Records who changed what between `old` and `new`.
pub(super) fn on_update(call: &Call<'_>, new: &mut Value, old: &Value, ownership: Ownership, now: &str) {
    if ownership == Ownership::Update {
        let api_version = call.row.resource.api_version();
        let writer = writer(call, &api_version, now);
        apply::update_managed_fields(Some(old), new, &writer, call.row.strategy.message());
    }
    // An update that changes nothing else must not move times: it is to be no write at all.
    apply::keep_times_of_noop(old, new);
}

/// What `live` becomes by an apply.
pub(super) fn applied(call: &Call<'_>, live: Option<&Value>, document: &Value) -> Result<Value, Status> {
    let api_version = call.row.resource.api_version();
    let now = time::now();
    let writer = writer(call, &api_version, &now);
    apply::apply(live, document, &writer, call.options.force, call.row.strategy.message())
}
