//! CustomResourceDefinitions: names, versions, subresources, columns, selectable fields; their schemas are checked by
//! [`json_schema`](super::json_schema). Texts and paths are upstream's; what is not built yet (conversion by webhook, rules
//! in CEL) is refused here, so that nothing is stored that would not be kept.

use gantry_machinery::names;
use gantry_machinery::value::Value;

use super::view::Held;
use super::{Errors, Path, json_schema};
use crate::registry::custom::naming::{API_APPROVED, Approval, approval, is_protected};
use crate::registry::custom::{JsonPath, Schema, Ty};

/// Upstream's limit.
const SELECTABLE_FIELDS_MAX: usize = 8;
const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
const COLUMN_FORMATS: [&str; 9] =
    ["byte", "date", "date-time", "double", "float", "int32", "int64", "password", "binary"];

/// What is wrong with a definition, `old` being what it was before an update.
pub(crate) fn check(definition: &Value, old: Option<&Value>, errors: &mut Errors) {
    let metadata = Path::new("metadata");
    let group = definition.at(&["spec", "group"]).text();
    let plural = definition.at(&["spec", "names", "plural"]).text();
    let name = definition.at(&["metadata", "name"]).text();
    if old.is_none() && name != format!("{plural}.{group}") {
        errors.invalid(&metadata.child("name"), name, "must be spec.names.plural+\".\"+spec.group");
    }
    let null = Value::Null;
    let spec = definition.get("spec").unwrap_or(&null);
    check_spec(spec, old.and_then(|old| old.get("spec")), &Path::new("spec"), errors);
    check_status(definition, errors);
    if definition.array_at(&["status", "storedVersions"]).is_empty() {
        let at = Path::new("status.storedVersions");
        errors.invalid(&at, None::<&str>, "must have at least one stored version");
    }
    check_approval(definition, group, &metadata, errors);
}

/// What is wrong with the status of a definition.
pub(crate) fn check_status(definition: &Value, errors: &mut Errors) {
    let status = Path::new("status");
    if let Some(names) = definition.at(&["status", "acceptedNames"]) {
        check_names(names, &status.child("acceptedNames"), errors);
    }
}

/// What may not change.
pub(crate) fn check_update(new: &Value, old: &Value, errors: &mut Errors) {
    let spec = Path::new("spec");
    if crate::registry::custom::conditions::is_true(old, "Established") {
        errors.immutable(&spec.child("scope"), new.at(&["spec", "scope"]), old.at(&["spec", "scope"]));
        let kind = ["spec", "names", "kind"];
        errors.immutable(&spec.child("names.kind"), new.at(&kind), old.at(&kind));
    }
    errors.immutable(&spec.child("group"), new.at(&["spec", "group"]), old.at(&["spec", "group"]));
    let plural = ["spec", "names", "plural"];
    errors.immutable(&spec.child("names.plural"), new.at(&plural), old.at(&plural));
    let versions = new.array_at(&["spec", "versions"]);
    for (at, stored) in new.array_at(&["status", "storedVersions"]).iter().filter_map(Value::as_str).enumerate() {
        if versions.iter().all(|v| v.get("name").text() != stored) {
            errors.invalid(
                &Path::new("status").item("storedVersions", at),
                stored,
                format!(
                    "missing from spec.versions; {stored} was previously a storage version, and must remain in \
                     spec.versions until a storage migration ensures no data remains persisted in {stored} and removes \
                     {stored} from status.storedVersions"
                ),
            );
        }
    }
}

fn check_approval(definition: &Value, group: &str, metadata: &Path<'_>, errors: &mut Errors) {
    if !is_protected(group) {
        return;
    }
    let at = metadata.entry("annotations", API_APPROVED);
    match approval(definition) {
        Approval::Missing => errors.required(
            &at,
            format!(
                "protected groups must have approval annotation {API_APPROVED:?}, see \
                 https://github.com/kubernetes/enhancements/pull/1111"
            ),
        ),
        Approval::Invalid => errors.invalid(
            &at,
            definition.at(&["metadata", "annotations", API_APPROVED]).text(),
            format!(
                "protected groups must have approval annotation {API_APPROVED:?} with either a URL or a reason starting \
                 with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111"
            ),
        ),
        Approval::Approved | Approval::Bypassed => {}
    }
}

fn check_spec(spec: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let group = spec.get("group").text();
    let in_group = at.child("group");
    let wrong = names::dns_subdomain(group);
    if group.is_empty() {
        errors.required(&in_group, "");
    } else if !wrong.is_empty() {
        errors.invalid(&in_group, group, wrong.join(","));
    } else if !group.contains('.') {
        errors.invalid(&in_group, group, "should be a domain with at least one dot");
    }
    match spec.get("scope").text() {
        "" => errors.required(&at.child("scope"), ""),
        "Cluster" | "Namespaced" => {}
        other => errors.not_supported(&at.child("scope"), other, &["Cluster", "Namespaced"]),
    }
    if spec.get("preserveUnknownFields").truth() {
        errors.invalid(
            &at.child("preserveUnknownFields"),
            true,
            "must be false in order to use defaults in the schema",
        );
    }
    check_versions(spec, old, at, errors);
    let names = Value::object();
    let given = spec.get("names").unwrap_or(&names);
    let in_names = at.child("names");
    for field in ["plural", "singular", "kind", "listKind"] {
        if given.get(field).text().is_empty() {
            errors.required(&in_names.child(field), "");
        }
    }
    check_names(given, &in_names, errors);
    check_conversion(spec.get("conversion"), &at.child("conversion"), errors);
}

fn check_versions(spec: &Value, old: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let versions = spec.array_at(&["versions"]);
    let (mut stored, mut unique) = (0, true);
    for (index, version) in versions.iter().enumerate() {
        let here = at.item("versions", index);
        let name = version.get("name").text();
        stored += usize::from(version.get("storage").truth());
        unique &= versions[..index].iter().all(|v| v.get("name").text() != name);
        let wrong = names::dns_1035_label(name);
        if !wrong.is_empty() {
            errors.invalid(&here.child("name"), name, wrong.join(","));
        }
        let before = old.and_then(|old| old.array_at(&["versions"]).iter().find(|v| v.get("name").text() == name));
        // A version as it was stored has been checked; its schema may be large.
        if before != Some(version) {
            check_version(version, &here, errors);
        }
    }
    let in_versions = at.child("versions");
    if !unique {
        errors.invalid(&in_versions, spec.get("versions"), "must contain unique version names");
    }
    if stored != 1 {
        let detail = "must have exactly one version marked as storage version";
        errors.invalid(&in_versions, spec.get("versions"), detail);
    }
}

fn check_version(version: &Value, at: &Path<'_>, errors: &mut Errors) {
    if let Some(warning) = version.get("deprecationWarning").and_then(Value::as_str) {
        let here = at.child("deprecationWarning");
        if !version.get("deprecated").truth() {
            errors.invalid(&here, warning, "can only be set for deprecated versions");
        } else {
            if warning.len() > 256 {
                errors.invalid(&here, warning, "must be <= 256 characters long");
            }
            if warning.is_empty() {
                errors.invalid(&here, warning, "must not be an empty string");
            }
            if let Some((index, _)) = warning.char_indices().find(|(_, c)| c.is_control()) {
                let detail = format!(
                    "must only contain printable UTF-8 characters; non-printable character found at index {index}"
                );
                errors.invalid(&here, warning, detail);
            }
        }
    }
    let null = Value::Null;
    let schema = version.at(&["schema", "openAPIV3Schema"]).unwrap_or(&null);
    let in_schema = at.child("schema.openAPIV3Schema");
    let compiled = if schema.is_null() {
        errors.required(&in_schema, "schemas are required");
        None
    } else {
        let status = version.at(&["subresources", "status"]).is_some_and(|s| !s.is_null());
        json_schema::check(schema, status, &in_schema, errors)
    };
    check_scale(version.at(&["subresources", "scale"]), &at.child("subresources"), errors);
    for (index, column) in version.array_at(&["additionalPrinterColumns"]).iter().enumerate() {
        check_column(column, &at.item("additionalPrinterColumns", index), errors);
    }
    check_selectable(version.array_at(&["selectableFields"]), compiled.as_ref(), at, errors);
}

fn check_column(column: &Value, at: &Path<'_>, errors: &mut Errors) {
    if column.get("name").text().is_empty() {
        errors.required(&at.child("name"), "");
    }
    let kind = column.get("type").text();
    let one_of = || format!("must be one of {}", COLUMN_TYPES.join(","));
    if kind.is_empty() {
        errors.required(&at.child("type"), one_of());
    } else if !COLUMN_TYPES.contains(&kind) {
        errors.invalid(&at.child("type"), kind, one_of());
    }
    let format = column.get("format").text();
    if !format.is_empty() && !COLUMN_FORMATS.contains(&format) {
        let mut sorted = COLUMN_FORMATS;
        sorted.sort_unstable();
        errors.invalid(&at.child("format"), format, format!("must be one of {}", sorted.join(",")));
    }
    let path = column.get("jsonPath").text();
    if path.is_empty() {
        errors.required(&at.child("JSONPath"), "");
    } else {
        check_simple_path(path, &at.child("JSONPath"), errors);
    }
}

/// Whether a path begins as paths must.
fn check_simple_path(path: &str, at: &Path<'_>, errors: &mut Errors) -> bool {
    let begins = path.starts_with('.');
    if !begins {
        errors.invalid(at, path, "must be a simple json path starting with .");
    }
    begins
}

fn check_scale(scale: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(scale) = scale.filter(|s| !s.is_null()) else { return };
    for (field, root, name) in [
        ("specReplicasPath", ".spec.", "scale.specReplicasPath"),
        ("statusReplicasPath", ".status.", "scale.statusReplicasPath"),
    ] {
        let path = scale.get(field).text();
        let here = at.child(name);
        if path.is_empty() {
            errors.required(&here, "");
        } else if check_simple_path(path, &here, errors) && !path.starts_with(root) {
            errors.invalid(&here, path, format!("should be a json path under {}", &root[..root.len() - 1]));
        }
    }
    let path = scale.get("labelSelectorPath").text();
    let here = at.child("scale.labelSelectorPath");
    if !path.is_empty()
        && check_simple_path(path, &here, errors)
        && !path.starts_with(".spec.")
        && !path.starts_with(".status.")
    {
        errors.invalid(&here, path, "should be a json path under either .spec or .status");
    }
}

fn check_selectable(fields: &[Value], schema: Option<&Schema>, at: &Path<'_>, errors: &mut Errors) {
    let mut seen: Vec<&str> = Vec::new();
    for (index, field) in fields.iter().enumerate() {
        let item = at.item("selectableFields", index);
        let here = item.child("jsonPath");
        let path = field.get("jsonPath").text();
        if path.is_empty() {
            errors.required(&here, "");
            continue;
        }
        let Some(schema) = schema else { continue };
        let steps = JsonPath::parse(path).ok().filter(|_| path.starts_with('.')).and_then(|path| path.fields());
        let Some(steps) = steps.filter(|steps| !steps.is_empty()) else {
            errors.invalid(&here, path, "is an invalid path: must be a simple json path of fields");
            continue;
        };
        if steps[0] == "metadata" {
            errors.invalid(&here, path, "must not point to fields in metadata");
            continue;
        }
        let mut below = Some(schema);
        for step in &steps {
            below = below.and_then(|schema| schema.property(step));
        }
        let Some(found) = below else {
            errors.invalid(&here, path, "is an invalid path: does not refer to a valid field");
            continue;
        };
        if !matches!(found.ty, Some(Ty::String | Ty::Boolean | Ty::Integer)) {
            let detail = "must point to a field of type string, boolean or integer. Enum string fields and strings with \
                 formats are allowed.";
            errors.invalid(&here, path, detail);
        }
        if seen.contains(&path) {
            errors.duplicate(&here, path);
        } else {
            seen.push(path);
        }
    }
    if seen.len() > SELECTABLE_FIELDS_MAX {
        errors.too_many(&at.child("selectableFields"), seen.len(), SELECTABLE_FIELDS_MAX);
    }
}

fn check_names(names: &Value, at: &Path<'_>, errors: &mut Errors) {
    for field in ["plural", "singular"] {
        let name = names.get(field).text();
        let wrong = names::dns_1035_label(name);
        if !name.is_empty() && !wrong.is_empty() {
            errors.invalid(&at.child(field), name, wrong.join(","));
        }
    }
    for field in ["kind", "listKind"] {
        let name = names.get(field).text();
        let wrong = names::dns_1035_label(&name.to_lowercase());
        if !name.is_empty() && !wrong.is_empty() {
            let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
            errors.invalid(&at.child(field), name, detail);
        }
    }
    for field in ["shortNames", "categories"] {
        for (index, name) in names.array_at(&[field]).iter().filter_map(Value::as_str).enumerate() {
            let wrong = names::dns_1035_label(name);
            if !wrong.is_empty() {
                errors.invalid(&at.item(field, index), name, wrong.join(","));
            }
        }
    }
    let (kind, list) = (names.get("kind").text(), names.get("listKind").text());
    if !kind.is_empty() && kind == list {
        errors.invalid(&at.child("listKind"), list, "kind and listKind may not be the same");
    }
}

fn check_conversion(conversion: Option<&Value>, at: &Path<'_>, errors: &mut Errors) {
    let Some(conversion) = conversion.filter(|c| !c.is_null()) else { return };
    match conversion.get("strategy").text() {
        "" => errors.required(&at.child("strategy"), ""),
        "None" => {
            if conversion.get("webhook").is_some_and(|w| !w.is_null()) {
                let detail = "should not be set when strategy is not set to Webhook";
                errors.forbidden(&at.child("webhookClientConfig"), detail);
            }
        }
        "Webhook" => errors.forbidden(
            &at.child("strategy"),
            "conversion by webhook is not built into this server yet: serve versions of one shape with strategy None",
        ),
        other => errors.not_supported(&at.child("strategy"), other, &["None", "Webhook"]),
    }
}
