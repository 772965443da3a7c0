//! The v2 document in protobuf, as gnostic's `openapi.v2.Document` numbers its fields: what client-go asks for.
//!
//! Only the fields that our documents have are known here; extensions travel as YAML texts, which JSON is.

use serde_json::{Map, Value as Json};

use super::pieces::Pieces;

/// Encodes a v2 document; `head` is what it holds beside its paths and definitions.
pub(super) fn encode(head: &Json, paths: Pieces, definitions: Pieces) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &head["swagger"]);
    out.message(2, |info| {
        info.text(1, &head["info"]["title"]);
        info.text(2, &head["info"]["version"]);
    });
    out.message(8, |out| {
        for (path, item) in paths.into_values() {
            out.named(2, &path, |out| path_item(out, &item));
        }
    });
    out.message(9, |out| {
        for (name, definition) in definitions.into_values() {
            out.named(1, &name, |out| schema(out, &definition));
        }
    });
    out.0
}

/// A message being written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn bytes(&mut self, field: u32, bytes: &[u8]) {
        self.varint(u64::from(field) << 3 | 2);
        self.varint(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn text(&mut self, field: u32, value: &Json) {
        if let Json::String(text) = value {
            self.bytes(field, text.as_bytes());
        }
    }

    fn texts(&mut self, field: u32, value: &Json) {
        for item in value.as_array().into_iter().flatten() {
            self.text(field, item);
        }
    }

    fn truth(&mut self, field: u32, value: &Json) {
        if value == &Json::Bool(true) {
            self.varint(u64::from(field) << 3);
            self.varint(1);
        }
    }

    fn message(&mut self, field: u32, write: impl FnOnce(&mut Self)) {
        let mut inner = Self::default();
        write(&mut inner);
        self.bytes(field, &inner.0);
    }

    /// An entry of a map: name and value.
    fn named(&mut self, field: u32, name: &str, write: impl FnOnce(&mut Self)) {
        self.message(field, |entry| {
            entry.bytes(1, name.as_bytes());
            entry.message(2, write);
        });
    }

    fn extensions(&mut self, field: u32, of: &Json) {
        for (name, value) in fields(of).filter(|(name, _)| name.starts_with("x-")) {
            self.named(field, name, |any| any.bytes(2, value.to_string().as_bytes()));
        }
    }
}

fn fields(value: &Json) -> impl Iterator<Item = (&String, &Json)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn path_item(out: &mut Message, item: &Json) {
    for (field, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if let Some(found) = item.get(method) {
            out.message(field, |out| operation(out, found));
        }
    }
    for parameter in item["parameters"].as_array().into_iter().flatten() {
        out.message(9, |out| parameter_item(out, parameter));
    }
}

fn operation(out: &mut Message, operation: &Json) {
    out.texts(1, &operation["tags"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        out.message(8, |out| parameter_item(out, parameter));
    }
    out.message(9, |responses| {
        for (code, response) in fields(&operation["responses"]) {
            // ResponseValue{response{description, schema{schema}}}
            responses.named(1, code, |value| {
                value.message(1, |out| {
                    out.text(1, &response["description"]);
                    if let Some(found) = response.get("schema") {
                        out.message(2, |item| item.message(1, |out| schema(out, found)));
                    }
                });
            });
        }
    });
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
}

/// ParametersItem{parameter{body | non-body{header, form, query, path}}}
fn parameter_item(out: &mut Message, parameter: &Json) {
    out.message(1, |out| {
        if parameter["in"] == "body" {
            out.message(1, |body| {
                body.text(2, &parameter["name"]);
                body.text(3, &parameter["in"]);
                body.truth(4, &parameter["required"]);
                body.message(5, |out| schema(out, &parameter["schema"]));
            });
            return;
        }
        out.message(2, |non_body| {
            let in_path = parameter["in"] == "path";
            // Query parameters have one field, allowEmptyValue, before the type.
            let (kind, ty, unique) = if in_path { (4, 5, 19) } else { (3, 6, 20) };
            non_body.message(kind, |out| {
                out.truth(1, &parameter["required"]);
                out.text(2, &parameter["in"]);
                out.text(4, &parameter["name"]);
                out.text(ty, &parameter["type"]);
                out.truth(unique, &parameter["uniqueItems"]);
            });
        });
    });
}

fn schema(out: &mut Message, of: &Json) {
    out.text(1, &of["$ref"]);
    out.text(2, &of["format"]);
    out.text(4, &of["description"]);
    if let Some(default) = of.get("default") {
        out.message(5, |any| any.bytes(2, default.to_string().as_bytes()));
    }
    out.texts(19, &of["required"]);
    if let Some(values) = of.get("additionalProperties") {
        out.message(21, |item| item.message(1, |out| schema(out, values)));
    }
    if let Json::String(ty) = &of["type"] {
        out.message(22, |item| item.bytes(1, ty.as_bytes()));
    }
    if let Some(items) = of.get("items") {
        out.message(23, |item| item.message(1, |out| schema(out, items)));
    }
    if of.get("properties").is_some() {
        out.message(25, |properties| {
            for (name, property) in fields(&of["properties"]) {
                properties.named(1, name, |out| schema(out, property));
            }
        });
    }
    out.extensions(31, of);
}
