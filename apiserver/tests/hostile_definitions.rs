//! Definitions that nobody writes by accident: deep, wide, cyclic-looking, with patterns that explode and values of every
//! wrong type. Nothing panics, nothing is stored that cannot be served, and the server goes on serving.
//!
//! Seeded: a failure names the seed of the definition that caused it.

use std::sync::Arc;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::FacetReader;
use gantry_apiserver::registry::handle::{BodyFormat, Handle, RequestBody};
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::RequestContext;
use gantry_apiserver::registry::table::Table;
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{DeleteOptions, ResourceApi, Target, WriteOptions};
use gantry_store_cache::store::Store;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

static DEFINITIONS: GroupVersionResource =
    GroupVersionResource::of("apiextensions.k8s.io", "v1", "customresourcedefinitions");
static THINGS: GroupVersionResource = GroupVersionResource::of("example.com", "v1", "things");

/// Definitions that are tried.
const DEFINITIONS_TRIED: u64 = 2000;

struct Server {
    registry: Arc<Registry>,
    handle: Handle,
    stop: CancellationToken,
}

impl Server {
    fn new() -> Self {
        let store = Store::in_memory(Arc::new(FacetReader::new(Table::new(kinds::all()))));
        let registry = Registry::new(store, Table::new(kinds::all()));
        let stop = CancellationToken::new();
        registry.serve_custom_resources(stop.clone());
        Self { handle: registry.as_user(RequestContext::in_process("test")), registry, stop }
    }

    async fn create(&self, resource: &GroupVersionResource, namespace: &str, body: &Value) -> Result<(), String> {
        let target = Target { resource, namespace, name: "", subresource: "" };
        let body = RequestBody { format: BodyFormat::Json, bytes: body.to_string().into() };
        let created = self.handle.create_body(&target, body, &WriteOptions::default()).await;
        created.map(drop).map_err(|status| status.message)
    }

    /// Waits until the custom rows have changed.
    async fn until(&self, served: bool) {
        let mut changes = self.registry.table().changes();
        while self.registry.table().find("example.com", "v1", "things").is_some() != served {
            let changed = tokio::time::timeout(std::time::Duration::from_secs(60), changes.changed()).await;
            changed.expect("a definition is served, or gone, in a moment").expect("the table is there");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn definition(schema: &Value) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.example.com"},
        "spec": {
            "group": "example.com", "scope": "Cluster", "names": {"plural": "things", "kind": "Thing"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
        },
    })
}

/// Numbers that repeat with their seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % sides
    }

    fn pick<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[usize::try_from(self.roll(of.len() as u64)).expect("small")]
    }

    fn value(&mut self, depth: u64) -> Value {
        match self.roll(if depth == 0 { 6 } else { 9 }) {
            0 => Value::Null,
            1 => json!(self.roll(2) == 0),
            2 => json!(self.roll(20)),
            3 => json!(-1.5e300),
            4 => json!(self.pick(&["", "a", "object", "{}", "^(a+)+$", "\u{0}é", "2026-11-23T00:00:00Z"])),
            5 => json!(i64::MIN),
            6 => Value::Array((0..self.roll(4)).map(|_| self.value(depth - 1)).collect()),
            _ => {
                let names = ["spec", "a", "b", "metadata", "status", "kind", ""];
                Value::Object(
                    (0..self.roll(4)).map(|_| (self.pick(&names).to_owned(), self.value(depth - 1))).collect(),
                )
            }
        }
    }

    fn schema(&mut self, depth: u64) -> Value {
        const WORDS: [&str; 34] = [
            "type",
            "properties",
            "items",
            "additionalProperties",
            "default",
            "enum",
            "required",
            "pattern",
            "format",
            "minimum",
            "maximum",
            "exclusiveMinimum",
            "multipleOf",
            "minLength",
            "maxLength",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "uniqueItems",
            "nullable",
            "allOf",
            "anyOf",
            "oneOf",
            "not",
            "$ref",
            "definitions",
            "x-kubernetes-preserve-unknown-fields",
            "x-kubernetes-embedded-resource",
            "x-kubernetes-int-or-string",
            "x-kubernetes-list-type",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-map-type",
            "description",
        ];
        let types = ["object", "array", "string", "integer", "number", "boolean", "null", "other"];
        let mut schema = serde_json::Map::new();
        schema.insert("type".into(), json!(self.pick(&types[..6])));
        for _ in 0..self.roll(7) {
            let word = self.pick(&WORDS);
            let below = depth.saturating_sub(1);
            let value = match word {
                _ if self.roll(12) == 0 => self.value(2),
                "type" => json!(self.pick(&types)),
                "properties" | "definitions" if depth > 0 => {
                    let names = ["spec", "status", "metadata", "a", "b", "kind"];
                    Value::Object(
                        (0..self.roll(5)).map(|_| (self.pick(&names).to_owned(), self.schema(below))).collect(),
                    )
                }
                "items" | "not" | "additionalProperties" if depth > 0 => self.schema(below),
                "allOf" | "anyOf" | "oneOf" if depth > 0 => (0..self.roll(3)).map(|_| self.schema(below)).collect(),
                "enum" => (0..self.roll(5)).map(|_| self.value(1)).collect(),
                "required" | "x-kubernetes-list-map-keys" => json!([self.pick(&["a", "b", "spec", "a"])]),
                "pattern" => json!(self.pick(&[
                    "^a+$",
                    "(",
                    "(a{1,1000}){1,1000}",
                    "[",
                    r"\d+",
                    "(?P<x>a)",
                    "((((((a*)*)*)*)*)*)*"
                ])),
                "format" => json!(self.pick(&["date-time", "ipv4", "uuid", "made-up", "duration", "byte"])),
                "$ref" => json!("#/properties/spec"),
                "x-kubernetes-list-type" | "x-kubernetes-map-type" => {
                    json!(self.pick(&["atomic", "set", "map", "granular", "x"]))
                }
                "nullable" | "uniqueItems" | "exclusiveMinimum" => json!(self.roll(3) != 0),
                word if word.starts_with("x-kubernetes") => json!(self.roll(3) != 0),
                "default" => self.value(2),
                "description" => json!("words"),
                _ => json!(i64::try_from(self.roll(10)).expect("small") - 1),
            };
            schema.insert(word.to_owned(), value);
        }
        Value::Object(schema)
    }
}

#[tokio::test]
async fn random_definitions_are_served_or_refused_and_never_bring_the_server_down() {
    let server = Server::new();
    let mut served = 0;
    for seed in 0..DEFINITIONS_TRIED {
        let mut dice = Dice(seed);
        let mut schema = dice.schema(5);
        if dice.roll(2) == 0 {
            // Mostly sound at the top, so that some get through.
            schema = json!({"type": "object", "properties": {"spec": schema}});
        }
        let created = server.create(&DEFINITIONS, "", &definition(&schema)).await;
        if created.is_err() {
            continue;
        }
        served += 1;
        server.until(true).await;
        for at in 0..5 {
            let thing = json!({
                "apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": format!("a{at}")},
                "spec": dice.value(4), "status": dice.value(2), "other": dice.value(1),
            });
            let _ = server.create(&THINGS, "", &thing).await;
            let target = Target::object(&THINGS, "", "a0");
            let _ = server.handle.get(&target).await;
        }
        let target = Target::object(&DEFINITIONS, "", "things.example.com");
        server.handle.delete(&target, &DeleteOptions::default()).await.unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        server.until(false).await;
        // The definition itself goes last.
        while server.handle.get(&target).await.is_ok() {
            tokio::task::yield_now().await;
        }
    }
    assert!(served > 20, "only {served} definitions were good enough to be served");
    assert!(server.registry.table().custom_rows().is_empty(), "nothing of them is left");
}

#[tokio::test]
async fn definitions_beyond_the_limits_are_refused_with_the_limit() {
    let server = Server::new();
    let mut deep = json!({"type": "string"});
    for _ in 0..100 {
        deep = json!({"type": "object", "properties": {"a": deep}});
    }
    let wide: serde_json::Map<String, Value> = (0..120_000).map(|at| (format!("{at:x}"), json!({}))).collect();
    let patterns: serde_json::Map<String, Value> = (0..200)
        .map(|at| (format!("p{at}"), json!({"type": "string", "pattern": format!("^(.{{1,900}}){at}$")})))
        .collect();
    for (schema, why) in [
        (deep, "nested more than"),
        (json!({"type": "object", "properties": wide}), "consists of more than"),
        (json!({"type": "object", "properties": patterns}), "the patterns of the schema take more than"),
        (json!({"type": "object", "properties": {"a": {"$ref": "#"}}}), "$ref is not supported"),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "(a{1,1000}){1,1000}"}}}),
            "too large",
        ),
    ] {
        let refused = server.create(&DEFINITIONS, "", &definition(&schema)).await.expect_err(why);
        assert!(refused.contains(why), "{why} is not in {}", &refused[..refused.len().min(500)]);
    }
    let giant: Vec<Value> = (0..20_000).map(|at| json!(format!("value-{at}"))).collect();
    let schema = json!({"type": "object", "properties": {"spec": {"type": "string", "enum": giant}}});
    server.create(&DEFINITIONS, "", &definition(&schema)).await.expect("a long enumeration is none too many");
    server.until(true).await;
    let thing =
        json!({"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {"name": "a"}, "spec": "value-19999"});
    server.create(&THINGS, "", &thing).await.expect("the last value is one of them");
}
