//! How loops write: create, update, patch and delete under the loop's name, with the refusals that loops expect told
//! apart.

use std::sync::Arc;

use bytes::Bytes;
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{DeleteOptions, Deleted, PatchBody, PatchKind, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::typed::{DecodeError, to_value, value_of};
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use serde::Serialize;

/// Why a loop's work on a key failed. All are tried again later.
#[derive(Debug, thiserror::Error)]
pub enum LoopError {
    /// The API refused or could not be reached.
    #[error("{0}")]
    Api(#[from] Status),
    /// An object is not what its kind says.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Several things failed; the first.
    #[error("{failed} of {all} writes failed, first: {first}")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        all: usize,
        /// The first failure.
        first: Status,
    },
}

impl LoopError {
    /// Whether somebody else wrote first: usual, and no reason for a warning.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Api(status) if is_conflict(status))
    }
}

/// The object does not exist (any more).
#[must_use]
pub fn is_not_found(status: &Status) -> bool {
    status.code == 404
}

/// Somebody wrote first, or a uid precondition failed.
#[must_use]
pub fn is_conflict(status: &Status) -> bool {
    status.code == 409 && status.reason != "AlreadyExists"
}

/// The name is taken.
#[must_use]
pub fn is_already_exists(status: &Status) -> bool {
    status.code == 409 && status.reason == "AlreadyExists"
}

/// The namespace goes away and takes nothing new: trying again is of no use.
#[must_use]
pub fn is_namespace_terminating(status: &Status) -> bool {
    status.code == 403
        && status
            .details
            .as_ref()
            .is_some_and(|details| details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
}

/// The API as one loop writes to it.
#[derive(Clone)]
pub struct Writer {
    api: Arc<dyn ResourceApi>,
    options: WriteOptions,
}

impl Writer {
    /// Writes as `manager` (the field manager in managedFields).
    #[must_use]
    pub fn new(api: Arc<dyn ResourceApi>, manager: &str) -> Self {
        Self { api, options: WriteOptions { field_manager: manager.to_owned(), ..WriteOptions::default() } }
    }

    /// The API itself.
    #[must_use]
    pub fn api(&self) -> &Arc<dyn ResourceApi> {
        &self.api
    }

    /// Reads one object live; `None` when it does not exist.
    ///
    /// # Errors
    /// The API's, but for 404.
    pub async fn get(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Arc<StoredObject>>, Status> {
        match self.api.get(&Target::object(resource, namespace, name)).await {
            Ok(object) => Ok(Some(object)),
            Err(status) if is_not_found(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }

    /// Creates an object.
    ///
    /// # Errors
    /// The API's.
    pub async fn create(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        object: Value,
    ) -> Result<Arc<StoredObject>, Status> {
        self.api.create(&Target::object(resource, namespace, ""), object, &self.options).await
    }

    /// Creates a typed object.
    ///
    /// # Errors
    /// The API's.
    pub async fn create_typed<T: Serialize>(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        object: &T,
    ) -> Result<Arc<StoredObject>, LoopError> {
        Ok(self.create(resource, namespace, to_value(object)?).await?)
    }

    /// Replaces a typed object (`subresource` empty) or its `status`; its resourceVersion is a precondition.
    ///
    /// # Errors
    /// The API's.
    pub async fn update_typed<T: Serialize>(
        &self,
        target: Target<'_>,
        object: &T,
    ) -> Result<Arc<StoredObject>, LoopError> {
        Ok(self.api.update(&target, to_value(object)?, &self.options).await?)
    }

    /// Changes an object as we know it; somebody else's write in between is a conflict.
    ///
    /// # Errors
    /// The API's.
    pub async fn edit(
        &self,
        resource: &GroupVersionResource,
        object: &StoredObject,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<StoredObject>, LoopError> {
        self.edit_part(resource, object, "", change).await
    }

    /// Replaces an object's status; somebody else's write in between is a conflict.
    ///
    /// # Errors
    /// The API's.
    pub async fn set_status<T: Serialize>(
        &self,
        resource: &GroupVersionResource,
        object: &StoredObject,
        status: &T,
    ) -> Result<Arc<StoredObject>, LoopError> {
        let status = to_value(status)?;
        self.edit_part(resource, object, "status", |object| object.set(&["status"], status)).await
    }

    async fn edit_part(
        &self,
        resource: &GroupVersionResource,
        object: &StoredObject,
        subresource: &str,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<StoredObject>, LoopError> {
        let mut value = value_of(object)?;
        change(&mut value);
        let target = Target::object(resource, object.key.namespace(), object.key.name()).sub(subresource);
        Ok(self.update(target, value).await?)
    }

    /// Replaces an object or its subresource.
    ///
    /// # Errors
    /// The API's.
    pub async fn update(&self, target: Target<'_>, object: Value) -> Result<Arc<StoredObject>, Status> {
        self.api.update(&target, object, &self.options).await
    }

    /// A merge patch (RFC 7386).
    ///
    /// # Errors
    /// The API's.
    pub async fn merge(&self, target: Target<'_>, patch: &serde_json::Value) -> Result<Arc<StoredObject>, Status> {
        self.patch(target, PatchKind::Merge, patch).await
    }

    /// A strategic merge patch.
    ///
    /// # Errors
    /// The API's.
    pub async fn strategic(&self, target: Target<'_>, patch: &serde_json::Value) -> Result<Arc<StoredObject>, Status> {
        self.patch(target, PatchKind::Strategic, patch).await
    }

    async fn patch(
        &self,
        target: Target<'_>,
        kind: PatchKind,
        patch: &serde_json::Value,
    ) -> Result<Arc<StoredObject>, Status> {
        let body = PatchBody { kind, body: Bytes::from(patch.to_string()) };
        self.api.patch(&target, body, &self.options).await
    }

    /// Deletes an object if it still has this uid; one that is gone, or another of the same name, counts as deleted.
    ///
    /// # Errors
    /// The API's, but for 404 and a uid that differs.
    pub async fn delete(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        name: &str,
        options: DeleteOptions,
    ) -> Result<Option<Deleted>, Status> {
        match self.api.delete(&Target::object(resource, namespace, name), &options).await {
            Ok(deleted) => Ok(Some(deleted)),
            Err(status) if is_not_found(&status) || is_conflict(&status) => Ok(None),
            Err(status) => Err(status),
        }
    }
}
