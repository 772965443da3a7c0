//! The promise: a kind that is defined while the cluster runs is a kind like any other under the real kubectl: served within
//! a moment, checked, shown in its columns, applied, scaled, selected, explained, owned, and gone with its definition.

#[path = "support/cluster.rs"]
mod cluster;

use cluster::{Cluster, Said};

const CRONTAB: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/manifests/crd/crontab.yaml");
const NAME: &str = "crontabs.stable.example.com";

/// A cluster in which CronTabs are defined.
fn with_crontabs() -> Cluster {
    let c = Cluster::up(&[]);
    let said = c.kubectl(&format!("apply -f {CRONTAB}"));
    assert_eq!(said, format!("customresourcedefinition.apiextensions.k8s.io/{NAME} created\n"));
    c.kubectl(&format!("wait --for=condition=Established crd/{NAME} --timeout=60s"));
    c
}

fn crontab(name: &str, spec: &str) -> String {
    format!("apiVersion: stable.example.com/v1\nkind: CronTab\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn create(c: &Cluster, manifest: &str, flags: &[&str]) -> Said {
    let args: Vec<&str> = ["create", "-f", "-"].iter().chain(flags).copied().collect();
    c.kubectl_with(manifest, args)
}

const FINE: &str = r#"{cronSpec: "* * * * */5", image: a, color: red, ports: [{name: http, port: 80}]}"#;

#[test]
fn a_definition_says_what_became_of_it() {
    let c = with_crontabs();
    let of = format!("crd {NAME}");
    assert_eq!(c.value(&of, "{.status.storedVersions}"), r#"["v1"]"#);
    assert_eq!(c.value(&of, "{.status.acceptedNames.listKind}"), "CronTabList");
    assert_eq!(c.value(&of, "{.status.conditions[*].type}"), "NamesAccepted Established");
    assert_eq!(c.value(&of, "{.spec.conversion.strategy}"), "None");
    let resources = c.kubectl("api-resources --api-group stable.example.com --no-headers -o wide");
    let words: Vec<&str> = resources.split_whitespace().collect();
    assert_eq!(words[..5], ["crontabs", "ct", "stable.example.com/v1", "true", "CronTab"], "{resources}");
    assert!(c.kubectl("get crd").starts_with("NAME "), "definitions have columns");
    let versions = c.kubectl("api-versions");
    assert!(versions.contains("stable.example.com/v1\nstable.example.com/v1beta1\n"), "{versions}");

    let taken = std::fs::read_to_string(CRONTAB).expect("the manifest is there").replace("crontabs", "otherones");
    c.apply(&taken);
    let other = "crd otherones.stable.example.com";
    c.eventually(
        &format!("get {other} -o jsonpath={{.status.conditions[?(@.type==\"NamesAccepted\")].status}}"),
        |s| s == "False",
    );
    c.kubectl(&format!("delete crd {NAME}"));
    c.kubectl(&format!("wait --for=condition=Established {other} --timeout=60s"));
}

#[test]
fn its_versions_have_api_services() {
    let c = with_crontabs();
    let own = "get apiservices -l kube-aggregator.kubernetes.io/automanaged=true -o name";
    let both = "apiservice.apiregistration.k8s.io/v1.stable.example.com\n\
                apiservice.apiregistration.k8s.io/v1beta1.stable.example.com\n";
    c.eventually(own, |s| s == both);
    let shown = c.kubectl("get apiservice v1.stable.example.com --no-headers");
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>()[1..3], ["Local", "True"]);
    c.kubectl("delete apiservice v1.stable.example.com");
    c.eventually(own, |s| s == both);
    c.kubectl(&format!("delete crd {NAME}"));
    c.eventually(own, str::is_empty);
    assert!(c.kubectl("get apiservices -o name").contains("v1.apps"), "the server's own stay");
}

#[test]
fn objects_are_checked_defaulted_pruned_and_shown() {
    let c = with_crontabs();
    assert_eq!(c.apply(&crontab("mine", FINE)), "crontab.stable.example.com/mine created\n");
    assert_eq!(c.apply(&crontab("mine", FINE)), "crontab.stable.example.com/mine unchanged\n");
    let shown = c.kubectl("get ct");
    let rows: Vec<Vec<&str>> = shown.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0], ["NAME", "SPEC", "REPLICAS", "AGE"]);
    assert_eq!(rows[1][..7], ["mine", "*", "*", "*", "*", "*/5", "1"], "the default is shown");
    assert_eq!(c.value("crontab mine", "{.metadata.generation}"), "1");

    let said =
        create(&c, &crontab("bad", r#"{cronSpec: x, replicas: 11, color: blue, ports: [{name: a}, {name: a}]}"#), &[]);
    for part in [
        r#"The CronTab "bad" is invalid"#,
        r#"spec.cronSpec: Invalid value: "x": spec.cronSpec in body should match '^"#,
        "spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10",
        r#"spec.color: Unsupported value: "blue": supported values: "red", "green""#,
        r#"spec.ports[1]: Duplicate value: {"name":"a"}"#,
    ] {
        assert!(said.stderr.contains(part), "{part} is not in\n{}", said.stderr);
    }
    let said = create(&c, &crontab("none", "{}"), &[]);
    assert!(said.stderr.contains("spec.cronSpec: Required value"), "{said:?}");
    let said = create(&c, &crontab("typed", r#"{cronSpec: "* * * * *", replicas: many}"#), &[]);
    let wrong = r#"spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer: "string""#;
    assert!(said.stderr.contains(wrong), "{said:?}");

    let unknown = crontab("odd", r#"{cronSpec: "* * * * *", foo: 1}"#);
    let strict = create(&c, &unknown, &[]);
    let wrong =
        r#"CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: unknown field "spec.foo""#;
    assert!(strict.code != 0 && strict.stderr.contains(wrong), "{strict:?}");
    let warned = create(&c, &unknown, &["--validate=warn"]);
    assert!(warned.code == 0 && warned.stderr.contains(r#"Warning: unknown field "spec.foo""#), "{warned:?}");
    assert_eq!(c.value("crontab odd", "{.spec}"), r#"{"cronSpec":"* * * * *","replicas":1}"#);

    let explained = c.kubectl("explain crontab.spec.cronSpec");
    assert!(explained.contains("When to run.") && explained.contains("<string>"), "{explained}");
    c.kubectl("delete crontab odd");
    assert!(c.kubectl_fails("get crontab odd").contains(r#"crontabs.stable.example.com "odd" not found"#));
}

#[test]
fn versions_fields_status_and_scale_are_served() {
    let c = with_crontabs();
    c.apply(&crontab("mine", FINE));
    c.apply(&crontab("green", r#"{cronSpec: "* * * * *", color: green}"#));
    let old = c.kubectl("get crontabs.v1beta1.stable.example.com mine -o jsonpath={.apiVersion},{.spec.replicas}");
    assert_eq!(old, "stable.example.com/v1beta1,1");
    let listed = c.kubectl("get crontabs.v1beta1.stable.example.com -o jsonpath={.items[*].apiVersion}");
    assert_eq!(listed, "stable.example.com/v1beta1 stable.example.com/v1beta1");
    assert_eq!(c.kubectl("get ct --field-selector spec.color=green -o name"), "crontab.stable.example.com/green\n");
    let refused = c.kubectl_fails("get ct --field-selector spec.image=a");
    assert!(refused.contains("spec.image"), "{refused}");
    assert!(c.kubectl("get all").contains("crontab.stable.example.com/mine"), "the category is known");

    c.kubectl("scale crontab mine --replicas=4");
    assert_eq!(c.value("crontab mine", "{.spec.replicas},{.metadata.generation}"), "4,2");
    let patch = [
        "patch",
        "crontab",
        "mine",
        "--subresource=status",
        "--type=merge",
        "-p",
        r#"{"status":{"replicas":4,"labelSelector":"a=b"},"spec":{"replicas":9},"metadata":{"labels":{"x":"y"}}}"#,
    ];
    assert_eq!(c.try_kubectl(patch).code, 0);
    assert_eq!(c.value("crontab mine", "{.status.replicas},{.spec.replicas},{.metadata.generation}"), "4,4,2");
    assert_eq!(c.value("crontab mine", "{.metadata.labels.x}"), "", "status writes nothing else");
    let scale =
        c.kubectl("get crontab mine --subresource=scale -o jsonpath={.kind},{.spec.replicas},{.status.selector}");
    assert_eq!(scale, "Scale,4,a=b");
    let strategic = c.try_kubectl(["patch", "crontab", "mine", "-p", r#"{"spec":{"replicas":2}}"#]);
    assert!(strategic.stderr.contains("application/strategic-merge-patch+json is not supported"), "{strategic:?}");
}

#[test]
fn apply_merges_lists_by_their_keys() {
    let c = with_crontabs();
    let apply = |manager: &str, spec: &str, flags: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let args: Vec<&str> = ["apply", "--server-side", &manager, "-f", "-"].iter().chain(flags).copied().collect();
        c.kubectl_with(&crontab("mine", spec), args)
    };
    let first = apply("one", r#"{cronSpec: "* * * * *", ports: [{name: http, port: 80}]}"#, &[]);
    assert_eq!(first.stdout, "crontab.stable.example.com/mine serverside-applied\n", "{first:?}");
    let second = apply("two", r#"{cronSpec: "* * * * *", ports: [{name: https, port: 443}]}"#, &[]);
    assert_eq!(second.code, 0, "{second:?}");
    assert_eq!(c.value("crontab mine", "{.spec.ports[*].name}"), "http https");
    let conflict = apply("two", r#"{cronSpec: "1 * * * *", ports: [{name: http, port: 81}]}"#, &[]);
    assert!(conflict.stderr.contains(".spec.cronSpec"), "{conflict:?}");
    assert!(conflict.stderr.contains(r#".spec.ports[name="http"].port"#), "{conflict:?}");
    let forced = apply("two", r#"{cronSpec: "1 * * * *", ports: [{name: http, port: 81}]}"#, &["--force-conflicts"]);
    assert_eq!(forced.code, 0, "{forced:?}");
    assert_eq!(c.value("crontab mine", "{.spec.ports}"), r#"[{"name":"http","port":81}]"#);
}

#[test]
fn objects_and_definitions_go_as_all_others_go() {
    let c = with_crontabs();
    c.kubectl("create namespace team");
    c.kubectl_with(&crontab("mine", FINE), ["apply", "-n", "team", "-f", "-"]);
    c.apply(&crontab("owner", FINE));
    let uid = c.value("crontab owner", "{.metadata.uid}");
    let owned = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: owned, ownerReferences: [{{apiVersion: \
         stable.example.com/v1, kind: CronTab, name: owner, uid: {uid}}}]}}\n"
    );
    c.apply(&owned);
    c.kubectl("delete crontab owner");
    c.eventually("get configmap owned --ignore-not-found -o name", str::is_empty);
    c.kubectl("delete namespace team --timeout=60s");

    c.apply(&crontab("held", FINE));
    let finalizer =
        ["patch", "crontab", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":["example.com/hold"]}}"#];
    assert_eq!(c.try_kubectl(finalizer).code, 0);
    c.kubectl(&format!("delete crd {NAME} --wait=false"));
    c.eventually(
        &format!("get crd {NAME} -o jsonpath={{.status.conditions[?(@.type==\"Terminating\")].status}}"),
        |s| s == "True",
    );
    let late = create(&c, &crontab("late", FINE), &[]);
    assert_ne!(late.code, 0, "nothing new while the definition goes");
    let release = ["patch", "crontab", "held", "--type=merge", "-p", r#"{"metadata":{"finalizers":null}}"#];
    assert_eq!(c.try_kubectl(release).code, 0);
    c.eventually("get crd -o name", str::is_empty);
    // kubectl may still remember that there were such objects, or not.
    let gone = c.kubectl_fails("get crontabs");
    assert!(
        gone.contains("could not find the requested resource") || gone.contains("doesn't have a resource type"),
        "{gone}"
    );
}

#[test]
fn what_is_not_built_or_makes_no_sense_is_refused() {
    let c = Cluster::up(&[]);
    let manifest = std::fs::read_to_string(CRONTAB).expect("the manifest is there");
    for (from, to, why) in [
        (
            "color: {type: string, enum: [red, green]}",
            "color: {type: strin}",
            "spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[color].type: Unsupported value: \"strin\"",
        ),
        (
            "image: {type: string}",
            "image: {type: string, x-kubernetes-validations: [{rule: self != ''}]}",
            "x-kubernetes-validations: Forbidden: rules in CEL are not built into this server yet",
        ),
        (
            "image: {type: string}",
            "image: {}",
            "properties[image].type: Required value: must not be empty for specified object fields",
        ),
        (
            "image: {type: string}",
            "image: {type: string, pattern: '('}",
            "must be a valid regular expression, but isn't: error parsing regexp",
        ),
        ("default: 1}", "default: 0}", "properties[replicas].default: Invalid value: 0: spec.versions[0]"),
        ("storage: false", "storage: true", "must have exactly one version marked as storage version"),
        (
            "  scope: Namespaced",
            "  scope: Namespaced\n  conversion: {strategy: Webhook}",
            "spec.conversion.strategy: Forbidden: conversion by webhook is not built into this server yet",
        ),
        (
            "kind: CronTab,",
            "kind: Cron_Tab,",
            "spec.names.kind: Invalid value: \"Cron_Tab\": may have mixed case, but should otherwise match",
        ),
        ("  name: crontabs.stable", "  name: tabs.stable", "must be spec.names.plural+\".\"+spec.group"),
    ] {
        assert!(manifest.contains(from), "{from}");
        let said = c.kubectl_with(&manifest.replace(from, to), ["create", "-f", "-"]);
        assert!(said.code != 0 && said.stderr.contains(why), "{why} is not in\n{}", said.stderr);
    }
    assert_eq!(c.kubectl("get crd -o name"), "");
}
