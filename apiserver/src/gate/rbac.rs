//! RBAC: roles and bindings, kept by whom they concern.
//!
//! [`Rbac::follow`] watches the four collections and applies each change; [`Rbac::decide`] reads. An index from subject
//! to bindings makes a decision cost what is bound to the user and its groups, not what exists. One lock guards it all;
//! it is held for one change or one decision, never across an await.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use compact_str::CompactString;
use gantry_store_cache::object::StoredObject;
use gantry_store_cache::revision::Revision;
use gantry_store_cache::store::Store;
use gantry_store_cache::watch::{Change, Interest};
use parking_lot::RwLock;
use serde::Deserialize;

use super::authz::{Attributes, Decision};
use crate::registry::request::UserInfo;

/// The collections that RBAC is read from.
const COLLECTIONS: [&str; 4] = [
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
    "clusterroles.rbac.authorization.k8s.io",
    "clusterrolebindings.rbac.authorization.k8s.io",
];

/// One rule of a role: as the API has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rule {
    /// Verbs, `*` for all.
    pub verbs: Vec<CompactString>,
    /// Groups, `*` for all.
    pub api_groups: Vec<CompactString>,
    /// Resources: `pods`, `pods/log`, `*/scale`, `*`.
    pub resources: Vec<CompactString>,
    /// Only objects of these names; empty for all.
    pub resource_names: Vec<CompactString>,
    /// Paths, with `*` at the end for all below.
    #[serde(rename = "nonResourceURLs")]
    pub non_resource_urls: Vec<CompactString>,
}

impl Rule {
    /// Whether the rule allows it.
    #[must_use]
    pub fn allows(&self, wanted: &Attributes<'_>) -> bool {
        let has = |list: &[CompactString], one: &str| list.iter().any(|v| v == "*" || v == one);
        if !has(&self.verbs, wanted.verb) {
            return false;
        }
        if !wanted.resource_request {
            return self.non_resource_urls.iter().any(|pattern| path_matches(pattern, wanted.path));
        }
        has(&self.api_groups, wanted.group)
            && self.resources.iter().any(|r| resource_matches(r, wanted.resource, wanted.subresource))
            && (self.resource_names.is_empty() || self.resource_names.iter().any(|n| n == wanted.name))
    }
}

fn path_matches(pattern: &str, path: &str) -> bool {
    pattern == "*" || pattern == path || pattern.strip_suffix('*').is_some_and(|prefix| path.starts_with(prefix))
}

/// `*` stands for every resource and subresource, `*/status` for that subresource of every resource.
fn resource_matches(rule: &str, resource: &str, subresource: &str) -> bool {
    if rule == "*" {
        return true;
    }
    match (rule.split_once('/'), subresource) {
        (None, "") => rule == resource,
        (Some((of, sub)), asked) => !asked.is_empty() && sub == asked && (of == "*" || of == resource),
        (None, _) => false,
    }
}

/// Whom a binding concerns.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Subject {
    User(CompactString),
    Group(CompactString),
}

/// A role by namespace (empty for a ClusterRole) and name.
type RoleKey = (CompactString, CompactString);
/// A binding by namespace (empty for a ClusterRoleBinding) and name.
type BindingKey = (CompactString, CompactString);

#[derive(Default)]
struct Index {
    roles: HashMap<RoleKey, Arc<[Rule]>>,
    bindings: HashMap<BindingKey, Binding>,
    by_subject: HashMap<Subject, HashSet<BindingKey>>,
}

struct Binding {
    role: RoleKey,
    subjects: Vec<Subject>,
}

/// Roles and bindings as they are now.
#[derive(Default)]
pub struct Rbac {
    index: RwLock<Index>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RoleBody {
    #[serde(default)]
    rules: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct BindingBody {
    #[serde(default)]
    subjects: Option<Vec<SubjectBody>>,
    role_ref: RoleRef,
}

#[derive(Deserialize)]
struct SubjectBody {
    kind: CompactString,
    name: CompactString,
    #[serde(default)]
    namespace: CompactString,
}

#[derive(Deserialize)]
struct RoleRef {
    kind: CompactString,
    name: CompactString,
}

/// The rules in a role's body; none if it cannot be read.
#[must_use]
pub fn rules_of(role: &[u8]) -> Vec<Rule> {
    serde_json::from_slice::<RoleBody>(role).ok().and_then(|body| body.rules).unwrap_or_default()
}

impl Rbac {
    /// The rules that concern a user in a namespace (empty: cluster-wide), each with where it comes from.
    pub fn rules_for(&self, user: &UserInfo, namespace: &str, mut each: impl FnMut(&Rule) -> bool) {
        self.visit(user, namespace, |_, _, rules| rules.iter().all(&mut each));
    }

    /// An opinion: yes, or none.
    #[must_use]
    pub fn decide(&self, wanted: &Attributes<'_>) -> Decision {
        let mut reason = None;
        let namespace = if wanted.resource_request { wanted.namespace } else { "" };
        self.visit(wanted.user, namespace, |binding, role, rules| {
            if !rules.iter().any(|rule| rule.allows(wanted)) {
                return true;
            }
            reason = Some(explain(binding, role, wanted.user));
            false
        });
        reason.map_or(Decision::NoOpinion(String::new()), Decision::Allow)
    }

    /// Visits what is bound to the user, cluster-wide first, until `each` says stop.
    fn visit(&self, user: &UserInfo, namespace: &str, mut each: impl FnMut(&BindingKey, &RoleKey, &[Rule]) -> bool) {
        let index = self.index.read();
        let mut subjects: Vec<&HashSet<BindingKey>> = Vec::with_capacity(user.groups.len() + 1);
        subjects.extend(index.by_subject.get(&Subject::User(user.name.as_str().into())));
        for group in &user.groups {
            subjects.extend(index.by_subject.get(&Subject::Group(group.as_str().into())));
        }
        let scopes: &[&str] = if namespace.is_empty() { &[""] } else { &["", namespace] };
        for scope in scopes {
            for key in subjects.iter().flat_map(|s| s.iter()).filter(|key| key.0 == *scope) {
                let Some(binding) = index.bindings.get(key) else { continue };
                let Some(rules) = index.roles.get(&binding.role) else { continue };
                if !each(key, &binding.role, rules) {
                    return;
                }
            }
        }
    }

    /// Applies one object of the four collections; `gone`: it was deleted.
    pub fn apply(&self, object: &StoredObject, gone: bool) {
        let key = (CompactString::from(object.key.namespace()), CompactString::from(object.key.name()));
        let mut index = self.index.write();
        if object.key.collection().contains("binding") {
            index.unbind(&key);
            if gone {
                return;
            }
            match serde_json::from_slice::<BindingBody>(&object.body) {
                Ok(body) => index.bind(key, &body),
                Err(e) => {
                    tracing::error!(key = %object.key, error = %e, "a role binding cannot be read: it binds nobody")
                }
            }
        } else if gone {
            index.roles.remove(&key);
        } else {
            match serde_json::from_slice::<RoleBody>(&object.body) {
                Ok(body) => {
                    index.roles.insert(key, body.rules.unwrap_or_default().into());
                }
                Err(e) => {
                    tracing::error!(key = %object.key, error = %e, "a role cannot be read: it allows nothing");
                    index.roles.remove(&key);
                }
            }
        }
    }

    /// Loads what is stored now and gives the tasks' starting point.
    pub fn load(&self, store: &Store) -> Revision {
        let view = store.view();
        *self.index.write() = Index::default();
        for collection in COLLECTIONS {
            for object in view.scan(collection, None, None) {
                self.apply(&object, false);
            }
        }
        view.revision()
    }

    /// Follows the store after `since` for as long as it runs. Loads anew when it fell behind.
    pub async fn follow(self: Arc<Self>, store: Store, mut since: Revision) {
        const BATCH: usize = 256;
        'anew: loop {
            let mut feeds = Vec::with_capacity(COLLECTIONS.len());
            for collection in COLLECTIONS {
                let interest = Interest { collection: collection.into(), ..Interest::default() };
                match store.watch(interest, since) {
                    Ok(feed) => feeds.push(feed),
                    Err(expired) => {
                        tracing::warn!(%expired, "RBAC follows anew");
                        since = self.load(&store);
                        continue 'anew;
                    }
                }
            }
            let [roles, bindings, cluster_roles, cluster_bindings] = feeds.as_mut_slice() else {
                unreachable!("one feed per collection");
            };
            loop {
                let batch = tokio::select! {
                    batch = roles.next(BATCH) => batch,
                    batch = bindings.next(BATCH) => batch,
                    batch = cluster_roles.next(BATCH) => batch,
                    batch = cluster_bindings.next(BATCH) => batch,
                };
                match batch {
                    Ok(changes) => changes.iter().for_each(|change| self.apply_change(change)),
                    Err(expired) => {
                        tracing::warn!(%expired, "RBAC follows anew");
                        since = self.load(&store);
                        continue 'anew;
                    }
                }
            }
        }
    }

    fn apply_change(&self, change: &Change) {
        self.apply(&change.event.object, change.event.deleted);
    }
}

impl Index {
    fn unbind(&mut self, key: &BindingKey) {
        let Some(binding) = self.bindings.remove(key) else { return };
        for subject in binding.subjects {
            if let Some(keys) = self.by_subject.get_mut(&subject) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_subject.remove(&subject);
                }
            }
        }
    }

    fn bind(&mut self, key: BindingKey, body: &BindingBody) {
        let namespace = if body.role_ref.kind == "Role" { key.0.clone() } else { CompactString::default() };
        let subjects: Vec<Subject> = body
            .subjects
            .iter()
            .flatten()
            .filter_map(|s| match s.kind.as_str() {
                "User" => Some(Subject::User(s.name.clone())),
                "Group" => Some(Subject::Group(s.name.clone())),
                "ServiceAccount" => {
                    let namespace = if s.namespace.is_empty() { &key.0 } else { &s.namespace };
                    Some(Subject::User(format!("system:serviceaccount:{namespace}:{}", s.name).into()))
                }
                _ => None,
            })
            .collect();
        for subject in &subjects {
            self.by_subject.entry(subject.clone()).or_default().insert(key.clone());
        }
        self.bindings.insert(key, Binding { role: (namespace, body.role_ref.name.clone()), subjects });
    }
}

/// `RBAC: allowed by ClusterRoleBinding "x" of ClusterRole "y" to Group "z"`, as upstream's audit says it.
fn explain(binding: &BindingKey, role: &RoleKey, user: &UserInfo) -> String {
    let role_kind = if role.0.is_empty() { "ClusterRole" } else { "Role" };
    if binding.0.is_empty() {
        format!(
            "RBAC: allowed by ClusterRoleBinding {:?} of {role_kind} {:?} to User {:?}",
            binding.1, role.1, user.name
        )
    } else {
        let name = format!("{}/{}", binding.1, binding.0);
        format!("RBAC: allowed by RoleBinding {name:?} of {role_kind} {:?} to User {:?}", role.1, user.name)
    }
}

#[cfg(test)]
mod tests {
    use gantry_store_cache::key::ObjectKey;
    use gantry_store_cache::object::Facets;

    use super::*;

    fn object(collection: &str, namespace: &str, name: &str, body: &str) -> StoredObject {
        let key = ObjectKey::new(&format!("{collection}.rbac.authorization.k8s.io"), namespace, name);
        let body = bytes::Bytes::copy_from_slice(body.as_bytes());
        StoredObject::new(key, Revision(1), Revision(1), body, Facets::default())
    }

    const READER: &str = r#"{"rules":[
        {"verbs":["get","list"],"apiGroups":[""],"resources":["pods","pods/log"]},
        {"verbs":["update"],"apiGroups":["apps"],"resources":["*/scale"]},
        {"verbs":["get"],"apiGroups":[""],"resources":["secrets"],"resourceNames":["one"]},
        {"verbs":["get"],"nonResourceURLs":["/healthz","/logs/*"]}]}"#;

    fn binding(role_kind: &str, subject: &str) -> String {
        format!(
            r#"{{"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"{role_kind}","name":"reader"}},"subjects":[{subject}]}}"#
        )
    }

    fn may(rbac: &Rbac, user: &UserInfo, verb: &str, group: &str, resource: &str, namespace: &str, name: &str) -> bool {
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let wanted = Attributes { subresource, namespace, ..Attributes::on(user, verb, group, resource, name) };
        rbac.decide(&wanted).allowed()
    }

    #[test]
    fn a_role_binding_reaches_its_namespace_only() {
        let rbac = Rbac::default();
        rbac.apply(&object("clusterroles", "", "reader", READER), false);
        let jane = r#"{"kind":"User","name":"jane","apiGroup":"rbac.authorization.k8s.io"}"#;
        rbac.apply(&object("rolebindings", "a", "b", &binding("ClusterRole", jane)), false);
        let jane = UserInfo::new("jane", &["system:authenticated"]);
        assert!(may(&rbac, &jane, "list", "", "pods", "a", ""));
        assert!(may(&rbac, &jane, "get", "", "pods/log", "a", "p"));
        assert!(!may(&rbac, &jane, "get", "", "pods/exec", "a", "p"));
        assert!(!may(&rbac, &jane, "list", "", "pods", "b", ""));
        assert!(!may(&rbac, &jane, "list", "", "pods", "", ""));
        assert!(may(&rbac, &jane, "update", "apps", "deployments/scale", "a", "d"));
        assert!(!may(&rbac, &jane, "update", "apps", "deployments", "a", "d"));
        assert!(may(&rbac, &jane, "get", "", "secrets", "a", "one"));
        assert!(!may(&rbac, &jane, "get", "", "secrets", "a", "two"));
        assert!(!may(&rbac, &jane, "list", "", "secrets", "a", ""));
        assert!(!may(&rbac, &UserInfo::new("joe", &[]), "list", "", "pods", "a", ""));
    }

    #[test]
    fn cluster_bindings_reach_everywhere_and_end_when_deleted() {
        let rbac = Rbac::default();
        rbac.apply(&object("clusterroles", "", "reader", READER), false);
        let bound = object("clusterrolebindings", "", "b", &binding("ClusterRole", r#"{"kind":"Group","name":"dev"}"#));
        rbac.apply(&bound, false);
        let joe = UserInfo::new("joe", &["dev"]);
        assert!(may(&rbac, &joe, "list", "", "pods", "x", "") && may(&rbac, &joe, "list", "", "pods", "", ""));
        let path = |path| Attributes { resource_request: false, path, ..Attributes::on(&joe, "get", "", "", "") };
        assert!(rbac.decide(&path("/logs/a")).allowed() && rbac.decide(&path("/healthz")).allowed());
        assert!(!rbac.decide(&path("/metrics")).allowed());
        rbac.apply(&bound, true);
        assert!(!may(&rbac, &joe, "list", "", "pods", "x", ""));
        assert!(rbac.index.read().by_subject.is_empty());
    }

    #[test]
    fn an_account_is_a_user_and_a_changed_role_counts_at_once() {
        let rbac = Rbac::default();
        rbac.apply(
            &object("rolebindings", "a", "b", &binding("Role", r#"{"kind":"ServiceAccount","name":"robot"}"#)),
            false,
        );
        let robot = UserInfo::new("system:serviceaccount:a:robot", &[]);
        assert!(!may(&rbac, &robot, "list", "", "pods", "a", ""), "the role does not exist yet");
        rbac.apply(&object("roles", "a", "reader", READER), false);
        assert!(may(&rbac, &robot, "list", "", "pods", "a", ""));
        rbac.apply(&object("roles", "a", "reader", r#"{"rules":null}"#), false);
        assert!(!may(&rbac, &robot, "list", "", "pods", "a", ""));
    }
}
