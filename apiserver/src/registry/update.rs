//! PUT: a whole object, or a subresource of one.

use gantry_machinery::resource_api::{Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::call::{Call, settle_name};
use super::handle::Written;
use super::managed::Ownership;
use super::request::RequestContext;
use super::rewrite::{Part, Proposal, Rewrite};
use super::validate::{Errors, Path};
use super::{Registry, metadata};

/// A PUT that names no version is made against the latest; how often before the caller is told to come again.
const UNVERSIONED_ATTEMPTS: usize = 32;

impl Registry {
    /// Replaces an object or its subresource.
    pub(super) async fn update(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        mut object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let row = self.row(target.resource)?;
        let call = Call::new(&row, request, target, options);
        match (call.row.plural(), call.subresource) {
            (_, "scale") if call.row.resource.subresource("scale").is_some() => {
                return self.update_scale(&call, object).await;
            }
            ("namespaces", "finalize") => return self.finalize_namespace(&call, object).await,
            (_, "") if call.row.serves("update") => {}
            (_, sub) if serves_update(&call, sub) => {}
            _ => return Err(self.no_such_verb(&call, "update")),
        }
        settle_name(&call, &mut object)?;
        let how = Rewrite { attempts: UNVERSIONED_ATTEMPTS, part: Part::AsCalled };
        let creates = call.row.strategy.create_on_update() && call.subresource.is_empty();
        // A version that the caller named is tried once: then the object need not be kept.
        let once = !creates && !metadata::text(&object, "resourceVersion").is_empty();
        let mut kept = Some(object);
        let written = self
            .rewrite(&call, how, |_| {
                let object = if once { kept.take() } else { kept.clone() };
                let object = object.ok_or_else(|| Status::modified(call.row.gvr(), call.name))?;
                refuse_unversioned(&call, &object)?;
                Ok(Proposal { object, ownership: Ownership::Update })
            })
            .await?;
        match (written, kept) {
            (Some(written), _) => Ok(written),
            (None, Some(mut object)) if creates => {
                // It was read once and is gone: what comes now is another object.
                metadata::of(&mut object).retain(|field, _| !matches!(field, "resourceVersion" | "uid"));
                self.create_object(&call, object, Ownership::Update).await
            }
            (None, _) => Err(Status::not_found(call.row.gvr(), call.name)),
        }
    }
}

/// Some kinds are replaced only by who says which version is replaced. Patches need not: they name what they change.
fn refuse_unversioned(call: &Call<'_>, object: &Value) -> Result<(), Status> {
    if call.row.strategy.unconditional_update() || !metadata::text(object, "resourceVersion").is_empty() {
        return Ok(());
    }
    let mut errors = Errors::new();
    errors.invalid(&Path::new("metadata.resourceVersion"), "", "must be specified for an update");
    call.refuse_invalid(object, errors)
}

/// Whether a subresource is one that is written by PUT and PATCH as a part of its object.
pub(super) fn serves_update(call: &Call<'_>, subresource: &str) -> bool {
    call.row.resource.subresource(subresource).is_some_and(|s| s.verbs.iter().any(|v| v == "update"))
        && matches!(subresource, "status" | "resize" | "ephemeralcontainers" | "approval")
}
