//! GET of one object, or of a subresource that is read.

use std::sync::Arc;

use gantry_machinery::resource_api::{Target, VersionRule};
use gantry_machinery::status::Status;
use gantry_store_cache::object::StoredObject;

use super::list::READ_WAIT;
use super::request::RequestContext;
use super::{Registry, answer, body, components, versions};

impl Registry {
    /// One object as of now, as every writer that was answered has left it.
    pub(super) async fn get(&self, request: &RequestContext, target: &Target<'_>) -> Result<Arc<StoredObject>, Status> {
        self.get_at(request, target, VersionRule::MostRecent).await
    }

    /// One object in a state that is new enough.
    pub(super) async fn get_at(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        version: VersionRule,
    ) -> Result<Arc<StoredObject>, Status> {
        let row = self.row(target.resource)?;
        let known = target.subresource.is_empty() || row.resource.subresource(target.subresource).is_some();
        if !known {
            return Err(Status::no_such_resource());
        }
        row.warn_deprecated(request);
        if components::computes(&row) {
            return self.component(target.name).ok_or_else(|| Status::not_found(row.gvr(), target.name));
        }
        let key = row.key(target.namespace, target.name);
        let object = match version {
            VersionRule::MostRecent => self.store.consistent_view(READ_WAIT).await.map_err(answer::behind)?.get(&key),
            VersionRule::Any => self.store.get(&key),
            VersionRule::NotOlderThan(revision) | VersionRule::Exact(revision) => {
                self.store.reached(revision, READ_WAIT).await.map_err(answer::behind)?.get(&key)
            }
        };
        let object = object.ok_or_else(|| Status::not_found(row.gvr(), target.name))?;
        let object = body::shown(&*row.strategy, object)?;
        match target.subresource {
            "" | "status" | "resize" | "ephemeralcontainers" | "approval" => versions::show(&*row.strategy, object),
            "scale" => self.scale_of(&row, &object),
            other => Err(self
                .unconnected(&row, target.namespace, target.name, other)
                .unwrap_or_else(|| Status::method_not_supported(row.gvr(), "get"))),
        }
    }
}
