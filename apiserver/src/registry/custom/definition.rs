//! A CustomResourceDefinition compiled: from the stored object to the rows that serve it.
//!
//! Called by [`super::follow`] for every change of a definition. Tolerates whatever is stored (another server may have
//! written it): what cannot be compiled is not served, and the log says why.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use gantry_machinery::codec::json;
use gantry_machinery::resource::{GroupVersionResource, Resource, Subresource};
use gantry_machinery::value::Value;
use gantry_store_cache::object::StoredObject;
use tokio_util::sync::CancellationToken;

use super::json_path::JsonPath;
use super::kind::CustomKind;
use super::schema::Schema;
use super::{conditions, fields};
use crate::registry::strategy::{Column, ScalePaths, Strategy};
use crate::registry::table::Row;

/// What a custom resource serves, in upstream's order.
const VERBS: [&str; 8] = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"];
/// The same while its definition is going: nothing new, but finalizers must come off.
const VERBS_TERMINATING: [&str; 7] = ["delete", "deletecollection", "get", "list", "patch", "update", "watch"];
const VERBS_SUBRESOURCE: [&str; 3] = ["get", "patch", "update"];

/// What the creation time of objects means, for the column that is there unless a definition names its own.
const AGE: &str = "CreationTimestamp is a timestamp representing the server time when this object was created. It is not \
     guaranteed to be set in happens-before order across separate operations. Clients may not set this value. It is \
     represented in RFC3339 form and is in UTC.\n\nPopulated by the system. Read-only. Null for lists. More info: \
     https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata";

/// A definition that is served.
pub(crate) struct Definition {
    /// What serving depends on: as long as it is the same, the rows stay.
    pub(crate) identity: Vec<u8>,
    /// A row for each served version.
    pub(crate) rows: Vec<Arc<Row>>,
    /// Objects up to this revision are read through the schema; shared by the rows.
    pub(crate) settled: Arc<AtomicU64>,
    /// Ends what began under this definition.
    pub(crate) retired: CancellationToken,
}

/// What serving depends on: the spec, the accepted names, whether it is established, whether it is going.
pub(crate) fn identity(definition: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    for path in [&["spec"][..], &["status", "acceptedNames"], &["metadata", "uid"]] {
        json::encode_into(definition.at(path).unwrap_or(&Value::Null), &mut out);
    }
    // Served from the moment that the names are accepted, so that established means served.
    let accepted = ["Established", "NamesAccepted"].into_iter().any(|c| conditions::is_true(definition, c));
    out.push(u8::from(accepted));
    out.push(u8::from(conditions::is_true(definition, "Terminating")));
    out
}

/// Compiles a definition; it has rows once its names are accepted. `settled`: objects of later revisions are as this definition has them.
///
/// # Errors
/// Why it cannot be served.
pub(crate) fn compile(source: &Arc<StoredObject>, definition: &Value, settled: u64) -> Result<Definition, String> {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let (settled, retired) = (Arc::new(AtomicU64::new(settled)), CancellationToken::new());
    let mut made = Definition { identity: identity(definition), rows: Vec::new(), settled, retired };
    let established = conditions::is_true(definition, "Established");
    let terminating = conditions::is_true(definition, "Terminating");
    let versions = spec.array_at(&["versions"]);
    let mut schemas = HashMap::new();
    for version in versions {
        let name = text(version, "name");
        let schema = match version.at(&["schema", "openAPIV3Schema"]) {
            Some(schema) => Schema::compile(schema).map_err(|why| format!("version {name}: {why}"))?,
            None => Schema { preserve_unknown: true, ..Schema::default() },
        };
        schemas.insert(name.to_owned(), Arc::new(schema));
    }
    let schemas = Arc::new(schemas);
    let group = text(spec, "group");
    let stored = versions.iter().find(|v| v.bool_at(&["storage"]) == Some(true)).ok_or("no version is stored")?;
    let stored_api_version = format!("{group}/{}", text(stored, "name"));
    if !established && !conditions::is_true(definition, "NamesAccepted") {
        return Ok(made);
    }
    // What is stored must be served while it is being deleted.
    let is_served =
        |v: &&Value| v.bool_at(&["served"]) == Some(true) || (terminating && v.bool_at(&["storage"]) == Some(true));
    for version in versions.iter().filter(is_served) {
        let name = text(version, "name");
        let resource = Arc::new(resource(definition, version));
        let schema = schemas.get(name).expect("every version's schema was compiled above").clone();
        let kind = resource.kind.to_string();
        let (columns, cells) = columns(version);
        let deprecated = (version.bool_at(&["deprecated"]) == Some(true)).then(|| {
            let said = version.str_at(&["deprecationWarning"]).map(ToOwned::to_owned);
            said.unwrap_or_else(|| format!("{group}/{name} {kind} is deprecated"))
        });
        let custom = CustomKind {
            message: Arc::new(fields::message(
                &schema,
                definition_name(group, name, &kind),
                format!("{group}/{name}/{kind}"),
            )),
            envelope: fields::envelope(&kind),
            schema,
            schemas: schemas.clone(),
            api_version: format!("{group}/{name}"),
            stored_api_version: stored_api_version.clone(),
            status: resource.subresource("status").is_some(),
            scale: scale(version),
            columns,
            cells,
            selectable: selectable(version),
            deprecated,
            source: source.clone(),
            settled: made.settled.clone(),
            retired: made.retired.clone(),
            resource: resource.clone(),
        };
        let strategy: Arc<dyn Strategy> = Arc::new(custom);
        made.rows.push(Arc::new(Row::custom(resource, strategy)));
    }
    Ok(made)
}

/// The OpenAPI name of a custom type: the group backwards, version and kind.
pub(crate) fn definition_name(group: &str, version: &str, kind: &str) -> String {
    let reversed: Vec<&str> = group.rsplit('.').collect();
    format!("{}.{version}.{kind}", reversed.join("."))
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value.str_at(&[field]).unwrap_or_default()
}

fn words(texts: &[&'static str]) -> Cow<'static, [Cow<'static, str>]> {
    texts.iter().map(|t| Cow::Borrowed(*t)).collect()
}

fn owned(list: &[Value]) -> Cow<'static, [Cow<'static, str>]> {
    list.iter().filter_map(Value::as_str).map(|t| Cow::Owned(t.to_owned())).collect()
}

fn resource(definition: &Value, version: &Value) -> Resource {
    let spec = definition.get("spec").unwrap_or(&Value::Null);
    let names = definition.at(&["status", "acceptedNames"]).or(spec.get("names")).unwrap_or(&Value::Null);
    let sub = |name: &'static str, kind: String, of: Option<(&'static str, &'static str)>| Subresource {
        name: name.into(),
        kind: kind.into(),
        kind_group: of.map(|(group, _)| group.into()),
        kind_version: of.map(|(_, version)| version.into()),
        verbs: words(&VERBS_SUBRESOURCE),
    };
    let mut subresources = Vec::new();
    if version.at(&["subresources", "status"]).is_some_and(|s| !s.is_null()) {
        subresources.push(sub("status", text(names, "kind").to_owned(), None));
    }
    if scale(version).is_some() {
        subresources.push(sub("scale", "Scale".to_owned(), Some(("autoscaling", "v1"))));
    }
    Resource {
        gvr: GroupVersionResource {
            group: text(spec, "group").to_owned().into(),
            version: text(version, "name").to_owned().into(),
            resource: text(names, "plural").to_owned().into(),
        },
        kind: text(names, "kind").to_owned().into(),
        singular: text(names, "singular").to_owned().into(),
        namespaced: text(spec, "scope") != "Cluster",
        verbs: if conditions::is_true(definition, "Terminating") { words(&VERBS_TERMINATING) } else { words(&VERBS) },
        short_names: owned(names.array_at(&["shortNames"])),
        categories: owned(names.array_at(&["categories"])),
        subresources: subresources.into(),
    }
}

fn scale(version: &Value) -> Option<ScalePaths> {
    let scale = version.at(&["subresources", "scale"]).filter(|s| !s.is_null())?;
    let path = |field: &str| scale.str_at(&[field]).filter(|p| !p.is_empty()).map(dotted);
    Some(ScalePaths {
        spec_replicas: path("specReplicasPath")?,
        status_replicas: path("statusReplicasPath")?,
        selector: path("labelSelectorPath"),
    })
}

fn dotted(path: &str) -> Vec<String> {
    path.split('.').filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect()
}

fn columns(version: &Value) -> (Vec<Column>, Vec<Option<JsonPath>>) {
    let (mut columns, mut cells) = (vec![Column::name()], vec![None]);
    let own = version.array_at(&["additionalPrinterColumns"]);
    for column in own {
        let word = |field: &str| Cow::Owned(text(column, field).to_owned());
        columns.push(Column {
            name: word("name"),
            format: word("format"),
            kind: word("type"),
            description: match text(column, "description") {
                "" => Cow::Owned(format!(
                    "Custom resource definition column (in JSONPath format): {}",
                    text(column, "jsonPath")
                )),
                said => Cow::Owned(said.to_owned()),
            },
            priority: column.i64_at(&["priority"]).and_then(|p| i32::try_from(p).ok()).unwrap_or_default(),
        });
        cells.push(JsonPath::parse(text(column, "jsonPath")).ok());
    }
    if own.is_empty() {
        columns.push(Column { description: Cow::Borrowed(AGE), ..Column::date("Age") });
        cells.push(JsonPath::parse(".metadata.creationTimestamp").ok());
    }
    (columns, cells)
}

fn selectable(version: &Value) -> Vec<(String, JsonPath)> {
    let fields = version.array_at(&["selectableFields"]).iter();
    fields
        .filter_map(|field| {
            let path = text(field, "jsonPath");
            Some((path.trim_start_matches('.').to_owned(), JsonPath::parse(path).ok()?))
        })
        .collect()
}
