//! What a fresh cluster holds: the four namespaces, the default roles and bindings, the two system PriorityClasses, the
//! `kubernetes` Service with its endpoints and its ServiceCIDR, and the ConfigMap that tells extension servers whom to trust.
//!
//! Runs at every start, through the same verbs as any client. Creates what is missing; of what is there, only the
//! default roles are touched, to regain rules they lost (unless annotated `autoupdate: "false"`), as upstream does.

mod policy;

use std::net::IpAddr;

use futures_util::future::try_join_all;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{ResourceApi, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::typed::value_of;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use crate::registry::kinds::api_service::{self, API_SERVICES};
use crate::registry::kinds::flow_control::standard;

static SERVICE_CIDRS: GroupVersionResource = GroupVersionResource::of("networking.k8s.io", "v1", "servicecidrs");

static FLOW_SCHEMAS: GroupVersionResource =
    GroupVersionResource::of("flowcontrol.apiserver.k8s.io", "v1", "flowschemas");
static PRIORITY_LEVELS: GroupVersionResource =
    GroupVersionResource::of("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations");

/// The namespaces of a fresh cluster.
pub const NAMESPACES: [&str; 4] = ["default", "kube-system", "kube-public", "kube-node-lease"];

/// What the bootstrapped objects say about this server.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The address of the `kubernetes` Service: the first of the service range.
    pub service_ip: IpAddr,
    /// The range it is the first of, in CIDR notation.
    pub service_range: String,
    /// The address that clients inside the cluster reach this server at.
    pub advertise: IpAddr,
    /// The port this server listens on.
    pub port: u16,
    /// The group-versions that this server answers for itself.
    pub group_versions: Vec<(String, String)>,
    /// The certificate that client certificates are checked against.
    pub client_ca_pem: String,
    /// The certificate that the front proxy's is checked against.
    pub front_proxy_ca_pem: String,
}

/// Creates what is missing.
///
/// # Errors
/// The first Status that is not about something being there already.
pub async fn run(api: &dyn ResourceApi, facts: &Facts) -> Result<(), Status> {
    try_join_all(NAMESPACES.map(|name| {
        let namespace = value!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name}
        });
        ensure(api, &gvr::NAMESPACES, "", namespace)
    }))
    .await?;
    let roles = policy::entries().into_iter().map(|entry| ensure_role(api, entry));
    let others = others(facts).into_iter().map(|(gvr, namespace, object)| ensure(api, gvr, namespace, object));
    let range = ensure_service_range(api, facts);
    let services = facts.group_versions.iter().map(|(group, version)| {
        let service = api_service::own(group, version);
        ensure(api, &API_SERVICES, "", service)
    });
    let services = try_join_all(services);
    futures_util::try_join!(try_join_all(roles), try_join_all(others), range, ensure_flow_control(api), services)?;
    Ok(())
}

/// The ServiceCIDR of the range that this server was started with, which is ready as long as it runs.
async fn ensure_service_range(api: &dyn ResourceApi, facts: &Facts) -> Result<(), Status> {
    let mut range = value!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "ServiceCIDR",
        "metadata": {"name": "kubernetes", "finalizers": ["networking.k8s.io/service-cidr-finalizer"]},
        "spec": {"cidrs": [(facts.service_range.as_str())]}
    });
    let target = Target { subresource: "status", ..Target::object(&SERVICE_CIDRS, "", "kubernetes") };
    if !ensure(api, &SERVICE_CIDRS, "", range.clone()).await? {
        return Ok(());
    }
    range.set(
        &["status", "conditions"],
        value!([{
            "type": "Ready",
            "status": "True",
            "reason": "Served",
            "message": "Kubernetes default Service CIDR is ready",
            "lastTransitionTime": (gantry_machinery::time::now())
        }]),
    );
    api.update(&target, range, &WriteOptions::default()).await?;
    Ok(())
}

/// The classes of requests. Existing ones are the administrator's to change.
async fn ensure_flow_control(api: &dyn ResourceApi) -> Result<(), Status> {
    try_join_all(standard::levels().into_iter().map(|level| ensure(api, &PRIORITY_LEVELS, "", level))).await?;
    try_join_all(standard::schemas().into_iter().map(|schema| async move {
        let name = schema.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
        let level = schema.str_at(&["spec", "priorityLevelConfiguration", "name"]).unwrap_or_default();
        let message =
            format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists");
        let mut found = schema.clone();
        if !ensure(api, &FLOW_SCHEMAS, "", schema).await? {
            return Ok(());
        }
        found.set(
            &["status", "conditions"],
            value!([{
                "type": "Dangling",
                "status": "False",
                "reason": "Found",
                "message": message,
                "lastTransitionTime": (gantry_machinery::time::now())
            }]),
        );
        let target = Target { subresource: "status", ..Target::object(&FLOW_SCHEMAS, "", &name) };
        api.update(&target, found, &WriteOptions::default()).await.map(drop)
    }))
    .await?;
    Ok(())
}

/// Everything but namespaces and roles.
fn others(facts: &Facts) -> Vec<(&'static GroupVersionResource, &'static str, Value)> {
    let priority = |name: &str, value: i64, about: &str| {
        value!({
            "apiVersion": "scheduling.k8s.io/v1",
            "kind": "PriorityClass",
            "metadata": {"name": name},
            "value": value,
            "preemptionPolicy": "PreemptLowerPriority",
            "description": about
        })
    };
    let service_ip = facts.service_ip.to_string();
    let family = if facts.service_ip.is_ipv4() { "IPv4" } else { "IPv6" };
    let service = value!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {
            "type": "ClusterIP",
            "clusterIP": (service_ip.clone()),
            "clusterIPs": [service_ip],
            "ipFamilies": [family],
            "ipFamilyPolicy": "SingleStack",
            "sessionAffinity": "None",
            "ports": [{"name": "https", "protocol": "TCP", "port": 443, "targetPort": (i64::from(facts.port))}]
        }
    });
    let mut all = vec![
        (
            &gvr::PRIORITY_CLASSES,
            "",
            priority(
                "system-cluster-critical",
                2_000_000_000,
                "Used for system critical pods that must run in the cluster, but can be moved to another node if necessary.",
            ),
        ),
        (
            &gvr::PRIORITY_CLASSES,
            "",
            priority(
                "system-node-critical",
                2_000_001_000,
                "Used for system critical pods that must not be moved from their current node.",
            ),
        ),
        (&gvr::SERVICES, "default", service),
        (
            &gvr::CONFIG_MAPS,
            "kube-system",
            value!({
                "apiVersion": "v1",
                "kind": "ConfigMap",
                "metadata": {"name": "extension-apiserver-authentication", "namespace": "kube-system"},
                "data": {
                    "client-ca-file": (facts.client_ca_pem.as_str()),
                    "requestheader-allowed-names": "[\"front-proxy-client\"]",
                    "requestheader-client-ca-file": (facts.front_proxy_ca_pem.as_str()),
                    "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
                    "requestheader-group-headers": "[\"X-Remote-Group\"]",
                    "requestheader-username-headers": "[\"X-Remote-User\"]"
                }
            }),
        ),
    ];
    // Endpoints may not name loopback addresses (validation refuses them, here as upstream): a server that only
    // listens there has none to give.
    if !facts.advertise.is_loopback() {
        let address = facts.advertise.to_string();
        let labels = value!({"endpointslice.kubernetes.io/skip-mirror": "true"});
        all.push((
            &gvr::ENDPOINTS,
            "default",
            value!({
                "apiVersion": "v1",
                "kind": "Endpoints",
                "metadata": {"name": "kubernetes", "namespace": "default", "labels": labels},
                "subsets": [{
                    "addresses": [{"ip": (address.clone())}],
                    "ports": [{"name": "https", "port": (i64::from(facts.port)), "protocol": "TCP"}]
                }]
            }),
        ));
        all.push((
            &gvr::ENDPOINT_SLICES,
            "default",
            value!({
                "apiVersion": "discovery.k8s.io/v1",
                "kind": "EndpointSlice",
                "metadata": {"name": "kubernetes", "namespace": "default", "labels": {"kubernetes.io/service-name": "kubernetes"}},
                "addressType": (if facts.advertise.is_ipv4() { "IPv4" } else { "IPv6" }),
                "endpoints": [{"addresses": [address], "conditions": {"ready": true}}],
                "ports": [{"name": "https", "port": (i64::from(facts.port)), "protocol": "TCP"}]
            }),
        ));
    }
    all
}

/// Creates an object unless one of its name is there. Gives whether it did.
async fn ensure(
    api: &dyn ResourceApi,
    resource: &GroupVersionResource,
    namespace: &str,
    object: Value,
) -> Result<bool, Status> {
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
    match api.get(&Target::object(resource, namespace, &name)).await {
        Ok(_) => return Ok(false),
        Err(status) if status.code == 404 => {}
        Err(status) => return Err(status),
    }
    match api.create(&Target::object(resource, namespace, ""), object, &WriteOptions::default()).await {
        Ok(_) => Ok(true),
        // Another server of this cluster was quicker.
        Err(status) if status.reason == "AlreadyExists" => Ok(false),
        // A resource that this server does not serve needs no objects.
        Err(status) if status == Status::no_such_resource() => Ok(false),
        Err(status) => Err(status),
    }
}

/// Creates a role or binding, or gives an existing role back the rules it lacks.
async fn ensure_role(api: &dyn ResourceApi, entry: policy::Entry) -> Result<(), Status> {
    let policy::Entry { resource, namespace, object } = entry;
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default().to_owned();
    let target = Target::object(resource, &namespace, &name);
    let present = match api.get(&target).await {
        Ok(present) => present,
        Err(status) if status.code == 404 => return ensure(api, resource, &namespace, object).await.map(drop),
        Err(status) => return Err(status),
    };
    let Ok(mut present) = value_of(&present) else {
        return Err(Status { code: 500, message: format!("stored role {name} cannot be read"), ..Status::default() });
    };
    let annotation = ["metadata", "annotations", "rbac.authorization.kubernetes.io/autoupdate"];
    if present.str_at(&annotation) == Some("false") || object.get("rules").is_none() {
        return Ok(());
    }
    let missing: Vec<Value> = {
        let have = present.array_at(&["rules"]);
        object.array_at(&["rules"]).iter().filter(|rule| !have.contains(rule)).cloned().collect()
    };
    if missing.is_empty() {
        return Ok(());
    }
    let mut rules = present.array_at(&["rules"]).to_vec();
    rules.extend(missing);
    present.set(&["rules"], Value::Array(rules));
    match api.update(&target, present, &WriteOptions::default()).await {
        Ok(_) => Ok(()),
        // Somebody else reconciles at the same moment, with the same end.
        Err(status) if status.reason == "Conflict" => Ok(()),
        Err(status) => Err(status),
    }
}
