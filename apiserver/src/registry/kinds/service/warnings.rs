//! Advice about Services: fields that have no effect beside others, or will go away.

use gantry_machinery::value::Value;

use crate::registry::validate::view::Held;

/// The warnings for a Service, new or changed.
pub(super) fn warnings(service: &Value) -> Vec<String> {
    let mut found = Vec::new();
    let field = |name: &str| service.at(&["spec", name]);
    if service.at(&["metadata", "annotations", "service.kubernetes.io/topology-aware-hints"]).is_some() {
        found.push(
            "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use \
             service.kubernetes.io/topology-mode instead"
                .to_owned(),
        );
    }
    let kind = field("type").text();
    let named = kind == "ExternalName";
    let headless = matches!(kind, "" | "ClusterIP") && field("clusterIP").text() == "None";
    let external = !field("externalIPs").items().is_empty();
    if headless {
        let affinity = field("sessionAffinity").text();
        for (ignored, what) in [
            (!field("loadBalancerIP").text().is_empty(), "spec.loadBalancerIP"),
            (external, "spec.externalIPs"),
            (!matches!(affinity, "" | "None"), "spec.SessionAffinity"),
        ] {
            if ignored {
                found.push(format!("{what} is ignored for headless services"));
            }
        }
    }
    if external && !headless && !named {
        found.push("spec.externalIPs is deprecated and may no longer be implemented in some clusters".to_owned());
    }
    if named && external {
        found.push("spec.externalIPs is ignored when spec.type is \"ExternalName\"".to_owned());
    }
    if !named && !field("externalName").text().is_empty() {
        found.push("spec.externalName is ignored when spec.type is not \"ExternalName\"".to_owned());
    }
    if field("trafficDistribution").text() == "PreferClose" {
        found.push("spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\"".to_owned());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use gantry_machinery::value;

    #[test]
    fn what_has_no_effect_is_told() {
        for (spec, expected) in [
            (value!({"type": "ClusterIP", "clusterIP": "10.0.0.1"}), vec![]),
            (
                value!({"clusterIP": "None", "sessionAffinity": "ClientIP", "externalIPs": ["1.2.3.4"]}),
                vec![
                    "spec.externalIPs is ignored for headless services",
                    "spec.SessionAffinity is ignored for headless services",
                ],
            ),
            (
                value!({"clusterIP": "10.0.0.1", "externalIPs": ["1.2.3.4"], "externalName": "x.example"}),
                vec![
                    "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
                    "spec.externalName is ignored when spec.type is not \"ExternalName\"",
                ],
            ),
            (
                value!({"clusterIP": "10.0.0.1", "trafficDistribution": "PreferClose"}),
                vec!["spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""],
            ),
        ] {
            assert_eq!(warnings(&value!({"spec": (spec.clone())})), expected, "{spec:?}");
        }
    }
}
