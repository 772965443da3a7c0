//! The paths of a resource and what may be done at each.

use serde_json::{Map, Value as Json, json};

use super::definitions::Definitions;
use super::pieces::Pieces;
use super::{Language, Row, group_path};
use crate::schema::{Message, Ref};

const PATCH_TYPES: [&str; 4] = [
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
    "application/apply-patch+yaml",
];
/// Custom types have no strategy to merge by, and no protobuf.
const CUSTOM_PATCH_TYPES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"];
const BODIES: [&str; 3] = ["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"];

const CREATE: &[(&str, &str)] =
    &[("dryRun", "string"), ("fieldManager", "string"), ("fieldValidation", "string"), ("pretty", "string")];
const PATCH: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
    ("force", "boolean"),
    ("pretty", "string"),
];
const DELETE: &[(&str, &str)] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    ("ignoreStoreReadErrorWithClusterBreakingPotential", "boolean"),
    ("orphanDependents", "boolean"),
    ("pretty", "string"),
    ("propagationPolicy", "string"),
];
const LIST: &[(&str, &str)] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("pretty", "string"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const GET: &[(&str, &str)] = &[("pretty", "string")];

/// What is done to what.
struct Operation<'a> {
    method: &'static str,
    /// `x-kubernetes-action`
    action: &'static str,
    /// How the operation's name begins (`listCoreV1NamespacedPod`).
    prefix: &'static str,
    parameters: &'static [(&'static str, &'static str)],
    /// What is sent; `Patch` for patches.
    body: Body<'a>,
    /// What is answered.
    answer: Json,
}

enum Body<'a> {
    None,
    Object(&'a Ref<Message>),
    Patch,
}

/// Adds all paths of a row.
pub(super) fn add(paths: &mut Pieces, row: &Row, language: Language, definitions: &mut Definitions<'_>) {
    let resource = &row.resource;
    let base = format!("/{}", group_path(&resource.gvr.group, &resource.gvr.version));
    let can = |verb: &str| resource.verbs.iter().any(|v| v == verb);
    let gvk = json!({"group": resource.gvr.group, "version": resource.gvr.version, "kind": resource.kind});
    let status = definitions.status();
    let custom = matches!(row.message, Ref::Shared(_));
    let scope = if resource.namespaced { "Namespaced" } else { "" };
    let mut put = |path: String,
                   scope: &str,
                   suffix: &str,
                   gvk: &Json,
                   operations: Vec<Operation<'_>>,
                   d: &mut Definitions<'_>| {
        if operations.is_empty() {
            return;
        }
        let mut item = Map::new();
        for operation in operations {
            let id = format!("{}{}{scope}{suffix}", operation.prefix, camel(resource));
            let method = operation.method.to_owned();
            item.insert(method, operation.write(&id, gvk, resource, (language, custom), d));
        }
        let parameters: Vec<Json> = ["namespace", "name"]
            .into_iter()
            .filter(|n| path.contains(&format!("{{{n}}}")))
            .map(|n| in_path(n, language))
            .collect();
        if !parameters.is_empty() {
            item.insert("parameters".into(), parameters.into());
        }
        paths.insert(path, &item.into());
    };

    let object = definitions.add(&row.message);
    let list = if can("list") { definitions.add_list(&row.message, row.list.as_ref(), &gvk) } else { Json::Null };
    let list_operation = |list: &Json| Operation {
        method: "get",
        action: "list",
        prefix: "list",
        parameters: LIST,
        body: Body::None,
        answer: list.clone(),
    };
    let plural = if resource.namespaced { "/namespaces/{namespace}" } else { "" };
    let collection = format!("{base}{plural}/{}", resource.gvr.resource);
    let kind = resource.kind.to_string();

    if resource.namespaced && can("list") {
        let path = format!("{base}/{}", resource.gvr.resource);
        put(path, "", &format!("{kind}ForAllNamespaces"), &gvk, vec![list_operation(&list)], definitions);
    }
    let mut operations = Vec::new();
    if can("list") {
        operations.push(list_operation(&list));
    }
    if can("create") {
        operations.push(Operation {
            method: "post",
            action: "post",
            prefix: "create",
            parameters: CREATE,
            body: Body::Object(&row.message),
            answer: object.clone(),
        });
    }
    if can("deletecollection") {
        operations.push(Operation {
            method: "delete",
            action: "deletecollection",
            prefix: "deleteCollection",
            parameters: DELETE,
            body: Body::None,
            answer: status.clone(),
        });
    }
    put(collection.clone(), scope, &kind, &gvk, operations, definitions);

    let item = format!("{collection}/{{name}}");
    let verbs: Vec<&str> = resource.verbs.iter().map(|v| &**v).collect();
    put(item.clone(), scope, &kind, &gvk, on_object(&verbs, &row.message, &object, &status), definitions);

    for (sub, message) in resource.subresources.iter().zip(&row.subresources) {
        let Some(message) = message else { continue };
        let answer = definitions.add(message);
        let gvk = json!({
            "group": sub.kind_group.as_ref().unwrap_or(&resource.gvr.group),
            "version": sub.kind_version.as_ref().unwrap_or(&resource.gvr.version),
            "kind": sub.kind,
        });
        let verbs: Vec<&str> = sub.verbs.iter().map(|v| &**v).collect();
        let mut operations = on_object(&verbs, message, &answer, &status);
        if verbs.contains(&"create") {
            operations.push(Operation {
                method: "post",
                action: "post",
                prefix: "create",
                parameters: CREATE,
                body: Body::Object(message),
                answer,
            });
        }
        let suffix = format!("{kind}{}", capitalised(&sub.name));
        put(format!("{item}/{}", sub.name), scope, &suffix, &gvk, operations, definitions);
    }
}

fn on_object<'a>(verbs: &[&str], message: &'a Ref<Message>, object: &Json, status: &Json) -> Vec<Operation<'a>> {
    let mut out = Vec::new();
    let mut push = |verb: &str, method, action, prefix, parameters, body, answer: &Json| {
        if verbs.contains(&verb) {
            out.push(Operation { method, action, prefix, parameters, body, answer: answer.clone() });
        }
    };
    push("get", "get", "get", "read", GET, Body::None, object);
    push("update", "put", "put", "replace", CREATE, Body::Object(message), object);
    push("patch", "patch", "patch", "patch", PATCH, Body::Patch, object);
    push("delete", "delete", "delete", "delete", DELETE, Body::None, status);
    out
}

impl Operation<'_> {
    fn write(
        self,
        id: &str,
        gvk: &Json,
        resource: &crate::resource::Resource,
        (language, custom): (Language, bool),
        definitions: &mut Definitions<'_>,
    ) -> Json {
        let tag = format!("{}_{}", camel_group(&resource.gvr.group, false), resource.gvr.version);
        let mut parameters: Vec<Json> = self.parameters.iter().map(|(name, ty)| in_query(name, ty, language)).collect();
        let mut out = json!({
            "tags": [tag], "operationId": id, "x-kubernetes-action": self.action, "x-kubernetes-group-version-kind": gvk,
        });
        let bodies: &[&str] = if custom { &BODIES[..2] } else { &BODIES };
        let (body, types): (Option<Json>, &[&str]) = match self.body {
            Body::None => (None, &[]),
            Body::Object(message) => (Some(definitions.add(message)), bodies),
            Body::Patch if custom => (Some(definitions.add_patch()), &CUSTOM_PATCH_TYPES),
            Body::Patch => (Some(definitions.add_patch()), &PATCH_TYPES),
        };
        match language {
            Language::V2 => {
                if let Some(schema) = body {
                    parameters.push(json!({"name": "body", "in": "body", "required": true, "schema": schema}));
                    out["consumes"] = json!(types);
                }
                out["produces"] = json!(bodies);
                out["schemes"] = json!(["https"]);
                out["responses"] = json!({"200": {"description": "OK", "schema": self.answer}});
            }
            Language::V3 => {
                if let Some(schema) = body {
                    let content: Map<String, Json> =
                        types.iter().map(|t| ((*t).to_owned(), json!({"schema": schema}))).collect();
                    out["requestBody"] = json!({"content": content, "required": true});
                }
                let content: Map<String, Json> =
                    bodies.iter().map(|t| ((*t).to_owned(), json!({"schema": self.answer}))).collect();
                out["responses"] = json!({"200": {"description": "OK", "content": content}});
            }
        }
        out["parameters"] = parameters.into();
        out
    }
}

fn in_query(name: &str, ty: &str, language: Language) -> Json {
    match language {
        Language::V2 => json!({"name": name, "in": "query", "type": ty, "uniqueItems": true}),
        Language::V3 => json!({"name": name, "in": "query", "schema": {"type": ty, "uniqueItems": true}}),
    }
}

fn in_path(name: &str, language: Language) -> Json {
    match language {
        Language::V2 => json!({"name": name, "in": "path", "required": true, "type": "string", "uniqueItems": true}),
        Language::V3 => {
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string", "uniqueItems": true}})
        }
    }
}

/// `CoreV1`, `RbacAuthorizationV1`.
fn camel(resource: &crate::resource::Resource) -> String {
    format!("{}{}", camel_group(&resource.gvr.group, true), capitalised(&resource.gvr.version))
}

/// The group without `.k8s.io`, its parts run together.
fn camel_group(group: &str, first_upper: bool) -> String {
    let group = if group.is_empty() { "core" } else { group.trim_end_matches(".k8s.io") };
    let mut out = String::new();
    for part in group.split(['.', '-']) {
        out.push_str(&if out.is_empty() && !first_upper { part.to_owned() } else { capitalised(part) });
    }
    out
}

fn capitalised(text: &str) -> String {
    let mut rest = text.chars();
    rest.next().map_or_else(String::new, |first| first.to_uppercase().chain(rest).collect())
}
