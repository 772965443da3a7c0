//! The promise: pods with volumes run where their volumes are, and nowhere before their volumes are bound; and whoever asks
//! `kubectl describe` why a pod waits gets upstream's answer.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

/// A class whose volumes are made by hand and bound with their first pod, and a volume on the second node.
const LOCAL: &str = "
apiVersion: storage.k8s.io/v1
kind: StorageClass
metadata: {name: local}
provisioner: kubernetes.io/no-provisioner
volumeBindingMode: WaitForFirstConsumer
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: disk}
spec:
  capacity: {storage: 5Gi}
  accessModes: [MODE]
  storageClassName: local
  local: {path: /mnt/disk}
  nodeAffinity:
    required:
      nodeSelectorTerms:
      - matchExpressions:
        - {key: kubernetes.io/hostname, operator: In, values: [NODE]}
";

/// The dashes tell kubectl that this is YAML: what begins with a brace is JSON to it.
fn claim(name: &str, class: &str, mode: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: PersistentVolumeClaim, metadata: {{name: {name}}}, spec: {{storageClassName: {class}, \
         accessModes: [{mode}], resources: {{requests: {{storage: 1Gi}}}}}}}}"
    )
}

fn pod(name: &str, claim: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, \
         containers: [{{name: c, image: nginx}}], \
         volumes: [{{name: data, persistentVolumeClaim: {{claimName: {claim}}}}}]}}}}"
    )
}

/// Three nodes, and a local volume on the second.
fn with_local_volume(mode: &str) -> (Cluster, String) {
    let c = Cluster::up(&["--simulated-nodes", "3"]);
    c.kubectl("wait --for=condition=Ready node --all --timeout=60s");
    let nodes = c.kubectl("get nodes -o name");
    let node = nodes.lines().nth(1).expect("three nodes").trim_start_matches("node/").to_owned();
    c.apply(&LOCAL.replace("NODE", &node).replace("MODE", mode));
    c.kubectl("wait --for=jsonpath={.status.phase}=Available pv/disk --timeout=60s");
    (c, node)
}

#[test]
fn a_claim_that_waits_is_bound_with_its_first_pod_where_the_volume_is() {
    let (c, node) = with_local_volume("ReadWriteOnce");
    c.apply(&claim("data", "local", "ReadWriteOnce"));
    c.eventually("describe pvc data", |said| said.contains("WaitForFirstConsumer"));
    assert_eq!(c.value("pvc data", "{.status.phase}"), "Pending");
    c.apply(&pod("db", "data"));
    c.kubectl("wait --for=condition=Ready pod/db --timeout=60s");
    assert_eq!(c.value("pod db", "{.spec.nodeName}"), node);
    assert_eq!(c.value("pvc data", "{.status.phase},{.spec.volumeName},{.status.capacity.storage}"), "Bound,disk,5Gi");
    assert_eq!(c.value("pv disk", "{.status.phase},{.spec.claimRef.name}"), "Bound,data");
    let listed = c.kubectl("get pvc");
    assert!(listed.contains("Bound") && listed.contains("disk") && listed.contains("5Gi"), "{listed}");

    // Another claim of the class finds no volume left, anywhere.
    c.apply(&claim("more", "local", "ReadWriteOnce"));
    c.apply(&pod("late", "more"));
    c.waits_because("late", "0/3 nodes are available: 3 node(s) didn't find available persistent volumes to bind.");

    // In use, it stays; unused, it goes, and the volume is kept for its owner.
    c.kubectl("delete pvc data --wait=false");
    assert!(c.kubectl("get pvc data").contains("Terminating"));
    c.kubectl("delete pod db");
    c.kubectl("wait --for=delete pvc/data --timeout=60s");
    c.kubectl("wait --for=jsonpath={.status.phase}=Released pv/disk --timeout=60s");

    // Given back, it helps the one that waits.
    c.kubectl("patch pv disk --type=json -p [{\"op\":\"remove\",\"path\":\"/spec/claimRef\"}]");
    c.kubectl("wait --for=condition=Ready pod/late --timeout=60s");
    assert_eq!(c.value("pod late", "{.spec.nodeName}"), node);
}

#[test]
fn a_claim_for_one_pod_is_for_one_pod() {
    let (c, _) = with_local_volume("ReadWriteOncePod");
    c.apply(&claim("data", "local", "ReadWriteOncePod"));
    c.apply(&pod("first", "data"));
    c.kubectl("wait --for=condition=Ready pod/first --timeout=60s");
    c.apply(&pod("second", "data"));
    let why = "node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode";
    c.waits_because("second", why);
    c.kubectl("delete pod first");
    c.kubectl("wait --for=condition=Ready pod/second --timeout=60s");
}

#[test]
fn a_pod_whose_claim_is_missing_or_unbound_says_so_and_runs_when_the_volume_comes() {
    let c = Cluster::up(&["--simulated-nodes", "2"]);
    c.apply(&pod("lost", "nowhere"));
    c.waits_because("lost", "0/2 nodes are available: persistentvolumeclaim \"nowhere\" not found.");
    c.apply(&claim("data", "''", "ReadWriteOnce"));
    c.apply(&pod("web", "data"));
    c.waits_because("web", "0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.");
    c.eventually("describe pvc data", |said| {
        said.contains("no persistent volumes available for this claim and no storage class is set")
    });
    c.apply(
        "---\n{apiVersion: v1, kind: PersistentVolume, metadata: {name: disk}, spec: {capacity: {storage: 2Gi}, \
         accessModes: [ReadWriteOnce], hostPath: {path: /tmp/disk}, persistentVolumeReclaimPolicy: Delete}}",
    );
    c.kubectl("wait --for=condition=Ready pod/web --timeout=60s");
    assert_eq!(c.value("pvc data", "{.status.phase}"), "Bound");
    c.kubectl("delete pod web");
    c.kubectl("delete pvc data");
    c.kubectl("wait --for=jsonpath={.status.phase}=Failed pv/disk --timeout=60s");
    c.eventually("describe pv disk", |said| said.contains("no deletable volume plugin matched"));
}

#[test]
fn ephemeral_volumes_have_claims_of_their_own() {
    let (c, node) = with_local_volume("ReadWriteOnce");
    c.apply(
        "---\n{apiVersion: v1, kind: Pod, metadata: {name: app}, spec: {terminationGracePeriodSeconds: 0, \
         containers: [{name: c, image: nginx}], volumes: [{name: scratch, ephemeral: {volumeClaimTemplate: {spec: {\
         storageClassName: local, accessModes: [ReadWriteOnce], resources: {requests: {storage: 1Gi}}}}}}]}}",
    );
    c.kubectl("wait --for=condition=Ready pod/app --timeout=60s");
    assert_eq!(c.value("pod app", "{.spec.nodeName}"), node);
    assert_eq!(c.value("pvc app-scratch", "{.metadata.ownerReferences[0].name},{.status.phase}"), "app,Bound");
    c.kubectl("delete pod app");
    c.kubectl("wait --for=delete pvc/app-scratch --timeout=60s");
}
