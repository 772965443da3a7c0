//! PATCH: the four formats on an object or a part of it, tried again from the new state when somebody wrote in between.

use gantry_machinery::patch;
use gantry_machinery::resource_api::{PatchBody, PatchKind, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::call::{Call, settle_name};
use super::decode::{self, Patch};
use super::handle::Written;
use super::managed::{self, Ownership};
use super::request::RequestContext;
use super::rewrite::{Current, Part, Proposal, Rewrite};
use super::update::serves_update;
use super::{Registry, metadata};

/// How often a patch that names no version is tried before the client is told 409 (upstream's number).
pub(super) const PATCH_ATTEMPTS: usize = 5;

impl Registry {
    /// Changes an object by a patch; an apply may create it.
    pub(super) async fn patch(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        body: PatchBody,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let row = self.row(target.resource)?;
        let call = Call::new(&row, request, target, options);
        match (call.row.plural(), call.subresource) {
            (_, "scale") if call.row.resource.subresource("scale").is_some() => {
                return self.patch_scale(&call, &body).await;
            }
            (_, "") if call.row.serves("patch") => {}
            (_, sub) if serves_update(&call, sub) => {}
            _ => return Err(self.no_such_verb(&call, "patch")),
        }
        if options.force && body.kind != PatchKind::Apply {
            return Err(Status::invalid(
                "meta.k8s.io",
                "PatchOptions",
                "",
                &[forbidden("force", "may not be specified for non-apply patch")],
            ));
        }
        if body.kind == PatchKind::Apply {
            return self.apply(&call, &body).await;
        }
        if let Some(written) = self.patch_pod_status(&call, &body).await? {
            return Ok(written);
        }
        let document = Patch::read(&body, options.field_validation)?;
        let how = Rewrite { attempts: PATCH_ATTEMPTS, part: Part::AsCalled };
        let written = self
            .rewrite(&call, how, |current| {
                let object = patched(&call, current, &document)?;
                Ok(Proposal { object, ownership: Ownership::Update })
            })
            .await?;
        written.ok_or_else(|| Status::not_found(call.row.gvr(), call.name))
    }

    /// Server-side apply: takes the fields that the document names over for its manager, creating the object if there is
    /// none.
    async fn apply(&self, call: &Call<'_>, body: &PatchBody) -> Result<Written, Status> {
        check_applier(call)?;
        let mut applied = decode::apply_document(&body.body)?;
        settle_name(call, &mut applied)?;
        if applied.at(&["metadata", "managedFields"]).is_some_and(|m| m.as_array().is_none_or(|a| !a.is_empty())) {
            return Err(Status::bad_request("metadata.managedFields must be nil"));
        }
        for attempt in 1.. {
            let how = Rewrite { attempts: PATCH_ATTEMPTS, part: Part::AsCalled };
            let written = self
                .rewrite(call, how, |current| {
                    let object = decode::check_applied(call, managed::applied(call, Some(&current.value), &applied)?)?;
                    decode::check_unique(call, &body.body)?;
                    Ok(Proposal { object: unversioned(object, current), ownership: Ownership::Settled })
                })
                .await?;
            if let Some(written) = written {
                return Ok(written);
            }
            if !call.subresource.is_empty() {
                return Err(Status::not_found(call.row.gvr(), call.name));
            }
            let uid = metadata::text(&applied, "uid");
            if !uid.is_empty() {
                let why =
                    format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
                return Err(Status::conflict(call.row.gvr(), call.name, &why));
            }
            let object = decode::check_applied(call, managed::applied(call, None, &applied)?)?;
            decode::check_unique(call, &body.body)?;
            match self.create_object(call, object, Ownership::Settled).await {
                // Somebody created it in between: apply to that.
                Err(status) if status.is_already_exists() && attempt < PATCH_ATTEMPTS => {}
                outcome => return outcome,
            }
        }
        unreachable!("the last attempt returns")
    }
}

/// The object after the patch, checked against the schema as a body from outside is.
fn patched(call: &Call<'_>, current: &Current, patch: &Patch) -> Result<Value, Status> {
    let mut object = (*current.value).clone();
    change(&mut object, patch.kind, &patch.document, call.row.strategy.message())?;
    if patch.kind == PatchKind::Strategic {
        patch::unstructured::check(&object, call.row.strategy.message(), &patch.document)?;
    }
    Ok(unversioned(decode::check_patched(call, object, patch)?, current))
}

/// Who applies must say under which name.
pub(super) fn check_applier(call: &Call<'_>) -> Result<(), Status> {
    if !call.options.field_manager.is_empty() {
        return Ok(());
    }
    let missing = required("fieldManager", "is required for apply patch");
    Err(Status::invalid("meta.k8s.io", "PatchOptions", "", &[missing]))
}

/// Applies one of the three patch formats that are no apply.
pub(super) fn change(
    object: &mut Value,
    kind: PatchKind,
    document: &Value,
    message: &gantry_machinery::schema::Message,
) -> Result<(), Status> {
    match kind {
        PatchKind::Json => patch::json_patch::apply(object, document),
        PatchKind::Merge => patch::merge::apply(object, document.clone()),
        PatchKind::Strategic => patch::strategic::apply(object, document.clone(), message),
        PatchKind::Apply => Err(Status::internal("an apply is no change of one document")),
    }
}

/// Takes out the version that the patch left as it was: it is the version read, not one that the client named.
pub(super) fn unversioned(mut object: Value, current: &Current) -> Value {
    if metadata::text(&object, "resourceVersion") == metadata::text(&current.value, "resourceVersion") {
        metadata::of(&mut object).remove("resourceVersion");
    }
    object
}

fn forbidden(field: &str, detail: &str) -> gantry_machinery::status::FieldError {
    use gantry_machinery::status::{FieldError, FieldErrorKind};
    FieldError { kind: FieldErrorKind::Forbidden, field: field.into(), value: String::new(), detail: detail.into() }
}

fn required(field: &str, detail: &str) -> gantry_machinery::status::FieldError {
    use gantry_machinery::status::{FieldError, FieldErrorKind};
    FieldError { kind: FieldErrorKind::Required, field: field.into(), value: String::new(), detail: detail.into() }
}
