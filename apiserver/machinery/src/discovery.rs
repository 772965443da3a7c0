//! Discovery: what a server serves, in the documents that clients ask for first (API concepts, "Discovery";
//! KEP-3352 for the aggregated form).
//!
//! Made once from the resource rows (and again when a CustomResourceDefinition changes them) and served as bytes by the
//! HTTP layer, which compares ETags. Groups stand in upstream's order, a group's versions by preference.

use std::collections::BTreeMap;

use base64::Engine;
use serde_json::{Value as Json, json};

use crate::document::Document;
use crate::resource::{Resource, Subresource};

/// The content type of the legacy documents.
pub const LEGACY: &str = "application/json";

fn made(document: &Json, content_type: &'static str) -> Document {
    Document::new(document.to_string().into_bytes(), content_type)
}

/// The two versions of the aggregated documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Aggregated {
    /// `apidiscovery.k8s.io/v2`
    V2,
    /// `apidiscovery.k8s.io/v2beta1`
    V2beta1,
}

impl Aggregated {
    fn version(self) -> &'static str {
        match self {
            Self::V2 => "apidiscovery.k8s.io/v2",
            Self::V2beta1 => "apidiscovery.k8s.io/v2beta1",
        }
    }

    /// The content type that says it.
    #[must_use]
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V2 => "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
            Self::V2beta1 => "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList",
        }
    }
}

/// All discovery documents of a server.
#[derive(Clone, Debug)]
pub struct Discovery {
    groups: Document,
    by_group: BTreeMap<String, Document>,
    /// By group and version.
    resources: BTreeMap<(String, String), Document>,
    /// Of `/api` and `/apis`, in the two versions.
    aggregated: [[Document; 2]; 2],
}

impl Discovery {
    /// Builds the documents from the rows, which may come in any order.
    #[must_use]
    pub fn new(rows: &[Resource]) -> Self {
        type Versions<'a> = BTreeMap<VersionRank, (&'a str, Vec<&'a Resource>)>;
        let mut tree: BTreeMap<(usize, &str), Versions<'_>> = BTreeMap::new();
        for row in rows {
            let (group, version) = (&*row.gvr.group, &*row.gvr.version);
            let versions = tree.entry((group_rank(group), group)).or_default();
            versions.entry(VersionRank::of(version)).or_insert((version, Vec::new())).1.push(row);
        }
        let (mut named, mut by_group, mut resources) = (Vec::new(), BTreeMap::new(), BTreeMap::new());
        let (mut core, mut others) = (Vec::new(), Vec::new());
        for ((_, group), versions) in &mut tree {
            let mut discovered = Vec::new();
            let mut listed = Vec::new();
            for (version, rows) in versions.values_mut() {
                rows.sort_by(|a, b| a.gvr.resource.cmp(&b.gvr.resource));
                let group_version = rows[0].api_version().into_owned();
                let list = resource_list(&group_version, rows);
                resources.insert(((*group).to_owned(), (*version).to_owned()), made(&list, LEGACY));
                discovered.push(json!({
                    "version": version,
                    "resources": rows.iter().map(|r| discovered_resource(r)).collect::<Vec<_>>(),
                    "freshness": "Current",
                }));
                listed.push(json!({"groupVersion": group_version, "version": version}));
            }
            if group.is_empty() {
                core.push(json!({"metadata": {"creationTimestamp": null}, "versions": discovered}));
                continue;
            }
            others.push(json!({"metadata": {"name": group, "creationTimestamp": null}, "versions": discovered}));
            let mut entry = json!({"name": group, "versions": listed, "preferredVersion": listed[0]});
            named.push(entry.clone());
            entry["kind"] = "APIGroup".into();
            entry["apiVersion"] = "v1".into();
            by_group.insert((*group).to_owned(), made(&entry, LEGACY));
        }
        let groups = json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": named});
        let aggregate = |items: &[Json], version: Aggregated| {
            let list = json!({
                "kind": "APIGroupDiscoveryList", "apiVersion": version.version(), "metadata": {}, "items": items,
            });
            made(&list, version.content_type())
        };
        let both = |items: &[Json]| [aggregate(items, Aggregated::V2), aggregate(items, Aggregated::V2beta1)];
        Self { groups: made(&groups, LEGACY), by_group, resources, aggregated: [both(&core), both(&others)] }
    }

    /// `/api`, legacy form: the versions of the core group, and where (host and port) the server is reached.
    #[must_use]
    pub fn core_versions(&self, server_address: &str) -> Document {
        let versions: Vec<&str> =
            self.resources.keys().filter(|(group, _)| group.is_empty()).map(|(_, version)| version.as_str()).collect();
        let document = json!({
            "kind": "APIVersions", "versions": versions,
            "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server_address}],
        });
        made(&document, LEGACY)
    }

    /// `/apis`, legacy form.
    #[must_use]
    pub fn groups(&self) -> &Document {
        &self.groups
    }

    /// `/apis/<group>`; `None` for a group that is not served.
    #[must_use]
    pub fn group(&self, group: &str) -> Option<&Document> {
        self.by_group.get(group)
    }

    /// `/api/v1` (group empty) or `/apis/<group>/<version>`; `None` where it is not served.
    #[must_use]
    pub fn resources(&self, group: &str, version: &str) -> Option<&Document> {
        self.resources.get(&(group.to_owned(), version.to_owned()))
    }

    /// `/api` (`core`) or `/apis`, aggregated form.
    #[must_use]
    pub fn aggregated(&self, core: bool, version: Aggregated) -> &Document {
        &self.aggregated[usize::from(!core)][usize::from(version == Aggregated::V2beta1)]
    }
}

fn resource_list(group_version: &str, rows: &[&Resource]) -> Json {
    let mut resources = Vec::new();
    for row in rows {
        let mut entry = json!({
            "name": row.gvr.resource, "singularName": row.singular, "namespaced": row.namespaced, "kind": row.kind,
            "verbs": row.verbs,
        });
        if !row.short_names.is_empty() {
            entry["shortNames"] = json!(row.short_names);
        }
        if !row.categories.is_empty() {
            entry["categories"] = json!(row.categories);
        }
        // What is only created, or computed, is in no store.
        if row.verbs.iter().any(|verb| verb == "update") {
            entry["storageVersionHash"] = storage_version_hash(row).into();
        }
        resources.push(entry);
        for sub in sorted(row) {
            let mut entry = json!({
                "name": format!("{}/{}", row.gvr.resource, sub.name), "singularName": "",
                "namespaced": row.namespaced, "kind": sub.kind, "verbs": sub.verbs,
            });
            if let Some(group) = sub.kind_group.as_deref().filter(|g| !g.is_empty()) {
                entry["group"] = group.into();
            }
            if let Some(version) = &sub.kind_version {
                entry["version"] = json!(version);
            }
            resources.push(entry);
        }
    }
    let mut list = json!({"kind": "APIResourceList", "groupVersion": group_version, "resources": resources});
    if group_version != "v1" {
        list["apiVersion"] = "v1".into();
    }
    list
}

/// Tells clients when objects come to be stored in another version: equal for all versions of one kind.
fn storage_version_hash(row: &Resource) -> String {
    let (group, version) = row.stored_in();
    let digest = ring::digest::digest(&ring::digest::SHA256, format!("{group}/{version}/{}", row.kind).as_bytes());
    base64::engine::general_purpose::STANDARD.encode(&digest.as_ref()[..8])
}

fn discovered_resource(row: &Resource) -> Json {
    let mut entry = json!({
        "resource": row.gvr.resource,
        "responseKind": {"group": row.gvr.group, "version": row.gvr.version, "kind": row.kind},
        "scope": if row.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": row.singular,
        "verbs": row.verbs,
    });
    if !row.short_names.is_empty() {
        entry["shortNames"] = json!(row.short_names);
    }
    if !row.categories.is_empty() {
        entry["categories"] = json!(row.categories);
    }
    if !row.subresources.is_empty() {
        let subs = sorted(row).into_iter().map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": {
                    "group": sub.kind_group.as_ref().unwrap_or(&row.gvr.group),
                    "version": sub.kind_version.as_ref().unwrap_or(&row.gvr.version),
                    "kind": sub.kind,
                },
                "verbs": sub.verbs,
            })
        });
        entry["subresources"] = subs.collect();
    }
    entry
}

fn sorted(row: &Resource) -> Vec<&Subresource> {
    let mut subs: Vec<&Subresource> = row.subresources.iter().collect();
    subs.sort_by(|a, b| a.name.cmp(&b.name));
    subs
}

/// Where a group stands among the groups; custom ones come after the built-in ones.
fn group_rank(group: &str) -> usize {
    const ORDER: [&str; 23] = [
        "",
        "apiregistration.k8s.io",
        "apps",
        "events.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "batch",
        "certificates.k8s.io",
        "networking.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "scheduling.k8s.io",
        "coordination.k8s.io",
        "node.k8s.io",
        "discovery.k8s.io",
        "resource.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "storagemigration.k8s.io",
    ];
    ORDER.iter().position(|g| *g == group).unwrap_or(ORDER.len())
}

/// How Kubernetes prefers versions: stable before beta before alpha, higher before lower, anything else by name.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct VersionRank(u8, std::cmp::Reverse<u32>, std::cmp::Reverse<u32>, String);

impl VersionRank {
    fn of(version: &str) -> Self {
        let parsed = version.strip_prefix('v').and_then(|rest| {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let major: u32 = rest[..end].parse().ok()?;
            let (stage, minor) = match &rest[end..] {
                "" => (0, "0"),
                tail if tail.starts_with("beta") => (1, &tail[4..]),
                tail if tail.starts_with("alpha") => (2, &tail[5..]),
                _ => return None,
            };
            Some((stage, major, minor.parse::<u32>().ok()?))
        });
        match parsed {
            Some((stage, major, minor)) => {
                Self(stage, std::cmp::Reverse(major), std::cmp::Reverse(minor), String::new())
            }
            None => Self(3, std::cmp::Reverse(0), std::cmp::Reverse(0), version.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::resource::GroupVersionResource;

    fn row(group: &'static str, version: &'static str, resource: &'static str, kind: &'static str) -> Resource {
        Resource {
            gvr: GroupVersionResource::of(group, version, resource),
            kind: kind.into(),
            singular: kind.to_lowercase().into(),
            namespaced: true,
            verbs: vec![Cow::Borrowed("get"), Cow::Borrowed("list")].into(),
            short_names: Cow::Borrowed(&[]),
            categories: Cow::Borrowed(&[]),
            subresources: Cow::Borrowed(&[]),
        }
    }

    fn rows() -> Vec<Resource> {
        let mut pods = row("", "v1", "pods", "Pod");
        pods.short_names = vec![Cow::Borrowed("po")].into();
        pods.subresources = vec![
            Subresource {
                name: "status".into(),
                kind: "Pod".into(),
                kind_group: None,
                kind_version: None,
                verbs: vec![Cow::Borrowed("get")].into(),
            },
            Subresource {
                name: "eviction".into(),
                kind: "Eviction".into(),
                kind_group: Some("policy".into()),
                kind_version: Some("v1".into()),
                verbs: vec![Cow::Borrowed("create")].into(),
            },
        ]
        .into();
        vec![
            row("example.com", "v1", "widgets", "Widget"),
            row("autoscaling", "v1", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            row("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
            row("apps", "v1", "deployments", "Deployment"),
            pods,
            row("", "v1", "configmaps", "ConfigMap"),
        ]
    }

    fn parsed(document: &Document) -> Json {
        serde_json::from_slice(&document.pieces().collect::<Vec<_>>().concat()).unwrap()
    }

    #[test]
    fn legacy_documents_list_groups_versions_and_resources() {
        let discovery = Discovery::new(&rows());
        let api = parsed(&discovery.core_versions("10.0.0.1:6443"));
        assert_eq!(api["versions"], json!(["v1"]));
        assert_eq!(api["serverAddressByClientCIDRs"][0]["serverAddress"], "10.0.0.1:6443");
        let groups = parsed(discovery.groups());
        let names: Vec<&str> =
            groups["groups"].as_array().unwrap().iter().map(|g| g["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["apps", "autoscaling", "example.com"]);
        assert_eq!(groups["groups"][1]["preferredVersion"]["groupVersion"], "autoscaling/v2");
        assert_eq!(parsed(discovery.group("apps").unwrap())["kind"], "APIGroup");
        assert!(discovery.group("").is_none());
        let core = parsed(discovery.resources("", "v1").unwrap());
        let names: Vec<&str> =
            core["resources"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["configmaps", "pods", "pods/eviction", "pods/status"]);
        assert_eq!(core["resources"][2]["group"], "policy");
        assert_eq!(core["resources"][1]["shortNames"], json!(["po"]));
        assert!(core.get("apiVersion").is_none());
        assert_eq!(parsed(discovery.resources("apps", "v1").unwrap())["apiVersion"], "v1");
        assert!(discovery.resources("apps", "v2").is_none());
    }

    #[test]
    fn aggregated_documents_say_the_same_in_one() {
        let discovery = Discovery::new(&rows());
        let core = discovery.aggregated(true, Aggregated::V2);
        assert_eq!(core.content_type, Aggregated::V2.content_type());
        let core = parsed(core);
        assert_eq!(core["apiVersion"], "apidiscovery.k8s.io/v2");
        let pods = &core["items"][0]["versions"][0]["resources"][1];
        assert_eq!(pods["responseKind"], json!({"group": "", "version": "v1", "kind": "Pod"}));
        assert_eq!(pods["subresources"][0]["responseKind"]["group"], "policy");
        assert_eq!(pods["scope"], "Namespaced");
        let apis = parsed(discovery.aggregated(false, Aggregated::V2beta1));
        assert_eq!(apis["apiVersion"], "apidiscovery.k8s.io/v2beta1");
        assert_eq!(apis["items"][1]["versions"][0]["version"], "v2");
    }

    #[test]
    fn etags_follow_the_content() {
        let (one, same) = (Discovery::new(&rows()), Discovery::new(&rows()));
        assert_eq!(one.groups().etag, same.groups().etag);
        let fewer = Discovery::new(&rows()[1..]);
        assert_ne!(one.groups().etag, fewer.groups().etag);
    }

    #[test]
    fn versions_are_preferred_as_kubernetes_does() {
        let mut versions = ["v1", "v2beta1", "v10", "v1alpha1", "v2", "foo", "v1beta2", "v11alpha2"];
        versions.sort_by_key(|v| VersionRank::of(v));
        assert_eq!(versions, ["v10", "v2", "v1", "v2beta1", "v1beta2", "v11alpha2", "v1alpha1", "foo"]);
    }
}
