//! DELETE of a collection: everything that matches, each object by the rules of a single delete.

use futures_util::future::join_all;
use gantry_machinery::resource_api::{Collection, DeleteOptions, Deleted, ListOptions, ObjectList, WriteOptions};
use gantry_machinery::status::Status;

use super::call::Call;
use super::request::RequestContext;
use super::{Registry, versions};

/// How many deletes of one request are on their way at once: they share the store's group commits.
const AT_ONCE: usize = 256;

impl Registry {
    /// Deletes what matches; gives the objects as they were left.
    pub(super) async fn delete_collection(
        &self,
        request: &RequestContext,
        of: &Collection<'_>,
        list: &ListOptions,
        options: &DeleteOptions,
    ) -> Result<ObjectList, Status> {
        let row = self.row(of.resource)?;
        if !row.serves("deletecollection") {
            return Err(Status::method_not_supported(row.gvr(), "deletecollection"));
        }
        let mut found = self.list(request, of, list).await?;
        let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let mut outcomes: Vec<Result<Deleted, Status>> = Vec::with_capacity(found.items.len());
        for batch in found.items.chunks(AT_ONCE) {
            let calls: Vec<Call<'_>> = batch
                .iter()
                .map(|object| Call {
                    row: &row,
                    request,
                    namespace: object.key.namespace(),
                    name: object.key.name(),
                    subresource: "",
                    options: &write,
                })
                .collect();
            outcomes.extend(join_all(calls.iter().map(|call| self.delete_object(call, options))).await);
        }
        let mut items = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            match outcome {
                Ok(Deleted::Gone(object) | Deleted::Marked(object)) => {
                    items.push(versions::show(&*row.strategy, object)?)
                }
                // Somebody else was quicker.
                Err(status) if status.is_not_found() => {}
                Err(status) => return Err(status),
            }
        }
        found.items = items;
        Ok(found)
    }
}
