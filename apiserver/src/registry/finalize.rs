//! `namespaces/finalize`: the one place where a namespace's `spec.finalizers` change; taking the last one away ends a
//! deleted namespace.

use gantry_machinery::status::Status;
use gantry_machinery::value::Value;

use super::Registry;
use super::call::{Call, settle_name};
use super::handle::Written;
use super::managed::Ownership;
use super::metadata;
use super::patch::PATCH_ATTEMPTS;
use super::rewrite::{Part, Proposal, Rewrite};

impl Registry {
    /// PUT of a Namespace whose `spec.finalizers` are to be the new ones.
    pub(super) async fn finalize_namespace(&self, call: &Call<'_>, mut object: Value) -> Result<Written, Status> {
        settle_name(call, &mut object)?;
        let how = Rewrite { attempts: PATCH_ATTEMPTS, part: Part::AsCalled };
        let written = self
            .rewrite(call, how, |current| {
                let mut namespace = (*current.value).clone();
                match object.at(&["spec", "finalizers"]) {
                    Some(finalizers) if !finalizers.is_null() => {
                        namespace.set(&["spec", "finalizers"], finalizers.clone())
                    }
                    _ => {
                        namespace.remove(&["spec", "finalizers"]);
                    }
                }
                for field in ["resourceVersion", "uid"] {
                    match metadata::text(&object, field) {
                        "" => {
                            metadata::of(&mut namespace).remove(field);
                        }
                        said => {
                            metadata::of(&mut namespace).insert(field, said);
                        }
                    }
                }
                Ok(Proposal { object: namespace, ownership: Ownership::Update })
            })
            .await?;
        written.ok_or_else(|| Status::not_found(call.row.gvr(), call.name))
    }
}
