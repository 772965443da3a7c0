//! Claims from stored JSON through the whole core, to what is granted or said.

use super::grant::Grant;
use crate::cycle::{Config, Event, Scheduler};
use crate::plan::Decision;
use crate::rows::storage::{Change, Kind, Thing};
use crate::rows::{Amounts, NodeRow, PodRow};

fn thing(kind: Kind, json: &str) -> Event {
    let thing = Thing::from_json(kind, json.as_bytes()).expect("JSON of the kind");
    Event::Storage(Change::Is(Box::new(thing)))
}

fn node(name: &str) -> Event {
    Event::Node(Box::new(NodeRow {
        name: name.into(),
        labels: vec![("zone".into(), "a".into())],
        allocatable: Amounts { cpu: 1000, memory: 1000, pods: 10, ..Amounts::default() },
        ..NodeRow::default()
    }))
}

fn class(name: &str, expression: &str) -> Event {
    let json = format!(
        r#"{{"metadata":{{"name":"{name}"}},"spec":{{"selectors":[{{"cel":{{"expression":"{expression}"}}}}],
            "config":[{{"opaque":{{"driver":"d.example","parameters":{{"of":"{name}"}}}}}}]}}}}"#
    );
    thing(Kind::DeviceClass, &json)
}

fn slice(reach: &str, devices: &str) -> Event {
    let json = format!(
        r#"{{"metadata":{{"name":"s"}},"spec":{{"driver":"d.example",{reach},
            "pool":{{"name":"p","generation":1,"resourceSliceCount":1}},"devices":[{devices}]}}}}"#
    );
    thing(Kind::Slice, &json)
}

fn claim(devices: &str) -> Event {
    let json = format!(r#"{{"metadata":{{"name":"c","namespace":"d","uid":"cu"}},"spec":{{"devices":{devices}}}}}"#);
    thing(Kind::DeviceClaim, &json)
}

fn pod() -> Event {
    let json = br#"{"metadata":{"name":"p","namespace":"d","uid":"pu"},
        "spec":{"schedulerName":"default-scheduler","resourceClaims":[{"name":"x","resourceClaimName":"c"}]}}"#;
    Event::Pod(Box::new(PodRow::from_json(json).expect("a pod")))
}

fn decide(events: Vec<Event>) -> Decision {
    let mut core = Scheduler::new(Config::default());
    let mut plan = core.step(0, events, 10);
    assert_eq!(plan.decisions.len(), 1, "{plan:?}");
    plan.decisions.remove(0)
}

fn granted(events: Vec<Event>) -> Grant {
    let Decision::Bind(placement) = decide(events) else { panic!("it fits") };
    let preparation = placement.preparation.expect("there is something to write");
    preparation.claims[0].grant.clone().expect("it was not allocated")
}

fn refused(events: Vec<Event>) -> String {
    let Decision::Refuse(refusal) = decide(events) else { panic!("it does not fit") };
    refusal.message.to_string()
}

const LOCAL: &str = r#""nodeName":"n""#;

#[test]
fn a_grant_says_which_device_by_which_request_and_with_what_configuration() {
    let ask = r#"{"requests":[
        {"name":"a","firstAvailable":[{"name":"big","deviceClassName":"big"},{"name":"any","deviceClassName":"any"}]},
        {"name":"b","exactly":{"deviceClassName":"any"}}],
      "config":[{"requests":["a/any"],"opaque":{"driver":"d.example","parameters":{"of":"claim"}}},
        {"requests":["a/big"],"opaque":{"driver":"d.example","parameters":{"of":"nobody"}}}]}"#;
    let grant = granted(vec![
        node("n"),
        class("any", "true"),
        class("big", "'size' in device.attributes['d.example']"),
        slice(LOCAL, r#"{"name":"x"},{"name":"y"}"#),
        claim(ask),
        pod(),
    ]);
    let results: Vec<(&str, &str)> = grant.results.iter().map(|r| (&*r.request, &*r.device.name)).collect();
    assert_eq!(results, [("a/any", "x"), ("b", "y")]);
    let config: Vec<(bool, usize, bool)> = grant
        .config
        .iter()
        .map(|config| (config.from_class, config.requests.len(), config.opaque.contains("claim")))
        .collect();
    // The class's is for both requests, that is for all.
    assert_eq!(config, [(true, 0, false), (false, 1, true)]);
    let term = grant.term.expect("the devices are a node's own");
    assert_eq!((&*term.fields[0].key, &*term.fields[0].values[0]), ("metadata.name", "n"));
}

#[test]
fn devices_of_the_network_are_reached_by_labels_and_shared_by_shares() {
    let reach = r#""nodeSelector":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}"#;
    let device = r#"{"name":"x","allowMultipleAllocations":true,"capacity":{"m":{"value":"10Gi",
        "requestPolicy":{"default":"1Gi","validRange":{"min":"1Gi","step":"1Gi"}}}}}"#;
    let ask = r#"{"requests":[{"name":"a","exactly":{"deviceClassName":"any","capacity":{"requests":{"m":"1500Mi"}}}},
        {"name":"b","exactly":{"deviceClassName":"any"}}]}"#;
    let grant = granted(vec![node("n"), class("any", "true"), slice(reach, device), claim(ask), pod()]);
    let shares: Vec<(String, String)> = grant
        .results
        .iter()
        .map(|result| {
            let (id, consumed) = result.share.clone().expect("shared");
            (id.to_string(), consumed[0].1.to_text().to_string())
        })
        .collect();
    assert_eq!(shares.iter().map(|(_, amount)| &**amount).collect::<Vec<_>>(), ["2Gi", "1Gi"]);
    assert_ne!(shares[0].0, shares[1].0);
    assert_eq!(&*grant.term.expect("not all nodes").labels[0].key, "zone");
}

#[test]
fn what_goes_wrong_is_told_in_upstreams_words() {
    let ask = |class: &str, more: &str| {
        claim(&format!(r#"{{"requests":[{{"name":"r","exactly":{{"deviceClassName":"{class}"{more}}}}}]}}"#))
    };
    let one = || slice(LOCAL, r#"{"name":"x"}"#);
    for (events, said) in [
        (
            vec![one(), ask("gone", "")],
            "0/1 nodes are available: request r: device class gone does not exist. no new claims to deallocate, \
             preemption: 0/1 nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            vec![class("any", "device.attributes['d.example'].model == 'x'"), one(), ask("any", "")],
            "running \"DynamicResources\" filter plugin: class any: selector #0 on device d.example/p/x: CEL runtime \
             error: no such key: model. Consider using CEL optional chaining (?), has() macro, or orValue() for optional \
             fields",
        ),
        (
            vec![class("any", "true"), one(), ask("any", r#","count":2"#)],
            "0/1 nodes are available: 1 cannot allocate all claims. still not schedulable, preemption: 0/1 nodes are \
             available: 1 Preemption is not helpful for scheduling.",
        ),
        (
            vec![class("any", "true"), one(), ask("any", r#","count":33"#)],
            "running \"DynamicResources\" filter plugin: claim d/c: number of requested devices 33 exceeds the claim \
             limit of 32",
        ),
        (
            vec![class("any", "true"), slice(LOCAL, r#"{"name":"x"},{"name":"x"}"#), ask("any", "")],
            "0/1 nodes are available: 1 invalid resource pools were encountered. still not schedulable, preemption: 0/1 \
             nodes are available: 1 Preemption is not helpful for scheduling.",
        ),
    ] {
        let events: Vec<Event> = [node("n")].into_iter().chain(events).chain([pod()]).collect();
        assert_eq!(refused(events), said);
    }
}

#[test]
fn a_search_that_would_take_too_long_ends() {
    let devices: Vec<String> =
        (0..60).map(|n| format!(r#"{{"name":"x{n}","attributes":{{"v":{{"int":{}}}}}}}"#, n % 20)).collect();
    // Twenty-one devices of different values, where there are twenty.
    let ask = r#"{"requests":[{"name":"r","exactly":{"deviceClassName":"any","count":21}}],
        "constraints":[{"distinctAttribute":"d.example/v"}]}"#;
    let said = refused(vec![node("n"), class("any", "true"), slice(LOCAL, &devices.join(",")), claim(ask), pod()]);
    assert!(said.contains("1 timed out trying to allocate devices"), "{said}");
}

#[test]
fn a_pod_waits_unseen_for_its_claim_and_is_tried_when_it_comes() {
    let mut core = Scheduler::new(Config::default());
    let plan = core.step(0, vec![node("n"), class("any", "true"), slice(LOCAL, r#"{"name":"x"}"#), pod()], 10);
    assert_eq!((plan.decisions.len(), core.pending().gated), (0, 1));
    let ask = claim(r#"{"requests":[{"name":"r","exactly":{"deviceClassName":"any"}}]}"#);
    let plan = core.step(1, vec![ask], 10);
    assert!(matches!(&*plan.decisions, [Decision::Bind(_)]), "{plan:?}");
    // The binding fails: the device is free again, and the pod gets it again.
    core.step(2, vec![Event::BindFailed("pu".into())], 10);
    let plan = core.step(5_000, vec![], 10);
    assert!(matches!(&*plan.decisions, [Decision::Bind(_)]), "{plan:?}");
}
