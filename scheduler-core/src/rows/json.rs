//! From the stored JSON to rows, in one pass over the bytes: fields that scheduling does not read are skipped without
//! being built.

mod devices;
mod requests;
pub mod storage;
pub(super) mod wire;

use super::{
    Amounts, Demand, Effect, Features, HostPort, Keeper, NamespaceRow, NodeImage, NodeRow, NodeTerm, Operator, Own,
    PodAffinity, PodRow, PodTerm, PreferredNodeTerm, Requirement, Selector, SpreadConstraint, Taint, Toleration,
};

use super::amounts::NODE_MAX;
use wire::{
    Affinity, Map, NamespaceJson, NodeJson, NodeTermJson, PodAffinityJson, PodJson, PodSpec, PodStatus, PodTermJson,
    Quantities, Quantity, RequirementJson, SelectorJson, SpreadJson, Text, TolerationJson,
};

/// Bytes that are no such object.
#[derive(Debug, thiserror::Error)]
#[error("not a stored object: {0}")]
pub struct NotAnObject(#[from] serde_json::Error);

/// Looks at all bytes for UTF-8 at once instead of at every text.
fn parse<'b, T: serde::Deserialize<'b>>(body: &'b [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(body) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(body),
    }
}

impl NamespaceRow {
    /// The row of a Namespace's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of a Namespace.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAnObject> {
        let meta = parse::<NamespaceJson<'_>>(body)?.metadata.unwrap_or_default();
        Ok(Self { name: text(meta.name), labels: pairs(meta.labels) })
    }
}

impl NodeRow {
    /// The row of a Node's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of a Node.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAnObject> {
        let node: NodeJson<'_> = parse(body)?;
        let (meta, spec) = (node.metadata.unwrap_or_default(), node.spec.unwrap_or_default());
        let status = node.status.unwrap_or_default();
        let mut allocatable = amounts(status.allocatable.as_ref());
        allocatable.tidy();
        allocatable.cap(NODE_MAX);
        Ok(Self {
            name: text(meta.name),
            uid: text(meta.uid),
            labels: pairs(meta.labels),
            taints: spec
                .taints
                .unwrap_or_default()
                .into_iter()
                .filter_map(|t| Some(Taint { key: text(t.key), value: text(t.value), effect: effect(&t.effect?)? }))
                .collect(),
            unschedulable: spec.unschedulable.unwrap_or(false),
            allocatable,
            features: status.declared_features.iter().flatten().map(|name| &**name).collect(),
            images: status
                .images
                .unwrap_or_default()
                .into_iter()
                .map(|image| NodeImage {
                    names: image.names.unwrap_or_default().into_iter().map(|n| n.into_owned().into()).collect(),
                    size: image.size_bytes.unwrap_or(0),
                })
                .collect(),
        })
    }
}

impl PodRow {
    /// The row of a Pod's stored JSON.
    ///
    /// # Errors
    /// When the bytes are no JSON of a Pod.
    pub fn from_json(body: &[u8]) -> Result<Self, NotAnObject> {
        let pod: PodJson<'_> = parse(body)?;
        let (meta, spec) = (pod.metadata.unwrap_or_default(), pod.spec.unwrap_or_default());
        let status = pod.status.unwrap_or_default();
        let labels = pairs(meta.labels);
        let namespace = text(meta.namespace);
        let refused_because = status.conditions.iter().flatten().find_map(|c| {
            (c.kind.as_deref() == Some("PodScheduled")
                && c.status.as_deref() == Some("False")
                && c.reason.as_deref() == Some("Unschedulable"))
            .then(|| c.message.as_deref().unwrap_or_default().into())
        });
        let owner = meta.owner_references.iter().flatten().find(|o| o.controller == Some(true)).and_then(|o| {
            let keeper = match (o.api_version.as_deref()?, o.kind.as_deref()?) {
                ("v1", "ReplicationController") => Keeper::ReplicationController,
                ("apps/v1", "ReplicaSet") => Keeper::ReplicaSet,
                ("apps/v1", "StatefulSet") => Keeper::StatefulSet,
                _ => return None,
            };
            Some((keeper, Box::from(o.name.as_deref()?)))
        });
        let disrupted = status.conditions.iter().flatten().find(|c| c.kind.as_deref() == Some("DisruptionTarget"));
        let displaced = disrupted.is_some_and(|c| {
            c.status.as_deref() == Some("True") && c.reason.as_deref() == Some("PreemptionByScheduler")
        });
        let name = text(meta.name);
        Ok(Self {
            demand: demand(&spec, &status, &namespace, &labels),
            displaced,
            owner,
            needs: storage::needs(&spec, &status, &name),
            name,
            uid: text(meta.uid),
            node: text(spec.node_name),
            group: text(spec.scheduling_group.and_then(|group| group.pod_group_name)),
            scheduler: text(spec.scheduler_name),
            priority: spec.priority.unwrap_or(0),
            never_preempts: spec.preemption_policy.as_deref() == Some("Never"),
            gated: spec.scheduling_gates.is_some_and(|gates| !gates.is_empty()),
            deleting: meta.deleted.is_some(),
            terminal: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
            started: text(status.start_time),
            nominated: text(status.nominated_node_name),
            generation: meta.generation.unwrap_or(0),
            refused_because,
            namespace,
            labels,
        })
    }
}

fn demand(spec: &PodSpec<'_>, status: &PodStatus<'_>, namespace: &str, labels: &[(Box<str>, Box<str>)]) -> Demand {
    let (requests, scored_cpu, scored_memory) = requests::of(spec, status);
    let node_affinity = spec.affinity.as_ref().and_then(|a| a.node_affinity.as_ref());
    let spread: Vec<SpreadConstraint> =
        spec.topology_spread_constraints.iter().flatten().map(|c| spread(c, labels)).collect();
    let pods = pod_affinity(spec.affinity.as_ref(), namespace, labels);
    let own = (!spread.is_empty() || pods.is_some())
        .then(|| Box::new(Own { namespace: namespace.into(), labels: labels.to_vec() }));
    Demand {
        requests,
        backed: Vec::new(),
        scored_cpu,
        scored_memory,
        node_selector: spec.node_selector.iter().flatten().map(|(k, v)| (Box::from(&**k), Box::from(&**v))).collect(),
        node_terms: node_affinity
            .and_then(|a| a.required.as_ref())
            .map(|r| r.node_selector_terms.iter().flatten().map(node_term).collect()),
        preferred_node_terms: node_affinity
            .and_then(|a| a.preferred.as_ref())
            .into_iter()
            .flatten()
            .map(|p| PreferredNodeTerm {
                weight: p.weight.unwrap_or(0),
                term: p.preference.as_ref().map(node_term).unwrap_or_default(),
            })
            .collect(),
        tolerations: spec.tolerations.iter().flatten().filter_map(toleration).collect(),
        host_ports: host_ports(spec),
        images: images(spec),
        spread,
        defaulted: false,
        lenient: false,
        pods,
        own,
        features: features(spec),
        profile: 0,
    }
}

fn amounts(quantities: Option<&Quantities<'_>>) -> Amounts {
    let mut amounts = Amounts::default();
    for (name, quantity) in quantities.into_iter().flatten() {
        set(&mut amounts, name, quantity);
    }
    amounts
}

fn set(amounts: &mut Amounts, name: &str, quantity: &Quantity<'_>) {
    match quantity {
        Quantity::Text(text) => amounts.set(name, text),
        Quantity::Int(number) => amounts.set(name, &number.to_string()),
        Quantity::Float(number) => amounts.set(name, &number.to_string()),
    }
}

fn host_ports(spec: &PodSpec<'_>) -> Vec<HostPort> {
    let host_network = spec.host_network.unwrap_or(false);
    let sidecars = spec.init_containers.iter().flatten().filter(|c| c.restart_policy.as_deref() == Some("Always"));
    let mut ports = Vec::new();
    for port in spec.containers.iter().flatten().chain(sidecars).flat_map(|c| c.ports.iter().flatten()) {
        // On the host's network every container port is a host port; the API server defaults it so.
        let fallback = if host_network { port.container_port } else { None };
        let number = port.host_port.filter(|p| *p != 0).or(fallback).unwrap_or(0);
        if let Ok(number @ 1..) = u16::try_from(number) {
            ports.push(HostPort {
                ip: port.host_ip.as_deref().filter(|ip| !ip.is_empty()).unwrap_or("0.0.0.0").into(),
                protocol: port.protocol.as_deref().filter(|p| !p.is_empty()).unwrap_or("TCP").into(),
                port: number,
            });
        }
    }
    ports
}

fn images(spec: &PodSpec<'_>) -> Vec<Box<str>> {
    let containers = spec.init_containers.iter().flatten().chain(spec.containers.iter().flatten());
    let volumes = spec.volumes.iter().flatten().filter_map(|v| v.image.as_ref());
    containers
        .map(|c| c.image.as_deref().unwrap_or_default())
        .chain(volumes.map(|v| v.reference.as_deref().unwrap_or_default()))
        .map(normalised)
        .collect()
}

/// An image name as nodes report it: with a tag.
fn normalised(name: &str) -> Box<str> {
    if name.rfind(':') <= name.rfind('/') { format!("{name}:latest").into() } else { name.into() }
}

/// The features that a node must declare for a pod (KEP-5328; upstream's `InferForScheduling`).
fn features(spec: &PodSpec<'_>) -> Features {
    let containers = || spec.containers.iter().chain(&spec.init_containers).flatten();
    let mut rules = containers().flat_map(|container| container.restart_policy_rules.iter().flatten());
    let restarts_all = rules.any(|rule| rule.action.as_deref() == Some("RestartAllContainers"));
    let isolates_users = spec.host_network == Some(true) && spec.host_users == Some(false);
    let needed =
        [(Features::RESTART_ALL_CONTAINERS, restarts_all), (Features::USER_NAMESPACES_HOST_NETWORK, isolates_users)];
    needed.into_iter().filter(|(_, needed)| *needed).fold(Features::default(), |all, (one, _)| all.with(one))
}

fn toleration(t: &TolerationJson<'_>) -> Option<Toleration> {
    let effect = match t.effect.as_deref() {
        None | Some("") => None,
        // An effect nobody knows tolerates nothing.
        Some(name) => Some(effect(name)?),
    };
    let exists = match t.operator.as_deref() {
        Some("Exists") => true,
        None | Some("" | "Equal") => false,
        Some(_) => return None,
    };
    Some(Toleration {
        key: t.key.as_deref().unwrap_or_default().into(),
        exists,
        value: t.value.as_deref().unwrap_or_default().into(),
        effect,
    })
}

fn effect(name: &str) -> Option<Effect> {
    match name {
        "NoSchedule" => Some(Effect::NoSchedule),
        "PreferNoSchedule" => Some(Effect::PreferNoSchedule),
        "NoExecute" => Some(Effect::NoExecute),
        _ => None,
    }
}

fn node_term(term: &NodeTermJson<'_>) -> NodeTerm {
    NodeTerm {
        labels: term.match_expressions.iter().flatten().map(requirement).collect(),
        fields: term.match_fields.iter().flatten().map(requirement).collect(),
    }
}

fn requirement(r: &RequirementJson<'_>) -> Requirement {
    let operator = match r.operator.as_deref() {
        Some("NotIn") => Operator::NotIn,
        Some("Exists") => Operator::Exists,
        Some("DoesNotExist") => Operator::DoesNotExist,
        Some("Gt") => Operator::Gt,
        Some("Lt") => Operator::Lt,
        _ => Operator::In,
    };
    let mut values: Vec<Box<str>> = r.values.iter().flatten().map(|v| Box::from(&**v)).collect();
    values.sort_unstable();
    values.dedup();
    Requirement { key: r.key.as_deref().unwrap_or_default().into(), operator, values }
}

pub(super) fn selector(s: &SelectorJson<'_>) -> Selector {
    let labels = s.match_labels.iter().flatten().map(|(k, v)| Requirement {
        key: (**k).into(),
        operator: Operator::In,
        values: vec![(**v).into()],
    });
    Selector { requirements: labels.chain(s.match_expressions.iter().flatten().map(requirement)).collect() }
}

/// Adds what `matchLabelKeys` stands for: the pod's own value of each of these labels.
fn narrow(
    selector: &mut Option<Selector>,
    keys: Option<&[Text<'_>]>,
    labels: &[(Box<str>, Box<str>)],
    operator: Operator,
) {
    let Some(selector) = selector else { return };
    for key in keys.into_iter().flatten() {
        let Some((_, value)) = labels.iter().find(|(k, _)| **k == **key) else { continue };
        let added = Requirement { key: (**key).into(), operator, values: vec![value.clone()] };
        if !selector.requirements.contains(&added) {
            selector.requirements.push(added);
        }
    }
}

fn spread(c: &SpreadJson<'_>, labels: &[(Box<str>, Box<str>)]) -> SpreadConstraint {
    let mut counted = c.label_selector.as_ref().map(selector);
    narrow(&mut counted, c.match_label_keys.as_deref(), labels, Operator::In);
    SpreadConstraint {
        max_skew: c.max_skew.unwrap_or(1),
        topology_key: c.topology_key.as_deref().unwrap_or_default().into(),
        hard: c.when_unsatisfiable.as_deref() != Some("ScheduleAnyway"),
        selector: counted,
        min_domains: c.min_domains.unwrap_or(0),
        ignores_affinity: c.node_affinity_policy.as_deref() == Some("Ignore"),
        honors_taints: c.node_taints_policy.as_deref() == Some("Honor"),
    }
}

fn pod_affinity(
    affinity: Option<&Affinity<'_>>,
    namespace: &str,
    labels: &[(Box<str>, Box<str>)],
) -> Option<Box<PodAffinity>> {
    let affinity = affinity?;
    let term = |t: &PodTermJson<'_>| pod_term(t, namespace, labels);
    let required = |a: &Option<PodAffinityJson<'_>>| -> Vec<PodTerm> {
        a.iter().flat_map(|a| a.required.iter().flatten()).map(term).collect()
    };
    let preferred = |a: &Option<PodAffinityJson<'_>>, sign: i32| -> Vec<(i32, PodTerm)> {
        a.iter()
            .flat_map(|a| a.preferred.iter().flatten())
            .filter_map(|p| Some((sign * p.weight.unwrap_or(0), term(p.pod_affinity_term.as_ref()?))))
            .collect()
    };
    let mut all = PodAffinity {
        required: required(&affinity.pod_affinity),
        forbidden: required(&affinity.pod_anti_affinity),
        preferred: preferred(&affinity.pod_affinity, 1),
    };
    all.preferred.extend(preferred(&affinity.pod_anti_affinity, -1));
    let none = all.required.is_empty() && all.forbidden.is_empty() && all.preferred.is_empty();
    (!none).then(|| Box::new(all))
}

fn pod_term(t: &PodTermJson<'_>, namespace: &str, labels: &[(Box<str>, Box<str>)]) -> PodTerm {
    let mut matched = t.label_selector.as_ref().map(selector);
    narrow(&mut matched, t.match_label_keys.as_deref(), labels, Operator::In);
    narrow(&mut matched, t.mismatch_label_keys.as_deref(), labels, Operator::NotIn);
    let mut namespaces: Vec<Box<str>> = t.namespaces.iter().flatten().map(|n| Box::from(&**n)).collect();
    if namespaces.is_empty() && t.namespace_selector.is_none() {
        namespaces.push(namespace.into());
    }
    namespaces.sort_unstable();
    namespaces.dedup();
    PodTerm {
        selector: matched,
        namespaces,
        namespace_selector: t.namespace_selector.as_ref().map(selector),
        topology_key: t.topology_key.as_deref().unwrap_or_default().into(),
    }
}

fn text(text: Option<Text<'_>>) -> Box<str> {
    text.map(|t| t.into_owned().into()).unwrap_or_default()
}

fn pairs(map: Option<Map<'_>>) -> Vec<(Box<str>, Box<str>)> {
    map.into_iter().flatten().map(|(k, v)| (k.into_owned().into(), v.into_owned().into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(spec: &str) -> PodRow {
        let body = format!(
            r#"{{"metadata":{{"name":"p","namespace":"d","uid":"u","labels":{{"app":"web"}}}},"spec":{spec}}}"#
        );
        PodRow::from_json(body.as_bytes()).expect("valid")
    }

    #[test]
    fn requests_add_up_with_sidecars_init_overhead_and_pod_level() {
        let row = pod(r#"{
            "containers":[{"name":"a","resources":{"requests":{"cpu":"100m","memory":"1Gi"}}},{"name":"b"}],
            "initContainers":[
              {"name":"s","restartPolicy":"Always","resources":{"requests":{"cpu":"50m"}}},
              {"name":"i","resources":{"requests":{"cpu":"1","x.y/gpu":"1"}}}],
            "overhead":{"cpu":"10m"}}"#);
        let d = &row.demand;
        assert_eq!(d.requests.cpu, 1060);
        assert_eq!(d.requests.memory, 1 << 30);
        assert_eq!(d.requests.extended("x.y/gpu"), 1);
        // Scoring: a 1Gi, b 200Mi, s 200Mi together; the init moment is i and s.
        assert_eq!(d.scored_memory, (1 << 30) + 2 * (200 << 20));
        assert_eq!(d.scored_cpu, 1060);

        let row = pod(r#"{"containers":[{"name":"a"}],"resources":{"requests":{"cpu":"2"}}}"#);
        assert_eq!((row.demand.requests.cpu, row.demand.scored_cpu), (2000, 2000));
        assert_eq!((row.demand.requests.memory, row.demand.scored_memory), (0, 200 << 20));
    }

    #[test]
    fn labels_are_part_of_the_demand_only_where_terms_refer_to_them() {
        assert_eq!(pod(r#"{"containers":[]}"#).demand.own, None);
        let row = pod(
            r#"{"topologySpreadConstraints":[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"DoNotSchedule",
               "labelSelector":{"matchLabels":{"a":"b"}},"matchLabelKeys":["app","absent"]}]}"#,
        );
        assert!(row.demand.own.is_some());
        let selector = row.demand.spread[0].selector.as_ref().expect("given");
        assert_eq!(selector.requirements.len(), 2);
        assert_eq!(&*selector.requirements[1].values[0], "web");
    }

    #[test]
    fn images_and_ports_are_normalised() {
        let row = pod(r#"{"containers":[{"image":"reg:5000/nginx","ports":[{"containerPort":80,"hostPort":8080}]},
                             {"image":"a@sha256:1"}]}"#);
        assert_eq!(row.demand.images.iter().map(|i| &**i).collect::<Vec<_>>(), ["reg:5000/nginx:latest", "a@sha256:1"]);
        assert_eq!(row.demand.host_ports, [HostPort { ip: "0.0.0.0".into(), protocol: "TCP".into(), port: 8080 }]);
    }

    #[test]
    fn nulls_read_as_absent() {
        let row =
            PodRow::from_json(br#"{"metadata":{"name":"p","labels":null},"spec":{"affinity":null},"status":null}"#);
        assert_eq!(&*row.expect("valid").name, "p");
    }
}
