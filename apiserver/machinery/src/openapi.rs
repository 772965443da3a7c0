//! OpenAPI v2 and v3 documents, generated from the resource rows and the schema table: what `kubectl explain`, `apply`,
//! `diff` and client generators read ("The Kubernetes API", "OpenAPI interface definition").
//!
//! Served by the HTTP layer as bytes with ETags. A document is made when it is first asked for and kept; an idle server
//! holds none. When a CustomResourceDefinition changes the rows, a new [`OpenApi`] takes this one's place.

mod definitions;
mod paths;
mod pieces;
mod protobuf;

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, OnceLock};

use serde_json::{Value as Json, json};

use self::definitions::Definitions;
use self::pieces::Pieces;
use crate::document::{Document, etag};
use crate::resource::Resource;
use crate::schema::{Message, Ref};

/// The v2 document in protobuf as clients ask for it in `Accept`.
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

/// The same as it is answered: `@` is no letter of media types, and Go's parser refuses it.
const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// Which of the two languages a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Language {
    V2,
    V3,
}

impl Language {
    /// A reference to a definition.
    fn reference(self, name: &str) -> Json {
        match self {
            Self::V2 => json!({"$ref": format!("#/definitions/{name}")}),
            Self::V3 => json!({"$ref": format!("#/components/schemas/{name}")}),
        }
    }
}

/// What types and fields mean, for `description`s.
pub trait Describe {
    /// What a type is for, by its definition's name.
    fn definition(&self, name: &str) -> Option<&str>;
    /// What a field of a type means, by its JSON name.
    fn field(&self, definition: &str, field: &str) -> Option<&str>;
}

/// Fetches the descriptions when a document is made: an idle server holds none.
pub type Descriptions = fn() -> Box<dyn Describe>;

/// Describes nothing.
pub struct NoDescriptions;

impl Describe for NoDescriptions {
    fn definition(&self, _: &str) -> Option<&str> {
        None
    }

    fn field(&self, _: &str, _: &str) -> Option<&str> {
        None
    }
}

/// References that a custom type's schema needs, in the language of the document.
pub struct MetaRefs {
    /// Whether the document is of OpenAPI v3.
    pub v3: bool,
    metadata: Json,
}

impl MetaRefs {
    /// The type of `metadata`, described.
    #[must_use]
    pub fn metadata(&self, description: &str) -> Json {
        if self.v3 {
            json!({"allOf": [self.metadata], "description": description})
        } else {
            let mut schema = self.metadata.clone();
            schema["description"] = description.into();
            schema
        }
    }
}

/// Makes a custom type's schema when a document is made; `None` leaves what the table says of it.
pub type CustomSchema = Arc<dyn Fn(&MetaRefs) -> Option<Json> + Send + Sync>;

/// Custom types by their definitions' names.
pub type CustomSchemas = HashMap<String, CustomSchema>;

/// A resource with the type of its objects, and of its subresources' where they differ.
struct Row {
    resource: Resource,
    message: Ref<Message>,
    list: Option<Ref<Message>>,
    /// By the subresource's place in the row.
    subresources: Vec<Option<Ref<Message>>>,
}

/// The OpenAPI documents of a server.
pub struct OpenApi {
    title_version: String,
    descriptions: Descriptions,
    custom: CustomSchemas,
    /// By `api/v1` or `apis/<group>/<version>`.
    groups: BTreeMap<String, Vec<Row>>,
    common: Vec<Ref<Message>>,
    v3: BTreeMap<String, OnceLock<Document>>,
    v3_index: OnceLock<Document>,
    v2: OnceLock<Document>,
    v2_protobuf: OnceLock<Document>,
}

impl OpenApi {
    /// Prepares the documents of these resources. `message` finds the type of a group, version and kind; resources whose
    /// kind it does not know are left out. `version` is the server's (`v1.36.0`).
    #[must_use]
    pub fn new(
        rows: &[Resource],
        version: &str,
        message: impl Fn(&str, &str, &str) -> Option<Ref<Message>>,
        descriptions: Descriptions,
    ) -> Self {
        let mut groups: BTreeMap<String, Vec<Row>> = BTreeMap::new();
        for row in rows {
            let (group, version) = (&*row.gvr.group, &*row.gvr.version);
            let Some(of) = message(group, version, &row.kind) else { continue };
            let subresources = row.subresources.iter().map(|sub| {
                let group = sub.kind_group.as_deref().unwrap_or(group);
                let version = sub.kind_version.as_deref().unwrap_or(version);
                message(group, version, &sub.kind)
            });
            let subresources = subresources.collect();
            let list = message(group, version, &format!("{}List", row.kind));
            let path = group_path(group, version);
            groups.entry(path).or_default().push(Row { resource: row.clone(), message: of, list, subresources });
        }
        let common = ["Status", "DeleteOptions"].into_iter().filter_map(|kind| message("", "v1", kind)).collect();
        let v3 = groups.keys().map(|path| (path.clone(), OnceLock::new())).collect();
        Self {
            title_version: version.to_owned(),
            descriptions,
            custom: CustomSchemas::new(),
            groups,
            common,
            v3,
            v3_index: OnceLock::new(),
            v2: OnceLock::new(),
            v2_protobuf: OnceLock::new(),
        }
    }

    /// The same documents with the schemas of custom types.
    #[must_use]
    pub fn with_custom(self, custom: CustomSchemas) -> Self {
        Self { custom, ..self }
    }

    /// `/openapi/v3`: where each group-version's document is, with a hash that changes with it.
    pub fn v3_index(&self) -> &Document {
        self.v3_index.get_or_init(|| {
            let paths: serde_json::Map<String, Json> = self
                .groups
                .iter()
                .map(|(path, rows)| {
                    let url = format!("/openapi/v3/{path}?hash={}", self.hash(rows));
                    (path.clone(), json!({"serverRelativeURL": url}))
                })
                .collect();
            document(json!({ "paths": paths }).to_string())
        })
    }

    /// `/openapi/v3/<path>`; `None` where no group-version has this path.
    pub fn v3(&self, path: &str) -> Option<&Document> {
        let rows = self.groups.get(path)?;
        let place = self.v3.get(path)?;
        Some(place.get_or_init(|| {
            let (paths, definitions) = self.pieces(Language::V3, rows);
            let mut text = String::from("{\"components\":{\"schemas\":");
            definitions.write(&mut text);
            text.push_str(&format!("}},\"info\":{},\"openapi\":\"3.0.0\",\"paths\":", self.info()));
            paths.write(&mut text);
            text.push('}');
            document(text)
        }))
    }

    /// `/openapi/v2` as JSON.
    pub fn v2(&self) -> &Document {
        self.v2.get_or_init(|| {
            let (paths, definitions) = self.pieces(Language::V2, self.groups.values().flatten());
            let mut text = String::from("{\"definitions\":");
            definitions.write(&mut text);
            text.push_str(&format!(",\"info\":{},\"paths\":", self.info()));
            paths.write(&mut text);
            text.push_str(",\"swagger\":\"2.0\"}");
            document(text)
        })
    }

    /// `/openapi/v2` in protobuf ([`V2_PROTOBUF`]), the form client-go asks for.
    pub fn v2_protobuf(&self) -> &Document {
        self.v2_protobuf.get_or_init(|| {
            let (paths, definitions) = self.pieces(Language::V2, self.groups.values().flatten());
            let head = json!({"swagger": "2.0", "info": self.info()});
            Document::new(protobuf::encode(&head, paths, definitions), V2_PROTOBUF_ANSWER)
        })
    }

    fn info(&self) -> Json {
        json!({"title": "Kubernetes", "version": self.title_version})
    }

    /// The paths of these rows, and the definitions that they need.
    fn pieces<'r>(&self, language: Language, rows: impl IntoIterator<Item = &'r Row>) -> (Pieces, Pieces) {
        let texts = (self.descriptions)();
        let mut definitions = Definitions::new(language, &*texts, &self.custom);
        for message in &self.common {
            definitions.add(message);
        }
        let mut paths = Pieces::default();
        for row in rows {
            paths::add(&mut paths, row, language, &mut definitions);
        }
        (paths, definitions.finish())
    }

    /// Changes with the document of these rows. Built-in types change only with the server's version, so their documents
    /// need not be made for it.
    fn hash(&self, rows: &[Row]) -> String {
        let mut text = self.title_version.clone();
        for row in rows {
            text.push_str(&row.resource.gvr.to_string());
            text.push_str(&row.resource.verbs.join(","));
            for sub in row.resource.subresources.iter() {
                text.push_str(&sub.name);
            }
            if let Ref::Shared(message) = &row.message {
                let mut definitions = Definitions::new(Language::V3, &NoDescriptions, &self.custom);
                definitions.add(&Ref::Shared(message.clone()));
                definitions.finish().write(&mut text);
            }
        }
        etag(text.as_bytes()).trim_matches('"').to_owned()
    }
}

fn document(text: String) -> Document {
    Document::new(text.into_bytes(), "application/json")
}

/// `api/v1` or `apis/<group>/<version>`.
fn group_path(group: &str, version: &str) -> String {
    if group.is_empty() { format!("api/{version}") } else { format!("apis/{group}/{version}") }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::resource::{GroupVersionResource, Subresource};
    use crate::schema::{Field, Merge, Patch, ProtoWire, Type};

    fn strings(texts: &[&'static str]) -> Cow<'static, [Cow<'static, str>]> {
        texts.iter().map(|t| Cow::Borrowed(*t)).collect::<Vec<_>>().into()
    }

    fn field(json: &'static str, ty: Type) -> Field {
        Field {
            json: json.into(),
            ty,
            required: false,
            merge: Merge::Natural,
            patch: Patch::default(),
            proto_number: 0,
            proto_wire: ProtoWire::Natural,
            presence: crate::schema::Presence::OmitZero,
        }
    }

    fn message(name: &'static str, kinds: &[&'static str], fields: Vec<Field>) -> Message {
        Message {
            name: name.into(),
            go_name: name.into(),
            fields: fields.into(),
            embedded: Cow::Borrowed(&[]),
            atomic: false,
            preserve_unknown: false,
            kinds: strings(kinds),
        }
    }

    fn sample() -> OpenApi {
        let port = message(
            "io.k8s.api.core.v1.ContainerPort",
            &[],
            vec![field("containerPort", Type::Int32), field("protocol", Type::String)],
        );
        let mut ports = field("ports", Type::List(Ref::Shared(Type::Message(Ref::Shared(port.into())).into())));
        ports.merge = Merge::ListMap(strings(&["containerPort", "protocol"]));
        ports.patch = Patch { merge: true, retain_keys: false, merge_key: "containerPort".into() };
        ports.required = true;
        let pod = message("io.k8s.api.core.v1.Pod", &["v1/Pod"], vec![field("kind", Type::String), ports]);
        let pod = std::sync::Arc::new(pod);
        let row = Resource {
            gvr: GroupVersionResource::of("", "v1", "pods"),
            kind: "Pod".into(),
            singular: "pod".into(),
            namespaced: true,
            verbs: strings(&["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]),
            short_names: Cow::Borrowed(&[]),
            categories: Cow::Borrowed(&[]),
            subresources: vec![Subresource {
                name: "status".into(),
                kind: "Pod".into(),
                kind_group: None,
                kind_version: None,
                verbs: strings(&["get", "patch", "update"]),
            }]
            .into(),
        };
        OpenApi::new(
            &[row],
            "v1.36.0",
            |group, version, kind| {
                (group.is_empty() && version == "v1" && kind == "Pod").then(|| Ref::Shared(pod.clone()))
            },
            || Box::new(Sample),
        )
    }

    /// Describes each thing by its own name.
    struct Sample;

    impl Describe for Sample {
        fn definition(&self, name: &str) -> Option<&str> {
            name.ends_with(".Pod").then_some("A group of containers.")
        }

        fn field(&self, definition: &str, field: &str) -> Option<&str> {
            (definition.ends_with(".Pod") && field == "ports").then_some("Where it listens.")
        }
    }

    fn parsed(document: &Document) -> Json {
        serde_json::from_slice(&document.pieces().collect::<Vec<_>>().concat()).unwrap()
    }

    /// What kubectl looks for before it relies on server-side validation and dry run.
    #[test]
    fn patch_operations_name_their_kind_and_parameters() {
        let api = sample();
        for (spec, schema) in [(parsed(api.v3("api/v1").unwrap()), true), (parsed(api.v2()), false)] {
            let patch = &spec["paths"]["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"];
            assert_eq!(patch["x-kubernetes-action"], "patch");
            assert_eq!(patch["x-kubernetes-group-version-kind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
            let parameters = patch["parameters"].as_array().unwrap();
            for name in ["dryRun", "fieldManager", "fieldValidation", "force"] {
                let found = parameters.iter().find(|p| p["name"] == name && p["in"] == "query").unwrap();
                assert_eq!(found.get("schema").is_some(), schema);
            }
        }
    }

    #[test]
    fn definitions_carry_what_patches_need() {
        let spec = parsed(sample().v3("api/v1").unwrap());
        let schemas = &spec["components"]["schemas"];
        let pod = &schemas["io.k8s.api.core.v1.Pod"];
        assert_eq!(pod["x-kubernetes-group-version-kind"][0]["kind"], "Pod");
        assert_eq!(pod["required"], json!(["ports"]));
        assert_eq!(pod["description"], "A group of containers.");
        assert_eq!(pod["properties"]["ports"]["description"], "Where it listens.");
        let ports = &pod["properties"]["ports"];
        assert_eq!(ports["items"]["$ref"], "#/components/schemas/io.k8s.api.core.v1.ContainerPort");
        assert_eq!(ports["x-kubernetes-list-map-keys"], json!(["containerPort", "protocol"]));
        assert_eq!(ports["x-kubernetes-patch-merge-key"], "containerPort");
        assert_eq!(schemas["io.k8s.api.core.v1.ContainerPort"]["properties"]["protocol"]["default"], "TCP");
        // A list type that the table does not have is made up from its items.
        let list = &schemas["io.k8s.api.core.v1.PodList"];
        assert_eq!(list["properties"]["items"]["items"]["$ref"], "#/components/schemas/io.k8s.api.core.v1.Pod");
        assert!(spec["paths"]["/api/v1/pods"]["get"]["x-kubernetes-action"] == "list");
        assert!(spec["paths"]["/api/v1/namespaces/{namespace}/pods/{name}/status"]["put"].is_object());
    }

    #[test]
    fn every_reference_has_a_definition() {
        fn references(value: &Json, found: &mut Vec<String>) {
            match value {
                Json::Object(fields) => {
                    if let Some(Json::String(name)) = fields.get("$ref") {
                        found.push(name.rsplit('/').next().unwrap().to_owned());
                    }
                    fields.values().for_each(|v| references(v, found));
                }
                Json::Array(items) => items.iter().for_each(|v| references(v, found)),
                _ => {}
            }
        }
        let api = sample();
        let (v2, v3) = (parsed(api.v2()), parsed(api.v3("api/v1").unwrap()));
        for (spec, definitions) in [(&v2, &v2["definitions"]), (&v3, &v3["components"]["schemas"])] {
            let mut found = Vec::new();
            references(spec, &mut found);
            assert!(!found.is_empty());
            for name in found {
                assert!(definitions.get(&name).is_some(), "{name} is not defined");
            }
        }
    }

    #[test]
    fn the_index_points_to_documents_by_hash() {
        let api = sample();
        let index = parsed(api.v3_index());
        let url = index["paths"]["api/v1"]["serverRelativeURL"].as_str().unwrap();
        assert!(url.starts_with("/openapi/v3/api/v1?hash=") && url.len() > 40, "{url}");
        assert!(api.v3("apis/apps/v1").is_none());
        assert!(api.v2_protobuf().pieces().next().is_some());
    }
}
