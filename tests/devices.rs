//! The promise: a pod that claims devices gets what it asks for, alone, on a node that has it; the next waits with upstream's
//! message until a device is free; and claims made for a pod go with it.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

/// A class of one driver's devices, two of them on one node, and a template for one that is large enough.
const GPUS: &str = r#"
apiVersion: resource.k8s.io/v1
kind: DeviceClass
metadata: {name: gpu}
spec:
  selectors: [{cel: {expression: "device.driver == 'gpu.example.com'"}}]
  config: [{opaque: {driver: gpu.example.com, parameters: {mode: quiet}}}]
---
apiVersion: resource.k8s.io/v1
kind: ResourceSlice
metadata: {name: slice}
spec:
  driver: gpu.example.com
  nodeName: NODE
  pool: {name: NODE, generation: 1, resourceSliceCount: 1}
  devices:
  - name: small
    attributes: {model: {string: a10}}
    capacity: {memory: {value: 24Gi}}
  - name: large
    attributes: {model: {string: a100}, firmware: {version: 1.10.0}}
    capacity: {memory: {value: 80Gi}}
---
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata: {name: large}
spec:
  spec:
    devices:
      requests:
      - name: gpu
        exactly:
          deviceClassName: gpu
          selectors:
          - cel:
              expression: "device.capacity['gpu.example.com'].memory.isGreaterThan(quantity('40Gi')) &&
                device.attributes['gpu.example.com'].firmware.isGreaterThan(semver('1.9.0'))"
"#;

fn pod(name: &str, claim: &str) -> String {
    format!(
        "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, \
         containers: [{{name: c, image: nginx, resources: {{claims: [{{name: gpu}}]}}}}], \
         resourceClaims: [{{name: gpu, {claim}}}]}}}}"
    )
}

fn with_gpus() -> (Cluster, String) {
    let c = Cluster::up(&["--simulated-nodes", "3"]);
    c.kubectl("wait --for=condition=Ready node --all --timeout=60s");
    let nodes = c.kubectl("get nodes -o name");
    let node = nodes.lines().nth(1).expect("three nodes").trim_start_matches("node/").to_owned();
    c.apply(&GPUS.replace("NODE", &node));
    (c, node)
}

#[test]
fn a_device_is_one_pods_until_that_pod_is_gone() {
    let (c, node) = with_gpus();
    c.apply(&pod("first", "resourceClaimTemplateName: large"));
    c.kubectl("wait --for=condition=Ready pod/first --timeout=60s");
    assert_eq!(c.value("pod first", "{.spec.nodeName}"), node);
    let claim = c.value("pod first", "{.status.resourceClaimStatuses[0].resourceClaimName}");
    assert!(claim.starts_with("first-gpu-"), "{claim}");
    let of_claim = format!("resourceclaim {claim}");
    let result = "{.status.allocation.devices.results[0]['request','driver','pool','device']}";
    assert_eq!(c.value(&of_claim, result), format!("gpu gpu.example.com {node} large"));
    let config =
        "{.status.allocation.devices.config[0].source},{.status.allocation.devices.config[0].opaque.parameters.mode}";
    assert_eq!(c.value(&of_claim, config), "FromClass,quiet");
    let fields = "{.status.allocation.nodeSelector.nodeSelectorTerms[0].matchFields[0].values[0]}";
    assert_eq!(c.value(&of_claim, fields), node);
    assert_eq!(c.value(&of_claim, "{.status.reservedFor[0].name}"), "first");
    assert_eq!(c.value(&of_claim, "{.metadata.finalizers[0]}"), "resource.kubernetes.io/delete-protection");
    assert_eq!(c.value(&of_claim, "{.metadata.annotations.resource\\.kubernetes\\.io/pod-claim-name}"), "gpu");
    assert!(c.kubectl("get resourceclaim").contains("allocated,reserved"));

    c.apply(&pod("second", "resourceClaimTemplateName: large"));
    c.waits_because("second", "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable");

    // Gone, it leaves the device to the next, and its claim goes with it.
    c.kubectl("delete pod first");
    c.kubectl(&format!("wait --for=delete resourceclaim/{claim} --timeout=60s"));
    c.kubectl("wait --for=condition=Ready pod/second --timeout=60s");
    assert_eq!(c.value("pod second", "{.spec.nodeName}"), node);
}

#[test]
fn a_shared_claim_keeps_its_pods_together_and_is_freed_by_the_last() {
    let (c, node) = with_gpus();
    c.apply(
        "---\n{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: both}, spec: {devices: {requests: [\
         {name: any, firstAvailable: [{name: huge, deviceClassName: gpu, count: 3}, \
         {name: two, deviceClassName: gpu, count: 2}]}]}}}",
    );
    assert!(c.kubectl("get resourceclaim both").contains("pending"));
    for name in ["a", "b"] {
        c.apply(&pod(name, "resourceClaimName: both"));
        c.kubectl(&format!("wait --for=condition=Ready pod/{name} --timeout=60s"));
        assert_eq!(c.value(&format!("pod {name}"), "{.spec.nodeName}"), node);
    }
    let requests = "{.status.allocation.devices.results[*].request},{.status.reservedFor[*].name}";
    assert_eq!(c.value("resourceclaim both", requests), "any/two any/two,a b");
    c.kubectl("delete pod a");
    c.eventually("get resourceclaim both -o jsonpath={.status.reservedFor[*].name}", |said| said == "b");
    assert!(c.kubectl("get resourceclaim both").contains("allocated,reserved"));
    c.kubectl("delete pod b");
    c.eventually("get resourceclaim both", |said| said.contains("pending"));
    assert_eq!(c.value("resourceclaim both", "{.metadata.finalizers[*]}"), "");
}

#[test]
fn who_waits_for_a_class_or_a_device_is_told_and_woken_when_it_comes() {
    let (c, node) = with_gpus();
    c.apply(
        "---\n{apiVersion: resource.k8s.io/v1, kind: ResourceClaim, metadata: {name: odd}, spec: {devices: {requests: [\
         {name: r, exactly: {deviceClassName: odd}}]}}}",
    );
    c.apply(&pod("odd", "resourceClaimName: odd"));
    c.waits_because("odd", "0/3 nodes are available: request r: device class odd does not exist.");
    c.apply(
        "---\n{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: odd}, spec: {selectors: [\
             {cel: {expression: \"device.driver == 'odd.example.com'\"}}]}}",
    );
    let mut explain = cluster::gantry();
    explain.args(["explain", "pod", "odd", "--kubeconfig"]).arg(c.kubeconfig());
    let explained = cluster::run(explain, "").stdout;
    assert!(explained.contains("DynamicResources") && explained.contains("cannot allocate all claims"), "{explained}");
    c.apply(&format!(
        "---\n{{apiVersion: resource.k8s.io/v1, kind: ResourceSlice, metadata: {{name: odd}}, spec: {{driver: odd.example.com, \
         nodeName: {node}, pool: {{name: p, generation: 1, resourceSliceCount: 1}}, devices: [{{name: x}}]}}}}"
    ));
    c.kubectl("wait --for=condition=Ready pod/odd --timeout=60s");

    // A selector that cannot be evaluated is refused when it is stored.
    let bad = "---\n{apiVersion: resource.k8s.io/v1, kind: DeviceClass, metadata: {name: bad}, spec: {selectors: [\
               {cel: {expression: \"device.nonsense\"}}]}}";
    let said = c.kubectl_with(bad, ["apply", "-f", "-"]);
    assert!(said.code != 0 && said.stderr.contains("undefined field 'nonsense'"), "{said:#?}");
}

#[test]
fn a_device_class_stands_behind_an_extended_resource_where_nodes_have_none() {
    let (c, node) = with_gpus();
    let asks = |name: &str, count: u32| {
        let limits = format!("{{limits: {{gpu.example.com/any: {count}}}}}");
        format!(
            "---\n{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{terminationGracePeriodSeconds: 0, \
             containers: [{{name: c, image: nginx, resources: {limits}}}]}}}}"
        )
    };
    c.apply(&asks("first", 2));
    c.waits_because("first", "0/3 nodes are available: 3 Insufficient gpu.example.com/any.");
    c.kubectl("patch deviceclass gpu --type=merge -p {\"spec\":{\"extendedResourceName\":\"gpu.example.com/any\"}}");
    c.kubectl("wait --for=condition=Ready pod/first --timeout=60s");
    assert_eq!(c.value("pod first", "{.spec.nodeName}"), node);

    // The claim was made for it, and its status says what of it is the container's.
    let told = "{.status.extendedResourceClaimStatus";
    let claim = c.value("pod first", &format!("{told}.resourceClaimName}}"));
    assert!(claim.starts_with("first-extended-resources-"), "{claim}");
    let mapping = format!("{told}.requestMappings[*]['containerName','resourceName','requestName']}}");
    assert_eq!(c.value("pod first", &mapping), "c gpu.example.com/any container-0-request-0");
    let of_claim = format!("resourceclaim {claim}");
    let devices = "{.status.allocation.devices.results[*]['request','device']}";
    let request = "container-0-request-0";
    assert_eq!(c.value(&of_claim, devices), format!("{request} {request} small large"));
    let annotation = "{.metadata.annotations.resource\\.kubernetes\\.io/extended-resource-claim}";
    assert_eq!(c.value(&of_claim, annotation), "true");
    assert_eq!(c.value(&of_claim, "{.metadata.ownerReferences[0].name},{.status.reservedFor[0].name}"), "first,first");

    // It is where its devices are, and nowhere else.
    let mut explain = cluster::gantry();
    explain.args(["explain", "pod", "first", "--kubeconfig"]).arg(c.kubeconfig());
    let explained = cluster::run(explain, "").stdout;
    assert!(explained.contains("3 nodes, 1 could take it"), "{explained}");

    c.apply(&asks("second", 1));
    c.waits_because("second", "0/3 nodes are available: 3 cannot allocate all claims. still not schedulable");
    c.kubectl("delete pod first");
    c.kubectl(&format!("wait --for=delete resourceclaim/{claim} --timeout=60s"));
    c.kubectl("wait --for=condition=Ready pod/second --timeout=60s");

    // A node that has some of its own gives those, and needs no claim.
    let other = c.kubectl("get nodes -o name").lines().next().expect("three nodes").to_owned();
    let capacity = "[{\"op\":\"add\",\"path\":\"/status/capacity/gpu.example.com~1any\",\"value\":\"4\"}]";
    c.kubectl(&format!("patch {other} --subresource=status --type=json -p {capacity}"));
    c.apply(&asks("third", 4));
    c.kubectl("wait --for=condition=Ready pod/third --timeout=60s");
    assert_eq!(format!("node/{}", c.value("pod third", "{.spec.nodeName}")), other);
    assert_eq!(c.value("pod third", "{.status.extendedResourceClaimStatus}"), "");
    let metrics = c.kubectl("get --raw /metrics");
    assert!(metrics.contains("scheduler_resourceclaim_creates_total{status=\"success\"} 2"), "{metrics}");
}
