//! DELETE: preconditions, grace periods, finalizers and propagation, and what of an object is left afterwards (API
//! concepts "Resource deletion", "Garbage collection").
//!
//! ```text
//!            finalizers or grace              last finalizer taken, grace 0
//!  Living ───────────────────────▶ Marked ─────────────────────────────────▶ Gone
//!     └──────────────────────────── nothing holds it ─────────────────────────▲
//! ```

use std::sync::Arc;

use gantry_machinery::resource_api::{DeleteOptions, Deleted, Propagation, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};

use super::call::Call;
use super::create::Beside;
use super::metadata::{FOREGROUND, ORPHAN};
use super::request::RequestContext;
use super::{Registry, answer, body, metadata, versions};
use crate::admission::{Attributes, Operation};

/// A delete without a version precondition is made against whatever is there; how often before 409.
const ATTEMPTS: usize = 32;

/// What a delete does to an object in its present state.
enum Step {
    /// It goes now.
    Remove,
    /// It stays, changed like this.
    Mark(Value),
    /// It is on its way out already and stays as it is.
    Leave,
}

impl Registry {
    /// Deletes an object, or marks it.
    pub(super) async fn delete(
        &self,
        request: &RequestContext,
        target: &Target<'_>,
        options: &DeleteOptions,
    ) -> Result<Deleted, Status> {
        let write = WriteOptions { dry_run: options.dry_run, ..WriteOptions::default() };
        let row = self.row(target.resource)?;
        let call = Call::new(&row, request, target, &write);
        if !call.subresource.is_empty() || !call.row.serves("delete") {
            return Err(self.no_such_verb(&call, "delete"));
        }
        call.row.warn_deprecated(request);
        if let Some(seconds) = options.grace_period_seconds.filter(|s| *s < 0) {
            // Upstream: the strategy takes a negative period for the shortest one.
            tracing::debug!(seconds, "a negative grace period counts as one second");
        }
        versions::show_deleted(&*call.row.strategy, self.delete_object(&call, options).await?)
    }

    /// Deletes an object that the caller has resolved; also used by eviction and deletecollection.
    pub(super) async fn delete_object(&self, call: &Call<'_>, options: &DeleteOptions) -> Result<Deleted, Status> {
        let key = call.key(call.name);
        let gvr = call.row.gvr();
        for attempt in 1..=ATTEMPTS {
            let Some(stored) = self.store.get(&key) else { return Err(Status::not_found(gvr, call.name)) };
            let (value, _) = body::decode_as(&*call.row.strategy, &stored)?;
            check_preconditions(call, &stored, &value, options)?;
            let attributes = Attributes { registry: self, call, operation: Operation::Delete };
            self.admission.validate(&attributes, None, Some(&value))?;

            let (write, beside, marked) = match step(call, &value, options) {
                Step::Leave => return Ok(Deleted::Marked(body::shown(&*call.row.strategy, stored)?)),
                Step::Remove => (Write::Delete { last: None }, self.addresses.on_delete(call.row, &value), false),
                Step::Mark(mut new) => {
                    let facets = body::facets(&*call.row.strategy, &new);
                    if options.dry_run {
                        return Ok(Deleted::Marked(body::answer(key, stored.revision, &new, facets)));
                    }
                    (
                        Write::Put { body: body::encode_as(&*call.row.strategy, &mut new), facets, ttl: None },
                        Beside::new(),
                        true,
                    )
                }
            };
            if options.dry_run {
                return Ok(Deleted::Gone(body::converted(&*call.row.strategy, stored)?));
            }
            let mut txn = Txn::one(key.clone(), Expect::Revision(stored.revision), write);
            txn.ops.extend(beside);
            match self.store.commit(txn).await {
                Ok(committed) => {
                    let last: Arc<StoredObject> = committed.objects.into_iter().next().flatten().unwrap_or(stored);
                    let last = body::converted(&*call.row.strategy, last)?;
                    return Ok(if marked { Deleted::Marked(last) } else { Deleted::Gone(last) });
                }
                Err(TxnError::Conflict { .. }) if attempt < ATTEMPTS => {}
                Err(error) => return Err(answer::refused(error, gvr, call.name)),
            }
        }
        Err(Status::modified(gvr, call.name))
    }
}

/// Which step of its way out the object takes now.
fn step(call: &Call<'_>, old: &Value, options: &DeleteOptions) -> Step {
    let prepared = if metadata::is_deleting(old) {
        None
    } else {
        let mut prepared = old.clone();
        call.row.strategy.prepare_for_delete(&mut prepared).then_some(prepared)
    };
    let old = prepared.as_ref().unwrap_or(old);
    let grace = call.row.strategy.grace_period(old, options.grace_period_seconds);
    let deleting = metadata::is_deleting(old);
    let keeps_dependents = matches!(options.propagation, Some(Propagation::Orphan | Propagation::Foreground));
    let at_once = grace.unwrap_or_default() == 0 && (!deleting || options.grace_period_seconds == Some(0));
    if at_once && !keeps_dependents && metadata::finalizers(old).next().is_none() && !held_by_spec(old) {
        return Step::Remove;
    }
    let mut new = old.clone();
    let mut changed = false;
    if let Some(seconds) = grace {
        if deleting {
            // A second delete may only shorten what the first one set.
            let left = old.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
            if left > 0 {
                match options.grace_period_seconds {
                    Some(asked) if asked < left => {
                        let asked = asked.max(0);
                        mark(&mut new, moved(old, asked - left), asked);
                        changed = true;
                    }
                    _ => return Step::Leave,
                }
            }
        } else {
            mark(&mut new, time::time(time::now_unix() + seconds), seconds);
            bump_generation(&mut new);
            changed = true;
        }
    }
    let finalizers = finalizers_for(old, options.propagation);
    if let Some(finalizers) = finalizers {
        let metadata = metadata::of(&mut new);
        if finalizers.is_empty() {
            metadata.remove("finalizers");
        } else {
            metadata.insert("finalizers", finalizers);
        }
        changed = true;
    }
    let held = metadata::finalizers(&new).next().is_some() || held_by_spec(&new);
    if held {
        if !metadata::is_deleting(&new) {
            mark(&mut new, time::now(), 0);
            bump_generation(&mut new);
            changed = true;
        }
        if held_by_spec(&new) && new.str_at(&["status", "phase"]) != Some("Terminating") {
            new.set(&["status", "phase"], "Terminating");
            changed = true;
        }
        return if changed { Step::Mark(new) } else { Step::Leave };
    }
    let left = new.i64_at(&["metadata", "deletionGracePeriodSeconds"]).unwrap_or_default();
    if grace.is_some() && left > 0 { Step::Mark(new) } else { Step::Remove }
}

/// Namespaces have finalizers of their own, in `spec`: only a namespace has texts there.
pub(super) fn held_by_spec(object: &Value) -> bool {
    object.str_at(&["kind"]) == Some("Namespace")
        && object.str_at(&["apiVersion"]) == Some("v1")
        && !object.array_at(&["spec", "finalizers"]).is_empty()
}

fn mark(object: &mut Value, at: impl Into<Value>, seconds: i64) {
    let metadata = metadata::of(object);
    metadata.insert("deletionTimestamp", at);
    metadata.insert("deletionGracePeriodSeconds", seconds);
}

/// The object's deletion time, moved by some seconds.
fn moved(object: &Value, seconds: i64) -> Value {
    let at = time::parse(metadata::text(object, "deletionTimestamp")).unwrap_or_else(time::now_unix);
    time::time(at + seconds).into()
}

/// Being deleted is a change of the desired state.
fn bump_generation(object: &mut Value) {
    if let Some(generation) = object.i64_at(&["metadata", "generation"]).filter(|g| *g > 0) {
        metadata::of(object).insert("generation", generation + 1);
    }
}

/// The finalizers after the caller's (or by default the object's own) wish about dependents; `None`: as they are.
fn finalizers_for(old: &Value, asked: Option<Propagation>) -> Option<Vec<Value>> {
    let has = |name: &str| metadata::finalizers(old).any(|f| f == name);
    let (had_orphan, had_foreground) = (has(ORPHAN), has(FOREGROUND));
    let (orphan, foreground) = match asked {
        Some(Propagation::Orphan) => (true, false),
        Some(Propagation::Foreground) => (false, true),
        Some(Propagation::Background) => (false, false),
        None => (had_orphan, had_foreground && !had_orphan),
    };
    if (orphan, foreground) == (had_orphan, had_foreground) {
        return None;
    }
    let mut finalizers: Vec<Value> =
        metadata::finalizers(old).filter(|f| *f != ORPHAN && *f != FOREGROUND).map(Value::from).collect();
    if orphan {
        finalizers.push(ORPHAN.into());
    }
    if foreground {
        finalizers.push(FOREGROUND.into());
    }
    Some(finalizers)
}

fn check_preconditions(
    call: &Call<'_>,
    stored: &StoredObject,
    value: &Value,
    options: &DeleteOptions,
) -> Result<(), Status> {
    let gvr = call.row.gvr();
    let uid = metadata::text(value, "uid");
    if let Some(asked) = options.uid.as_deref().filter(|asked| *asked != uid) {
        return Err(Status::conflict(
            gvr,
            call.name,
            format_args!(
                "the UID in the precondition ({asked}) does not match the UID in record ({uid}). The object might have \
                 been deleted and then recreated"
            ),
        ));
    }
    let version = stored.revision.to_string();
    if let Some(asked) = options.resource_version.as_deref().filter(|asked| *asked != version) {
        return Err(Status::conflict(
            gvr,
            call.name,
            format_args!(
                "the ResourceVersion in the precondition ({asked}) does not match the ResourceVersion in record \
                 ({version}). The object might have been modified"
            ),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    #[test]
    fn propagation_sets_and_clears_its_finalizers() {
        let plain = value!({"metadata": {"finalizers": ["a/b"]}});
        let names =
            |v: Option<Vec<Value>>| v.map(|v| v.iter().map(|f| f.as_str().unwrap().to_owned()).collect::<Vec<_>>());
        assert_eq!(names(finalizers_for(&plain, None)), None);
        assert_eq!(names(finalizers_for(&plain, Some(Propagation::Background))), None);
        assert_eq!(names(finalizers_for(&plain, Some(Propagation::Orphan))).unwrap(), ["a/b", ORPHAN]);
        let orphaned = value!({"metadata": {"finalizers": ["orphan"]}});
        assert_eq!(names(finalizers_for(&orphaned, None)), None);
        assert_eq!(names(finalizers_for(&orphaned, Some(Propagation::Background))).unwrap(), [""; 0]);
        assert_eq!(names(finalizers_for(&orphaned, Some(Propagation::Foreground))).unwrap(), [FOREGROUND]);
    }
}
