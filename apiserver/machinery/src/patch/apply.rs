//! Server-side apply and field ownership (API concepts, "Server-Side Apply"; KEP-555).
//!
//! The registry calls [`update_managed_fields`] on every create, update and patch, between preparing the object and
//! validating it, and [`apply`] for `application/apply-patch+yaml`. Both read and write `metadata.managedFields` of
//! decoded objects. An update costs a walk over old and new and touches only the entries whose fields change; nothing
//! is built for what stays the same.
//!
//! Invariants: an entry is never empty; a field that a write changed is owned by its writer; no manager owns a field that
//! is gone; entries are sorted as upstream sorts them.

mod conflict;
mod diff;
mod last_applied;
mod managers;
mod merge;
mod own;
#[cfg(test)]
pub(super) mod sample;
mod set;
mod shape;
#[cfg(test)]
mod tests;
mod versions;

use self::conflict::Conflict;
use self::managers::{Entry, Operation};
use self::shape::Shape;
use self::versions::ChangesByVersion;
pub use self::versions::OtherVersions;
use super::error::plain;
use crate::schema::Message;
use crate::status::Status;
use crate::value::{Object, Value};

/// The annotation that client-side `kubectl apply` keeps.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The manager that `kubectl apply --server-side` is unless told otherwise.
const KUBECTL: &str = "kubectl";

/// Who writes, and where.
#[derive(Clone, Copy, Debug)]
pub struct Writer<'a> {
    /// The field manager; empty reads as `unknown`.
    pub manager: &'a str,
    /// The `apiVersion` the write was made in.
    pub api_version: &'a str,
    /// The subresource written to; empty for the object itself.
    pub subresource: &'a str,
    /// The present, RFC 3339 in UTC with whole seconds.
    pub now: &'a str,
    /// Paths that this endpoint does not write (`["status"]` for the object, `["spec"]` for its status): nobody comes
    /// to own them by it.
    pub reset: &'a [&'a [&'a str]],
    /// The other versions that the object's entries may be in; `None` where all versions have the same fields.
    pub others: Option<&'a dyn OtherVersions>,
}

impl Writer<'_> {
    fn name(&self) -> &str {
        if self.manager.is_empty() { "unknown" } else { self.manager }
    }
}

/// The field manager of a request that names none: its user agent up to the first `/`, at most 128 characters.
#[must_use]
pub fn manager_of_user_agent(user_agent: &str) -> &str {
    let name = user_agent.split('/').next().unwrap_or_default();
    let end = name.char_indices().take_while(|(_, c)| !c.is_control()).map(|(at, c)| at + c.len_utf8());
    &name[..end.take(128).last().unwrap_or(0)]
}

/// Records in `new` who owns what after a create, update or patch (not apply) that made `new` out of `old`.
///
/// As upstream: entries that the client sent count, unless it wrote to a subresource, sent none or malformed ones; one
/// empty entry forgets all ownership; an object that has no managedFields gets none by an update.
pub fn update_managed_fields(old: Option<&Value>, new: &mut Value, writer: &Writer<'_>, message: &Message) {
    let sent = new.remove(&["metadata", "managedFields"]);
    if writer.subresource.is_empty() && managers::is_reset(sent.as_ref()) {
        return;
    }
    let mut entries = Vec::new();
    if writer.subresource.is_empty() {
        entries = managers::decode(sent, true).unwrap_or_default();
    }
    if entries.is_empty()
        && let Some(old) = old
    {
        entries = managers::decode(old.at(&["metadata", "managedFields"]).cloned(), false).unwrap_or_default();
        if entries.is_empty() {
            return;
        }
    }
    record_update(old, new, &mut entries, writer, message);
    managers::cap(&mut entries);
    managers::encode_into(new, entries);
}

fn record_update(old: Option<&Value>, new: &Value, entries: &mut Vec<Entry>, writer: &Writer<'_>, message: &Message) {
    let mine = |e: &Entry| e.is(writer.name(), Operation::Update, writer.api_version, writer.subresource);
    let mut changes = ChangesByVersion::between(old, new, writer, message);
    entries.retain_mut(|entry| {
        let Some(changes) = changes.of(&entry.api_version) else { return false };
        if !mine(entry) && !changes.changed.is_empty() {
            set::subtract(&mut entry.fields, &changes.changed);
        }
        if !changes.removed.is_empty() {
            set::subtract(&mut entry.fields, &changes.removed);
        }
        true
    });
    let changes = changes.into_native();
    if !changes.changed.is_empty() {
        match entries.iter_mut().find(|e| mine(e)) {
            Some(entry) => {
                set::unite(&mut entry.fields, &changes.changed);
                entry.time = writer.now.into();
            }
            None => entries.push(Entry {
                manager: writer.name().into(),
                operation: Operation::Update,
                api_version: writer.api_version.into(),
                subresource: writer.subresource.into(),
                time: writer.now.into(),
                fields: changes.changed,
            }),
        }
    }
    entries.retain(|e| !e.fields.is_empty());
}

/// Applies a configuration: gives the object that `live` (if there is one) becomes, managedFields included. Defaults
/// and validation are still to come. A `resourceVersion` or `uid` in the configuration stands in the result, for the
/// caller to check.
///
/// # Errors
/// 400 for a configuration in another version or with managedFields; 500, as upstream, for fields that the schema does
/// not declare and lists with nameless or repeated items; 409 with a cause per field when other managers own what would
/// change, unless `force`.
pub fn apply(
    live: Option<&Value>,
    applied: &Value,
    writer: &Writer<'_>,
    force: bool,
    message: &Message,
) -> Result<Value, Status> {
    let version = applied.str_at(&["apiVersion"]).unwrap_or_default();
    if version != writer.api_version {
        return Err(Status::bad_request(format!(
            "Incorrect version specified in apply patch. Specified patch version: {version}, expected: {}",
            writer.api_version
        )));
    }
    if applied.at(&["metadata", "managedFields"]).is_some_and(|v| !v.is_null()) {
        return Err(Status::bad_request("metadata.managedFields must be nil"));
    }
    let mut config = own::fields_of(applied, message)
        .map_err(|e| plain(format!("failed to create typed patch object ({}): {e}", named(applied))))?;
    for path in writer.reset {
        set::remove_path(&mut config, path);
    }
    let mut entries = match live {
        Some(live) => managers::decode(live.at(&["metadata", "managedFields"]).cloned(), false).unwrap_or_default(),
        None => Vec::new(),
    };
    if entries.is_empty()
        && let Some(live) = live
    {
        // Nobody recorded who wrote the object so far: a manager of that name owns all of it.
        let before = Writer { manager: "before-first-apply", ..*writer };
        record_update(None, live, &mut entries, &before, message);
    }
    let plan = Plan { live, applied, config, entries, writer, message };
    plan.carry_out(force)
}

/// An apply with everything it needs.
struct Plan<'a> {
    live: Option<&'a Value>,
    applied: &'a Value,
    config: Object,
    entries: Vec<Entry>,
    writer: &'a Writer<'a>,
    message: &'a Message,
}

impl Plan<'_> {
    fn carry_out(self, force: bool) -> Result<Value, Status> {
        let Self { live, applied, config, mut entries, writer, message } = self;
        let shape = Shape::Fields(message);
        let mine = |e: &Entry| e.is(writer.name(), Operation::Apply, writer.api_version, writer.subresource);
        let last = entries.iter().position(mine).map(|at| entries.swap_remove(at));

        let mut object = live.cloned().unwrap_or_else(Value::object);
        object.remove(&["metadata", "managedFields"]);
        merge::merge(&mut object, applied, shape);
        match &last {
            None => {}
            Some(last) if writer.others.is_none() || last.api_version == writer.api_version => {
                prune(&mut object, &last.fields, &config, &entries, message);
            }
            Some(last) => object = versions::pruned_elsewhere(object, applied, last, &entries, writer),
        }

        let mut by_version = ChangesByVersion::between(live, &object, writer, message);
        entries.retain(|entry| by_version.of(&entry.api_version).is_some());
        if !force {
            let conflicts = conflicts(live, &entries, &mut by_version, writer, message);
            if !conflicts.is_empty() {
                return Err(conflict::status(conflicts));
            }
        }
        entries.retain_mut(|entry| {
            let Some(changes) = by_version.of(&entry.api_version) else { return false };
            set::subtract(&mut entry.fields, &changes.changed);
            set::subtract(&mut entry.fields, &changes.removed);
            !entry.fields.is_empty()
        });
        let changes = by_version.into_native();

        let mut fields = config;
        strip_unowned(&mut fields);
        if !fields.is_empty() {
            let nothing_changed = changes.changed.is_empty() && changes.removed.is_empty();
            let time = match last {
                Some(last) if nothing_changed => last.time,
                _ => writer.now.into(),
            };
            entries.push(Entry {
                manager: writer.name().into(),
                operation: Operation::Apply,
                api_version: writer.api_version.into(),
                subresource: writer.subresource.into(),
                time,
                fields,
            });
        }
        if writer.manager == KUBECTL {
            last_applied::follow(&mut object, applied);
        }
        managers::encode_into(&mut object, entries);
        Ok(object)
    }
}

/// Drops from the merged object what the applier named last time, names no longer, and nobody else owns.
fn prune(object: &mut Value, last: &Object, config: &Object, others: &[Entry], message: &Message) {
    let mut dropped = last.clone();
    set::subtract(&mut dropped, config);
    if dropped.is_empty() {
        return;
    }
    let shape = Shape::Fields(message);
    let mut last = last.clone();
    set::with_named_fields(&mut last, shape);
    let all_of = |value: &Value| {
        let mut all = diff::everything(value, message);
        set::with_named_fields(&mut all, shape);
        all
    };
    let merged = all_of(object);
    let mut pruned_object = object.clone();
    merge::remove_items(&mut pruned_object, &last, shape);
    // Whatever is owned comes back, even inside an item that went.
    let mut stays = all_of(&pruned_object);
    let mut owned = config.clone();
    for entry in others {
        set::unite(&mut owned, &entry.fields);
    }
    set::with_named_fields(&mut owned, shape);
    set::unite(&mut stays, &owned);
    let mut gone = merged.clone();
    set::subtract(&mut gone, &stays);
    let mut with_owned = object.clone();
    merge::remove_items(&mut with_owned, &gone, shape);
    // And only what the applier itself had named goes.
    let mut gone = merged;
    set::subtract(&mut gone, &all_of(&with_owned));
    let gone = set::intersect(&gone, &last);
    merge::remove_items(object, &gone, shape);
}

/// What other managers own of the changed fields.
fn conflicts(
    live: Option<&Value>,
    entries: &[Entry],
    changes: &mut ChangesByVersion<'_>,
    writer: &Writer<'_>,
    message: &Message,
) -> Vec<Conflict> {
    // kubectl's first server-side apply takes over what its client-side apply wrote.
    let taken_over = match live {
        Some(live) if writer.manager == KUBECTL => last_applied::unchanged_fields(live, writer.api_version, message),
        _ => None,
    };
    let found = entries.iter().filter_map(|entry| {
        let mut fields = set::intersect(&entry.fields, &changes.of(&entry.api_version)?.changed);
        if let Some(allowed) = &taken_over {
            set::subtract(&mut fields, allowed);
        }
        (!fields.is_empty()).then(|| Conflict { who: conflict::who(entry), fields })
    });
    found.collect()
}

/// Takes out the fields that nobody owns.
fn strip_unowned(fields: &mut Object) {
    fields.fields_mut().retain(|(name, _)| !name.strip_prefix("f:").is_some_and(|f| diff::is_unowned(false, f)));
    let Some(metadata) = fields.get_mut("f:metadata").and_then(Value::as_object_mut) else { return };
    metadata
        .fields_mut()
        .retain(|(name, _)| name != "." && !name.strip_prefix("f:").is_some_and(|f| diff::is_unowned(true, f)));
    if metadata.is_empty() {
        fields.remove("f:metadata");
    }
}

/// Makes a write that would only move times in managedFields no write at all: if `new` is `old` but for those times (and
/// a `resourceVersion`), it takes the old entries over. Gives whether the two were the same.
pub fn keep_times_of_noop(old: &Value, new: &mut Value) -> bool {
    let path = ["metadata", "managedFields"];
    let (before, after) = (old.array_at(&path), new.array_at(&path));
    let same = before.len() == after.len()
        && same_but(old, new, &["metadata"])
        && match (old.get("metadata"), new.get("metadata")) {
            (Some(old), Some(new)) => same_but(old, new, &["managedFields", "resourceVersion"]),
            (old, new) => old == new,
        }
        && before.iter().all(|entry| after.iter().any(|other| same_but(entry, other, &["time"])));
    if same && before != after {
        new.set(&path, Value::Array(before.to_vec()));
    }
    same
}

/// Whether two objects hold the same fields, those named aside.
fn same_but(a: &Value, b: &Value, aside: &[&str]) -> bool {
    let fields =
        |value: &'_ Value| value.as_object().map_or(0, |o| o.keys().filter(|k| !aside.contains(&k.as_str())).count());
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            fields(a) == fields(b) && left.iter().all(|(k, v)| aside.contains(&k.as_str()) || right.get(k) == Some(v))
        }
        _ => a == b,
    }
}

/// `namespace/name; group/version, Kind=Kind`, as upstream's errors name an object.
fn named(object: &Value) -> String {
    let text = |path: &[&str]| object.str_at(path).unwrap_or_default().to_owned();
    let (namespace, name) = (text(&["metadata", "namespace"]), text(&["metadata", "name"]));
    let (version, kind) = (text(&["apiVersion"]), text(&["kind"]));
    let version = if version.contains('/') { version } else { format!("/{version}") };
    format!("{namespace}/{name}; {version}, Kind={kind}")
}
