//! What the pods of a run ask of the scheduler: the rows of the product's table of figures, as data.
//!
//! [`crate::schedule`] creates them. The shapes are those of upstream's `scheduler_perf`, so that a figure can be laid
//! beside one of upstream's.

use bytes::Bytes;
use clap::ValueEnum;

/// The label that every pod of a run has and that terms about other pods select.
const APP: &str = "gantry-perf";
/// The PriorityClass of pods that others make room for.
pub(crate) const HIGH_PRIORITY: &str = "gantry-perf-high";

/// A kind of pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Workload {
    /// Requests and nothing else
    Plain,
    /// Spread over zones, at most 5 apart (DoNotSchedule)
    ZoneSpread,
    /// In the zone where the others are (required)
    ZoneAffinity,
    /// Never two on one node (required)
    HostAntiAffinity,
    /// Rather in the first zone (preferred)
    PreferredNodeAffinity,
    /// Each must drive a pod of lower priority from a full node; see --fill
    Preemption,
    /// In gangs that are placed whole or not at all; see --gang-size
    Gang,
}

impl Workload {
    /// What stands in the pod's spec beside its container, each with a comma behind it.
    fn terms(self, gang: usize) -> String {
        let selector = format!(r#"{{"matchLabels":{{"app":"{APP}"}}}}"#);
        let pod_term = |key: &str| {
            format!(
                r#"{{"requiredDuringSchedulingIgnoredDuringExecution":[{{"labelSelector":{selector},"topologyKey":"{key}"}}]}}"#
            )
        };
        match self {
            Self::Plain => String::new(),
            Self::ZoneSpread => format!(
                r#""topologySpreadConstraints":[{{"maxSkew":5,"topologyKey":"topology.kubernetes.io/zone","whenUnsatisfiable":"DoNotSchedule","labelSelector":{selector}}}],"#
            ),
            Self::ZoneAffinity => {
                format!(r#""affinity":{{"podAffinity":{}}},"#, pod_term("topology.kubernetes.io/zone"))
            }
            Self::HostAntiAffinity => {
                format!(r#""affinity":{{"podAntiAffinity":{}}},"#, pod_term("kubernetes.io/hostname"))
            }
            Self::PreferredNodeAffinity => concat!(
                r#""affinity":{"nodeAffinity":{"preferredDuringSchedulingIgnoredDuringExecution":[{"weight":1,"preference":"#,
                r#"{"matchExpressions":[{"key":"topology.kubernetes.io/zone","operator":"In","values":["zone-0"]}]}}]}},"#,
            )
            .to_owned(),
            Self::Preemption => format!(r#""priorityClassName":"{HIGH_PRIORITY}","#),
            Self::Gang => format!(r#""schedulingGroup":{{"podGroupName":"{}"}},"#, gang_name(gang)),
        }
    }

    /// A pod of this kind; `gang` is the number of its gang, if the kind has gangs.
    pub(crate) fn pod(self, name: &str, cpu: &str, memory: &str, gang: usize) -> Bytes {
        let terms = self.terms(gang);
        format!(
            r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"{APP}"}}}},"spec":{{{terms}"containers":[{{"name":"c","image":"registry.k8s.io/pause:3.10","resources":{{"requests":{{"cpu":"{cpu}","memory":"{memory}"}}}}}}]}}}}"#
        )
        .into()
    }
}

fn gang_name(gang: usize) -> String {
    format!("{APP}-{gang}")
}

/// The PodGroup of a gang.
pub(crate) fn pod_group(gang: usize, min_count: usize) -> Bytes {
    let name = gang_name(gang);
    format!(
        r#"{{"apiVersion":"scheduling.k8s.io/v1alpha2","kind":"PodGroup","metadata":{{"name":"{name}"}},"spec":{{"schedulingPolicy":{{"gang":{{"minCount":{min_count}}}}}}}}}"#
    )
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_workload_is_a_pod_with_its_terms() {
        for (workload, pointer) in [
            (Workload::Plain, "/spec/containers/0/name"),
            (Workload::ZoneSpread, "/spec/topologySpreadConstraints/0/labelSelector/matchLabels/app"),
            (Workload::ZoneAffinity, "/spec/affinity/podAffinity/requiredDuringSchedulingIgnoredDuringExecution/0"),
            (
                Workload::HostAntiAffinity,
                "/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution/0/topologyKey",
            ),
            (
                Workload::PreferredNodeAffinity,
                "/spec/affinity/nodeAffinity/preferredDuringSchedulingIgnoredDuringExecution/0/weight",
            ),
            (Workload::Preemption, "/spec/priorityClassName"),
            (Workload::Gang, "/spec/schedulingGroup/podGroupName"),
        ] {
            let pod: serde_json::Value = serde_json::from_slice(&workload.pod("p", "1", "1Gi", 0)).expect("valid JSON");
            assert_eq!(pod["metadata"]["labels"]["app"], APP);
            assert!(pod.pointer(pointer).is_some(), "{workload:?}: {pod}");
        }
    }
}
