//! Pods that ask for what nobody has, or for too much of everything: each gets a clear reason, the others get their
//! places in the same step, and the scheduler comes to rest. What is counted is steps and decisions, not time.

use gantry_scheduler_core::cycle::{Config, Event, Scheduler};
use gantry_scheduler_core::plan::Decision;
use gantry_scheduler_core::rows::{NodeRow, PodRow};
use serde_json::{Value, json};

const NODES: usize = 20;

fn cluster() -> Scheduler {
    let mut scheduler = Scheduler::new(Config::default());
    let nodes = (0..NODES).map(|n| {
        let name = format!("n{n}");
        let body = json!({
            "metadata": {"name": name, "uid": name, "labels": {
                "kubernetes.io/hostname": name, "topology.kubernetes.io/zone": format!("z{}", n % 3)}},
            "status": {"allocatable": {"cpu": "8", "memory": "16Gi", "pods": "110"}},
        });
        Event::Node(Box::new(NodeRow::from_json(body.to_string().as_bytes()).expect("a node")))
    });
    scheduler.step(0, nodes, 0);
    scheduler
}

/// A pod as it is stored.
fn pod(name: &str, spec: Value) -> Box<PodRow> {
    let mut body = json!({
        "metadata": {"name": name, "namespace": "d", "uid": name, "labels": {"app": name}},
        "spec": {"schedulerName": "default-scheduler",
                 "containers": [{"name": "c", "resources": {"requests": {"cpu": "100m"}}}]},
    });
    for (field, value) in spec.as_object().expect("a spec") {
        body["spec"][field] = value.clone();
    }
    Box::new(PodRow::from_json(body.to_string().as_bytes()).expect("a pod"))
}

fn requests(requests: Value) -> Value {
    json!({"containers": [{"name": "c", "resources": {"requests": requests}}]})
}

fn node_terms(terms: Vec<Value>) -> Value {
    json!({"affinity": {"nodeAffinity": {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}})
}

fn pod_terms(kind: &str, terms: Vec<Value>) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": terms}}})
}

/// A term about pods of an app, in a topology.
fn term(app: &str, key: &str) -> Value {
    json!({"labelSelector": {"matchLabels": {"app": app}}, "topologyKey": key})
}

fn spread(key: &str, when: &str) -> Value {
    json!({"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": when, "labelSelector": {"matchLabels": {"app": "x"}}})
}

/// What it is, the pod, and what it must be told; nothing where it must find a place.
fn bad_pods() -> Vec<(&'static str, Value, Option<&'static str>)> {
    let requirement = |n: usize| json!({"key": format!("k{n}"), "operator": "In", "values": ["v"]});
    let toleration = |n: usize| json!({"key": format!("k{n}"), "operator": "Exists"});
    let port = || json!({"containerPort": 80, "hostPort": 80});
    vec![
        (
            "an impossible selector",
            json!({"nodeSelector": {"disk": "none"}}),
            Some("didn't match Pod's node affinity/selector"),
        ),
        ("no term at all", node_terms(vec![]), Some("didn't match Pod's node affinity/selector")),
        (
            "a selector that contradicts itself",
            node_terms(vec![json!({"matchExpressions": [
                {"key": "disk", "operator": "Exists"}, {"key": "disk", "operator": "DoesNotExist"}]})]),
            Some("didn't match Pod's node affinity/selector"),
        ),
        (
            "nodes that exclude each other",
            node_terms(vec![json!({"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["n1"]},
                {"key": "metadata.name", "operator": "In", "values": ["n2"]}]})]),
            Some("pod affinity terms conflict"),
        ),
        (
            "a node that is not there",
            node_terms(vec![json!({"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": ["nowhere"]}]})]),
            Some("didn't satisfy plugin(s) [NodeAffinity]"),
        ),
        (
            "a number that is none",
            node_terms(vec![json!({"matchExpressions": [{"key": "disk", "operator": "Gt", "values": ["many"]}]})]),
            Some("didn't match Pod's node affinity/selector"),
        ),
        (
            "10,000 terms",
            node_terms((0..10_000).map(|n| json!({"matchExpressions": [requirement(n)]})).collect()),
            Some("didn't match Pod's node affinity/selector"),
        ),
        (
            "10,000 requirements in one term",
            node_terms(vec![json!({"matchExpressions": (0..10_000).map(requirement).collect::<Vec<Value>>()})]),
            Some("didn't match Pod's node affinity/selector"),
        ),
        ("10,000 tolerations", json!({"tolerations": (0..10_000).map(toleration).collect::<Vec<Value>>()}), None),
        (
            "an unknown topology key",
            pod_terms("podAffinity", vec![term("10,000 tolerations", "no.such/key")]),
            Some("didn't match pod affinity rules"),
        ),
        (
            "near to and away from the same",
            json!({"affinity": {
                "podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("x", "kubernetes.io/hostname")]},
                "podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term("x", "kubernetes.io/hostname")]},
            }}),
            Some("didn't match pod affinity rules"),
        ),
        (
            "away from 1,000 apps",
            pod_terms("podAntiAffinity", (0..1000).map(|n| term(&n.to_string(), "kubernetes.io/hostname")).collect()),
            None,
        ),
        (
            "spread over a key that no node has",
            json!({"topologySpreadConstraints": [spread("no.such/key", "DoNotSchedule")]}),
            Some("didn't match pod topology spread constraints (missing required label)"),
        ),
        (
            "spread by 100 constraints",
            json!({"topologySpreadConstraints": (0..100)
                .map(|n| spread(["kubernetes.io/hostname", "topology.kubernetes.io/zone"][n % 2], "DoNotSchedule"))
                .collect::<Vec<Value>>()}),
            None,
        ),
        (
            "spread by 100 wishes for unknown keys",
            json!({"topologySpreadConstraints": (0..100)
                .map(|n| spread(&format!("no.such/key-{n}"), "ScheduleAnyway"))
                .collect::<Vec<Value>>()}),
            None,
        ),
        ("more CPU than there is", requests(json!({"cpu": "9223372036854775807"})), Some("Insufficient cpu")),
        (
            "more memory than there are numbers",
            requests(json!({"memory": "9999999999999Ei"})),
            Some("Insufficient memory"),
        ),
        ("more than none of a device", requests(json!({"example.com/gpu": "1"})), Some("Insufficient example.com/gpu")),
        ("less than nothing", requests(json!({"cpu": "-5"})), None),
        ("no quantity", requests(json!({"cpu": "plenty"})), None),
        (
            "the same host port twice",
            json!({"containers": [{"name": "a", "ports": [port()]}, {"name": "b", "ports": [port()]}]}),
            None,
        ),
        (
            "a priority beyond all",
            json!({"priority": i32::MAX, "nodeSelector": {"disk": "none"}}),
            Some("node(s) didn't match"),
        ),
        (
            "a feature that no node declares",
            json!({"containers": [{"name": "c", "restartPolicyRules": [
                {"action": "RestartAllContainers", "exitCodes": {"operator": "In", "values": [1]}}]}]}),
            Some("didn't match Pod's required features"),
        ),
    ]
}

#[test]
fn each_gets_its_reason_and_nobody_else_waits_for_it() {
    for (what, spec, wanted) in bad_pods() {
        let mut scheduler = cluster();
        // Ten ordinary pods behind it.
        let others = (0..10).map(|n| pod(&format!("ok-{n}"), json!({})));
        let pods = std::iter::once(pod(what, spec)).chain(others).map(Event::Pod);
        let plan = scheduler.step(0, pods, usize::MAX);
        assert_eq!(plan.decisions.len(), 11, "{what}: each is decided on once");
        assert!(!plan.more, "{what}: it comes to rest");
        let (mut bound, mut told) = (Vec::new(), None);
        for decision in &plan.decisions {
            match decision {
                Decision::Bind(placement) => bound.push(placement.pod.name.to_string()),
                Decision::Refuse(refusal) if *refusal.pod.name == *what => told = Some(refusal.message.to_string()),
                other => panic!("{what}: {other:?}"),
            }
        }
        match wanted {
            Some(text) => {
                let told = told.unwrap_or_else(|| panic!("{what}: it found a place"));
                assert!(told.starts_with(&format!("0/{NODES} nodes are available: ")), "{what}: {told}");
                assert!(told.contains(text), "{what}: {told}");
                assert!(told.len() < 1000, "{what}: the message fits an event: {} bytes", told.len());
            }
            None => assert!(bound.iter().any(|name| name == what), "{what}: {told:?}"),
        }
        // Nothing has changed: nothing is done, and nobody is tried again before its time.
        let again = scheduler.step(1000, [], usize::MAX);
        assert!(again.decisions.is_empty() && !again.more, "{what}: {:?}", again.decisions);
    }
}

#[test]
fn host_ports_are_given_to_one_pod_per_node() {
    let mut scheduler = cluster();
    let wants_port = json!({"containers": [{"name": "c", "ports": [{"containerPort": 80, "hostPort": 80}]}]});
    let pods = (0..NODES + 5).map(|n| Event::Pod(pod(&format!("p{n}"), wants_port.clone())));
    let plan = scheduler.step(0, pods, usize::MAX);
    let bound = plan.decisions.iter().filter(|decision| matches!(decision, Decision::Bind(_))).count();
    assert_eq!((bound, plan.decisions.len()), (NODES, NODES + 5));
}

#[test]
fn pods_of_unknown_schedulers_and_with_huge_labels_harm_nobody() {
    let mut scheduler = cluster();
    let mut stranger = pod("stranger", json!({"schedulerName": "nobody"}));
    stranger.labels = (0..10_000).map(|n| (format!("k{n:05}").into(), "v".repeat(63).into())).collect();
    let mut labelled = pod("labelled", json!({}));
    labelled.labels.clone_from(&stranger.labels);
    let plan = scheduler.step(0, [Event::Pod(stranger), Event::Pod(labelled)], usize::MAX);
    let [Decision::Bind(placement)] = &plan.decisions[..] else { panic!("{:?}", plan.decisions) };
    assert_eq!(&*placement.pod.name, "labelled");
    assert_eq!(scheduler.pods().count(), 2);
}

#[test]
fn bound_pods_with_impossible_requests_keep_others_off_their_node_and_leave_it_as_it_was() {
    let mut scheduler = cluster();
    let giant = |n: usize| {
        let mut row = pod(&format!("giant-{n}"), requests(json!({"cpu": "9223372036854775807", "memory": "16Ei"})));
        row.node = "n0".into();
        Event::Pod(row)
    };
    scheduler.step(0, (0..1000).map(giant), usize::MAX);
    let plan = scheduler.step(1, (0..NODES * 2).map(|n| Event::Pod(pod(&format!("p{n}"), json!({})))), usize::MAX);
    assert_eq!(plan.decisions.len(), NODES * 2);
    for decision in &plan.decisions {
        let Decision::Bind(placement) = decision else { panic!("{decision:?}") };
        assert_ne!(&*placement.node, "n0");
    }
    let gone = (0..1000).map(|n| Event::PodGone(format!("giant-{n}").into()));
    scheduler.step(2, gone, usize::MAX);
    let plan = scheduler.step(3, [Event::Pod(pod("last", json!({})))], usize::MAX);
    let [Decision::Bind(placement)] = &plan.decisions[..] else { panic!("{:?}", plan.decisions) };
    assert_eq!(&*placement.node, "n0", "it is the emptiest again");
}
