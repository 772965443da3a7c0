//! What taking in a stored pod costs.

use criterion::{Criterion, criterion_group, criterion_main};
use gantry_scheduler_core::rows::PodRow;

/// A stored pod to its row.
fn rows(c: &mut Criterion) {
    let body = br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"web-5d5c7b8f6-abcde","generateName":"web-5d5c7b8f6-","namespace":"default","uid":"6f6a3c0e-7f0e-4a4e-9d0a-0d6f1f1f6b7a","resourceVersion":"12345","generation":1,"creationTimestamp":"2026-11-23T09:00:00Z","labels":{"app":"web","pod-template-hash":"5d5c7b8f6"},"ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"web-5d5c7b8f6","uid":"b1b5f1f4-1111-4a4e-9d0a-0d6f1f1f6b7a","controller":true,"blockOwnerDeletion":true}],"managedFields":[{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-23T09:00:00Z","fieldsType":"FieldsV1","fieldsV1":{"f:metadata":{"f:labels":{".":{},"f:app":{}}},"f:spec":{"f:containers":{"k:{\"name\":\"nginx\"}":{".":{},"f:image":{},"f:name":{},"f:resources":{}}}}}}]},"spec":{"volumes":[{"name":"kube-api-access-abcde","projected":{"sources":[{"serviceAccountToken":{"expirationSeconds":3607,"path":"token"}},{"configMap":{"name":"kube-root-ca.crt","items":[{"key":"ca.crt","path":"ca.crt"}]}}],"defaultMode":420}}],"containers":[{"name":"nginx","image":"nginx:1.27","ports":[{"containerPort":80,"protocol":"TCP"}],"resources":{"requests":{"cpu":"100m","memory":"128Mi"}},"volumeMounts":[{"name":"kube-api-access-abcde","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}],"terminationMessagePath":"/dev/termination-log","terminationMessagePolicy":"File","imagePullPolicy":"IfNotPresent"}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","serviceAccountName":"default","securityContext":{},"schedulerName":"default-scheduler","tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300},{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}],"priority":0,"enableServiceLinks":true,"preemptionPolicy":"PreemptLowerPriority"},"status":{"phase":"Pending","qosClass":"Burstable"}}"#;
    c.bench_function("rows/pod_from_json", |b| b.iter(|| PodRow::from_json(body).expect("a pod")));
}

criterion_group!(benches, rows);
criterion_main!(benches);
