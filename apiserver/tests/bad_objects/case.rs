//! One kind's entry in a file, and how its cases are tried.
//!
//! ```yaml
//! - kind: apps/v1/deployments     # group, version, resource; no group is the core group
//!   with: [{kind: v1/nodes, object: {...}}]  # objects that are there before
//!   good: {...}                   # an object without fault; its namespace is `default` unless the kind has none
//!   stored: {...}                 # what of it is stored, without metadata, status and what names its type
//!   create:
//!   - {set: {spec/x: 1}, causes: ["spec.x: Invalid value: 1: ..."]}
//!   update:                       # of the good object, once it is stored
//!   - {set: {...}, causes: [...], before: {...}, status: {...}}
//!   status:                       # the same, of the subresource; also any other, by its name
//!   - {set: {...}, causes: [...]}
//! ```
//! A case: `set` is changed of the good object ([`super::edit`]); `causes` are all causes in order, `field: message`,
//! where a message that ends with `…` goes on with something that is ours to word; no causes at all means that the
//! write is accepted, and `kept` then is what must be found in the outcome, path by path. `refused` instead of causes is
//! `code: message` of a Status that has none. `before` is changed of the good object before it is stored, `status` is
//! written as its status before the case. `as` is the user who tries it, a node, instead of somebody who may do all.

use std::sync::Arc;

use gantry_apiserver::registry::Registry;
use gantry_apiserver::registry::describe::{FacetReader, indexed_fields};
use gantry_apiserver::registry::handle::Handle;
use gantry_apiserver::registry::kinds;
use gantry_apiserver::registry::request::{RequestContext, UserInfo};
use gantry_apiserver::registry::table::Table;
use gantry_machinery::codec::json;
use gantry_machinery::resource::GroupVersionResource;
use gantry_machinery::resource_api::{DeleteOptions, ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::value;
use gantry_machinery::value::Value;
use gantry_store_cache::config::{ExecutorKind, StoreConfig};
use gantry_store_cache::store::Store;

use crate::edit;

/// What a case may be of, beside `create`.
const UPDATES: [&str; 9] =
    ["update", "status", "ephemeralcontainers", "resize", "approval", "finalize", "binding", "eviction", "delete"];

/// A kind's entry.
pub(crate) struct Kind<'a> {
    entry: &'a Value,
    resource: GroupVersionResource,
    namespace: &'static str,
}

impl<'a> Kind<'a> {
    /// Reads an entry.
    pub(crate) fn of(entry: &'a Value) -> Self {
        let (resource, namespace) = resource(entry.str_at(&["kind"]).expect("an entry names its kind"));
        Self { entry, resource, namespace }
    }

    /// Tries the cases, and gives how many there were.
    pub(crate) async fn try_all(&self, failures: &mut Vec<String>) -> usize {
        let mut tried = 0;
        if let Some(stored) = self.entry.get("stored") {
            tried += 1;
            self.try_defaults(stored, failures).await;
        }
        for case in self.entry.array_at(&["create"]) {
            tried += 1;
            let mut object = self.good();
            change(&mut object, case.get("set"));
            let outcome = self.cluster().await.seen_by(case).create(&self.resource, self.namespace, object).await;
            self.judge("create", case, outcome, failures);
        }
        for what in UPDATES {
            for case in self.entry.array_at(&[what]) {
                tried += 1;
                self.try_update(what, case, failures).await;
            }
        }
        tried
    }

    async fn cluster(&self) -> Cluster {
        let cluster = Cluster::new().await;
        for other in self.entry.array_at(&["with"]) {
            let (resource, namespace) = resource(other.str_at(&["kind"]).unwrap());
            let object = other.get("object").unwrap().clone();
            cluster.create(&resource, namespace, object).await.expect("what is to be there before");
        }
        cluster
    }

    fn good(&self) -> Value {
        self.entry.get("good").expect("an entry has a good object").clone()
    }

    async fn try_defaults(&self, stored: &Value, failures: &mut Vec<String>) {
        match self.cluster().await.create(&self.resource, self.namespace, self.good()).await {
            Ok(mut object) => {
                for field in ["metadata", "status", "apiVersion", "kind"] {
                    object.remove(&[field]);
                }
                if object.sorted() != stored.sorted() {
                    failures.push(format!(
                        "{} is stored as\n{}instead of\n{}",
                        self.resource,
                        shown(&object),
                        shown(stored)
                    ));
                }
            }
            Err(status) => failures.push(format!("{}: the good object is refused: {}", self.resource, status.message)),
        }
    }

    async fn try_update(&self, what: &str, case: &Value, failures: &mut Vec<String>) {
        let cluster = self.cluster().await;
        let mut object = self.good();
        change(&mut object, case.get("before"));
        let mut stored = match cluster.create(&self.resource, self.namespace, object).await {
            Ok(stored) => stored,
            Err(status) => {
                return failures.push(format!("{}: not stored before {case:?}: {}", self.resource, status.message));
            }
        };
        if let Some(status) = case.get("status") {
            stored.set(&["status"], status.clone());
            stored = match cluster.update(&self.resource, self.namespace, "status", stored).await {
                Ok(stored) => stored,
                Err(status) => {
                    return failures.push(format!("{}: no status before {case:?}: {}", self.resource, status.message));
                }
            };
        }
        change(&mut stored, case.get("set"));
        let subresource = if what == "update" { "" } else { what };
        let cluster = cluster.seen_by(case);
        let outcome = match what {
            "delete" => cluster.delete(&self.resource, self.namespace, stored).await,
            _ => cluster.update(&self.resource, self.namespace, subresource, stored).await,
        };
        self.judge(what, case, outcome, failures);
    }

    fn judge(&self, what: &str, case: &Value, outcome: Result<Value, Status>, failures: &mut Vec<String>) {
        let expected: Vec<&str> = case.array_at(&["causes"]).iter().map(|cause| cause.as_str().unwrap()).collect();
        let refused = case.str_at(&["refused"]);
        let wrong = match (outcome, refused) {
            (Ok(object), None) if expected.is_empty() => missing(&object, case.get("kept")),
            (Ok(_), _) => Some("accepted".to_owned()),
            (Err(status), Some(refused)) => {
                let said = format!("{}: {}", status.code, status.message);
                (!is_said(&said, refused)).then_some(said)
            }
            (Err(status), None) => differs(&status, &expected),
        };
        if let Some(wrong) = wrong {
            let set = case.get("set").map(json::to_string).unwrap_or_default();
            let wanted = refused.map_or_else(|| expected.join("\n    "), str::to_owned);
            failures.push(format!("{what} {} {set}\n  got\n    {wrong}\n  expected\n    {wanted}", self.resource));
        }
    }
}

/// The first of the expected values that an object does not have.
fn missing(object: &Value, kept: Option<&Value>) -> Option<String> {
    let kept = kept?;
    let mut with = object.clone();
    edit::apply(&mut with, kept);
    (with.sorted() != object.sorted()).then(|| format!("accepted as\n{}", shown(object)))
}

/// What was answered, if it is not what was expected.
fn differs(status: &Status, expected: &[&str]) -> Option<String> {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let found: Vec<String> = causes
        .map(|cause| {
            assert_eq!(cause.reason, reason(&cause.message), "{cause:?}");
            format!("{}: {}", cause.field, cause.message)
        })
        .collect();
    let same = status.code == 422
        && found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, expected)| is_said(found, expected));
    (!same).then(|| if found.is_empty() { format!("{} {}", status.code, status.message) } else { found.join("\n    ") })
}

fn is_said(found: &str, expected: &str) -> bool {
    match expected.strip_suffix('…') {
        Some(start) => found.starts_with(start),
        None => found == expected,
    }
}

/// The reason that goes with a cause's message.
fn reason(message: &str) -> &'static str {
    let kinds = [
        ("Invalid value", "FieldValueInvalid"),
        ("Required value", "FieldValueRequired"),
        ("Forbidden", "FieldValueForbidden"),
        ("Unsupported value", "FieldValueNotSupported"),
        ("Duplicate value", "FieldValueDuplicate"),
        ("Not found", "FieldValueNotFound"),
        ("Too long", "FieldValueTooLong"),
        ("Too many", "FieldValueTooMany"),
        ("Internal error", "InternalError"),
        // The type is given where a field's value is of the wrong one.
        ("", "FieldValueTypeInvalid"),
    ];
    kinds.into_iter().find(|(start, _)| message.starts_with(start)).unwrap().1
}

fn change(object: &mut Value, changes: Option<&Value>) {
    if let Some(changes) = changes {
        edit::apply(object, changes);
    }
}

fn shown(value: &Value) -> String {
    String::from_utf8(gantry_machinery::codec::yaml::encode(&value.sorted())).unwrap()
}

/// The resource that `group/version/resource` names, and the namespace its objects are made in.
fn resource(text: &str) -> (GroupVersionResource, &'static str) {
    let mut parts = text.rsplitn(3, '/');
    let (resource, version) = (parts.next().unwrap().to_owned(), parts.next().unwrap().to_owned());
    let group = parts.next().unwrap_or_default().to_owned();
    let gvr = GroupVersionResource { group: group.into(), version: version.into(), resource: resource.into() };
    let kind = kinds::all().into_iter().find(|kind| kind.resource().gvr == gvr).unwrap_or_else(|| panic!("no {text}"));
    (gvr, if kind.resource().namespaced { "default" } else { "" })
}

/// A registry over a store in memory, with the namespace `default` and its account.
struct Cluster(Handle, Arc<Registry>);

impl Cluster {
    async fn new() -> Self {
        let config = StoreConfig {
            shards: 1,
            executors: ExecutorKind::Inline,
            indexed_fields: indexed_fields(),
            ..StoreConfig::default()
        };
        let describe = Arc::new(FacetReader::new(Table::new(kinds::all())));
        let store = Store::open(config, describe, Vec::new()).unwrap();
        let registry = Registry::new(store, Table::new(kinds::all()));
        let cluster = Self(registry.as_user(RequestContext::in_process("test")), registry);
        let named_default = value!({"metadata": {"name": "default"}});
        for (kind, namespace) in [("v1/namespaces", ""), ("v1/serviceaccounts", "default")] {
            cluster.create(&resource(kind).0, namespace, named_default.clone()).await.unwrap();
        }
        cluster
    }

    /// The same cluster for the case's own user.
    fn seen_by(self, case: &Value) -> Self {
        let Some(name) = case.str_at(&["as"]) else { return self };
        let user = UserInfo::new(name, &["system:nodes", "system:authenticated"]);
        let request = RequestContext { user, ..RequestContext::default() };
        Self(self.1.as_user(Arc::new(request)), self.1)
    }

    async fn delete(&self, resource: &GroupVersionResource, namespace: &str, object: Value) -> Result<Value, Status> {
        let name = object.str_at(&["metadata", "name"]).unwrap();
        self.0.delete(&Target::object(resource, namespace, name), &DeleteOptions::default()).await?;
        Ok(object)
    }

    async fn create(&self, resource: &GroupVersionResource, namespace: &str, object: Value) -> Result<Value, Status> {
        let target = Target::object(resource, namespace, "");
        let stored = self.0.create(&target, object, &WriteOptions::default()).await?;
        Ok(json::parse(&stored.body).unwrap())
    }

    async fn update(
        &self,
        resource: &GroupVersionResource,
        namespace: &str,
        subresource: &str,
        object: Value,
    ) -> Result<Value, Status> {
        let name = object.str_at(&["metadata", "name"]).unwrap().to_owned();
        let target = Target { subresource, ..Target::object(resource, namespace, &name) };
        let stored = self.0.update(&target, object, &WriteOptions::default()).await?;
        Ok(json::parse(&stored.body).unwrap())
    }
}
