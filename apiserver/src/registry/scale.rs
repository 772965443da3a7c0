//! The `scale` subresource: `autoscaling/v1` Scale as a view of `spec.replicas` (`kubectl scale`, autoscalers).

use std::sync::Arc;

use gantry_machinery::codec::json;
use gantry_machinery::resource_api::{FieldValidation, PatchBody, PatchKind};
use gantry_machinery::selector::LabelSelector;
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::object::{Facets, StoredObject};

use super::call::{Call, settle_name, settle_namespace, settle_type};
use super::decode::{self, Patch};
use super::handle::Written;
use super::managed::{self, Ownership};
use super::patch::PATCH_ATTEMPTS;
use super::rewrite::{Part, Proposal, Rewrite};
use super::strategy::ScalePaths;
use super::table::Row;
use super::validate::{Errors, Path};
use super::{Registry, body, metadata, patch};

const API_VERSION: &str = "autoscaling/v1";

impl Registry {
    /// The Scale of an object.
    pub(super) fn scale_of(&self, row: &Row, stored: &StoredObject) -> Result<Arc<StoredObject>, Status> {
        let scale = scale(&*body::decode(stored)?, row.strategy.scale_paths());
        Ok(body::answer(stored.key.clone(), stored.revision, &scale, Facets::default()))
    }

    /// PUT of a Scale.
    pub(super) async fn update_scale(&self, call: &Call<'_>, object: Value) -> Result<Written, Status> {
        let mut scale = object;
        settle_name(call, &mut scale)?;
        self.rescale(call, move |_| Ok(scale.clone())).await
    }

    /// PATCH of a Scale: the patch is made on the Scale, not on the object.
    pub(super) async fn patch_scale(&self, call: &Call<'_>, body: &PatchBody) -> Result<Written, Status> {
        if body.kind == PatchKind::Apply {
            return self.apply_scale(call, body).await;
        }
        let document = Patch::read(body, call.options.field_validation)?.document;
        let message = decode::message_of("autoscaling", "v1", "Scale")?;
        self.rescale(call, |old| {
            let mut scale = scale(old, call.row.strategy.scale_paths());
            let version = metadata::text(&scale, "resourceVersion").to_owned();
            patch::change(&mut scale, body.kind, &document, message)?;
            if metadata::text(&scale, "resourceVersion") == version {
                metadata::of(&mut scale).remove("resourceVersion");
            }
            Ok(scale)
        })
        .await
    }

    /// An apply of a Scale: the apply to the object of what the Scale says of it, recorded under the subresource.
    async fn apply_scale(&self, call: &Call<'_>, body: &PatchBody) -> Result<Written, Status> {
        patch::check_applier(call)?;
        let applied = decode::apply_document(&body.body)?;
        let message = decode::message_of("autoscaling", "v1", "Scale")?;
        let bytes = json::encode(&applied);
        let expected = ("autoscaling", "v1", "Scale");
        let mut scale = json::decode_body(&bytes, message, expected, FieldValidation::Strict)?.value;
        settle_name(call, &mut scale)?;
        settle_namespace(call, &mut scale)?;
        check(&scale, scale.i64_at(&["spec", "replicas"]).unwrap_or_default(), call.name)?;
        let resource = &call.row.resource;
        let mut document = value!({
            "apiVersion": (resource.api_version().to_string()),
            "kind": (resource.kind.to_string()),
            "metadata": (scale.at(&["metadata"]).cloned().unwrap_or_default()),
        });
        // What was not said is not owned, so that zero must have been said.
        if let Some(replicas) = applied.at(&["spec", "replicas"]) {
            document.set(&spec_replicas(call.row.strategy.scale_paths()), replicas.clone());
        }
        let how = Rewrite { attempts: PATCH_ATTEMPTS, part: Part::Object };
        let written = self
            .rewrite(call, how, |current| {
                let object = decode::check_applied(call, managed::applied(call, Some(&current.value), &document)?)?;
                decode::check_unique(call, &body.body)?;
                Ok(Proposal { object: patch::unversioned(object, current), ownership: Ownership::Settled })
            })
            .await?
            .ok_or_else(|| Status::not_found(call.row.gvr(), call.name))?;
        Ok(Written { object: self.scale_of(call.row, &written.object)?, created: false })
    }

    async fn rescale(
        &self,
        call: &Call<'_>,
        mut propose: impl FnMut(&Value) -> Result<Value, Status> + Send,
    ) -> Result<Written, Status> {
        let how = Rewrite { attempts: PATCH_ATTEMPTS, part: Part::Object };
        let written = self
            .rewrite(call, how, |current| {
                let mut scale = propose(&current.value)?;
                settle_type(&mut scale, API_VERSION, "Scale")?;
                settle_namespace(call, &mut scale)?;
                let replicas = scale.i64_at(&["spec", "replicas"]).unwrap_or_default();
                check(&scale, replicas, call.name)?;
                let mut object = (*current.value).clone();
                object.set(&spec_replicas(call.row.strategy.scale_paths()), replicas);
                // The Scale's version and uid are the caller's preconditions; without a version there is none.
                for field in ["resourceVersion", "uid"] {
                    match metadata::text(&scale, field) {
                        "" if field == "uid" => {}
                        "" => {
                            metadata::of(&mut object).remove(field);
                        }
                        said => {
                            let said = said.to_owned();
                            metadata::of(&mut object).insert(field, said);
                        }
                    }
                }
                Ok(Proposal { object, ownership: Ownership::Update })
            })
            .await?
            .ok_or_else(|| Status::not_found(call.row.gvr(), call.name))?;
        Ok(Written { object: self.scale_of(call.row, &written.object)?, created: false })
    }
}

fn check(scale: &Value, replicas: i64, name: &str) -> Result<(), Status> {
    let mut errors = Errors::new();
    let spec = Path::new("spec");
    if replicas < 0 {
        errors.invalid(&spec.child("replicas"), replicas, "must be greater than or equal to 0");
    }
    if let Some(other) = scale.at(&["spec", "replicas"]).filter(|r| !r.is_null() && r.as_i64().is_none()) {
        errors.invalid(&spec.child("replicas"), other, "must be an integer");
    }
    if errors.is_empty() { Ok(()) } else { Err(Status::invalid("autoscaling", "Scale", name, &errors.into_vec())) }
}

fn words(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

fn spec_replicas(paths: Option<&ScalePaths>) -> Vec<&str> {
    paths.map_or_else(|| vec!["spec", "replicas"], |p| words(&p.spec_replicas))
}

/// What an object looks like as a Scale.
fn scale(object: &Value, paths: Option<&ScalePaths>) -> Value {
    let metadata = |field: &str| object.at(&["metadata", field]).cloned().unwrap_or_default();
    let replicas = object.i64_at(&spec_replicas(paths)).unwrap_or_default();
    let present = paths.map_or_else(|| vec!["status", "replicas"], |p| words(&p.status_replicas));
    let mut status = value!({"replicas": (object.i64_at(&present).unwrap_or_default())});
    let selector = match paths {
        None => selector_text(object),
        Some(ScalePaths { selector: Some(path), .. }) => object.str_at(&words(path)).unwrap_or_default().to_owned(),
        Some(_) => String::new(),
    };
    if !selector.is_empty() {
        status.set(&["selector"], selector);
    }
    value!({
        "kind": "Scale",
        "apiVersion": API_VERSION,
        "metadata": {
            "name": (metadata("name")),
            "namespace": (metadata("namespace")),
            "uid": (metadata("uid")),
            "resourceVersion": (metadata("resourceVersion")),
            "creationTimestamp": (metadata("creationTimestamp")),
        },
        "spec": {"replicas": replicas},
        "status": status,
    })
}

/// The object's selector as a query would write it.
fn selector_text(object: &Value) -> String {
    let Some(selector) = object.at(&["spec", "selector"]) else { return String::new() };
    let structured = selector.get("matchLabels").is_some() || selector.get("matchExpressions").is_some();
    match selector.as_object() {
        // ReplicationControllers select by a plain map.
        Some(labels) if !structured => LabelSelector::from_map(labels).to_string(),
        Some(_) => LabelSelector::from_object(Some(selector)).map(|s| s.to_string()).unwrap_or_default(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_shows_replicas_and_selector() {
        let object = value!({
            "metadata": {"name": "web", "namespace": "d", "uid": "u", "resourceVersion": "5"},
            "spec": {"replicas": 3, "selector": {"matchLabels": {"app": "web"}}},
            "status": {"replicas": 2},
        });
        let scale = scale(&object, None);
        assert_eq!(json::to_string(scale.get("status").unwrap()), r#"{"replicas":2,"selector":"app=web"}"#);
        assert_eq!(scale.i64_at(&["spec", "replicas"]), Some(3));
        assert_eq!(check(&scale, -1, "web").unwrap_err().code, 422);
    }
}
