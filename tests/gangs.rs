//! The promise: the pods of a gang start together or not at all, seen through the real binary and the real kubectl.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::Cluster;

const FLAGS: [&str; 2] =
    ["--runtime-config=scheduling.k8s.io/v1alpha2=true", "--feature-gates=GenericWorkload=true,GangScheduling=true"];

fn group(name: &str, min_count: u32) -> String {
    format!(
        r#"{{"apiVersion":"scheduling.k8s.io/v1alpha2","kind":"PodGroup","metadata":{{"name":"{name}"}},
            "spec":{{"schedulingPolicy":{{"gang":{{"minCount":{min_count}}}}}}}}}"#
    )
}

fn pods(group: &str, names: std::ops::Range<u32>, cpu: &str) -> String {
    let pod = |n: u32| {
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{group}-{n}","labels":{{"gang":"{group}"}}}},
                "spec":{{"schedulingGroup":{{"podGroupName":"{group}"}},"containers":[{{"name":"c","image":"i",
                "resources":{{"requests":{{"cpu":"{cpu}"}}}}}}]}}}}"#
        )
    };
    let items: Vec<String> = names.map(pod).collect();
    format!(r#"{{"apiVersion":"v1","kind":"List","items":[{}]}}"#, items.join(","))
}

/// The nodes of a gang's pods, one word each.
fn nodes(c: &Cluster, gang: &str) -> String {
    c.kubectl(&format!("get pods -l gang={gang} -o jsonpath={{.items[*].spec.nodeName}}"))
}

#[test]
fn two_pods_of_three_wait_and_the_third_makes_all_run() {
    let c = Cluster::up(&FLAGS);
    c.apply(&group("trio", 3));
    c.apply(&pods("trio", 0..2, "100m"));
    // Who came later and belongs to nobody goes first: the scheduler has seen the two.
    c.kubectl("run alone --image=i");
    c.kubectl("wait pod/alone --for=condition=Ready --timeout=60s");
    assert_eq!(nodes(&c, "trio"), "");
    assert_eq!(c.value("pod trio-0", "{.spec.schedulingGroup.podGroupName}"), "trio");
    c.apply(&pods("trio", 2..3, "100m"));
    c.kubectl("wait pod -l gang=trio --for=condition=Ready --timeout=60s");
    c.eventually("get podgroup trio -o jsonpath={.status.conditions[*].reason}", |said| said == "Scheduled");
    let counted = r#"scheduler_podgroup_schedule_attempts_total{profile="default-scheduler",result="scheduled"} 1"#;
    c.eventually("get --raw /metrics", |said| said.lines().any(|line| line == counted));
    // One more joins the gang that runs.
    c.apply(&pods("trio", 3..4, "100m"));
    c.kubectl("wait pod/trio-3 --for=condition=Ready --timeout=60s");
}

#[test]
fn groups_name_workloads_that_are_there_and_pods_name_groups() {
    let c = Cluster::up(&FLAGS);
    let from = |workload: &str, template: &str| {
        format!(
            r#"{{"apiVersion":"scheduling.k8s.io/v1alpha2","kind":"PodGroup","metadata":{{"name":"made"}},"spec":{{
                "podGroupTemplateRef":{{"workload":{{"workloadName":"{workload}","podGroupTemplateName":"{template}"}}}},
                "schedulingPolicy":{{"basic":{{}}}}}}}}"#
        )
    };
    let refused = |manifest: &str| c.kubectl_with(manifest, ["create", "-f", "-"]).stderr;
    assert!(refused(&from("none", "workers")).contains(r#"PodGroup rejected: Workload "none" not found"#));
    c.apply(
        r#"{"apiVersion":"scheduling.k8s.io/v1alpha2","kind":"Workload","metadata":{"name":"training"},"spec":{
            "podGroupTemplates":[{"name":"workers","schedulingPolicy":{"gang":{"minCount":2}}}]}}"#,
    );
    let missing = r#"PodGroupTemplate "drivers" not found in Workload "training""#;
    assert!(refused(&from("training", "drivers")).contains(missing));
    c.apply(&from("training", "workers"));
    let pod = pods("Not_A_Name", 0..1, "1m").replace("Not_A_Name-0", "p");
    assert!(refused(&pod).contains("spec.schedulingGroup.podGroupName: Invalid value"), "{}", refused(&pod));
    // A group that is no gang holds nobody back, however few they are.
    c.apply(&pods("made", 0..1, "1m"));
    c.kubectl("wait pod/made-0 --for=condition=Ready --timeout=60s");
}

#[test]
fn a_gang_too_large_binds_nobody_and_says_why_until_there_is_room() {
    let c = Cluster::up(&FLAGS);
    let cpus: u32 = c.kubectl("get nodes -o jsonpath={.items[0].status.allocatable.cpu}").trim().parse().unwrap();
    // Each pod wants most of a node, and there is one node too few.
    let cpu = format!("{}m", cpus * 1000 * 3 / 4);
    c.apply(&group("huge", 4));
    c.apply(&pods("huge", 0..4, &cpu));
    let reasons = "get pods -l gang=huge -o jsonpath={range.items[*]}{.status.conditions[0].message}{'\\n'}{end}";
    let said = c.eventually(reasons, |said| said.lines().filter(|line| !line.is_empty()).count() == 4);
    let waits = "pod group is unschedulable, waiting for minCount pods from a gang to be scheduled";
    assert_eq!(said.lines().filter(|line| *line == waits).count(), 3, "{said}");
    assert!(said.contains("0/3 nodes are available: 3 Insufficient cpu."), "{said}");
    c.eventually("get podgroup huge -o jsonpath={.status.conditions[*].reason}", |said| said == "Unschedulable");
    // Others are not in its way, nor it in theirs.
    c.apply(&group("small", 2));
    c.apply(&pods("small", 0..2, "100m"));
    c.kubectl("wait pod -l gang=small --for=condition=Ready --timeout=60s");
    assert_eq!(nodes(&c, "huge"), "");
    // One pod less to place: a group whose pods are too many may still fit with fewer.
    c.kubectl("delete podgroup huge");
    c.apply(&group("huge", 3));
    c.eventually("get pods -l gang=huge -o jsonpath={.items[*].spec.nodeName}", |said| {
        said.split_whitespace().count() == 3
    });
    c.eventually("get podgroup huge -o jsonpath={.status.conditions[*].reason}", |said| said == "Scheduled");
}

#[test]
fn a_scheduler_that_dies_leaves_no_gang_in_pieces() {
    let c = Cluster::apiserver(&FLAGS);
    let kubelet = c.role("kubelet", &["--simulated-nodes", "10", "--simulated-start-delay-ms", "20"]);
    c.eventually("get nodes -o name", |said| said.lines().count() == 10);
    let manager = c.role("controller-manager", &["--leader-elect=false"]);
    c.eventually("get serviceaccounts -n default -o name", |said| said.contains("default"));
    let gates = ["--leader-elect=false", FLAGS[1]];
    for gang in ["one", "two", "three"] {
        c.apply(&group(gang, 60));
        c.apply(&pods(gang, 0..60, "10m"));
    }
    // Killed at whatever moment, again and again: a gang is bound whole or not at all, since it is one commit.
    let whole = |c: &Cluster| {
        ["one", "two", "three"]
            .iter()
            .filter(|gang| {
                let bound = nodes(c, gang).split_whitespace().count();
                assert!(bound == 0 || bound == 60, "{bound} of the pods of {gang} are bound");
                bound == 60
            })
            .count()
    };
    for _ in 0..4 {
        let scheduler = c.role("scheduler", &gates);
        whole(&c);
        scheduler.kill();
        whole(&c);
    }
    let scheduler = c.role("scheduler", &gates);
    for gang in ["one", "two", "three"] {
        c.eventually(&format!("get pods -l gang={gang} -o jsonpath={{.items[*].spec.nodeName}}"), |said| {
            said.split_whitespace().count() == 60
        });
    }
    assert_eq!(whole(&c), 3);
    for role in [scheduler, manager, kubelet] {
        assert_eq!(role.terminate(), Some(0));
    }
}
