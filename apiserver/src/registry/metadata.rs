//! `metadata`: what the server fills in, what no update may change, and the rules that hold for every kind
//! (apimachinery's `ValidateObjectMeta`, API conventions "Metadata").
//!
//! Called by the verbs around the kind's own strategy; the texts are upstream's.

use compact_str::CompactString;
use gantry_machinery::names;
use gantry_machinery::value::{Object, Value};

use super::random;
use super::strategy::Strategy;
use super::validate::{Errors, Path};

/// All annotations of one object together, keys and values.
const ANNOTATIONS_BYTES_MAX: usize = 256 << 10;
/// The longest name that `generateName` makes.
const GENERATED_NAME_MAX: usize = 63;
/// How many random characters `generateName` appends.
const SUFFIX_LENGTH: usize = 5;

/// The finalizer that keeps an object until its dependents have lost it as their owner.
pub(crate) const ORPHAN: &str = "orphan";
/// The finalizer that keeps an object until its dependents are gone.
pub(crate) const FOREGROUND: &str = "foregroundDeletion";

const IMMUTABLE: &str = "field is immutable";

/// The metadata of an object, made if it is not there.
pub(crate) fn of(object: &mut Value) -> &mut Object {
    object.force_object().object_entry("metadata")
}

/// The text of a metadata field, empty if absent.
pub(crate) fn text<'v>(object: &'v Value, field: &str) -> &'v str {
    object.str_at(&["metadata", field]).unwrap_or_default()
}

/// Whether the object is on its way out.
pub(crate) fn is_deleting(object: &Value) -> bool {
    object.at(&["metadata", "deletionTimestamp"]).is_some_and(|t| !t.is_null())
}

/// The finalizers.
pub(crate) fn finalizers(object: &Value) -> impl Iterator<Item = &str> {
    object.array_at(&["metadata", "finalizers"]).iter().filter_map(Value::as_str)
}

/// A name that begins with `base`, as upstream makes it: the base is cut so that the whole stays within 63 characters.
pub(crate) fn generated_name(base: &str) -> CompactString {
    let mut end = base.len().min(GENERATED_NAME_MAX - SUFFIX_LENGTH);
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    let mut name = CompactString::from(&base[..end]);
    name.push_str(&random::suffix(SUFFIX_LENGTH));
    name
}

/// Sets what a creator may not: uid and creation time; drops what belongs to a deletion.
pub(crate) fn fill_for_create(object: &mut Value, now: &str) {
    let metadata = of(object);
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"] {
        metadata.remove(field);
    }
    metadata.insert("uid", random::uuid());
    metadata.insert("resourceVersion", "");
    metadata.insert("creationTimestamp", now);
}

/// Carries over from `old` what an update leaves out or may not set: uid if none is given, creation time, generation,
/// and the marks of a deletion, which nobody can take back.
pub(crate) fn carry_over(new: &mut Value, old: &Value) {
    let was = old.object_at(&["metadata"]);
    let old_field = |field: &str| was.and_then(|m| m.get(field)).filter(|v| !v.is_null());
    let metadata = of(new);
    metadata.remove("selfLink");
    for field in ["creationTimestamp", "generation"] {
        put_or_remove(metadata, field, old_field(field));
    }
    for field in ["name", "namespace", "uid"] {
        if metadata.get(field).is_none_or(|v| v.is_null() || v.as_str() == Some("")) {
            put_or_remove(metadata, field, old_field(field));
        }
    }
    if let Some(at) = old_field("deletionTimestamp") {
        metadata.insert("deletionTimestamp", at.clone());
    }
    if metadata.get("deletionGracePeriodSeconds").is_none_or(Value::is_null) {
        put_or_remove(metadata, "deletionGracePeriodSeconds", old_field("deletionGracePeriodSeconds"));
    }
}

fn put_or_remove(metadata: &mut Object, field: &'static str, value: Option<&Value>) {
    match value {
        Some(value) => {
            metadata.insert(field, value.clone());
        }
        None => {
            metadata.remove(field);
        }
    }
}

/// Drops owner references that say the same as an earlier one; gives the uids dropped, for a warning.
pub(crate) fn dedup_owners(object: &mut Value) -> Vec<CompactString> {
    let Some(Value::Array(owners)) = object.at_mut(&["metadata", "ownerReferences"]) else { return Vec::new() };
    if owners.len() < 2 {
        return Vec::new();
    }
    let mut dropped = Vec::new();
    let mut at = 0;
    while at < owners.len() {
        if owners[..at].contains(&owners[at]) {
            dropped.push(CompactString::from(owners[at].str_at(&["uid"]).unwrap_or_default()));
            owners.remove(at);
        } else {
            at += 1;
        }
    }
    dropped
}

/// What is wrong with a new object's metadata.
pub(crate) fn check(object: &Value, strategy: &dyn Strategy, errors: &mut Errors) {
    let path = Path::new("metadata");
    let base = text(object, "generateName");
    if !base.is_empty() {
        for wrong in strategy.name_errors(base, true) {
            errors.invalid(&path.child("generateName"), base, wrong);
        }
    }
    let name = text(object, "name");
    if name.is_empty() {
        errors.required(&path.child("name"), "name or generateName is required");
    } else {
        let name_path = path.child("name");
        for wrong in strategy.name_errors(name, false) {
            errors.invalid(&name_path, name, wrong);
        }
    }
    let namespace = text(object, "namespace");
    if strategy.resource().namespaced {
        if namespace.is_empty() {
            errors.required(&path.child("namespace"), "");
        } else {
            for wrong in names::dns_label(namespace) {
                errors.invalid(&path.child("namespace"), namespace, wrong);
            }
        }
    } else if !namespace.is_empty() {
        errors.forbidden(&path.child("namespace"), "not allowed on this type");
    }
    if let Some(generation) = object.i64_at(&["metadata", "generation"]).filter(|g| *g < 0) {
        errors.invalid(&path.child("generation"), generation, "must be greater than or equal to 0");
    }
    check_common(object, &path, errors);
    check_finalizers(object, &path, errors);
}

/// What is wrong with an update's metadata. `new` has been through [`carry_over`].
pub(crate) fn check_update(new: &Value, old: &Value, errors: &mut Errors) {
    let path = Path::new("metadata");
    if is_deleting(old) {
        let mut added: Vec<&str> = finalizers(new).filter(|f| finalizers(old).all(|o| o != *f)).collect();
        if !added.is_empty() {
            added.sort_unstable();
            added.dedup();
            errors.forbidden(
                &path.child("finalizers"),
                format!(
                    "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    added.iter().map(|f| format!("{f:?}")).collect::<Vec<_>>().join(", ")
                ),
            );
        }
    }
    for field in ["name", "namespace", "uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let (now, was) = (new.at(&["metadata", field]), old.at(&["metadata", field]));
        let (now, was) = (now.filter(|v| !v.is_null()), was.filter(|v| !v.is_null()));
        if now != was {
            errors.invalid(&path.child(field), now, IMMUTABLE);
        }
    }
    check_common(new, &path, errors);
}

fn check_common(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    check_labels(object.at(&["metadata", "labels"]), &path.child("labels"), errors);
    let annotations = path.child("annotations");
    let mut size = 0;
    for (key, value) in object.object_at(&["metadata", "annotations"]).into_iter().flat_map(Object::iter) {
        size += key.len() + value.as_str().map_or(0, str::len);
        if !plain_name(key) {
            for wrong in names::qualified_name(&key.to_lowercase()) {
                errors.invalid(&annotations, key.as_str(), wrong);
            }
        }
    }
    if size > ANNOTATIONS_BYTES_MAX {
        errors.too_long(&annotations, ANNOTATIONS_BYTES_MAX);
    }
    check_owners(object, path, errors);
    check_managed_fields(object, path, errors);
}

/// What is wrong with a map of labels.
pub(crate) fn check_labels(labels: Option<&Value>, path: &Path<'_>, errors: &mut Errors) {
    for (key, value) in labels.and_then(Value::as_object).into_iter().flat_map(Object::iter) {
        if !plain_name(key) {
            for wrong in names::qualified_name(key) {
                errors.invalid(path, key.as_str(), wrong);
            }
        }
        let value = value.as_str().unwrap_or_default();
        if !(value.is_empty() || plain_name(value)) {
            for wrong in names::label_value(value) {
                errors.invalid(path, value, wrong);
            }
        }
    }
}

/// Whether a key or value is of the most common form, for which the full rules need not be asked: up to 63 lower-case
/// letters, digits and inner dashes.
fn plain_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && matches!(bytes.first(), Some(b'a'..=b'z' | b'0'..=b'9'))
        && matches!(bytes.last(), Some(b'a'..=b'z' | b'0'..=b'9'))
        && bytes.iter().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-'))
}

fn check_owners(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let owners = object.array_at(&["metadata", "ownerReferences"]);
    let path = path.child("ownerReferences");
    let mut controller: Option<String> = None;
    for owner in owners {
        let field = |name: &str| owner.str_at(&[name]).unwrap_or_default();
        let api_version = field("apiVersion");
        if api_version.is_empty() || api_version.ends_with('/') {
            errors.invalid(&path.child("apiVersion"), api_version, "version must not be empty");
        }
        for name in ["kind", "name", "uid"] {
            if field(name).is_empty() {
                errors.invalid(&path.child(name), "", "must not be empty");
            }
        }
        if (api_version, field("kind")) == ("v1", "Event") {
            errors.invalid(&path, owner, "/v1, Kind=Event is disallowed from being an owner");
        }
        if owner.bool_at(&["controller"]) == Some(true) {
            let this = format!("{}/{}", field("kind"), field("name"));
            match &controller {
                None => controller = Some(this),
                Some(first) => errors.invalid(
                    &path,
                    object.at(&["metadata", "ownerReferences"]),
                    format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} and {this}"
                    ),
                ),
            }
        }
    }
}

fn check_finalizers(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("finalizers");
    let (mut orphan, mut foreground) = (false, false);
    for finalizer in finalizers(object) {
        for wrong in names::qualified_name(finalizer) {
            errors.invalid(&path, finalizer, wrong);
        }
        orphan |= finalizer == ORPHAN;
        foreground |= finalizer == FOREGROUND;
    }
    if orphan && foreground {
        errors.invalid(
            &path,
            object.at(&["metadata", "finalizers"]),
            format!("finalizer {ORPHAN} and {FOREGROUND} cannot be both set"),
        );
    }
}

fn check_managed_fields(object: &Value, path: &Path<'_>, errors: &mut Errors) {
    let path = path.child("managedFields");
    for (at, entry) in object.array_at(&["metadata", "managedFields"]).iter().enumerate() {
        let path = path.index(at);
        let operation = entry.str_at(&["operation"]).unwrap_or_default();
        if !matches!(operation, "Apply" | "Update") {
            errors.invalid(&path.child("operation"), operation, "must be `Apply` or `Update`");
        }
        if let Some(fields_type) = entry.str_at(&["fieldsType"]).filter(|t| !t.is_empty() && *t != "FieldsV1") {
            errors.invalid(&path.child("fieldsType"), fields_type, "must be `FieldsV1`");
        }
        let manager = entry.str_at(&["manager"]).unwrap_or_default();
        check_manager(manager, &path.child("manager"), errors);
    }
}

/// What is wrong with a field manager's name.
pub(crate) fn check_manager(manager: &str, path: &Path<'_>, errors: &mut Errors) {
    const LONGEST: usize = 128;
    if manager.len() > LONGEST {
        errors.too_long(path, LONGEST);
    }
    if let Some((at, _)) = manager.char_indices().find(|(_, c)| c.is_control()) {
        errors.invalid(path, manager, format!("should only contain printable characters (at {at})"));
    }
}

#[cfg(test)]
mod tests {
    use gantry_machinery::value;

    use super::*;

    fn wrong(object: &Value) -> Vec<(String, String)> {
        let mut errors = Errors::new();
        check_common(object, &Path::new("metadata"), &mut errors);
        check_finalizers(object, &Path::new("metadata"), &mut errors);
        errors.into_vec().into_iter().map(|e| (e.field, e.detail)).collect()
    }

    #[test]
    fn generated_names_fit_into_63_characters() {
        let name = generated_name(&"x".repeat(100));
        assert_eq!(name.len(), 63);
        assert!(generated_name("web-").starts_with("web-"));
        assert_eq!(generated_name("web-").len(), 9);
    }

    #[test]
    fn one_controller_only_and_every_owner_complete() {
        let owner = |uid: &str, name: &str| value!({"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": name, "uid": uid, "controller": true});
        let (a, b) = (owner("1", "a"), owner("2", "b"));
        let object = value!({"metadata": {"ownerReferences": [a, b]}});
        let found = wrong(&object);
        assert_eq!(found.len(), 1);
        assert!(found[0].1.ends_with("in references for ReplicaSet/a and ReplicaSet/b"), "{}", found[0].1);
        let empty = value!({"metadata": {"ownerReferences": [{"apiVersion": "apps/"}]}});
        let fields: Vec<String> = wrong(&empty).into_iter().map(|(f, _)| f).collect();
        let under = |f: &str| format!("metadata.ownerReferences.{f}");
        assert_eq!(fields, ["apiVersion", "kind", "name", "uid"].map(under));
    }

    #[test]
    fn annotations_are_bounded_together() {
        let big = "x".repeat(200 << 10);
        let object = value!({"metadata": {"annotations": {"a": (big.as_str()), "b": (big.as_str())}}});
        assert_eq!(wrong(&object)[0].0, "metadata.annotations");
    }

    #[test]
    fn an_update_keeps_what_the_server_set() {
        let old = value!({"metadata": {"name": "a", "uid": "u", "creationTimestamp": "t", "generation": 3,
            "deletionTimestamp": "d", "deletionGracePeriodSeconds": 30, "finalizers": ["x/y"]}});
        let mut new = value!({"metadata": {"name": "a", "creationTimestamp": null, "generation": 9}});
        carry_over(&mut new, &old);
        assert_eq!(new.i64_at(&["metadata", "generation"]), Some(3));
        assert_eq!(text(&new, "deletionTimestamp"), "d");
        let mut errors = Errors::new();
        check_update(&new, &old, &mut errors);
        assert!(errors.is_empty());
        new.set(&["metadata", "uid"], "other");
        new.set(&["metadata", "finalizers"], value!(["x/y", "b/c"]));
        check_update(&new, &old, &mut errors);
        let texts: Vec<String> = errors.into_vec().into_iter().map(|e| format!("{}: {}", e.field, e.detail)).collect();
        assert_eq!(
            texts,
            [
                "metadata.finalizers: no new finalizers can be added if the object is being deleted, found new finalizers \
                 []string{\"b/c\"}",
                "metadata.uid: field is immutable"
            ]
        );
    }

    #[test]
    fn equal_owners_are_kept_once() {
        let owner = value!({"uid": "1", "name": "a"});
        let mut object = value!({"metadata": {"ownerReferences": [(owner.clone()), owner]}});
        assert_eq!(dedup_owners(&mut object), ["1"]);
        assert_eq!(object.array_at(&["metadata", "ownerReferences"]).len(), 1);
    }
}
