//! `/metrics/resources`: what every running or waiting pod requests and is limited to (upstream's
//! `kube_pod_resource_request` and `kube_pod_resource_limit`, KEP-1748). Made from one list of the pods when asked for,
//! so it costs nothing in between.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use gantry_machinery::resource::gvr;
use gantry_machinery::resource_api::{Collection, ListOptions, ResourceApi};
use gantry_machinery::status::Status;
use gantry_scheduler_core::rows::amounts::milli;
use serde::Deserialize;

/// The page.
///
/// # Errors
/// The pods cannot be listed.
pub async fn text(api: Arc<dyn ResourceApi>) -> Result<String, Status> {
    let pods = Collection { resource: &gvr::PODS, namespace: "" };
    let listed = api.list(&pods, &ListOptions::default()).await?;
    let mut lines: [Vec<String>; 2] = [Vec::new(), Vec::new()];
    for object in &listed.items {
        let Ok(pod) = serde_json::from_slice::<Pod>(&object.body) else { continue };
        if matches!(pod.status.phase.as_str(), "Succeeded" | "Failed") {
            continue;
        }
        let amounts = [pod.amounts(|resources| &resources.requests), pod.amounts(|resources| &resources.limits)];
        for (lines, amounts) in lines.iter_mut().zip(amounts) {
            lines.extend(amounts.iter().filter(|(_, milli)| **milli > 0).map(|(name, milli)| pod.line(name, *milli)));
        }
    }
    let mut out = String::new();
    for (name, help, lines) in [
        ("kube_pod_resource_limit", "Resources limit for workloads on the cluster, broken down by pod.", &lines[1]),
        (
            "kube_pod_resource_request",
            "Resources requested by workloads on the cluster, broken down by pod.",
            &lines[0],
        ),
    ] {
        let _ = writeln!(out, "# HELP {name} [STABLE] {help}\n# TYPE {name} gauge");
        for line in lines {
            let _ = writeln!(out, "{name}{line}");
        }
    }
    Ok(out)
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Pod {
    metadata: Meta,
    spec: Spec,
    status: Phase,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Meta {
    name: String,
    namespace: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    node_name: String,
    scheduler_name: String,
    priority: Option<i32>,
    containers: Vec<Container>,
    init_containers: Vec<Container>,
    resources: Option<Resources>,
    overhead: BTreeMap<String, String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Phase {
    phase: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Container {
    resources: Resources,
    restart_policy: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    requests: BTreeMap<String, String>,
    limits: BTreeMap<String, String>,
}

/// Amounts in thousandths, by resource.
type Amounts = BTreeMap<String, i64>;

impl Pod {
    /// What the pod asks for altogether: containers and sidecars at once, or the greediest init container with the
    /// sidecars before it; what the pod as a whole says comes first, and the overhead on top.
    fn amounts(&self, of: impl Fn(&Resources) -> &BTreeMap<String, String>) -> Amounts {
        let mut sum = Amounts::new();
        let add = |sum: &mut Amounts, resources: &Resources| {
            for (name, quantity) in of(resources) {
                let amount = sum.entry(name.clone()).or_default();
                *amount = amount.saturating_add(milli(quantity));
            }
        };
        self.spec.containers.iter().for_each(|container| add(&mut sum, &container.resources));
        let (mut sidecars, mut most) = (Amounts::new(), Amounts::new());
        for init in &self.spec.init_containers {
            if init.restart_policy.as_deref() == Some("Always") {
                add(&mut sum, &init.resources);
                add(&mut sidecars, &init.resources);
                raise(&mut most, &sidecars);
            } else {
                let mut with = sidecars.clone();
                add(&mut with, &init.resources);
                raise(&mut most, &with);
            }
        }
        raise(&mut sum, &most);
        if let Some(resources) = &self.spec.resources {
            sum.extend(of(resources).iter().map(|(name, quantity)| (name.clone(), milli(quantity))));
        }
        for (name, quantity) in &self.spec.overhead {
            // A limit that is not set stays unlimited.
            if let Some(amount) = sum.get_mut(name) {
                *amount = amount.saturating_add(milli(quantity));
            }
        }
        sum
    }

    fn line(&self, resource: &str, milli: i64) -> String {
        let Meta { name, namespace } = &self.metadata;
        let Spec { node_name, scheduler_name, priority, .. } = &self.spec;
        let priority = priority.map(|priority| priority.to_string()).unwrap_or_default();
        let unit = match resource {
            "cpu" => "cores",
            "memory" | "storage" | "ephemeral-storage" => "bytes",
            _ if resource.starts_with("hugepages-") => "bytes",
            _ if resource.starts_with("attachable-volumes-") => "integer",
            _ => "",
        };
        format!(
            "{{namespace=\"{namespace}\",pod=\"{name}\",node=\"{node_name}\",scheduler=\"{scheduler_name}\",priority=\"{priority}\",resource=\"{resource}\",unit=\"{unit}\"}} {}",
            milli as f64 / 1000.0
        )
    }
}

fn raise(sum: &mut Amounts, least: &Amounts) {
    for (name, amount) in least {
        let sum = sum.entry(name.clone()).or_default();
        *sum = (*sum).max(*amount);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sidecars_count_beside_containers_and_init_containers_by_the_greediest() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "p", "namespace": "d"},
            "spec": {
                "nodeName": "n", "schedulerName": "default-scheduler", "priority": 7,
                "containers": [{"resources": {"requests": {"cpu": "250m", "memory": "1Ki"}}}],
                "initContainers": [
                    {"resources": {"requests": {"cpu": "100m"}}, "restartPolicy": "Always"},
                    {"resources": {"requests": {"cpu": "1"}}},
                ],
                "overhead": {"cpu": "10m"},
            },
        }))
        .expect("a pod");
        let amounts = pod.amounts(|resources| &resources.requests);
        assert_eq!((amounts["cpu"], amounts["memory"]), (1_110, 1_024_000));
        assert_eq!(
            pod.line("cpu", amounts["cpu"]),
            "{namespace=\"d\",pod=\"p\",node=\"n\",scheduler=\"default-scheduler\",priority=\"7\",resource=\"cpu\",unit=\"cores\"} 1.11"
        );
        assert!(pod.amounts(|resources| &resources.limits).is_empty());
    }
}
