//! Pods: defaults, rules, updates, rows.

use gantry_machinery::status::FieldError;
use gantry_machinery::value;
use gantry_machinery::value::Value;

use super::{Pods, qos};
use crate::registry::strategy::Strategy;

fn causes(errors: &[FieldError]) -> Vec<String> {
    errors.iter().map(ToString::to_string).collect()
}

fn made(mut pod: Value) -> Value {
    Pods.prepare_for_create(&mut pod);
    Pods.default(&mut pod);
    pod
}

fn plain() -> Value {
    value!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "nginx"}]}})
}

#[test]
fn a_plain_pod_gets_upstreams_defaults() {
    assert_eq!(
        made(plain()),
        value!({
            "metadata": {"name": "p"},
            "spec": {
                "containers": [{
                    "name": "c",
                    "image": "nginx",
                    "imagePullPolicy": "Always",
                    "resources": {},
                    "terminationMessagePath": "/dev/termination-log",
                    "terminationMessagePolicy": "File",
                }],
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 30,
                "dnsPolicy": "ClusterFirst",
                "securityContext": {},
                "schedulerName": "default-scheduler",
                "enableServiceLinks": true,
            },
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        })
    );
}

#[test]
fn defaults_reach_everywhere_and_are_idempotent() {
    let pod = made(value!({
        "metadata": {"name": "p"},
        "spec": {
            "hostNetwork": true,
            "serviceAccountName": "robot",
            "containers": [{
                "name": "c",
                "image": "registry:5000/a/b:1.2",
                "ports": [{"containerPort": 80}],
                "env": [
                    {"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                    {"name": "B", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
                ],
                "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}, "requests": {"memory": "1024Mi"}},
                "livenessProbe": {"httpGet": {"port": 80}},
                "readinessProbe": {"tcpSocket": {"port": 80}, "timeoutSeconds": 5},
                "lifecycle": {"preStop": {"httpGet": {"port": 80, "scheme": "HTTPS"}}},
            }],
            "volumes": [
                {"name": "s", "secret": {"secretName": "x"}},
                {"name": "h", "hostPath": {"path": "/"}},
                {"name": "e"},
                {"name": "t", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
            ],
        },
    }));
    let container = &pod.array_at(&["spec", "containers"])[0];
    assert_eq!(container.str_at(&["imagePullPolicy"]), Some("IfNotPresent"));
    assert_eq!(container.get("ports"), Some(&value!([{"containerPort": 80, "protocol": "TCP", "hostPort": 80}])));
    assert_eq!(
        container.get("resources"),
        Some(&value!({"limits": {"cpu": "500m", "memory": "1Gi"}, "requests": {"memory": "1Gi", "cpu": "500m"}}))
    );
    assert_eq!(
        container.get("livenessProbe"),
        Some(&value!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        }))
    );
    assert_eq!(container.i64_at(&["readinessProbe", "timeoutSeconds"]), Some(5));
    assert_eq!(container.str_at(&["lifecycle", "preStop", "httpGet", "scheme"]), Some("HTTPS"));
    let env = container.array_at(&["env"]);
    assert_eq!(env[0].str_at(&["valueFrom", "fieldRef", "apiVersion"]), Some("v1"));
    assert_eq!(env[1].str_at(&["valueFrom", "resourceFieldRef", "divisor"]), Some("0"));
    let volumes = pod.array_at(&["spec", "volumes"]);
    assert_eq!(volumes[0].i64_at(&["secret", "defaultMode"]), Some(420));
    assert_eq!(volumes[1].str_at(&["hostPath", "type"]), Some(""));
    assert_eq!(volumes[2].get("emptyDir"), Some(&value!({})));
    let sources = volumes[3].array_at(&["projected", "sources"]);
    assert_eq!(sources[0].i64_at(&["serviceAccountToken", "expirationSeconds"]), Some(3600));
    assert_eq!(pod.str_at(&["spec", "serviceAccount"]), Some("robot"));
    assert_eq!(pod.str_at(&["status", "qosClass"]), Some("Guaranteed"));
    let mut again = pod.clone();
    Pods.default(&mut again);
    assert_eq!(again, pod);
    assert_eq!(causes(&Pods.validate(&pod)), Vec::<String>::new());
}

#[test]
fn pull_policies_follow_the_tag() {
    let policy = |image: &str| {
        let pod = made(value!({"spec": {"containers": [{"name": "c", "image": image}]}}));
        pod.array_at(&["spec", "containers"])[0].str_at(&["imagePullPolicy"]).map(str::to_owned)
    };
    for (image, expected) in [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/nginx", "Always"),
        ("nginx@sha256:0000", "IfNotPresent"),
        ("", "IfNotPresent"),
    ] {
        assert_eq!(policy(image).as_deref(), Some(expected), "{image}");
    }
}

#[test]
fn classes_follow_requests_and_limits() {
    let class = |resources: Value| qos::class(&value!({"containers": [{"resources": resources}]}));
    assert_eq!(class(value!({})), "BestEffort");
    assert_eq!(class(value!({"requests": {"cpu": "1"}})), "Burstable");
    assert_eq!(class(value!({"limits": {"cpu": "1", "memory": "1Gi"}})), "Guaranteed");
    let uneven = value!({"limits": {"cpu": "1", "memory": "1Gi"}, "requests": {"cpu": "500m", "memory": "1Gi"}});
    assert_eq!(class(uneven), "Burstable");
    assert_eq!(class(value!({"limits": {"example.com/gpu": "1"}})), "BestEffort");
}

/// One thing wrong with an otherwise good pod: what is merged into its spec, and the causes.
fn bad(spec: Value) -> Vec<String> {
    let mut pod = plain();
    for (key, value) in spec.as_object().expect("cases are objects").iter() {
        pod.set(&["spec", key], value.clone());
    }
    causes(&Pods.validate(&made(pod)))
}

fn bad_container(fields: Value) -> Vec<String> {
    let mut container = value!({"name": "c", "image": "nginx"});
    for (key, value) in fields.as_object().expect("cases are objects").iter() {
        container.set(&[key], value.clone());
    }
    bad(value!({"containers": (vec![container]), "volumes": [{"name": "v"}]}))
}

#[test]
fn bad_specs_get_upstreams_causes() {
    assert_eq!(bad(value!({"containers": []})), ["spec.containers: Required value"]);
    assert_eq!(
        bad(value!({"containers": [{}]})),
        ["spec.containers[0].name: Required value", "spec.containers[0].image: Required value"]
    );
    assert_eq!(
        bad(value!({"containers": [{"name": "c", "image": "a"}, {"name": "c", "image": " b"}]})),
        [
            "spec.containers[1].name: Duplicate value: \"c\"",
            "spec.containers[1].image: Invalid value: \" b\": must not have leading or trailing whitespace",
        ]
    );
    assert_eq!(
        bad(value!({"restartPolicy": "Sometimes"})),
        ["spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \
             \"Never\""]
    );
    assert_eq!(
        bad(value!({"dnsPolicy": "None"})),
        ["spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None"]
    );
    assert_eq!(
        bad(value!({"activeDeadlineSeconds": 0})),
        ["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"]
    );
    assert_eq!(
        bad(value!({"nodeName": "n", "schedulingGates": [{"name": "a"}, {"name": "a"}]})),
        [
            "spec.schedulingGates[1]: Duplicate value: \"a\"",
            "spec.nodeName: Forbidden: cannot be set until all schedulingGates have been cleared",
        ]
    );
    assert_eq!(
        bad(value!({"hostAliases": [{"ip": "x"}]})),
        ["spec.hostAliases[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    );
    assert_eq!(
        bad(value!({"hostUsers": false, "hostPID": true})),
        ["spec.HostPID: Forbidden: when `hostUsers` is false"]
    );
    assert_eq!(
        bad(value!({"os": {"name": "windows"}, "securityContext": {"runAsUser": 1}})),
        ["spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod"]
    );
    assert_eq!(
        bad(value!({"ephemeralContainers": [{"name": "e", "image": "i"}]})),
        ["spec.ephemeralContainers: Forbidden: cannot be set on create"]
    );
}

#[test]
fn bad_containers_get_upstreams_causes() {
    assert_eq!(
        bad_container(value!({"ports": [{"containerPort": 0}, {"containerPort": 1, "name": "A"},
                                        {"containerPort": 2, "protocol": "X"}]})),
        [
            "spec.containers[0].ports[0].containerPort: Required value",
            "spec.containers[0].ports[1].name: Invalid value: \"A\": must contain only alpha-numeric characters (a-z, \
             0-9), and hyphens (-)",
            "spec.containers[0].ports[1].name: Invalid value: \"A\": must contain at least one letter (a-z)",
            "spec.containers[0].ports[2].protocol: Unsupported value: \"X\": supported values: \"SCTP\", \"TCP\", \
             \"UDP\"",
        ]
    );
    assert_eq!(
        bad_container(value!({"env": [
            {"name": ""},
            {"name": "A", "value": "x", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.volumes"}}},
            {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "status.phase"}}},
        ]})),
        [
            "spec.containers[0].env[0].name: Required value",
            "spec.containers[0].env[1].valueFrom: Invalid value: \"\": may not be specified when `value` is not empty",
            "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.volumes\": error converting \
             fieldPath: field label not supported: spec.volumes",
            "spec.containers[0].env[3].valueFrom.fieldRef.fieldPath: Unsupported value: \"status.phase\": supported \
             values: \"metadata.name\", \"metadata.namespace\", \"metadata.uid\", \"spec.nodeName\", \
             \"spec.serviceAccountName\", \"status.hostIP\", \"status.hostIPs\", \"status.podIP\", \"status.podIPs\"",
        ]
    );
    assert_eq!(
        bad_container(value!({"resources": {
            "limits": {"cpu": "1", "example.com/gpu": "2", "hugepages-2Mi": "3Mi"},
            "requests": {"cpu": "2", "memory": "-1", "bananas": "1", "example.com/gpu": "1"},
        }})),
        [
            "spec.containers[0].resources.limits[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer \
             multiple of hugepages-2Mi",
            "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            "spec.containers[0].resources.requests[memory]: Invalid value: \"-1\": must be greater than or equal to 0",
            "spec.containers[0].resources.requests[bananas]: Invalid value: \"bananas\": must be a standard resource \
             type or fully qualified",
            "spec.containers[0].resources.requests[bananas]: Invalid value: \"bananas\": must be a standard resource \
             for containers",
            "spec.containers[0].resources.requests: Invalid value: \"1\": must be equal to example.com/gpu limit of 2",
            "spec.containers[0].resources.requests[hugepages-2Mi]: Invalid value: \"3Mi\": 3Mi is not positive integer \
             multiple of hugepages-2Mi",
        ]
    );
    assert_eq!(
        bad_container(value!({"volumeMounts": [
            {"name": "v", "mountPath": "/a"}, {"name": "w", "mountPath": "/a"},
            {"name": "v", "mountPath": "/b", "mountPropagation": "Bidirectional"},
        ]})),
        [
            "spec.containers[0].volumeMounts[1].name: Not found: \"w\"",
            "spec.containers[0].volumeMounts[1].mountPath: Invalid value: \"/a\": must be unique",
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available \
             only to privileged containers",
        ]
    );
    assert_eq!(
        bad_container(value!({
            "livenessProbe": {"successThreshold": 2, "exec": {"command": ["a"]}, "httpGet": {"port": 80}},
            "startupProbe": {"timeoutSeconds": (-1)},
            "lifecycle": {"preStop": {"sleep": {"seconds": 31}}},
        })),
        [
            "spec.containers[0].lifecycle.preStop.sleep: Invalid value: 31: must be non-negative and less than \
             terminationGracePeriodSeconds (30)",
            "spec.containers[0].livenessProbe.httpGet: Forbidden: may not specify more than 1 handler type",
            "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            "spec.containers[0].startupProbe: Required value: must specify a handler type",
            "spec.containers[0].startupProbe.timeoutSeconds: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
    assert_eq!(
        bad_container(value!({"securityContext": {"allowPrivilegeEscalation": false, "privileged": true}})),
        [
            "spec.containers[0].securityContext: Invalid value: {\"allowPrivilegeEscalation\":false,\"privileged\":true}: \
             cannot set `allowPrivilegeEscalation` to false and `privileged` to true"
        ]
    );
}

#[test]
fn bad_volumes_get_upstreams_causes() {
    let volumes = value!([
        {"name": "a", "emptyDir": {}, "hostPath": {"path": "/x"}},
        {"name": "B", "configMap": {"items": [{"key": "k", "path": "../x"}]}},
        {"name": "c", "hostPath": {"path": "/a/../b", "type": "Odd"}},
        {"name": "d", "projected": {"sources": [{"serviceAccountToken": {"path": "t", "expirationSeconds": 1}}]}},
    ]);
    assert_eq!(
        bad(value!({"volumes": volumes, "serviceAccountName": "x"})),
        [
            "spec.volumes[0].hostPath: Forbidden: may not specify more than 1 volume type",
            "spec.volumes[1].configMap.name: Required value",
            "spec.volumes[1].configMap.items[0].path: Invalid value: \"../x\": must not contain '..'",
            "spec.volumes[1].name: Invalid value: \"B\": a lowercase RFC 1123 label must consist of lower case \
             alphanumeric characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  \
             or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            "spec.volumes[2].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'",
            "spec.volumes[2].hostPath.type: Unsupported value: \"Odd\": supported values: \"\", \"BlockDevice\", \
             \"CharDevice\", \"Directory\", \"DirectoryOrCreate\", \"File\", \"FileOrCreate\", \"Socket\"",
            "spec.volumes[3].projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 1: may not \
             specify a duration less than 10 minutes",
        ]
    );
}

#[test]
fn bad_placement_gets_upstreams_causes() {
    assert_eq!(
        bad(
            value!({"tolerations": [{"operator": "Equal"}, {"key": "a", "operator": "Exists", "tolerationSeconds": 1}]})
        ),
        [
            "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which \
             means \"match all values and all keys\"",
            "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
        ]
    );
    assert_eq!(
        bad(value!({"topologySpreadConstraints": [{"maxSkew": 0, "whenUnsatisfiable": "Never"}]})),
        [
            "spec.topologySpreadConstraints[0].maxSkew: Invalid value: 0: must be greater than zero",
            "spec.topologySpreadConstraints[0].topologyKey: Required value: can not be empty",
            "spec.topologySpreadConstraints[0].whenUnsatisfiable: Unsupported value: \"Never\": supported values: \
             \"DoNotSchedule\", \"ScheduleAnyway\"",
        ]
    );
    let affinity = value!({"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": "a", "operator": "In"}, {"key": "b", "operator": "Odd"}]},
    ]}}});
    let path = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0]";
    assert_eq!(
        bad(value!({"affinity": affinity})),
        [
            format!(
                "{path}.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            ),
            format!("{path}.matchExpressions[1].operator: Invalid value: \"Odd\": not a valid selector operator"),
        ]
    );
}

#[test]
fn init_containers_and_sidecars_differ() {
    let init = value!([
        {"name": "i", "image": "a", "readinessProbe": {"tcpSocket": {"port": 1}}},
        {"name": "s", "image": "a", "restartPolicy": "Always", "readinessProbe": {"tcpSocket": {"port": 1}}},
        {"name": "c", "image": "a"},
    ]);
    assert_eq!(
        bad(value!({"initContainers": init})),
        [
            "spec.initContainers[0].readinessProbe: Forbidden: may not be set for init containers without \
             restartPolicy=Always",
            "spec.initContainers[2].name: Duplicate value: \"c\"",
        ]
    );
}

#[test]
fn label_keys_are_merged_into_selectors() {
    let pod = made(value!({
        "metadata": {"labels": {"rev": "7"}},
        "spec": {"containers": [], "topologySpreadConstraints": [{
            "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule",
            "labelSelector": {"matchLabels": {"app": "a"}}, "matchLabelKeys": ["rev", "absent"],
        }]},
    }));
    let spread = &pod.array_at(&["spec", "topologySpreadConstraints"])[0];
    assert_eq!(
        spread.at(&["labelSelector", "matchExpressions"]),
        Some(&value!([{"key": "rev", "operator": "In", "values": ["7"]}]))
    );
}

#[test]
fn gated_pods_say_so() {
    let pod = made(value!({"spec": {"containers": [], "schedulingGates": [{"name": "g"}]}}));
    let condition = &pod.array_at(&["status", "conditions"])[0];
    assert_eq!(condition.str_at(&["reason"]), Some("SchedulingGated"));
    assert_eq!(Pods.row(&pod, 0)[2].as_str(), Some("SchedulingGated"));
}

fn updated(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let old = made(plain());
    let mut new = old.clone();
    change(&mut new);
    Pods.default(&mut new);
    Pods.prepare_for_update(&mut new, &old, "");
    causes(&Pods.validate_update(&new, &old, ""))
}

fn set_in_container(pod: &mut Value, field: &str, value: impl Into<Value>) {
    let containers = pod.at_mut(&["spec", "containers"]).and_then(Value::as_array_mut).expect("pods have containers");
    containers[0].set(&[field], value);
}

#[test]
fn little_of_a_pod_may_change() {
    assert!(updated(|pod| set_in_container(pod, "image", "nginx:2")).is_empty());
    assert!(updated(|pod| pod.set(&["metadata", "labels", "a"], "b")).is_empty());
    assert!(updated(|pod| pod.set(&["spec", "activeDeadlineSeconds"], 5)).is_empty());
    assert!(updated(|pod| pod.set(&["spec", "tolerations"], value!([{"operator": "Exists"}]))).is_empty());
    assert!(updated(|pod| pod.set(&["status", "phase"], "Failed")).is_empty(), "status is left alone");
    let found = updated(|pod| set_in_container(pod, "command", vec!["sh"]));
    assert_eq!(
        found,
        ["spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,\
          `spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing \
          tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n\
          + containers[0].command: [\"sh\"]\n"]
    );
    assert_eq!(
        updated(|pod| pod.set(&["spec", "containers"], Value::Array(Vec::new())))[1],
        "spec.containers: Forbidden: pod updates may not add or remove containers"
    );
}

#[test]
fn gates_only_go() {
    let old = made(value!({"metadata": {"name": "p"}, "spec": {
        "containers": [{"name": "c", "image": "a"}], "schedulingGates": [{"name": "g"}],
    }}));
    let with = |gates: Value| {
        let mut new = old.clone();
        new.set(&["spec", "schedulingGates"], gates);
        new.set(&["spec", "nodeSelector"], value!({"disk": "ssd"}));
        causes(&Pods.validate_update(&new, &old, ""))
    };
    assert!(with(value!([])).is_empty(), "gates may go, and a gated pod may narrow its nodes");
    assert_eq!(
        with(value!([{"name": "h"}])),
        ["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"]
    );
}

#[test]
fn subresources_write_their_part() {
    let old = made(plain());
    let mut new = old.clone();
    set_in_container(&mut new, "image", "other");
    new.set(&["spec", "ephemeralContainers"], value!([{"name": "d", "image": "busybox"}]));
    Pods.default(&mut new);
    Pods.prepare_for_update(&mut new, &old, "ephemeralcontainers");
    assert_eq!(new.array_at(&["spec", "containers"]), old.array_at(&["spec", "containers"]));
    assert!(Pods.validate_update(&new, &old, "ephemeralcontainers").is_empty());
    let gone = old.clone();
    assert_eq!(
        causes(&Pods.validate_update(&gone, &new, "ephemeralcontainers")),
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"d\" may not be removed\n"]
    );

    let mut resized = old.clone();
    set_in_container(&mut resized, "resources", value!({"requests": {"cpu": "1"}}));
    Pods.prepare_for_update(&mut resized, &old, "resize");
    let found = causes(&Pods.validate_update(&resized, &old, "resize"));
    assert_eq!(found, ["spec: Invalid value: \"BestEffort\": Pod QOS Class may not change as a result of resizing"]);
}

#[test]
fn an_ended_container_does_not_run_again() {
    let status = |state: Value| {
        value!({"spec": {"restartPolicy": "Never"},
        "status": {"containerStatuses": [{"name": "c", "state": state}]}})
    };
    let old = status(value!({"terminated": {"exitCode": 0}}));
    let new = status(value!({"running": {}}));
    assert_eq!(
        causes(&Pods.validate_update(&new, &old, "status")),
        ["status.containerStatuses[0].state: Forbidden: may not be transitioned to non-terminated state"]
    );
    assert!(Pods.validate_update(&old, &new, "status").is_empty());
}

#[test]
fn rows_tell_what_containers_do() {
    let row = |pod: &Value| -> Vec<String> {
        Pods.row(pod, 600).iter().map(|c| c.as_str().unwrap_or_default().to_owned()).collect()
    };
    let mut pod = value!({
        "metadata": {"name": "p", "creationTimestamp": "1970-01-01T00:00:00Z"},
        "spec": {"nodeName": "n", "containers": [{"name": "a"}, {"name": "b"}],
                 "initContainers": [{"name": "i"}, {"name": "j"}]},
        "status": {"phase": "Pending", "podIPs": [{"ip": "10.1.0.1"}]},
    });
    assert_eq!(row(&pod), ["p", "0/2", "Pending", "0", "10m", "10.1.0.1", "n", "<none>", "<none>"]);
    let cases = [
        (
            value!({"initContainerStatuses": [
                {"name": "i", "state": {"terminated": {"exitCode": 0}}}, {"name": "j", "state": {"running": {}}}]}),
            "0/2",
            "Init:1/2",
            "0",
        ),
        (
            value!({"initContainerStatuses": [{"name": "i", "state": {"terminated": {"exitCode": 3}}}]}),
            "0/2",
            "Init:ExitCode:3",
            "0",
        ),
        (
            value!({"containerStatuses": [
                {"name": "a", "ready": true, "state": {"running": {}}},
                {"name": "b", "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}},
                 "lastState": {"terminated": {"finishedAt": "1970-01-01T00:05:00Z"}}}]}),
            "1/2",
            "CrashLoopBackOff",
            "3 (5m ago)",
        ),
        (
            value!({"containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}},
                {"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/2",
            "Completed",
            "0",
        ),
        (
            value!({"containerStatuses": [
                {"name": "a", "state": {"terminated": {"exitCode": 137, "signal": 9}}},
                {"name": "b", "state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}]}),
            "0/2",
            "Signal:9",
            "0",
        ),
    ];
    for (status, ready, reason, restarts) in cases {
        pod.set(&["status"], status.clone());
        pod.set(&["status", "phase"], "Running");
        assert_eq!(row(&pod)[1..4], [ready, reason, restarts], "{status:?}");
    }
    pod.set(&["metadata", "deletionTimestamp"], "1970-01-01T00:05:00Z");
    assert_eq!(row(&pod)[2], "Terminating");
}

#[test]
fn only_running_pods_are_waited_for() {
    let mut pod = made(plain());
    assert_eq!(Pods.grace_period(&pod, None), Some(0));
    pod.set(&["spec", "nodeName"], "n");
    assert_eq!(Pods.grace_period(&pod, None), Some(30));
    assert_eq!(Pods.grace_period(&pod, Some(5)), Some(5));
    assert_eq!(Pods.grace_period(&pod, Some(-1)), Some(1));
    pod.set(&["status", "phase"], "Succeeded");
    assert_eq!(Pods.grace_period(&pod, None), Some(0));
}

#[test]
fn common_mistakes_are_warned_of() {
    let pod = value!({"spec": {
        "nodeSelector": {"beta.kubernetes.io/os": "linux"},
        "containers": [{
            "name": "c",
            "env": [{"name": "A"}, {"name": "A"}, {"name": "PATH", "value": "$(PATH):/x"}],
            "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
            "resources": {"limits": {"memory": "1m"}},
        }],
    }});
    assert_eq!(
        Pods.warnings(&pod, None),
        [
            "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
            "spec.containers[0].resources.limits[memory]: fractional byte value \"1m\" is invalid, must be an integer",
            "spec.containers[0].env[1]: hides previous definition of \"A\", which may be dropped when using apply",
            "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
        ]
    );
}
