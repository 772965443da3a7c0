//! Which FlowSchema a request belongs to, for the `X-Kubernetes-PF-*` headers of its answer.
//!
//! The schemas are few and rarely change: they are kept sorted by precedence in one immutable list, which is made anew from
//! the store at every change; a request walks it without a lock. Whether there is room for the request is not decided
//! here, see [`super::flow`].

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use compact_str::CompactString;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::Store;
use gantry_store_cache::watch::Interest;
use http::HeaderValue;
use serde::Deserialize;

use crate::http::route::RequestInfo;
use crate::registry::request::UserInfo;

const SCHEMAS: &str = "flowschemas.flowcontrol.apiserver.k8s.io";
const LEVELS: &str = "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io";

/// The FlowSchemas as they are now.
#[derive(Debug, Default)]
pub struct FlowSchemas {
    sorted: ArcSwap<Vec<Schema>>,
}

/// What a request belongs to, as its answer's headers say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Classified {
    /// The FlowSchema's uid.
    pub schema: HeaderValue,
    /// The PriorityLevelConfiguration's uid.
    pub level: HeaderValue,
}

#[derive(Debug)]
struct Schema {
    precedence: i64,
    name: CompactString,
    ids: Classified,
    rules: Vec<Rule>,
}

#[derive(Debug, Deserialize)]
struct Named {
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
struct SchemaBody {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    name: CompactString,
    uid: CompactString,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    priority_level_configuration: Reference,
    matching_precedence: i64,
    rules: Option<Vec<Rule>>,
}

#[derive(Debug, Deserialize)]
struct Reference {
    name: CompactString,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    subjects: Vec<Subject>,
    resource_rules: Vec<ResourceRule>,
    non_resource_rules: Vec<PathRule>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    user: Option<Reference>,
    group: Option<Reference>,
    service_account: Option<Account>,
}

#[derive(Debug, Deserialize)]
struct Account {
    namespace: CompactString,
    name: CompactString,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct ResourceRule {
    verbs: Vec<CompactString>,
    api_groups: Vec<CompactString>,
    resources: Vec<CompactString>,
    namespaces: Vec<CompactString>,
    cluster_scope: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct PathRule {
    verbs: Vec<CompactString>,
    #[serde(rename = "nonResourceURLs")]
    paths: Vec<CompactString>,
}

fn has(list: &[CompactString], one: &str) -> bool {
    list.iter().any(|item| item == "*" || item == one)
}

impl Subject {
    fn is(&self, user: &UserInfo) -> bool {
        let named = |reference: &Reference, name: &str| reference.name == "*" || reference.name == name;
        self.user.as_ref().is_some_and(|u| named(u, &user.name))
            || self.group.as_ref().is_some_and(|g| g.name == "*" || user.is_in(&g.name))
            || self.service_account.as_ref().is_some_and(|account| {
                let own = user.name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                own.is_some_and(|(namespace, name)| {
                    account.namespace == namespace && (account.name == "*" || account.name == name)
                })
            })
    }
}

impl Rule {
    fn takes(&self, user: &UserInfo, info: &RequestInfo) -> bool {
        self.subjects.iter().any(|subject| subject.is(user))
            && if info.resource_request {
                self.resource_rules.iter().any(|rule| rule.takes(info))
            } else {
                self.non_resource_rules.iter().any(|rule| rule.takes(info))
            }
    }
}

impl ResourceRule {
    fn takes(&self, info: &RequestInfo) -> bool {
        let resource = |rule: &CompactString| match (rule.split_once('/'), info.subresource.as_str()) {
            _ if rule == "*" => true,
            (None, "") => rule == info.resource,
            (Some((of, sub)), asked) => of == info.resource && sub == asked,
            (None, _) => false,
        };
        let place = if info.namespace.is_empty() { self.cluster_scope } else { has(&self.namespaces, &info.namespace) };
        place
            && has(&self.verbs, info.verb)
            && has(&self.api_groups, &info.group)
            && self.resources.iter().any(resource)
    }
}

impl PathRule {
    fn takes(&self, info: &RequestInfo) -> bool {
        let path = |rule: &CompactString| {
            rule == "*" || *rule == info.path || rule.strip_suffix('*').is_some_and(|p| info.path.starts_with(p))
        };
        has(&self.verbs, info.verb) && self.paths.iter().any(path)
    }
}

impl FlowSchemas {
    /// What a request of this user belongs to: of all schemas that take it, the one of the lowest precedence number.
    #[must_use]
    pub fn classify(&self, user: &UserInfo, info: &RequestInfo) -> Option<Classified> {
        let sorted = self.sorted.load();
        let schema = sorted.iter().find(|schema| schema.rules.iter().any(|rule| rule.takes(user, info)))?;
        Some(schema.ids.clone())
    }

    /// Takes the schemas as they are stored now. Gives the revision they were read at.
    pub fn load(&self, store: &Store) -> Revision {
        let view = store.view();
        let levels: HashMap<CompactString, CompactString> = view
            .scan(LEVELS, None, None)
            .filter_map(|object| serde_json::from_slice::<Named>(&object.body).ok())
            .map(|level| (level.metadata.name, level.metadata.uid))
            .collect();
        let mut sorted: Vec<Schema> = view
            .scan(SCHEMAS, None, None)
            .filter_map(|object| match serde_json::from_slice::<SchemaBody>(&object.body) {
                Ok(body) => schema(body, &levels),
                Err(e) => {
                    tracing::error!(key = %object.key, error = %e, "a FlowSchema cannot be read: it takes nothing");
                    None
                }
            })
            .collect();
        sorted.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        self.sorted.store(Arc::new(sorted));
        view.revision()
    }

    /// Follows the store after `since` for as long as it runs.
    pub async fn follow(self: Arc<Self>, store: Store, mut since: Revision) {
        const BATCH: usize = 64;
        loop {
            let watch = |collection: &str| {
                let interest = Interest { collection: collection.into(), ..Interest::default() };
                store.watch(interest, since)
            };
            let (Ok(mut schemas), Ok(mut levels)) = (watch(SCHEMAS), watch(LEVELS)) else {
                since = self.load(&store);
                continue;
            };
            loop {
                let batch = tokio::select! {
                    batch = schemas.next(BATCH) => batch,
                    batch = levels.next(BATCH) => batch,
                };
                since = self.load(&store);
                if batch.is_err() {
                    break;
                }
            }
        }
    }
}

/// A schema whose level does not exist takes nothing, as upstream treats a dangling one.
fn schema(body: SchemaBody, levels: &HashMap<CompactString, CompactString>) -> Option<Schema> {
    let level = levels.get(&body.spec.priority_level_configuration.name)?;
    Some(Schema {
        precedence: body.spec.matching_precedence,
        name: body.metadata.name,
        ids: Classified {
            schema: HeaderValue::from_str(&body.metadata.uid).ok()?,
            level: HeaderValue::from_str(level).ok()?,
        },
        rules: body.spec.rules.unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use gantry_machinery::codec::json;
    use gantry_machinery::value::Value;

    use super::*;
    use crate::registry::kinds::flow_control::standard;

    /// The standard schemas, each with its name for an uid.
    fn standard_schemas() -> FlowSchemas {
        let named = |mut object: Value| {
            let name = object.str_at(&["metadata", "name"]).unwrap().to_owned();
            object.set(&["metadata", "uid"], name);
            json::to_string(&object)
        };
        let levels = standard::levels().into_iter().map(|level| {
            let level: Named = serde_json::from_str(&named(level)).unwrap();
            (level.metadata.name, level.metadata.uid)
        });
        let levels = levels.collect();
        let mut sorted: Vec<Schema> = standard::schemas()
            .into_iter()
            .map(|object| schema(serde_json::from_str(&named(object)).unwrap(), &levels).unwrap())
            .collect();
        sorted.sort_by(|a, b| (a.precedence, &a.name).cmp(&(b.precedence, &b.name)));
        FlowSchemas { sorted: ArcSwap::from_pointee(sorted) }
    }

    #[test]
    fn requests_belong_where_upstream_puts_them() {
        let schemas = standard_schemas();
        let all = "system:authenticated";
        let admin = UserInfo::new("admin", &["system:masters", all]);
        let node = UserInfo::new("system:node:n", &["system:nodes", all]);
        let scheduler = UserInfo::new("system:kube-scheduler", &[all]);
        let account = UserInfo::new("system:serviceaccount:kube-system:x", &["system:serviceaccounts", all]);
        let other = UserInfo::new("system:serviceaccount:a:x", &["system:serviceaccounts", all]);
        let jane = UserInfo::new("jane", &[all]);
        let info = |verb: &'static str, path: &str| {
            let method = match verb {
                "create" => http::Method::POST,
                "update" => http::Method::PUT,
                _ => http::Method::GET,
            };
            crate::http::route::route(&method, path, "")
        };
        let lease = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/l";
        for (user, verb, path, schema, level) in [
            (&admin, "get", "/api/v1/pods", "exempt", "exempt"),
            (&jane, "get", "/readyz", "probes", "exempt"),
            (&jane, "get", "/api/v1/pods", "global-default", "global-default"),
            (&node, "update", "/api/v1/nodes/n/status", "system-node-high", "node-high"),
            (&node, "get", "/api/v1/pods", "system-nodes", "system"),
            (&scheduler, "update", lease, "system-leader-election", "leader-election"),
            (&scheduler, "get", "/api/v1/pods", "kube-scheduler", "workload-high"),
            (&account, "update", lease, "system-leader-election", "leader-election"),
            (&account, "get", "/api/v1/pods", "kube-system-service-accounts", "workload-high"),
            (&other, "get", "/api/v1/pods", "service-accounts", "workload-low"),
        ] {
            let found = schemas.classify(user, &info(verb, path)).unwrap();
            assert_eq!((found.schema.to_str().unwrap(), found.level.to_str().unwrap()), (schema, level), "{path}");
        }
        assert_eq!(schemas.classify(&UserInfo::new("nobody", &[]), &info("get", "/api")), None);
    }
}
