//! Patches of `pods/status`: what kubelets write, twice or more for every pod, and so the most frequent write after
//! creation. The pod is not decoded for it: only its status is, and of managedFields the writer's own entry; all else
//! stays the bytes it was.
//!
//! Called by [`patch`](super::patch) before the way that all patches go. It takes only what it can do exactly as that way
//! does (a strategic merge patch of nothing but the status, fit for the schema, of a pod that stays), and tells the caller
//! to go on with the others. The rules are the strategy's own, asked about a pod that has nothing but what they read.

use compact_str::CompactString;
use gantry_machinery::codec::json;
use gantry_machinery::patch::strategic;
use gantry_machinery::resource_api::{PatchBody, PatchKind};
use gantry_machinery::schema::Type;
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::object::{Facets, NewBody, StoredObject};
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};
use memchr::memmem;

use super::call::Call;
use super::handle::Written;
use super::managed::{self, Ownership};
use super::patch::PATCH_ATTEMPTS;
use super::splice::{self, Edits, Span};
use super::validate::Errors;
use super::{Registry, answer, decode};
use crate::admission::{Attributes, Operation};

/// The part of a set of fields that stands for an entry of managedFields that is not looked into.
const UNREAD: &str = "i:";
/// With more entries than this, the oldest may have to be merged: all must be read.
const ENTRIES_MAX: usize = 9;

impl Registry {
    /// The write that a patch of a pod's status comes to; `None`, and nothing was done, for patches that must go the way
    /// of all patches.
    pub(super) async fn patch_pod_status(&self, call: &Call<'_>, body: &PatchBody) -> Result<Option<Written>, Status> {
        let attributes = Attributes { registry: self, call, operation: Operation::Update };
        if body.kind != PatchKind::Strategic
            || (call.row.collection.as_str(), call.subresource) != ("pods", "status")
            || call.options.dry_run
            || self.admission.concerned(&attributes)
        {
            return Ok(None);
        }
        call.check_options()?;
        let key = call.key(call.name);
        for _ in 0..PATCH_ATTEMPTS {
            let Some(stored) = self.store.get(&key) else {
                return Err(Status::not_found(call.row.gvr(), call.name));
            };
            let Some(parts) = Parts::of(&stored) else { return Ok(None) };
            let Some(patch) = of_status_alone(decode::json_document(body)?, parts.uid) else { return Ok(None) };
            let Some(proposal) = propose(call, &stored, &parts, patch)? else { return Ok(None) };
            let Some((bytes, facets)) = proposal else {
                return Ok(Some(Written { object: stored, created: false }));
            };
            self.check_size(bytes.bytes.len())?;
            let write = Write::Put { body: bytes, facets, ttl: None };
            match self.store.commit(Txn::one(key.clone(), Expect::Revision(stored.revision), write)).await {
                Ok(committed) => {
                    let object = committed.objects.into_iter().next().flatten();
                    return Ok(Some(Written { object: object.unwrap_or(stored), created: false }));
                }
                Err(TxnError::Conflict { .. }) => {}
                Err(error) => return Err(answer::refused(error, call.row.gvr(), call.name)),
            }
        }
        Err(Status::modified(call.row.gvr(), call.name))
    }
}

/// Where the parts of a stored pod lie that a write of its status reads or replaces.
struct Parts<'b> {
    uid: &'b str,
    version: Span,
    entries: Option<Span>,
    spec: Span,
    status: Span,
}

impl<'b> Parts<'b> {
    /// `None` for a pod that is on its way out (the write may be its last), and for what has no such parts.
    fn of(stored: &'b StoredObject) -> Option<Self> {
        let body = &stored.body;
        let [metadata, spec, status] = splice::find(body, &splice::root(body), ["metadata", "spec", "status"]);
        let metadata = metadata?;
        let [uid, version, entries, deleted] =
            splice::find(body, &metadata, ["uid", "resourceVersion", "managedFields", "deletionTimestamp"]);
        if deleted.is_some() {
            return None;
        }
        Some(Self { uid: splice::text(body, &uid?)?, version: version?, entries, spec: spec?, status: status? })
    }
}

/// The patch, if it changes nothing but the status and means this very pod.
fn of_status_alone(mut document: Value, uid: &str) -> Option<Value> {
    let object = document.as_object_mut()?;
    let metadata = object.remove("metadata");
    let means_it = match &metadata {
        None => true,
        Some(Value::Object(metadata)) => {
            metadata.iter().all(|(key, value)| key == "uid" && value.as_str() == Some(uid))
        }
        Some(_) => false,
    };
    let alone = object.len() == 1 && matches!(object.get("status"), Some(Value::Object(_)));
    (means_it && alone).then_some(document)
}

/// A pod that has only what the rules of a status write read.
fn thin(spec: &Object, entries: Vec<Value>, status: Value) -> Value {
    let mut metadata = Object::new();
    if !entries.is_empty() {
        metadata.insert("managedFields", Value::Array(entries));
    }
    let mut pod = Object::with_capacity(3);
    pod.insert("metadata", metadata);
    pod.insert("spec", spec.clone());
    pod.insert("status", status);
    Value::Object(pod)
}

/// What the patch makes of the pod: a new body with its facets, or (inside) `None` if nothing changes. `None` for what
/// must go the way of all patches.
fn propose(
    call: &Call<'_>,
    stored: &StoredObject,
    parts: &Parts<'_>,
    patch: Value,
) -> Result<Option<Option<(NewBody, Facets)>>, Status> {
    let (body, strategy) = (&stored.body, &*call.row.strategy);
    let Ok(status) = json::parse_own(&body[parts.status.clone()]) else { return Ok(None) };
    let Some(entries) = Entries::of(call, body, parts.entries.as_ref()) else { return Ok(None) };
    let spec = spec_for_rules(stored, parts, &patch);

    let old = thin(&spec, entries.values, status.clone());
    let mut new = thin(&spec, Vec::new(), status);
    strategic::apply(&mut new, patch, strategy.message())?;
    let Some(Type::Message(message)) = strategy.message().field("status").map(|f| &f.ty) else { return Ok(None) };
    if !new.get_mut("status").is_some_and(|status| json::conform(status, message)) {
        return Ok(None);
    }
    strategy.prepare_for_update(&mut new, &old, "status");
    managed::on_update(call, &mut new, &old, Ownership::Update, &time::now());
    let mut errors = Errors::new();
    for error in strategy.validate_update(&new, &old, "status") {
        errors.add(error);
    }
    call.refuse_invalid(&new, errors)?;
    if new == old {
        return Ok(Some(None));
    }
    if parts.entries.is_some() && new.array_at(&["metadata", "managedFields"]).is_empty() {
        return Ok(None);
    }

    let mut edits = Edits::default();
    edits.replace(parts.version.start + 1..parts.version.end - 1, Vec::new());
    if let Some(list) = &parts.entries {
        edits.replace(list.clone(), entries_after(&new, body, &entries.unread));
    }
    edits.replace(parts.status.clone(), json::encode(new.get("status").unwrap_or(&Value::Null)));
    let (bytes, slot) = edits.apply(body, parts.version.start + 1);
    let mut fields: Vec<(&'static str, CompactString)> = stored.facets.fields.to_vec();
    fields.retain(|(field, _)| !field.starts_with("status."));
    fields.extend(strategy.fields(&new).into_iter().filter(|(field, _)| field.starts_with("status.")));
    let facets = Facets { labels: stored.facets.labels.clone(), fields: fields.into() };
    Ok(Some(Some((NewBody { bytes, revision_slot: Some(slot) }, facets))))
}

/// Of the spec, what the rules for statuses look at (`kinds/pod/status.rs`): the small fields always, containers only
/// where one of them has ended and may or may not run again, or devices stand in for what they ask for.
fn spec_for_rules(stored: &StoredObject, parts: &Parts<'_>, patch: &Value) -> Object {
    let body = &stored.body;
    let mut spec = Object::new();
    for (name, field) in [("restartPolicy", "spec.restartPolicy"), ("nodeName", "spec.nodeName")] {
        let value = stored.facets.field(field);
        if !value.is_empty() {
            spec.insert(name, value);
        }
    }
    const READ: [&str; 4] = ["os", "resourceClaims", "initContainers", "containers"];
    let says = |key: &[u8]| memmem::find(&body[parts.status.clone()], key).is_some();
    let told = patch.at(&["status", "extendedResourceClaimStatus"]).is_some();
    let about_containers = told || says(br#""terminated":"#) || says(br#""extendedResourceClaimStatus":"#);
    for (name, span) in READ.into_iter().zip(splice::find(body, &parts.spec, READ)) {
        if (about_containers || !name.ends_with("ontainers"))
            && let Some(Ok(value)) = span.map(|span| json::parse_own(&body[span]))
        {
            spec.insert(name, value);
        }
    }
    spec
}

/// The entries of managedFields, those of others as stubs.
struct Entries {
    values: Vec<Value>,
    /// Where the entries lie that the stubs stand for.
    unread: Vec<Span>,
}

impl Entries {
    /// `None` where an entry of somebody else has a share in the status, or the list is not as we write it.
    fn of(call: &Call<'_>, body: &[u8], list: Option<&Span>) -> Option<Self> {
        let mut entries = Self { values: Vec::new(), unread: Vec::new() };
        for item in list.into_iter().flat_map(|list| splice::items(body, list)) {
            let names = ["manager", "operation", "apiVersion", "time", "fieldsV1", "subresource"];
            let [manager, operation, version, time, fields, subresource] = splice::find(body, &item, names);
            let [manager, operation, version, time] = [manager?, operation?, version?, time?];
            let text = |span: &Span| splice::text(body, span);
            if text(&manager)? == call.manager()
                && text(&operation)? == "Update"
                && subresource.as_ref().map(text) == Some(Some("status"))
            {
                entries.values.push(json::parse_own(&body[item]).ok()?);
                continue;
            }
            if splice::members(body, &fields?).any(|(field, _)| !matches!(field, b"f:metadata" | b"f:spec")) {
                return None;
            }
            let mut stub = Object::with_capacity(7);
            for (name, span) in
                [("manager", manager), ("operation", operation), ("apiVersion", version), ("time", time)]
            {
                stub.insert(name, text(&span)?);
            }
            if let Some(subresource) = subresource {
                stub.insert("subresource", text(&subresource)?);
            }
            stub.insert("fieldsType", "FieldsV1");
            let mut unread = Object::with_capacity(1);
            unread.insert(compact_str::format_compact!("{UNREAD}{}", entries.unread.len()), Value::object());
            stub.insert("fieldsV1", unread);
            entries.values.push(Value::Object(stub));
            entries.unread.push(item);
        }
        (entries.values.len() <= ENTRIES_MAX).then_some(entries)
    }
}

/// The list of entries as it is to be stored: stubs give way to what they stand for.
fn entries_after(new: &Value, body: &[u8], unread: &[Span]) -> Vec<u8> {
    let mut out = Vec::with_capacity(2048);
    out.push(b'[');
    for entry in new.array_at(&["metadata", "managedFields"]) {
        if out.len() > 1 {
            out.push(b',');
        }
        let stub = entry.object_at(&["fieldsV1"]).and_then(|fields| fields.keys().next()?.strip_prefix(UNREAD));
        match stub.and_then(|number| unread.get(number.parse::<usize>().ok()?)) {
            Some(span) => out.extend_from_slice(&body[span.clone()]),
            None => json::encode_into(entry, &mut out),
        }
    }
    out.push(b']');
    out
}
