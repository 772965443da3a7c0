//! Binding pods to nodes: the subresource `pods/binding`, and [`bind_batch`](Registry::bind_batch), which puts many
//! bindings into one group commit, or all of a gang's into one transaction. The hottest write there is: a body is edited as bytes, in one pass, without decoding.
//!
//! A pod is bound at most once: every binding is committed against the very version in which the pod was seen unbound.

use compact_str::CompactString;
use gantry_machinery::resource::{GroupVersionResource, gvr};
use gantry_machinery::resource_api::{Binding, Target, WriteOptions};
use gantry_machinery::status::Status;
use gantry_machinery::time;
use gantry_machinery::value;
use gantry_machinery::value::{Object, Value};
use gantry_store_cache::key::ObjectKey;
use gantry_store_cache::object::{Facets, NewBody, StoredObject};
use gantry_store_cache::revision::Revision;
use gantry_store_cache::txn::{Expect, Txn, TxnError, Write};
use smallvec::SmallVec;

use super::handle::Written;
use super::splice::{self, Edits, Members, Span};
use super::validate::{Errors, Path};
use super::{Registry, answer, body, metadata};

/// How often a binding is tried again because something else about the pod changed in between.
const ROUNDS_MAX: usize = 8;

const NODE_NAME: &str = "spec.nodeName";

/// What upstream's errors call the subresource.
const BINDING: GroupVersionResource = GroupVersionResource::of("", "v1", "pods/binding");

/// Labels of a node that its pods are given (admission plugin PodTopologyLabels, KEP-4742).
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

/// What a binding may bring along for the pod.
#[derive(Default)]
struct Extras {
    annotations: Object,
    labels: Object,
}

/// The labels that a pod takes over from its node.
type Topology = SmallVec<[(&'static str, CompactString); 2]>;

impl Registry {
    /// Binds many pods, each with an answer of its own, in the given order, in one group commit.
    pub(super) async fn bind_batch(&self, bindings: Vec<Binding>) -> Vec<Result<(), Status>> {
        let now = time::now();
        let mut answers: Vec<Option<Result<(), Status>>> = vec![None; bindings.len()];
        let mut open: Vec<usize> = (0..bindings.len()).collect();
        for round in 1..=ROUNDS_MAX {
            let mut sent = Vec::with_capacity(open.len());
            let mut txns = Vec::with_capacity(open.len());
            for at in open {
                match self.binding_txn(&bindings[at], &Extras::default(), &now) {
                    Ok(txn) => {
                        txns.push(txn);
                        sent.push(at);
                    }
                    Err(status) => answers[at] = Some(Err(status)),
                }
            }
            if txns.is_empty() {
                break;
            }
            open = Vec::new();
            let outcomes = self.store.commit_all(txns).await;
            for (at, outcome) in sent.into_iter().zip(outcomes) {
                match outcome {
                    Ok(_) => answers[at] = Some(Ok(())),
                    // Bound by somebody else, or merely touched: the next round tells.
                    Err(TxnError::Conflict { .. }) if round < ROUNDS_MAX => open.push(at),
                    Err(error) => answers[at] = Some(Err(answer::refused(error, &BINDING, &bindings[at].name))),
                }
            }
        }
        answers.into_iter().map(|a| a.unwrap_or_else(|| Err(Status::internal("a binding got no answer")))).collect()
    }

    /// Binds the pods of a gang in one transaction: all of them, or none.
    pub(super) async fn bind_gang(&self, bindings: &[Binding]) -> Result<(), Status> {
        let now = time::now();
        for _ in 0..ROUNDS_MAX {
            let mut gang = Txn::default();
            for binding in bindings {
                gang.ops.extend(self.binding_txn(binding, &Extras::default(), &now)?.ops);
            }
            if gang.ops.is_empty() {
                return Ok(());
            }
            match self.store.commit(gang).await {
                Ok(_) => return Ok(()),
                // Bound by somebody else, or merely touched: the next round tells.
                Err(TxnError::Conflict { .. }) => {}
                Err(error) => {
                    let name = bindings.first().map_or("", |binding| &binding.name);
                    return Err(answer::refused(error, &BINDING, name));
                }
            }
        }
        Err(Status::modified(&BINDING, bindings.first().map_or("", |binding| &binding.name)))
    }

    /// `POST .../pods/NAME/binding` and `POST .../bindings`.
    pub(super) async fn create_binding(
        &self,
        target: &Target<'_>,
        object: Value,
        options: &WriteOptions,
    ) -> Result<Written, Status> {
        let name = match (target.name, metadata::text(&object, "name")) {
            ("", said) => said,
            (path, "") => path,
            (path, said) if path == said => path,
            _ => return Err(Status::bad_request("name in URL does not match name in Binding object")),
        };
        let said = metadata::text(&object, "namespace");
        if !said.is_empty() && said != target.namespace {
            return Err(Status::bad_request(
                "the namespace of the provided object does not match the namespace sent on the request",
            ));
        }
        let node = check_binding(&object, name)?;
        let map = |field: &str| object.object_at(&["metadata", field]).cloned().unwrap_or_default();
        let extras = Extras { annotations: map("annotations"), labels: map("labels") };
        let binding = Binding {
            namespace: target.namespace.to_owned(),
            name: name.to_owned(),
            uid: metadata::text(&object, "uid").to_owned(),
            node: node.to_owned(),
        };
        let now = time::now();
        for _ in 0..ROUNDS_MAX {
            let txn = self.binding_txn(&binding, &extras, &now)?;
            if options.dry_run {
                return Ok(success(&binding.name));
            }
            match self.store.commit(txn).await {
                Ok(_) => return Ok(success(&binding.name)),
                Err(TxnError::Conflict { .. }) => {}
                Err(error) => return Err(answer::refused(error, &BINDING, &binding.name)),
            }
        }
        Err(Status::modified(&BINDING, &binding.name))
    }

    /// The transaction that binds a pod as it is now.
    fn binding_txn(&self, binding: &Binding, extras: &Extras, now: &str) -> Result<Txn, Status> {
        let key = ObjectKey::new("pods", &binding.namespace, &binding.name);
        let Some(stored) = self.store.get(&key) else {
            return Err(Status::not_found(&gvr::PODS, &binding.name));
        };
        let Some(parts) = Parts::of(&stored.body) else {
            return Err(Status::internal(format_args!("{key} is stored in a form that cannot be read")));
        };
        parts.check(&stored.body, binding)?;
        let topology = self.topology_of(&binding.node);
        let plain = extras.annotations.is_empty() && extras.labels.is_empty() && parts.nominated.is_none();
        if !plain || topology.iter().any(|(label, _)| stored.facets.label(label).is_some()) {
            return decoded_txn(key, &stored, binding, extras, &topology, now);
        }
        let (bytes, slot) = parts.bind(&stored.body, &binding.node, &topology, now);
        let facets = with_node(&stored.facets, &binding.node, topology);
        let write = Write::Put { body: NewBody { bytes, revision_slot: Some(slot) }, facets, ttl: None };
        Ok(Txn::one(key, Expect::Revision(stored.revision), write))
    }
}

impl Registry {
    /// The topology labels of a node; none for one that is not there.
    fn topology_of(&self, node: &str) -> Topology {
        let Some(node) = self.store.get(&ObjectKey::new("nodes", "", node)) else { return Topology::new() };
        TOPOLOGY.iter().filter_map(|label| Some((*label, node.facets.label(label)?.into()))).collect()
    }
}

/// The parts of a pod's body that a binding looks at or changes.
#[derive(Default)]
struct Parts {
    metadata: Option<Span>,
    labels: Option<Span>,
    version: Option<Span>,
    uid: Option<Span>,
    deleted: Option<Span>,
    generation: Option<Span>,
    spec: Option<Span>,
    node: Option<Span>,
    gates: Option<Span>,
    status: Option<Span>,
    conditions: Option<Span>,
    nominated: Option<Span>,
}

impl Parts {
    /// Finds them in one pass; `None` if the body is no object with metadata and spec.
    fn of(bytes: &[u8]) -> Option<Self> {
        let mut parts = Self::default();
        let mut members = splice::members(bytes, &splice::root(bytes));
        while let Some((key, at)) = members.key() {
            let end = match key {
                b"metadata" => {
                    let end = inner(bytes, at, |key, span| match key {
                        b"resourceVersion" => parts.version = Some(span),
                        b"uid" => parts.uid = Some(span),
                        b"deletionTimestamp" => parts.deleted = Some(span),
                        b"generation" => parts.generation = Some(span),
                        b"labels" => parts.labels = Some(span),
                        _ => {}
                    })?;
                    parts.metadata = Some(at..end);
                    end
                }
                b"spec" => {
                    let end = inner(bytes, at, |key, span| match key {
                        b"nodeName" => parts.node = Some(span),
                        b"schedulingGates" => parts.gates = Some(span),
                        _ => {}
                    })?;
                    parts.spec = Some(at..end);
                    end
                }
                b"status" => {
                    let end = inner(bytes, at, |key, span| match key {
                        b"conditions" => parts.conditions = Some(span),
                        b"nominatedNodeName" => parts.nominated = Some(span),
                        _ => {}
                    })?;
                    parts.status = Some(at..end);
                    end
                }
                _ => splice::value(bytes, at)?.end,
            };
            members.resume(end);
        }
        parts.nominated = parts.nominated.filter(|s| splice::filled(bytes, Some(s)));
        (parts.version.is_some() && parts.spec.is_some()).then_some(parts)
    }

    /// Whether the pod may be bound at all.
    fn check(&self, bytes: &[u8], binding: &Binding) -> Result<(), Status> {
        let text = |span: &Option<Span>| span.as_ref().and_then(|s| splice::text(bytes, s)).unwrap_or_default();
        let name = &binding.name;
        let uid = text(&self.uid);
        if !binding.uid.is_empty() && binding.uid != uid {
            return Err(Status::conflict(
                &BINDING,
                name,
                format_args!("Precondition failed: UID in precondition: {}, UID in object meta: {uid}", binding.uid),
            ));
        }
        if splice::filled(bytes, self.deleted.as_ref()) {
            return Err(Status::conflict(
                &BINDING,
                name,
                format_args!("pod {name} is being deleted, cannot be assigned to a host"),
            ));
        }
        let node = text(&self.node);
        if !node.is_empty() {
            return Err(Status::conflict(
                &BINDING,
                name,
                format_args!("pod {name} is already assigned to node {node:?}"),
            ));
        }
        if splice::filled(bytes, self.gates.as_ref()) {
            return Err(Status::conflict(
                &BINDING,
                name,
                format_args!("pod {name} has non-empty .spec.schedulingGates"),
            ));
        }
        Ok(())
    }

    /// The bound pod's body and the place of its revision.
    fn bind(&self, bytes: &[u8], node: &str, topology: &Topology, now: &str) -> (Vec<u8>, usize) {
        let mut edits = Edits::default();
        self.label(bytes, topology, &mut edits);
        let version = self.version.clone().expect("checked when the parts were found");
        let spec = self.spec.clone().expect("checked when the parts were found");
        edits.replace(version.start + 1..version.end - 1, Vec::new());
        match &self.node {
            Some(span) => {
                let mut quoted = Vec::with_capacity(node.len() + 2);
                splice::write_string(&mut quoted, node);
                edits.replace(span.clone(), quoted);
            }
            None => edits.insert_member(bytes, &spec, "nodeName", |out| splice::write_string(out, node)),
        }
        let condition = self.condition(bytes, now);
        match (&self.conditions, &self.status) {
            (Some(list), _) if bytes[list.start] == b'[' => {
                let present = splice::items(bytes, list).find(|item| {
                    splice::get(bytes, item, "type").and_then(|s| splice::text(bytes, &s)) == Some("PodScheduled")
                });
                match present {
                    Some(item) => edits.replace(item, condition),
                    None => edits.push_item(bytes, list, &condition),
                }
            }
            (Some(other), _) => edits.replace(other.clone(), listed(&condition)),
            (None, Some(status)) => {
                edits.insert_member(bytes, status, "conditions", |out| out.extend(listed(&condition)));
            }
            (None, None) => edits.insert_member(bytes, &splice::root(bytes), "status", |out| {
                out.extend_from_slice(b"{\"conditions\":");
                out.extend(listed(&condition));
                out.push(b'}');
            }),
        }
        edits.apply(bytes, version.start + 1)
    }

    /// Adds labels that the pod does not have yet.
    fn label(&self, bytes: &[u8], topology: &Topology, edits: &mut Edits) {
        let Some(((first, first_value), rest)) = topology.split_first() else { return };
        let write = |out: &mut Vec<u8>| {
            splice::write_string(out, first_value);
            for (label, value) in rest {
                out.push(b',');
                splice::write_string(out, label);
                out.push(b':');
                splice::write_string(out, value);
            }
        };
        match (&self.labels, &self.metadata) {
            (Some(labels), _) if bytes[labels.start] == b'{' => edits.insert_member(bytes, labels, first, write),
            (other, Some(metadata)) => {
                let mut labels = Vec::with_capacity(96);
                labels.push(b'{');
                splice::write_string(&mut labels, first);
                labels.push(b':');
                write(&mut labels);
                labels.push(b'}');
                match other {
                    Some(null) => edits.replace(null.clone(), labels),
                    None => edits.insert_member(bytes, metadata, "labels", |out| out.extend(labels)),
                }
            }
            (None | Some(_), None) => {}
        }
    }

    /// The condition that says the pod has its place.
    fn condition(&self, bytes: &[u8], now: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(160);
        out.extend_from_slice(br#"{"type":"PodScheduled""#);
        if let Some(generation) = &self.generation {
            out.extend_from_slice(br#","observedGeneration":"#);
            out.extend_from_slice(&bytes[generation.clone()]);
        }
        out.extend_from_slice(br#","status":"True","lastProbeTime":null,"lastTransitionTime":"#);
        splice::write_string(&mut out, now);
        out.push(b'}');
        out
    }
}

/// Shows every member of the object at `at`; gives where it ends.
fn inner(bytes: &[u8], at: usize, mut see: impl FnMut(&[u8], Span)) -> Option<usize> {
    if bytes.get(at) != Some(&b'{') {
        return Some(splice::value(bytes, at)?.end);
    }
    let mut members: Members<'_> = splice::members(bytes, &(at..bytes.len()));
    for (key, span) in members.by_ref() {
        see(key, span);
    }
    Some(members.close())
}

fn listed(item: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(item.len() + 2);
    out.push(b'[');
    out.extend_from_slice(item);
    out.push(b']');
    out
}

/// The pod's facets with its node and the labels taken over from it.
fn with_node(old: &Facets, node: &str, topology: Topology) -> Facets {
    let mut fields = Vec::with_capacity(old.fields.len() + 1);
    fields.extend(old.fields.iter().filter(|(field, _)| *field != NODE_NAME).cloned());
    fields.push((NODE_NAME, node.into()));
    let mut labels = old.labels.clone();
    if !topology.is_empty() {
        let mut more = labels.into_vec();
        more.extend(topology.into_iter().map(|(label, value)| (label.into(), value)));
        more.sort_unstable();
        labels = more.into();
    }
    Facets { labels, fields: fields.into() }
}

/// The binding by way of the decoded pod, for the rare ones that change more than the node.
fn decoded_txn(
    key: ObjectKey,
    stored: &StoredObject,
    binding: &Binding,
    extras: &Extras,
    topology: &Topology,
    now: &str,
) -> Result<Txn, Status> {
    let mut pod = (*body::decode(stored)?).clone();
    pod.set(&["spec", "nodeName"], binding.node.as_str());
    if let Some(status) = pod.get_mut("status").and_then(Value::as_object_mut) {
        status.remove("nominatedNodeName");
    }
    let mut condition =
        value!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now});
    if let Some(generation) = pod.i64_at(&["metadata", "generation"]) {
        condition.set(&["observedGeneration"], generation);
    }
    let status = pod.force_object().object_entry("status");
    let conditions = status.entry("conditions");
    match conditions {
        Value::Array(items) => match items.iter_mut().find(|c| c.str_at(&["type"]) == Some("PodScheduled")) {
            Some(present) => *present = condition,
            None => items.push(condition),
        },
        other => *other = Value::Array(vec![condition]),
    }
    for (field, extra) in [("annotations", &extras.annotations), ("labels", &extras.labels)] {
        for (name, value) in extra.iter() {
            metadata::of(&mut pod).object_entry(field).insert(name.clone(), value.clone());
        }
    }
    for (label, value) in topology {
        metadata::of(&mut pod).object_entry("labels").insert(*label, value.clone());
    }
    let mut facets = with_node(&stored.facets, &binding.node, Topology::new());
    facets.labels = body::labels(&pod);
    let write = Write::Put { body: body::encode(&mut pod), facets, ttl: None };
    Ok(Txn::one(key, Expect::Revision(stored.revision), write))
}

/// The node of a Binding object.
fn check_binding<'v>(object: &'v Value, name: &str) -> Result<&'v str, Status> {
    let mut errors = Errors::new();
    let target = Path::new("target");
    let kind = object.str_at(&["target", "kind"]).unwrap_or_default();
    if !matches!(kind, "" | "Node") {
        errors.not_supported(&target.child("kind"), kind, &["Node", "<empty>"]);
    }
    let node = object.str_at(&["target", "name"]).unwrap_or_default();
    if node.is_empty() {
        errors.required(&target.child("name"), "");
    }
    if errors.is_empty() { Ok(node) } else { Err(Status::invalid("", "Binding", name, &errors.into_vec())) }
}

/// What a subresource that only acts answers with.
pub(super) fn success(name: &str) -> Written {
    let status = value!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    let object = body::answer(ObjectKey::new("status", "", name), Revision(0), &status, Facets::default());
    Written { object, created: true }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(pod: &str, zone: Option<&str>) -> String {
        let parts = Parts::of(pod.as_bytes()).unwrap();
        let topology = zone.map(|z| (TOPOLOGY[1], CompactString::from(z))).into_iter().collect();
        let (bytes, slot) = parts.bind(pod.as_bytes(), "n1", &topology, "T");
        assert_eq!(&bytes[slot - 1..=slot], b"\"\"");
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_body_is_bound_in_place() {
        let pod = r#"{"kind":"Pod","metadata":{"resourceVersion":"12","generation":1,"uid":"u"},"spec":{"containers":[]},"status":{"phase":"Pending"}}"#;
        assert_eq!(
            bound(pod, None),
            r#"{"kind":"Pod","metadata":{"resourceVersion":"","generation":1,"uid":"u"},"spec":{"nodeName":"n1","containers":[]},"status":{"conditions":[{"type":"PodScheduled","observedGeneration":1,"status":"True","lastProbeTime":null,"lastTransitionTime":"T"}],"phase":"Pending"}}"#
        );
    }

    #[test]
    fn an_earlier_refusal_is_replaced() {
        let pod = r#"{"status":{"conditions":[{"type":"Ready"},{"status":"False","type":"PodScheduled"}]},"spec":{"nodeName":""},"metadata":{"resourceVersion":"12"}}"#;
        assert_eq!(
            bound(pod, None),
            r#"{"status":{"conditions":[{"type":"Ready"},{"type":"PodScheduled","status":"True","lastProbeTime":null,"lastTransitionTime":"T"}]},"spec":{"nodeName":"n1"},"metadata":{"resourceVersion":""}}"#
        );
    }

    #[test]
    fn a_pod_takes_over_its_nodes_zone() {
        let with = |metadata: &str| {
            let pod = format!(r#"{{"metadata":{{{metadata}}},"spec":{{}},"status":{{"conditions":[]}}}}"#);
            let bound = bound(&pod, Some("z1"));
            bound[..bound.find(r#","spec""#).unwrap()].to_owned()
        };
        let zone = r#""topology.kubernetes.io/zone":"z1""#;
        assert_eq!(
            with(r#""resourceVersion":"7","labels":{"a":"b"}"#),
            format!(r#"{{"metadata":{{"resourceVersion":"","labels":{{{zone},"a":"b"}}}}"#)
        );
        assert_eq!(
            with(r#""resourceVersion":"7""#),
            format!(r#"{{"metadata":{{"labels":{{{zone}}},"resourceVersion":""}}"#)
        );
    }

    #[test]
    fn what_may_not_be_bound_says_why() {
        let binding = Binding { namespace: "d".into(), name: "x".into(), uid: "u".into(), node: "n".into() };
        let refusal = |metadata: &str, spec: &str| {
            let pod = format!(r#"{{"metadata":{{"resourceVersion":"1",{metadata}}},"spec":{{{spec}}}}}"#);
            Parts::of(pod.as_bytes()).unwrap().check(pod.as_bytes(), &binding).map_err(|s| (s.code, s.message))
        };
        assert_eq!(refusal(r#""uid":"u""#, ""), Ok(()));
        let (code, text) = refusal(r#""uid":"u""#, r#""nodeName":"n9""#).unwrap_err();
        assert_eq!(code, 409);
        assert_eq!(
            text,
            r#"Operation cannot be fulfilled on pods/binding "x": pod x is already assigned to node "n9""#
        );
        assert!(refusal(r#""uid":"v""#, "").unwrap_err().1.contains("UID in precondition: u"));
        assert!(refusal(r#""uid":"u","deletionTimestamp":"t""#, "").unwrap_err().1.contains("is being deleted"));
        assert!(
            refusal(r#""uid":"u""#, r#""schedulingGates":[{"name":"g"}]"#).unwrap_err().1.contains("schedulingGates")
        );
    }
}
