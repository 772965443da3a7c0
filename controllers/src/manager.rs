//! Starts and stops the loops: which ones run is said as upstream's `--controllers` says it.

use std::sync::Arc;
use std::time::Duration;

use gantry_machinery::clock::Clock;
use gantry_machinery::resource::Resource;
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::cleanup::garbage_collector::GarbageCollector;
use crate::cleanup::namespace::Namespaces;
use crate::cleanup::pod_gc::PodGc;
use crate::devices::claims::ResourceClaims;
use crate::nodes::lifecycle::NodeLifecycle;
use crate::nodes::taint_eviction::TaintEviction;
use crate::policy::disruption::Disruption;
use crate::policy::resource_quota::ResourceQuotas;
use crate::policy::root_ca::RootCa;
use crate::policy::service_account::ServiceAccounts;
use crate::runtime::figures::Figures;
use crate::runtime::informers::Informers;
use crate::runtime::reconcile::{Reconcile, run};
use crate::services::endpoint_slice::EndpointSlices;
use crate::services::endpoints::EndpointsLoop;
use crate::storage::binder::Binder;
use crate::storage::ephemeral::EphemeralVolumes;
use crate::storage::protection::{ClaimProtection, VolumeProtection};
use crate::workloads::deployment::Deployments;
use crate::workloads::replicaset::ReplicaSets;

/// How the loops run. The defaults are upstream's.
#[derive(Clone, Debug)]
pub struct ManagerConfig {
    /// Which loops: names, `*` for all, `-name` for all but that one (`--controllers`).
    pub controllers: String,
    /// What the API serves: what namespaces are emptied of, quotas count and the garbage collector follows.
    pub resources: Vec<Resource>,
    /// The PEM bundle that `kube-root-ca.crt` publishes; empty publishes nothing.
    pub root_ca: String,
    /// Ended pods kept (`--terminated-pod-gc-threshold`).
    pub ended_pods_max: usize,
    /// How long a node may be silent before it is unknown (`--node-monitor-grace-period`).
    pub node_grace: Duration,
    /// Nodes per second and zone whose pods may be evicted (`--node-eviction-rate`).
    pub node_eviction_rate: f64,
    /// What time it is.
    pub clock: Clock,
    /// Where the loops' figures are gathered.
    pub figures: Arc<Figures>,
}

impl Default for ManagerConfig {
    fn default() -> Self {
        Self {
            controllers: "*".to_owned(),
            resources: Vec::new(),
            root_ca: String::new(),
            ended_pods_max: 12_500,
            node_grace: Duration::from_secs(50),
            node_eviction_rate: 0.1,
            clock: Clock::System,
            figures: Arc::default(),
        }
    }
}

/// `--controllers` names a loop that does not exist.
#[derive(Debug, thiserror::Error)]
#[error("{name:?} is not in the list of known controllers: {}", NAMES.join(", "))]
pub struct UnknownController {
    /// The name.
    pub name: String,
}

/// The loops there are, by their upstream names.
pub const NAMES: &[&str] = &[
    "deployment-controller",
    "replicaset-controller",
    "namespace-controller",
    "serviceaccount-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "pod-garbage-collector-controller",
    "node-lifecycle-controller",
    "taint-eviction-controller",
    "endpointslice-controller",
    "endpoints-controller",
    "disruption-controller",
    "resourcequota-controller",
    "persistentvolume-binder-controller",
    "persistentvolumeclaim-protection-controller",
    "persistentvolume-protection-controller",
    "ephemeral-volume-controller",
    "resourceclaim-controller",
];

/// Starts loops.
pub struct Manager;

impl Manager {
    /// Starts the loops that `config` asks for over one set of informers.
    ///
    /// # Errors
    /// When it names a loop that does not exist; nothing is started then.
    pub fn start(api: Arc<dyn ResourceApi>, config: &ManagerConfig) -> Result<Running, UnknownController> {
        Self::start_until(api, config, &CancellationToken::new())
    }

    /// The same, stopping when `stop` says so, too: for a leader that may lose its lead.
    ///
    /// # Errors
    /// When it names a loop that does not exist; nothing is started then.
    pub fn start_until(
        api: Arc<dyn ResourceApi>,
        config: &ManagerConfig,
        stop: &CancellationToken,
    ) -> Result<Running, UnknownController> {
        let chosen = choose(&config.controllers)?;
        let (tasks, stop) = (TaskTracker::new(), stop.child_token());
        let informers = Informers::new(api, config.clock, tasks.clone(), stop.clone());
        for name in chosen {
            let Some((looped, workers)) = make(name, &informers, config) else { continue };
            config.figures.add_loop(looped.clone());
            config.figures.add(name, run(looped, workers, &tasks, stop.clone()));
            tracing::debug!(looped = name, workers, "started");
        }
        tasks.close();
        Ok(Running { tasks, stop, informers })
    }
}

/// Running loops. Dropping it lets them run on; [`stop`](Self::stop) ends them.
pub struct Running {
    tasks: TaskTracker,
    stop: CancellationToken,
    informers: Arc<Informers>,
}

impl Running {
    /// The informers, to share with other loops of this process.
    #[must_use]
    pub fn informers(&self) -> &Arc<Informers> {
        &self.informers
    }

    /// Stops all loops; rounds under way are finished first.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
    }

    /// Waits until all loops have stopped: by the token they were started with.
    pub async fn stopped(&self) {
        self.tasks.wait().await;
    }
}

/// A loop by name, with upstream's number of workers; `None` where the config leaves it nothing to do.
fn make(name: &str, informers: &Arc<Informers>, config: &ManagerConfig) -> Option<(Arc<dyn Reconcile>, usize)> {
    Some(match name {
        "deployment-controller" => (Deployments::new(informers), 5),
        "replicaset-controller" => (ReplicaSets::new(informers), 5),
        "namespace-controller" => (Namespaces::new(informers, &config.resources), 10),
        "serviceaccount-controller" => (ServiceAccounts::new(informers), 1),
        "root-ca-certificate-publisher-controller" if config.root_ca.is_empty() => return None,
        "root-ca-certificate-publisher-controller" => (RootCa::new(informers, config.root_ca.clone()), 1),
        "garbage-collector-controller" => (GarbageCollector::new(informers, &config.resources), 20),
        "pod-garbage-collector-controller" => (PodGc::new(informers, config.ended_pods_max), 1),
        "node-lifecycle-controller" => (NodeLifecycle::new(informers, config.node_grace, config.node_eviction_rate), 1),
        "taint-eviction-controller" => (TaintEviction::new(informers), 8),
        "endpointslice-controller" => (EndpointSlices::new(informers), 5),
        "endpoints-controller" => (EndpointsLoop::new(informers), 5),
        "disruption-controller" => (Disruption::new(informers), 1),
        "resourcequota-controller" => (ResourceQuotas::new(informers, &config.resources), 5),
        "persistentvolume-binder-controller" => (Binder::new(informers), 1),
        "persistentvolumeclaim-protection-controller" => (ClaimProtection::new(informers), 1),
        "persistentvolume-protection-controller" => (VolumeProtection::new(informers), 1),
        "ephemeral-volume-controller" => (EphemeralVolumes::new(informers), 5),
        "resourceclaim-controller" => (ResourceClaims::new(informers), 50),
        _ => return None,
    })
}

fn choose(controllers: &str) -> Result<Vec<&'static str>, UnknownController> {
    let parts: Vec<&str> = controllers.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
    for part in &parts {
        let name = part.strip_prefix('-').unwrap_or(part);
        if name != "*" && !NAMES.contains(&name) {
            return Err(UnknownController { name: name.to_owned() });
        }
    }
    let wanted = |name: &str| {
        let named = parts.contains(&name);
        let refused = parts.iter().any(|part| part.strip_prefix('-') == Some(name));
        named || (!refused && parts.contains(&"*"))
    };
    Ok(NAMES.iter().copied().filter(|name| wanted(name)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_are_chosen_as_upstream_chooses_them() {
        assert_eq!(choose("*").unwrap(), NAMES);
        let some = choose("*,-deployment-controller").unwrap();
        assert!(!some.contains(&"deployment-controller") && some.len() == NAMES.len() - 1);
        assert_eq!(choose("namespace-controller").unwrap(), ["namespace-controller"]);
        assert!(choose("").unwrap().is_empty());
        assert_eq!(choose("*,-nonsense").unwrap_err().name, "nonsense");
    }
}
