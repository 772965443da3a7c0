//! Every check by what it says of a pod that breaks it, and of one that does not.

use gantry_machinery::codec::json;
use gantry_machinery::value::Value;

use super::super::pod::Pod;
use super::super::policy::{Level, Standard, Version};
use super::{details, reasons, violations};

fn told(pod: &str, level: Level, version: Version) -> String {
    let pod: Value = json::parse(pod.as_bytes()).unwrap();
    details(&violations(&Pod::of(&pod), Standard { level, version }))
}

/// A pod that the restricted standard lets in, with more in its spec and its container.
fn hardened(spec: &str, container: &str) -> String {
    format!(
        r#"{{"spec":{{"containers":[{{"name":"c"{container},"securityContext":{{"allowPrivilegeEscalation":false,
        "runAsNonRoot":true,"capabilities":{{"drop":["ALL"]}},"seccompProfile":{{"type":"RuntimeDefault"}}}}}}]{spec}}}}}"#
    )
}

#[test]
fn every_baseline_rule_says_what_breaks_it() {
    let security =
        |context: &str| format!(r#"{{"spec":{{"containers":[{{"name":"a","securityContext":{context}}}]}}}}"#);
    let of_pod = |spec: &str| format!(r#"{{"spec":{{"containers":[{{"name":"a"}}],{spec}}}}}"#);
    let cases = [
        (security(r#"{"privileged":true}"#), r#"privileged (container "a" must not set securityContext.privileged=true)"#),
        (
            security(r#"{"capabilities":{"add":["SYS_TIME","CHOWN","NET_ADMIN"]}}"#),
            r#"non-default capabilities (container "a" must not include "NET_ADMIN", "SYS_TIME" in securityContext.capabilities.add)"#,
        ),
        (
            security(r#"{"procMount":"Unmasked"}"#),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            security(r#"{"seccompProfile":{"type":"Unconfined"}}"#),
            r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            security(r#"{"seLinuxOptions":{"type":"x","user":"u"}}"#),
            r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "x"; user may not be set)"#,
        ),
        (
            security(r#"{"appArmorProfile":{"type":"Unconfined"}}"#),
            r#"forbidden AppArmor profile (container "a" must not set AppArmor profile type to "Unconfined")"#,
        ),
        (
            of_pod(r#""securityContext":{"windowsOptions":{"hostProcess":true}}"#),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            of_pod(r#""hostNetwork":true,"hostIPC":true,"hostPID":false"#),
            "host namespaces (hostNetwork=true, hostIPC=true)",
        ),
        (
            of_pod(r#""volumes":[{"name":"v","hostPath":{"path":"/"}},{"name":"w","hostPath":{"path":"/"}}]"#),
            r#"hostPath volumes (volumes "v", "w")"#,
        ),
        (
            of_pod(r#""securityContext":{"sysctls":[{"name":"kernel.msgmax"},{"name":"net.ipv4.tcp_rmem"}]}"#),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            r#"{"spec":{"containers":[{"name":"a","ports":[{"hostPort":80}]},{"name":"b","ports":[{"hostPort":81}]}]}}"#
                .to_owned(),
            r#"hostPort (containers "a", "b" use hostPorts 80, 81)"#,
        ),
        (
            r#"{"spec":{"containers":[{"name":"a","livenessProbe":{"httpGet":{"host":"h"}}}]}}"#.to_owned(),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle host "h")"#,
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(told(&pod, Level::Baseline, Version::Latest), expected);
        assert_eq!(told(&pod, Level::Privileged, Version::Latest), "");
    }
    assert_eq!(told(&of_pod(r#""restartPolicy":"Never""#), Level::Baseline, Version::Latest), "");
}

#[test]
fn the_restricted_level_asks_for_more_and_is_silent_where_it_is_given() {
    assert_eq!(
        told(r#"{"spec":{"containers":[{"name":"c"}]}}"#, Level::Restricted, Version::Latest),
        "allowPrivilegeEscalation != false (container \"c\" must set securityContext.allowPrivilegeEscalation=false), \
         unrestricted capabilities (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), \
         runAsNonRoot != true (pod or container \"c\" must set securityContext.runAsNonRoot=true), \
         seccompProfile (pod or container \"c\" must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \
         \"Localhost\")"
    );
    assert_eq!(told(&hardened("", ""), Level::Restricted, Version::Latest), "");
    assert_eq!(
        told(
            &hardened(
                r#","volumes":[{"name":"a","emptyDir":{}},{"name":"b","nfs":{}}],"securityContext":{"runAsUser":0}"#,
                ""
            ),
            Level::Restricted,
            Version::Latest
        ),
        "restricted volume types (volume \"b\" uses restricted volume type \"nfs\"), runAsUser=0 (pod must not set \
         runAsUser=0)"
    );
    // A baseline rule that a stricter one takes the place of is not spoken of twice.
    let unconfined = r#"{"spec":{"securityContext":{"seccompProfile":{"type":"Unconfined"}},"containers":[]}}"#;
    assert_eq!(told(unconfined, Level::Restricted, Version::Latest).matches("seccompProfile (").count(), 1);
}

#[test]
fn rules_are_named_in_upstreams_order_and_once() {
    let pod = r#"{"spec":{"hostNetwork":true,"volumes":[{"name":"v","hostPath":{"path":"/"}}],
        "containers":[{"name":"a","securityContext":{"privileged":true,"procMount":"Unmasked",
            "capabilities":{"add":["NET_ADMIN"]}}}]}}"#;
    let named = |level, version| -> Vec<String> {
        let pod: Value = json::parse(pod.as_bytes()).unwrap();
        let reasons = reasons(&violations(&Pod::of(&pod), Standard { level, version }));
        reasons.split(", ").map(str::to_owned).collect()
    };
    assert_eq!(
        named(Level::Baseline, Version::Latest),
        ["non-default capabilities", "host namespaces", "hostPath volumes", "privileged", "procMount"]
    );
    assert_eq!(
        named(Level::Restricted, Version::Latest),
        [
            "host namespaces",
            "privileged",
            "allowPrivilegeEscalation != false",
            "unrestricted capabilities",
            "procMount",
            "restricted volume types",
            "runAsNonRoot != true",
            "seccompProfile",
        ]
    );
    // What has no stricter rule yet in an old standard keeps the baseline's.
    let old = named(Level::Restricted, Version::Minor(7));
    assert_eq!(old[..3], ["non-default capabilities", "host namespaces", "privileged"]);
}

#[test]
fn older_standards_ask_what_they_asked() {
    let probe = r#"{"spec":{"containers":[{"name":"a","livenessProbe":{"httpGet":{"host":"h"}}}]}}"#;
    assert_eq!(told(probe, Level::Baseline, Version::Minor(33)), "");
    let root = hardened(r#","securityContext":{"runAsUser":0}"#, "");
    assert_eq!(told(&root, Level::Restricted, Version::Minor(22)), "");
    assert_ne!(told(&root, Level::Restricted, Version::Minor(23)), "");
    let own_users =
        r#"{"spec":{"hostUsers":false,"containers":[{"name":"a","securityContext":{"procMount":"Unmasked"}}]}}"#;
    assert_eq!(told(own_users, Level::Baseline, Version::Latest), "");
    assert_ne!(told(own_users, Level::Baseline, Version::Minor(34)), "");
    let annotated = r#"{"metadata":{"annotations":{"seccomp.security.alpha.kubernetes.io/pod":"unconfined"}},
        "spec":{"containers":[]}}"#;
    assert_eq!(
        told(annotated, Level::Baseline, Version::Minor(18)),
        "seccompProfile (forbidden annotation seccomp.security.alpha.kubernetes.io/pod=\"unconfined\")"
    );
    assert_eq!(told(annotated, Level::Baseline, Version::Latest), "");
}
