//! POST: names, namespaces, what the server fills in, defaults, admission, validation, and one transaction that expects
//! the name to be free.

use gantry_machinery::resource_api::{Target, WriteOptions};
use gantry_machinery::status::{MODIFIED, Status};
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::txn::{Expect, Op, Txn, TxnError, Write};

use super::call::{Call, settle_name, settle_namespace, settle_type};
use super::handle::Written;
use super::managed::{self, Ownership};
use super::request::RequestContext;
use super::validate::Errors;
use super::{Registry, answer, body, gated, metadata, versions};
use crate::admission::{Attributes, Operation, namespace_lifecycle, resource_quota};

/// How often `generateName` draws another suffix when a name is taken (upstream's number).
const GENERATED_NAMES_MAX: usize = 8;

impl Registry {
    /// Creates an object, or does what a create-only subresource does.
    pub(super) async fn create(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let gvr = target.resource;
        if gvr.group.is_empty() && gvr.resource == "bindings" {
            return self.create_binding(target, object, options).await;
        }
        let row = self.row(target.resource)?;
        let call = Call::new(&row, request, target, options);
        match (call.row.plural(), call.subresource) {
            (_, "") if call.row.serves("create") => self.create_object(&call, object, Ownership::Update).await,
            ("pods", "binding") => self.create_binding(target, object, options).await,
            ("pods", "eviction") => self.create_eviction(&call, object).await,
            ("serviceaccounts", "token") => self.create_token(&call, object),
            _ => Err(self.no_such_verb(&call, "create")),
        }
    }

    /// 405, or for pods and services that nothing can be connected to, why not.
    pub(super) fn no_such_verb(&self, call: &Call<'_>, verb: &str) -> Status {
        self.unconnected(call.row, call.namespace, call.name, call.subresource)
            .unwrap_or_else(|| Status::method_not_supported(call.row.gvr(), verb))
    }

    /// Creates an object of any kind. `ownership` says whether managedFields are still to be computed.
    pub(super) async fn create_object(
        &self,
        call: &Call<'_>,
        mut object: Value,
        ownership: Ownership,
    ) -> Result<Written, Status> {
        let strategy = &*call.row.strategy;
        let resource = &*call.row.resource;
        call.check_options()?;
        settle_type(&mut object, &resource.api_version(), &resource.kind)?;
        if resource.namespaced && call.namespace.is_empty() {
            return Err(Status::bad_request("an empty namespace may not be set during creation"));
        }
        settle_namespace(call, &mut object)?;
        settle_name(call, &mut object)?;
        if !metadata::text(&object, "resourceVersion").is_empty() {
            return Err(Status {
                code: 500,
                message: "resourceVersion should not be set on objects to be created".to_owned(),
                ..Status::default()
            });
        }
        warn_of_duplicate_owners(call, &mut object);
        if let Some(version) = strategy.version() {
            version.accept(&mut object);
        }

        let now = time::now();
        metadata::fill_for_create(&mut object, &now);
        let base = match metadata::text(&object, "name") {
            "" => metadata::text(&object, "generateName").to_owned(),
            _ => String::new(),
        };
        if !base.is_empty() {
            let name = metadata::generated_name(&base);
            metadata::of(&mut object).insert("name", name);
        }
        strategy.prepare_for_create(&mut object);
        gated::drop_disabled(self.table.gates(), &call.row.collection, &mut object, None);
        if strategy.has_generation() {
            metadata::of(&mut object).insert("generation", 1);
        } else {
            metadata::of(&mut object).remove("generation");
        }
        strategy.default(&mut object);
        managed::on_create(call, &mut object, ownership, &now);

        let attributes = Attributes { registry: self, call, operation: Operation::Create };
        self.admission.settle(&attributes, &object).await;
        self.admission.mutate(&attributes, &mut object, None)?;
        warn_of_duplicate_owners(call, &mut object);

        let mut errors = Errors::new();
        metadata::check(&object, strategy, &mut errors);
        for error in strategy.validate(&object) {
            errors.add(error);
        }
        call.refuse_invalid(&object, errors)?;
        self.admission.validate(&attributes, Some(&object), None)?;
        for warning in strategy.warnings(&object, None) {
            call.request.warnings.add(warning);
        }
        versions::show_written(strategy, self.commit_new(call, object, &base).await?)
    }

    /// Commits a finished new object, drawing other names from `base` (if not empty) while they are taken.
    async fn commit_new(&self, call: &Call<'_>, mut object: Value, base: &str) -> Result<Written, Status> {
        let strategy = &*call.row.strategy;
        let unaddressed = self.addresses.concern(call.row).then(|| object.clone());
        let _turn = self.turns.wait(&self.store, call).await;
        for attempt in 1.. {
            let name = metadata::text(&object, "name").to_owned();
            let key = call.key(&name);
            let mut beside = self.addresses.on_create(&self.store, call.row, &mut object)?;
            beside.extend(namespace_lifecycle::guard(&self.store, call, &name)?);
            beside.extend(resource_quota::charge(&self.store, call, &object, None)?);
            let facets = body::facets(strategy, &object);
            let encoded = body::encode_as(strategy, &mut object);
            self.check_size(encoded.bytes.len())?;
            let outcome = if call.options.dry_run {
                match self.store.get(&key) {
                    None => {
                        metadata::of(&mut object).remove("resourceVersion");
                        let object = body::answer(key, Revision(0), &object, facets);
                        return Ok(Written { object, created: true });
                    }
                    current => Err(TxnError::Conflict { key: key.clone(), current }),
                }
            } else {
                let write = Write::Put { body: encoded, facets, ttl: strategy.ttl() };
                let mut txn = Txn::one(key.clone(), Expect::Absent, write);
                txn.ops.append(&mut beside);
                self.store.commit(txn).await
            };
            match outcome {
                Ok(committed) => {
                    let object = committed.objects.into_iter().next().flatten();
                    let object = object.ok_or_else(|| Status::internal("a put gave no object"))?;
                    return Ok(Written { object, created: true });
                }
                // Something beside the object changed in between: an address was taken, the namespace or a quota written.
                Err(TxnError::Conflict { key: taken, .. }) if taken != key => {
                    if attempt >= GENERATED_NAMES_MAX {
                        return Err(Status::conflict(call.row.gvr(), &name, MODIFIED));
                    }
                    if let Some(unaddressed) = &unaddressed {
                        object = unaddressed.clone();
                    }
                }
                Err(TxnError::Conflict { current, .. }) => {
                    if !base.is_empty() && attempt < GENERATED_NAMES_MAX {
                        metadata::of(&mut object).insert("name", metadata::generated_name(base));
                        continue;
                    }
                    let mut status = if base.is_empty() {
                        Status::already_exists(call.row.gvr(), &name)
                    } else {
                        Status::generate_name_conflict(call.row.gvr(), &name)
                    };
                    if let Some(current) = current
                        && body::decode(&current).is_ok_and(|o| metadata::is_deleting(&o))
                    {
                        status.message = format!("object is being deleted: {}", status.message);
                    }
                    return Err(status);
                }
                Err(error) => return Err(answer::refused(error, call.row.gvr(), &name)),
            }
        }
        unreachable!("every pass but a counted few returns")
    }

    /// Refuses what the store would have to carry forever: upstream's etcd refuses requests over 1.5 MiB.
    pub(super) fn check_size(&self, bytes: usize) -> Result<(), Status> {
        const LARGEST: usize = 3 << 19;
        if bytes <= LARGEST {
            return Ok(());
        }
        Err(Status::request_entity_too_large(format_args!(
            "the object would take {bytes} bytes, the limit is {LARGEST} bytes"
        )))
    }
}

/// Drops repeated owner references, saying so.
pub(super) fn warn_of_duplicate_owners(call: &Call<'_>, object: &mut Value) {
    let dropped = metadata::dedup_owners(object);
    if !dropped.is_empty() {
        let uids: Vec<&str> = dropped.iter().map(|u| u.as_str()).collect();
        call.request.warnings.add(format!(
            ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
             reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
            uids.join(", ")
        ));
    }
}

/// The operations that a write takes along beside the object itself.
pub(crate) type Beside = smallvec::SmallVec<[Op; 1]>;
