//! managedFields: who is recorded as the owner of what a write sets (server-side apply's bookkeeping). The rules live in
//! machinery; this says who writes, and where.

use gantry_machinery::patch::apply::{self, OtherVersions, Writer};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;

use super::call::Call;
use super::metadata;
use super::versions::Neighbours;

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

fn writer<'a>(call: &Call<'a>, api_version: &'a str, neighbours: Option<&'a Neighbours>, now: &'a str) -> Writer<'a> {
    let others = neighbours.map(|n| n as &dyn OtherVersions);
    let reset: &[&[&str]] = match call.subresource {
        "status" => STATUS_RESET,
        _ if call.row.resource.subresource("status").is_some() => OBJECT_RESET,
        _ => &[],
    };
    Writer { manager: call.manager(), api_version, subresource: call.subresource, now, reset, others }
}

/// Computes managedFields, in the version of the call.
fn record(call: &Call<'_>, old: Option<&Value>, new: &mut Value, writer: &Writer<'_>) {
    let message = call.row.strategy.message();
    let Some(version) = call.row.strategy.version() else {
        return apply::update_managed_fields(old, new, writer, message);
    };
    let turned = |object: &Value| {
        let mut object = object.clone();
        version.turn(&mut object);
        object
    };
    let mut seen = turned(new);
    apply::update_managed_fields(old.map(turned).as_ref(), &mut seen, writer, message);
    match seen.remove(&["metadata", "managedFields"]) {
        Some(entries) => {
            metadata::of(new).insert("managedFields", entries);
        }
        None => {
            metadata::of(new).remove("managedFields");
        }
    }
}

/// Records the creator of a new object.
pub(super) fn on_create(call: &Call<'_>, object: &mut Value, ownership: Ownership, now: &str) {
    if ownership == Ownership::Update {
        let api_version = call.row.resource.api_version();
        let writer = Writer { subresource: "", ..writer(call, &api_version, None, now) };
        record(call, None, object, &writer);
    }
}

/// Records who changed what between `old` and `new`.
pub(super) fn on_update(call: &Call<'_>, new: &mut Value, old: &Value, ownership: Ownership, now: &str) {
    if ownership == Ownership::Update {
        let api_version = call.row.resource.api_version();
        let neighbours = Neighbours::of(&*call.row.strategy);
        let writer = writer(call, &api_version, neighbours.as_ref(), now);
        record(call, Some(old), new, &writer);
    }
    // An update that changes nothing else must not move times: it is to be no write at all.
    apply::keep_times_of_noop(old, new);
}

/// What `live` becomes by an apply.
pub(super) fn applied(call: &Call<'_>, live: Option<&Value>, document: &Value) -> Result<Value, Status> {
    let api_version = call.row.resource.api_version();
    let now = time::now();
    let neighbours = Neighbours::of(&*call.row.strategy);
    let writer = writer(call, &api_version, neighbours.as_ref(), &now);
    apply::apply(live, document, &writer, call.options.force, call.row.strategy.message())
}
