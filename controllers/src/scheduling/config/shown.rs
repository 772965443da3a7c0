//! The configuration in force, as `/configz` shows it: upstream's fields and names, every set and argument written out.

use gantry_scheduler_core::profile::{Plugin, PluginSet, Profile, SpreadDefaults};
use gantry_scheduler_core::score::allocation::Kind;
use serde_json::{Value, json};

use super::{Configuration, VERSION};

impl Configuration {
    /// The configuration as an object of `kubescheduler.config.k8s.io/v1`.
    #[must_use]
    pub fn shown(&self) -> Value {
        let seconds = |time: std::time::Duration| format!("{}s", time.as_secs_f64());
        let extenders = self.extenders.iter().map(|extender| {
            json!({
                "urlPrefix": extender.url_prefix,
                "filterVerb": extender.filter_verb,
                "preemptVerb": extender.preempt_verb,
                "prioritizeVerb": extender.prioritize_verb,
                "bindVerb": extender.bind_verb,
                "weight": extender.weight,
                "enableHTTPS": extender.tls.is_some(),
                "httpTimeout": seconds(extender.timeout),
                "nodeCacheCapable": extender.node_cache_capable,
                "managedResources": extender.managed_resources.iter().map(|resource| json!({
                    "name": resource.name, "ignoredByScheduler": resource.ignored_by_scheduler,
                })).collect::<Vec<Value>>(),
                "ignorable": extender.ignorable,
            })
        });
        json!({
            "apiVersion": VERSION,
            "kind": "KubeSchedulerConfiguration",
            "leaderElection": {
                "leaderElect": self.leader_elect,
                "leaseDuration": seconds(self.lease.duration),
                "renewDeadline": seconds(self.lease.renew_deadline),
                "retryPeriod": seconds(self.lease.retry),
                "resourceLock": "leases",
                "resourceName": self.lease.name,
                "resourceNamespace": "kube-system",
            },
            "percentageOfNodesToScore": 100,
            "podInitialBackoffSeconds": self.backoff_first.as_secs(),
            "podMaxBackoffSeconds": self.backoff_max.as_secs(),
            "profiles": self.profiles.iter().map(profile).collect::<Vec<Value>>(),
            "extenders": extenders.collect::<Vec<Value>>(),
        })
    }
}

fn profile(profile: &Profile) -> Value {
    let names = |set: PluginSet| {
        let plugins = Plugin::ALL.into_iter().filter(|plugin| set.has(*plugin));
        json!({"enabled": plugins.map(|plugin| json!({"name": plugin.name()})).collect::<Vec<Value>>()})
    };
    let scoring = Plugin::ALL.into_iter().filter(|plugin| profile.weights.of(*plugin) > 0);
    let score = scoring.map(|plugin| json!({"name": plugin.name(), "weight": profile.weights.of(plugin)}));
    let resources = profile.fit.resources.iter().map(|(name, weight)| json!({"name": name, "weight": weight}));
    let mut strategy = json!({"resources": resources.collect::<Vec<Value>>()});
    strategy["type"] = match &profile.fit.kind {
        Kind::LeastAllocated => "LeastAllocated".into(),
        Kind::MostAllocated => "MostAllocated".into(),
        Kind::RequestedToCapacityRatio(points) => {
            let points = points.iter().map(|(at, score)| json!({"utilization": at, "score": score / 10}));
            strategy["requestedToCapacityRatio"] = json!({"shape": points.collect::<Vec<Value>>()});
            "RequestedToCapacityRatio".into()
        }
    };
    let (defaulting, constraints) = match &profile.spread_defaults {
        SpreadDefaults::System => ("System", Vec::new()),
        SpreadDefaults::List(list) => ("List", list.iter().map(constraint).collect()),
    };
    json!({
        "schedulerName": profile.name,
        "plugins": {
            "preEnqueue": names(profile.pre_enqueue),
            "filter": names(profile.filters),
            "postFilter": names(profile.post_filters),
            "score": {"enabled": score.collect::<Vec<Value>>()},
        },
        "pluginConfig": [
            {"name": "DefaultPreemption", "args": {
                "minCandidateNodesPercentage": profile.min_candidate_nodes_percentage,
                "minCandidateNodesAbsolute": profile.min_candidate_nodes_absolute,
            }},
            {"name": "InterPodAffinity", "args": {
                "hardPodAffinityWeight": profile.hard_pod_affinity_weight,
                "ignorePreferredTermsOfExistingPods": profile.ignore_preferred_terms_of_existing_pods,
            }},
            {"name": "NodeResourcesFit", "args": {
                "ignoredResources": profile.ignored_resources,
                "ignoredResourceGroups": profile.ignored_resource_groups,
                "scoringStrategy": strategy,
            }},
            {"name": "NodeResourcesBalancedAllocation", "args": {
                "resources": profile.balanced.iter().map(|name| json!({"name": name, "weight": 1})).collect::<Vec<Value>>(),
            }},
            {"name": "PodTopologySpread", "args": {
                "defaultingType": defaulting,
                "defaultConstraints": constraints,
            }},
        ],
    })
}

fn constraint(constraint: &gantry_scheduler_core::rows::SpreadConstraint) -> Value {
    json!({
        "maxSkew": constraint.max_skew,
        "topologyKey": constraint.topology_key,
        "whenUnsatisfiable": if constraint.hard { "DoNotSchedule" } else { "ScheduleAnyway" },
    })
}
