//! What managedFields cost a write: a pod's create, a status update, a lease's renewal, a server-side apply.

#![allow(missing_docs, reason = "criterion's macros make public items")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use gantry_machinery::patch::apply::{self, Writer};
use gantry_machinery::schema::{self, Message};
use gantry_machinery::value;
use gantry_machinery::value::Value;

fn pod() -> Value {
    value!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "web-5d8c7d9f4b-abcde", "namespace": "default", "uid": "0b0d7c3e-0000-0000-0000-000000000000",
            "labels": {"app": "web", "pod-template-hash": "5d8c7d9f4b"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d8c7d9f4b",
                "uid": "1b0d7c3e-0000-0000-0000-000000000000", "controller": true, "blockOwnerDeletion": true
            }]
        },
        "spec": {
            "containers": [{
                "name": "web", "image": "nginx:1.27", "imagePullPolicy": "IfNotPresent",
                "ports": [{"containerPort": 80, "protocol": "TCP"}],
                "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File"
            }],
            "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "restartPolicy": "Always",
            "schedulerName": "default-scheduler", "securityContext": {}, "terminationGracePeriodSeconds": 30
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"}
    })
}

fn condition(kind: &str, status: &str) -> Value {
    value!({
        "type": kind, "status": status, "lastProbeTime": null, "lastTransitionTime": "2026-01-01T00:00:00Z"
    })
}

fn writer(manager: &'static str, api_version: &'static str, subresource: &'static str) -> Writer<'static> {
    Writer { manager, api_version, subresource, now: "2026-01-02T00:00:00Z", reset: &[&["status"]], others: None }
}

fn message(group: &str, version: &str, kind: &str) -> &'static Message {
    schema::kind(group, version, kind).expect("a built-in kind")
}

fn managed_fields(c: &mut Criterion) {
    let schema = message("", "v1", "Pod");
    let create = writer("gantry-controller-manager", "v1", "");
    c.bench_function("managed_fields/create/pod", |b| {
        b.iter_batched_ref(
            pod,
            |pod| apply::update_managed_fields(None, black_box(pod), &create, schema),
            BatchSize::SmallInput,
        );
    });

    let mut stored = pod();
    apply::update_managed_fields(None, &mut stored, &create, schema);
    let status = Writer { reset: &[&["spec"]], ..writer("kubelet", "v1", "status") };
    let mut running = stored.clone();
    running.set(&["status", "phase"], "Running");
    let conditions = ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map(|kind| condition(kind, "True"));
    running.set(&["status", "conditions"], Value::Array(conditions.into()));
    c.bench_function("managed_fields/update/pod_status", |b| {
        b.iter_batched_ref(
            || running.clone(),
            |new| apply::update_managed_fields(Some(black_box(&stored)), new, &status, schema),
            BatchSize::SmallInput,
        );
    });

    let lease_schema = message("coordination.k8s.io", "v1", "Lease");
    let kubelet = writer("kubelet", "coordination.k8s.io/v1", "");
    let mut lease = value!({
        "kind": "Lease", "apiVersion": "coordination.k8s.io/v1",
        "metadata": {"name": "node-1", "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": "node-1", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"}
    });
    apply::update_managed_fields(None, &mut lease, &kubelet, lease_schema);
    let mut renewed = lease.clone();
    renewed.set(&["spec", "renewTime"], "2026-01-01T00:00:10.000000Z");
    c.bench_function("managed_fields/update/lease_renewal", |b| {
        b.iter_batched_ref(
            || renewed.clone(),
            |new| apply::update_managed_fields(Some(black_box(&lease)), new, &kubelet, lease_schema),
            BatchSize::SmallInput,
        );
    });

    let mut config = pod();
    config.remove(&["status"]);
    let applier = writer("kubectl", "v1", "");
    let live = apply::apply(None, &config, &applier, false, schema).expect("applies");
    c.bench_function("managed_fields/apply/pod_unchanged", |b| {
        b.iter(|| apply::apply(Some(black_box(&live)), &config, &applier, false, schema));
    });
}

criterion_group!(benches, managed_fields);
criterion_main!(benches);
