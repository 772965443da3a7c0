//! The FlowSchemas and PriorityLevelConfigurations of a fresh cluster (API priority and fairness documentation, "Defaults").
//! Written by [`crate::bootstrap`]; the mandatory ones are also what validation holds their namesakes to.

use gantry_machinery::value;
use gantry_machinery::value::Value;

const API_VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

/// The FlowSchemas, by precedence.
#[must_use]
pub fn schemas() -> Vec<Value> {
    let everybody = || vec![group("system:unauthenticated"), group("system:authenticated")];
    let manager = || user("system:kube-controller-manager");
    let accounts = |name: &str| account(name);
    let write = &["get", "create", "update"][..];
    let leases = || resources(write, "coordination.k8s.io", &["leases"], false);
    let probes = value!({"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]});
    let nodes = resources(&["*"], "", &["nodes", "nodes/status"], true);
    let node_leases = resources(&["*"], "coordination.k8s.io", &["leases"], false);
    let locks = resources(write, "", &["endpoints", "configmaps"], false);
    let endpoints = resources(write, "", &["endpoints"], false);
    let controllers = vec![manager(), accounts("endpoint-controller"), accounts("endpointslicemirroring-controller")];
    let leaders = vec![manager(), user("system:kube-scheduler"), accounts("*")];
    vec![
        schema("exempt", "exempt", 1, "", vec![group("system:masters")], None),
        schema("probes", "exempt", 2, "", everybody(), Some((vec![], vec![probes]))),
        schema("system-leader-election", "leader-election", 100, "ByUser", leaders, Some((vec![leases()], vec![]))),
        schema("endpoint-controller", "workload-high", 150, "ByUser", controllers, Some((vec![endpoints], vec![]))),
        schema(
            "workload-leader-election",
            "leader-election",
            200,
            "ByUser",
            vec![accounts("*")],
            Some((vec![locks, leases()], vec![])),
        ),
        schema(
            "system-node-high",
            "node-high",
            400,
            "ByUser",
            vec![group("system:nodes")],
            Some((vec![nodes, node_leases], vec![])),
        ),
        schema("system-nodes", "system", 500, "ByUser", vec![group("system:nodes")], None),
        schema("kube-controller-manager", "workload-high", 800, "ByNamespace", vec![manager()], None),
        schema("kube-scheduler", "workload-high", 800, "ByNamespace", vec![user("system:kube-scheduler")], None),
        schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", vec![accounts("*")], None),
        schema("service-accounts", "workload-low", 9000, "ByUser", vec![group("system:serviceaccounts")], None),
        schema("global-default", "global-default", 9900, "ByUser", everybody(), None),
        schema("catch-all", "catch-all", 10_000, "ByUser", everybody(), None),
    ]
}

/// The PriorityLevelConfigurations.
#[must_use]
pub fn levels() -> Vec<Value> {
    let exempt = value!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    let catch_all = value!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": 5, "lendablePercent": 0, "limitResponse": {"type": "Reject"}}});
    vec![
        object("PriorityLevelConfiguration", "exempt", exempt),
        object("PriorityLevelConfiguration", "catch-all", catch_all),
        level("system", 30, 33, 64, 6),
        level("node-high", 40, 25, 64, 6),
        level("leader-election", 10, 0, 16, 4),
        level("workload-high", 40, 50, 128, 6),
        level("workload-low", 100, 90, 128, 6),
        level("global-default", 20, 50, 128, 6),
    ]
}

/// The FlowSchema that must be as it is, if the name is one's.
#[must_use]
pub fn mandatory_schema(name: &str) -> Option<Value> {
    matches!(name, "exempt" | "catch-all").then(|| named(schemas(), name)).flatten()
}

/// The level that must be as it is, if the name is its.
#[must_use]
pub fn mandatory_level(name: &str) -> Option<Value> {
    (name == "catch-all").then(|| named(levels(), name)).flatten()
}

fn named(objects: Vec<Value>, name: &str) -> Option<Value> {
    objects.into_iter().find(|object| object.str_at(&["metadata", "name"]) == Some(name))
}

fn object(kind: &str, name: &str, spec: Value) -> Value {
    value!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "annotations": {"apf.kubernetes.io/autoupdate-spec": "true"}},
        "spec": spec
    })
}

fn level(name: &str, shares: i64, lendable: i64, queues: i64, hand: i64) -> Value {
    let queuing = value!({"queues": queues, "handSize": hand, "queueLengthLimit": 50});
    let spec = value!({"type": "Limited", "limited": {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing}
    }});
    object("PriorityLevelConfiguration", name, spec)
}

/// Rules of resources, and rules of paths.
type Rules = (Vec<Value>, Vec<Value>);

/// A schema of one rule; without `rules`, it takes whatever its subjects ask.
fn schema(
    name: &str,
    level: &str,
    precedence: i64,
    distinguisher: &str,
    subjects: Vec<Value>,
    rules: Option<Rules>,
) -> Value {
    let (of_resources, of_paths) = rules.unwrap_or_else(|| {
        let paths = value!({"verbs": ["*"], "nonResourceURLs": ["*"]});
        (vec![resources(&["*"], "*", &["*"], true)], vec![paths])
    });
    let mut rule = value!({"subjects": (Value::Array(subjects))});
    for (field, rules) in [("resourceRules", of_resources), ("nonResourceRules", of_paths)] {
        if !rules.is_empty() {
            rule.set(&[field], Value::Array(rules));
        }
    }
    let mut spec = value!({
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [rule]
    });
    if !distinguisher.is_empty() {
        spec.set(&["distinguisherMethod"], value!({"type": distinguisher}));
    }
    object("FlowSchema", name, spec)
}

fn resources(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let list = |items: &[&str]| Value::Array(items.iter().map(|i| Value::from(*i)).collect());
    let mut rule = value!({
        "verbs": (list(verbs)),
        "apiGroups": [group],
        "resources": (list(resources)),
        "namespaces": ["*"]
    });
    if cluster {
        rule.set(&["clusterScope"], true);
    }
    rule
}

fn group(name: &str) -> Value {
    value!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    value!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    value!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}
