//! Makes `src/bootstrap/rbac.policy` anew from the facts about a fresh cluster's roles:
//! `cargo run -p gantry-apiserver --example condense_rbac -- <kubernetes-data>/bootstrap-rbac > .../rbac.policy`.
//! The format is described in `src/bootstrap/policy.rs`, which reads it.

use std::io::Write;

use serde_json::Value;

fn main() {
    let dir = std::env::args().nth(1).expect("the first argument names the folder with the facts");
    let mut out = String::from(
        "# The roles and bindings of a fresh cluster, made by `examples/condense_rbac.rs`; `policy.rs` tells how to read it.\n",
    );
    for file in [
        "cluster-roles",
        "controller-roles",
        "cluster-role-bindings",
        "controller-role-bindings",
        "namespace-roles",
        "namespace-role-bindings",
    ] {
        let text = std::fs::read_to_string(format!("{dir}/{file}.yaml")).expect("the facts can be read");
        let list: Value = serde_saphyr::from_str(&text).expect("the facts are YAML");
        for item in list["items"].as_array().expect("the facts are a list") {
            // A vendor's patch that upstream itself does not have.
            if item["metadata"]["name"].as_str().is_some_and(|name| name.starts_with("system:openshift:")) {
                continue;
            }
            condense(item, &mut out);
        }
    }
    std::io::stdout().write_all(out.as_bytes()).expect("the table can be written");
}

fn condense(item: &Value, out: &mut String) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &item["metadata"];
    let name = match &metadata["namespace"] {
        Value::String(namespace) => format!("{namespace}/{}", text(&metadata["name"])),
        _ => text(&metadata["name"]),
    };
    if item["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
        let role = &item["roleRef"];
        out.push_str(&format!("bind {name} to {}", text(&role["kind"])));
        out.push_str(&format!(" {} for", text(&role["name"])));
        for subject in item["subjects"].as_array().into_iter().flatten() {
            let name = match &subject["namespace"] {
                Value::String(namespace) => format!("{namespace}/{}", text(&subject["name"])),
                _ => text(&subject["name"]),
            };
            out.push_str(&format!(" {}:{name}", text(&subject["kind"])));
        }
        out.push('\n');
        return;
    }
    out.push_str(&format!("role {name}"));
    const AGGREGATE: &str = "rbac.authorization.k8s.io/aggregate-to-";
    for (key, _) in metadata["labels"].as_object().into_iter().flatten() {
        if let Some(to) = key.strip_prefix(AGGREGATE) {
            out.push_str(&format!(" into:{to}"));
        }
    }
    for selector in item["aggregationRule"]["clusterRoleSelectors"].as_array().into_iter().flatten() {
        for (key, _) in selector["matchLabels"].as_object().into_iter().flatten() {
            out.push_str(&format!(" from:{}", key.strip_prefix(AGGREGATE).expect("roles aggregate by these labels")));
        }
    }
    out.push('\n');
    for rule in item["rules"].as_array().into_iter().flatten() {
        let join = |key: &str| {
            let items = rule[key].as_array().into_iter().flatten();
            items.map(|item| if item == "" { "core".to_owned() } else { text(item) }).collect::<Vec<_>>().join(",")
        };
        if rule["nonResourceURLs"].is_array() {
            out.push_str(&format!("  {} {}\n", join("verbs"), join("nonResourceURLs")));
        } else {
            out.push_str(&format!("  {} {} {}", join("verbs"), join("apiGroups"), join("resources")));
            if rule["resourceNames"].is_array() {
                out.push_str(&format!(" {}", join("resourceNames")));
            }
            out.push('\n');
        }
    }
}
