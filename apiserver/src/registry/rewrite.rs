//! What PUT, PATCH, apply and the subresources share: read the object, make its new state, keep what may not change,
//! and commit against the version that was read; once more from the start if somebody wrote in between.

use std::sync::Arc;

use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};

use super::call::{Call, settle_namespace, settle_type};
use super::create::warn_of_duplicate_owners;
use super::handle::Written;
use super::managed::{self, Ownership};
use super::validate::{Errors, Path};
use super::{Registry, answer, body, gated, metadata, versions};
use crate::admission::{Attributes, Operation, resource_quota};

/// What a new state is made from: the stored object and its decoded form.
pub(super) struct Current {
    /// As stored.
    pub(super) stored: Arc<StoredObject>,
    /// Decoded, in the version of the call; shared, so it is cloned by whoever changes it.
    pub(super) value: Arc<Value>,
    /// Decoded, in the shape that is stored: the same unless the call is in another version.
    old: Arc<Value>,
    /// Whether what is stored is otherwise than `old` nevertheless: the definition of a custom kind has changed since.
    outdated: bool,
}

/// A new state, and how it came about.
pub(super) struct Proposal {
    /// The whole object. A `metadata.resourceVersion` or `uid` in it is a precondition.
    pub(super) object: Value,
    /// Whether managedFields are still to be computed.
    pub(super) ownership: Ownership,
}

/// How a rewrite goes about conflicts and parts.
#[derive(Clone, Copy)]
pub(super) struct Rewrite {
    /// Attempts before the caller is told 409; only versions that the caller did not name are tried again.
    pub(super) attempts: usize,
    /// What the strategy is told is written (`scale` changes the object itself: empty).
    pub(super) part: Part,
}

/// Which part of an object a rewrite may change.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// What the call's subresource says.
    AsCalled,
    /// The object itself, whatever the call's subresource (`scale`).
    Object,
}

impl Registry {
    /// Rewrites an object by `propose`, which is asked again with the new state after each conflict. `None`: there is no
    /// such object, and nothing was asked.
    pub(super) async fn rewrite(
        &self,
        call: &Call<'_>,
        how: Rewrite,
        mut propose: impl FnMut(&Current) -> Result<Proposal, Status> + Send,
    ) -> Result<Option<Written>, Status> {
        call.check_options()?;
        let key = call.key(call.name);
        for attempt in 1.. {
            let Some(stored) = self.store.get(&key) else { return Ok(None) };
            let (old, outdated) = body::decode_as(&*call.row.strategy, &stored)?;
            let current = Current { value: seen(call, &old), old, outdated, stored };
            let proposal = propose(&current)?;
            let versioned = !metadata::text(&proposal.object, "resourceVersion").is_empty();
            match self.replace(call, how, &current, proposal).await {
                Err(Refusal::Raced) if versioned || attempt >= how.attempts => {
                    return Err(Status::modified(call.row.gvr(), call.name));
                }
                Err(Refusal::Raced) => {}
                Err(Refusal::Final(status)) => return Err(status),
                Ok(object) => {
                    let object = versions::show(&*call.row.strategy, object)?;
                    return Ok(Some(Written { object, created: false }));
                }
            }
        }
        unreachable!("the last attempt returns")
    }

    /// One attempt: the whole way from a proposed state to the commit.
    async fn replace(
        &self,
        call: &Call<'_>,
        how: Rewrite,
        current: &Current,
        proposal: Proposal,
    ) -> Result<Arc<StoredObject>, Refusal> {
        let (row, strategy, old) = (call.row, &*call.row.strategy, &*current.old);
        let part = if how.part == Part::Object { "" } else { call.subresource };
        let mut new = proposal.object;
        settle_type(&mut new, &row.resource.api_version(), &row.resource.kind)?;
        settle_namespace(call, &mut new)?;
        check_preconditions(call, current, &new)?;
        if let Some(version) = strategy.version() {
            version.accept(&mut new);
        }

        let now = time::now();
        warn_of_duplicate_owners(call, &mut new);
        metadata::carry_over(&mut new, old);
        let version = old.at(&["metadata", "resourceVersion"]).cloned().unwrap_or_default();
        metadata::of(&mut new).insert("resourceVersion", version);
        strategy.default(&mut new);
        strategy.prepare_for_update(&mut new, old, part);
        gated::drop_disabled(self.table.gates(), &row.collection, &mut new, Some(old));
        managed::on_update(call, &mut new, old, proposal.ownership, &now);

        let attributes = Attributes { registry: self, call, operation: Operation::Update };
        self.admission.mutate(&attributes, &mut new, Some(old))?;
        if strategy.has_generation() && strategy.generation_changed(&new, old) {
            let generation = old.i64_at(&["metadata", "generation"]).unwrap_or_default();
            metadata::of(&mut new).insert("generation", generation + 1);
        }

        let mut errors = Errors::new();
        metadata::check_update(&new, old, &mut errors);
        for error in strategy.validate_update(&new, old, part) {
            errors.add(error);
        }
        call.refuse_invalid(&new, errors)?;
        self.admission.validate(&attributes, Some(&new), Some(old))?;
        for warning in strategy.warnings(&new, Some(old)) {
            call.request.warnings.add(warning);
        }

        // The same object again: no write, no event, the same resourceVersion.
        if new == *old && !current.outdated {
            return Ok(current.stored.clone());
        }
        self.commit_rewritten(call, current, new).await
    }

    async fn commit_rewritten(
        &self,
        call: &Call<'_>,
        current: &Current,
        mut new: Value,
    ) -> Result<Arc<StoredObject>, Refusal> {
        let (row, strategy, old) = (call.row, &*call.row.strategy, &*current.old);
        let key = current.stored.key.clone();
        let mut beside = self.addresses.on_update(&self.store, row, &mut new, old)?;
        beside.extend(resource_quota::charge(&self.store, call, &new, Some(old))?);
        let gone = should_vanish(&new);
        let facets = body::facets(strategy, &new);
        if call.options.dry_run {
            return Ok(body::answer(key, current.stored.revision, &new, facets));
        }
        strategy.write_stored(&mut new);
        let encoded = body::encode(&mut new);
        self.check_size(encoded.bytes.len())?;
        let write = if gone {
            beside = self.addresses.on_delete(row, &new);
            Write::Delete { last: Some(encoded) }
        } else {
            Write::Put { body: encoded, facets, ttl: strategy.ttl() }
        };
        let mut txn = Txn::one(key, Expect::Revision(current.stored.revision), write);
        txn.ops.append(&mut beside);
        match self.store.commit(txn).await {
            Ok(committed) => {
                let object = committed.objects.into_iter().next().flatten();
                Ok(object.unwrap_or_else(|| current.stored.clone()))
            }
            Err(TxnError::Conflict { .. }) => Err(Refusal::Raced),
            Err(error) => Err(Refusal::Final(answer::refused(error, row.gvr(), call.name))),
        }
    }
}

/// A stored object as the call's version shows it.
fn seen(call: &Call<'_>, stored: &Arc<Value>) -> Arc<Value> {
    match call.row.strategy.version() {
        None => stored.clone(),
        Some(version) => {
            let mut value = (**stored).clone();
            version.turn(&mut value);
            Arc::new(value)
        }
    }
}

/// Whether an update has taken away the last thing that held a deleted object.
fn should_vanish(new: &Value) -> bool {
    metadata::is_deleting(new)
        && metadata::finalizers(new).next().is_none()
        && new.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default() == 0
        && !super::delete::held_by_spec(new)
}

/// The version and uid that the caller named must be the object's.
fn check_preconditions(call: &Call<'_>, current: &Current, new: &Value) -> Result<(), Status> {
    let gvr = call.row.gvr();
    let uid = metadata::text(new, "uid");
    let stored_uid = metadata::text(&current.value, "uid");
    if !uid.is_empty() && uid != stored_uid {
        return Err(Status::conflict(
            gvr,
            call.name,
            format_args!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored_uid}"),
        ));
    }
    let name = metadata::text(new, "name");
    if !name.is_empty() && name != call.name {
        return Err(Status::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            call.name
        )));
    }
    match metadata::text(new, "resourceVersion") {
        "" => Ok(()),
        version => match version.parse::<u64>() {
            Ok(version) if version == current.stored.revision.0 => Ok(()),
            Ok(_) => Err(Status::modified(gvr, call.name)),
            Err(_) => {
                let mut errors = Errors::new();
                let metadata = Path::new("metadata");
                errors.invalid(&metadata.child("resourceVersion"), version, "must be a number as the server gave it");
                call.refuse_invalid(new, errors)
            }
        },
    }
}

/// Why an attempt wrote nothing.
pub(super) enum Refusal {
    /// Somebody wrote first.
    Raced,
    /// It would not be otherwise another time.
    Final(Status),
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Self {
        Self::Final(status)
    }
}
