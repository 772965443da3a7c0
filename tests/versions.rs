//! The promise: every version of an object that a server is told to serve shows the same object, to the real kubectl;
//! what it is not told to serve is not there.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

#[test]
fn an_autoscaler_is_one_object_in_two_versions() {
    let c = Cluster::up(&[]);
    c.kubectl("create deployment web --image=nginx");
    c.kubectl("autoscale deployment web --min=2 --max=5 --cpu-percent=70");
    let (old, new) = ("horizontalpodautoscalers.v1.autoscaling", "horizontalpodautoscalers.v2.autoscaling");
    assert_eq!(c.value(&format!("{old} web"), "{.spec.targetCPUUtilizationPercentage}"), "70");
    let utilization = "{.spec.metrics[0].resource.target.averageUtilization}";
    assert_eq!(c.value(&format!("{new} web"), utilization), "70");
    for field in ["{.metadata.uid}", "{.metadata.resourceVersion}", "{.spec.maxReplicas}"] {
        assert_eq!(c.value(&format!("{old} web"), field), c.value(&format!("{new} web"), field), "{field}");
    }
    // The columns are the same in every version.
    for version in [old, new] {
        let table = c.kubectl(&format!("get {version} web"));
        assert!(table.starts_with("NAME") && table.contains("Deployment/web") && table.contains("/70%"), "{table}");
    }
    c.kubectl(&format!("patch {old} web --type=merge -p {{\"spec\":{{\"targetCPUUtilizationPercentage\":55}}}}"));
    assert_eq!(c.value(&format!("{new} web"), utilization), "55");
    // kubectl's strategic merge and server-side apply work on the shape that the version has.
    c.kubectl(&format!("label {old} web tier=front"));
    assert_eq!(c.value(&format!("{new} web"), "{.metadata.labels.tier}"), "front");
    assert!(c.kubectl(&format!("delete {old} web")).contains("deleted"));
    assert!(c.kubectl_fails(&format!("get {new} web")).contains("NotFound"));
}

#[test]
fn events_are_read_in_both_groups() {
    let c = Cluster::up(&[]);
    c.kubectl("run web --image=nginx");
    c.kubectl("wait --for=condition=Ready pod/web --timeout=60s");
    let scheduled = |resource: &str, field: &str| {
        c.eventually(&format!("get {resource} --field-selector={field}.name=web,reason=Scheduled -o name"), |names| {
            !names.is_empty()
        })
    };
    let core = scheduled("events.v1.", "involvedObject");
    let grouped = scheduled("events.v1.events.k8s.io", "regarding");
    let name = |line: &str| line.trim().rsplit('/').next().unwrap_or_default().to_owned();
    assert_eq!(name(&core), name(&grouped));
    let note = c.value(&format!("events.v1.events.k8s.io {}", name(&grouped)), "{.note}");
    assert!(note.contains("assigned default/web"), "{note}");
    assert!(c.kubectl("events --for pod/web").contains("Scheduled"));
    let described = c.kubectl("describe pod web");
    assert!(described.contains("Scheduled"), "{described}");
    assert!(
        c.kubectl_fails("get events.v1.events.k8s.io --field-selector=involvedObject.name=web")
            .contains("not supported")
    );
}

#[test]
fn versions_are_switched_on_and_off_at_start() {
    let c =
        Cluster::up(&["--runtime-config=scheduling.k8s.io/v1alpha2=true,storage.k8s.io/v1beta1,autoscaling/v1=false"]);
    let versions = c.kubectl("api-versions");
    let has = |version: &str| versions.lines().any(|line| line == version);
    assert!(has("scheduling.k8s.io/v1alpha2") && has("storage.k8s.io/v1beta1"), "{versions}");
    assert!(!has("autoscaling/v1") && !has("resource.k8s.io/v1beta1"), "{versions}");
    assert!(
        c.kubectl_fails("get horizontalpodautoscalers.v1.autoscaling")
            .contains("the server doesn't have a resource type")
    );
    assert!(c.kubectl_fails("get --raw /apis/autoscaling/v1").contains("NotFound"));

    // What stands behind a feature gate is dropped from new objects while the gate is off.
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"alone"},
        "spec":{"schedulingGroup":{"podGroupName":"gang"},"containers":[{"name":"c","image":"i"}]}}"#;
    c.apply(pod);
    assert_eq!(c.value("pod alone", "{.spec.schedulingGroup}"), "");
    assert!(
        c.kubectl("get --raw /metrics")
            .contains(r#"kubernetes_feature_enabled{name="GenericWorkload",stage="ALPHA"} 0"#)
    );

    let group = r#"{"apiVersion":"scheduling.k8s.io/v1alpha2","kind":"PodGroup","metadata":{"name":"gang"},
        "spec":{"schedulingPolicy":{"gang":{"minCount":3}}}}"#;
    c.apply(group);
    assert_eq!(c.value("podgroup gang", "{.spec.schedulingPolicy.gang.minCount}"), "3");

    let class = r#"{"apiVersion":"storage.k8s.io/v1","kind":"VolumeAttributesClass","metadata":{"name":"gold"},
        "driverName":"csi.example.com","parameters":{"iops":"3"}}"#;
    c.apply(class);
    assert_eq!(
        c.value("volumeattributesclasses.v1beta1.storage.k8s.io gold", "{.apiVersion}"),
        "storage.k8s.io/v1beta1"
    );
    assert_eq!(c.value("vac gold", "{.apiVersion}"), "storage.k8s.io/v1", "the stable version is preferred");
}

#[test]
fn the_parts_of_the_control_plane_tell_how_they_are() {
    let c = Cluster::up(&[]);
    let table = c.kubectl("get componentstatuses");
    for part in ["scheduler", "controller-manager", "etcd-0"] {
        let line = table.lines().find(|line| line.starts_with(part)).unwrap_or_else(|| panic!("{table}"));
        assert!(line.contains("Healthy") && line.contains("ok"), "{table}");
    }
    assert_eq!(c.value("cs scheduler", "{.conditions[0].type}"), "Healthy");
    assert!(c.kubectl_fails("get cs nobody").contains("NotFound"));
}
