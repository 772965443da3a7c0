//! What one object costs on the write path, in time and in allocations: `codec/{step}/pod_2_5kb`.

#[path = "support/allocations.rs"]
mod allocations;

use std::hint::black_box;

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use gantry_machinery::codec::{json, protobuf};
use gantry_machinery::resource_api::FieldValidation;
use gantry_machinery::schema;
use gantry_machinery::value;
use gantry_machinery::value::Value;

/// A pod as a Deployment makes it, with its managed fields: about 2.5 KB.
fn pod() -> Value {
    let probe = value!({
        "httpGet": {"path": "/healthz", "port": 8080, "scheme": "HTTP"}, "initialDelaySeconds": 5, "timeoutSeconds": 1,
        "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    });
    value!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": {
            "name": "web-6b7c8d9f5d-x2x4z", "generateName": "web-6b7c8d9f5d-", "namespace": "default",
            "uid": "0f9c6f0e-4c0e-4f62-9f7c-6f3d7b0c7f10", "creationTimestamp": "2026-11-22T10:00:00Z",
            "labels": {"app": "web", "pod-template-hash": "6b7c8d9f5d", "app.kubernetes.io/part-of": "shop", "tier": "front"},
            "annotations": {"kubernetes.io/config.seen": "2026-11-22T10:00:00.000000000Z", "checksum/config": "a3f5c0ffee"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6b7c8d9f5d",
                "uid": "4b6e4f1a-5f0a-4a7b-8a55-0a9d4f8a1c11", "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": [{
                "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
                "time": "2026-11-22T10:00:00Z", "fieldsType": "FieldsV1",
                "fieldsV1": {
                    "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}},
                        "f:ownerReferences": {".": {}}},
                    "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {".": {}, "f:image": {}, "f:imagePullPolicy": {},
                        "f:name": {}, "f:resources": {".": {}, "f:requests": {".": {}, "f:cpu": {}, "f:memory": {}}}}},
                        "f:dnsPolicy": {}, "f:restartPolicy": {}, "f:schedulerName": {}, "f:securityContext": {}},
                },
            }],
        },
        "spec": {
            "volumes": [{"name": "kube-api-access-q2w3e", "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ], "defaultMode": 420}}],
            "containers": [{
                "name": "web", "image": "registry.example.com/shop/web:1.42.0", "ports": [{"containerPort": 8080, "protocol": "TCP"}],
                "env": [{"name": "MODE", "value": "production"}, {"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}],
                "resources": {"limits": {"memory": "256Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
                "volumeMounts": [{"name": "kube-api-access-q2w3e", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
                "livenessProbe": (probe.clone()), "readinessProbe": (probe),
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File", "imagePullPolicy": "IfNotPresent",
            }],
            "restartPolicy": "Always", "terminationGracePeriodSeconds": 30, "dnsPolicy": "ClusterFirst",
            "serviceAccountName": "default", "serviceAccount": "default", "securityContext": {}, "schedulerName": "default-scheduler",
            "tolerations": [
                {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
                {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            ],
            "priority": 0, "enableServiceLinks": true, "preemptionPolicy": "PreemptLowerPriority",
        },
        "status": {"phase": "Pending", "qosClass": "Burstable"},
    })
}

/// Measures `work`, and counts what it allocates.
fn measured<R>(group: &mut BenchmarkGroup<'_, WallTime>, id: &str, mut work: impl FnMut() -> R) {
    group.bench_function(id, |bencher| bencher.iter(&mut work));
    allocations::report(&format!("codec/{id}"), 100, || black_box(work()));
}

fn codec(c: &mut Criterion) {
    let message = schema::kind("", "v1", "Pod").expect("pods are built in");
    let pod = pod();
    let text = json::encode(&pod);
    let wire = protobuf::encode(&pod, message).expect("the pod agrees with its schema");
    let mut group = c.benchmark_group("codec");
    group.throughput(Throughput::Bytes(text.len() as u64));
    measured(&mut group, "json_parse/pod_2_5kb", || json::parse(black_box(&text)));
    measured(&mut group, "json_decode/pod_2_5kb", || json::decode(black_box(&text), message, FieldValidation::Warn));
    measured(&mut group, "json_encode/pod_2_5kb", || json::encode_with_revision_slot(black_box(&pod)));
    measured(&mut group, "json_decode_encode/pod_2_5kb", || {
        json::decode(black_box(&text), message, FieldValidation::Warn)
            .map(|decoded| json::encode_with_revision_slot(&decoded.value))
    });
    measured(&mut group, "json_pick_4/pod_2_5kb", || {
        json::pick(
            black_box(&text),
            [&["metadata", "name"], &["spec", "nodeName"], &["spec", "schedulerName"], &["status", "phase"]],
        )
        .map(|found| found.is_some())
    });
    measured(&mut group, "protobuf_decode/pod_2_5kb", || protobuf::decode(black_box(&wire), message));
    measured(&mut group, "protobuf_encode/pod_2_5kb", || protobuf::encode(black_box(&pod), message));
    measured(&mut group, "protobuf_decode_encode/pod_2_5kb", || {
        protobuf::decode(black_box(&wire), message).map(|value| protobuf::encode(&value, message))
    });
    group.finish();
}

criterion_group!(benches, codec);
criterion_main!(benches);
