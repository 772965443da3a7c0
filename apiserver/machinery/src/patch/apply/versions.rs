//! Entries of managedFields in other versions than the write's: what the write changed, seen in each of them.
//!
//! A kind that is served in several versions keeps one object; each entry keeps the fields as its own version names
//! them. So a change is compared once per version that entries are in, on the objects converted to it (KEP-555,
//! "Version conversion"). Kinds of one version, and custom resources whose versions share their fields, never get here.

use std::fmt;

use compact_str::CompactString;
use smallvec::SmallVec;

use super::diff::{self, Changes};
use super::managers::Entry;
use super::{Writer, prune, set};
use crate::schema::Message;
use crate::value::Value;

/// Shows objects of the writer's version in others.
pub trait OtherVersions: fmt::Debug + Sync {
    /// The object in another version (or the writer's own), and that version's fields; `None` for a version that is not known: who owned
    /// fields in it owns nothing any more, as upstream has it.
    fn shown_in(&self, object: &Value, api_version: &str) -> Option<(Value, &'static Message)>;

    /// The object, shown in another version, back in the writer's.
    fn back_from(&self, object: Value, api_version: &str) -> Option<Value>;
}

/// What a write changed, in the version of the write and in the others that are asked for.
pub(super) struct ChangesByVersion<'a> {
    old: Option<&'a Value>,
    new: &'a Value,
    writer: &'a Writer<'a>,
    native: Changes,
    /// `None` for versions that are not known.
    others: SmallVec<[(CompactString, Option<Changes>); 1]>,
}

impl<'a> ChangesByVersion<'a> {
    pub(super) fn between(old: Option<&'a Value>, new: &'a Value, writer: &'a Writer<'a>, message: &Message) -> Self {
        let native = within_reach(diff::between(old, new, message), writer);
        Self { old, new, writer, native, others: SmallVec::new() }
    }

    /// The changes in one version; `None` for a version that is not known.
    pub(super) fn of(&mut self, api_version: &str) -> Option<&Changes> {
        let Some(versions) = self.writer.others else { return Some(&self.native) };
        if api_version == self.writer.api_version {
            return Some(&self.native);
        }
        let at = match self.others.iter().position(|(version, _)| version == api_version) {
            Some(at) => at,
            None => {
                let seen = versions.shown_in(self.new, api_version).map(|(new, message)| {
                    let old = self.old.and_then(|old| versions.shown_in(old, api_version)).map(|(old, _)| old);
                    within_reach(diff::between(old.as_ref(), &new, message), self.writer)
                });
                self.others.push((api_version.into(), seen));
                self.others.len() - 1
            }
        };
        self.others[at].1.as_ref()
    }

    /// The changes in the writer's own version.
    pub(super) fn into_native(self) -> Changes {
        self.native
    }
}

/// The changes without those that the endpoint does not write.
fn within_reach(mut changes: Changes, writer: &Writer<'_>) -> Changes {
    for path in writer.reset {
        set::remove_path(&mut changes.changed, path);
        set::remove_path(&mut changes.removed, path);
    }
    changes
}

/// The merged object without what the applier named last time, in another version, and names no longer. Looked at in
/// that other version.
pub(super) fn pruned_elsewhere(
    object: Value,
    applied: &Value,
    last: &Entry,
    entries: &[Entry],
    writer: &Writer<'_>,
) -> Value {
    let Some(versions) = writer.others else { return object };
    let version = last.api_version.as_str();
    let (Some((mut shown, message)), Some((config, _))) =
        (versions.shown_in(&object, version), versions.shown_in(applied, version))
    else {
        return object;
    };
    let config = diff::everything(&config, message);
    let (others, foreign): (Vec<Entry>, Vec<Entry>) =
        entries.iter().cloned().partition(|entry| entry.api_version == version);
    prune(&mut shown, &last.fields, &config, &others, message);
    let Some(pruned) = versions.back_from(shown, version) else { return object };
    // What somebody owns in yet another version must not go: then all stays, for a later apply to take out.
    let loses = |entry: &Entry| {
        let seen = |object: &Value| versions.shown_in(object, &entry.api_version).map(|(o, m)| diff::everything(&o, m));
        match (seen(&object), seen(&pruned)) {
            (Some(mut gone), Some(left)) => {
                set::subtract(&mut gone, &left);
                !set::intersect(&entry.fields, &gone).is_empty()
            }
            _ => false,
        }
    };
    if foreign.iter().any(loses) { object } else { pruned }
}
