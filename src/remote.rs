//! The loops: the scheduler, the controllers and the nodes, on whatever `ResourceApi` they are given. `up` gives them the
//! registry of this process; the roles here give them a client of the API server that a kubeconfig names.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gantry_controllers::manager::{self, Manager, ManagerConfig};
use gantry_controllers::runtime::figures::Figures;
use gantry_controllers::runtime::leader::{LeaderConfig, lead};
use gantry_controllers::scheduling::config::Configuration;
use gantry_controllers::scheduling::metrics::Metrics;
use gantry_controllers::scheduling::{self, SchedulingOptions};
use gantry_kubelet::fleet::{Fleet, FleetConfig};
use gantry_machinery::client::Client;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource::{self, Resource};
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::component::{self, Standing};
use crate::flags::{ControllerManager, Controllers, Kubelet, Nodes, Scheduler, Scheduling};
use crate::serve::runtime;
use crate::signals::Signals;
use crate::{log, say};

/// The scheduler's configuration: the file's, or the default one.
pub(crate) fn configuration(flags: &Scheduling) -> anyhow::Result<Configuration> {
    let Some(path) = &flags.config else { return Ok(Configuration::default()) };
    let read = || -> anyhow::Result<Configuration> { Ok(Configuration::read(&std::fs::read(path)?)?) };
    let config = read().map_err(|error| anyhow::anyhow!("cannot use --config {}: {error:#}", path.display()))?;
    for notice in &config.notices {
        tracing::info!(notice, "accepted, without effect here");
    }
    Ok(config)
}

/// What a scheduler of this configuration measures.
pub(crate) fn figures(config: &Configuration) -> Metrics {
    Metrics::new(config.profiles.iter().map(|profile| &*profile.name))
}

/// Starts the scheduler, which fills in its figures.
pub(crate) fn start_scheduler(
    api: Arc<dyn ResourceApi>,
    config: &Configuration,
    metrics: Arc<Metrics>,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) {
    let extenders = config.extenders.clone().into();
    let options = SchedulingOptions { core: config.core(), extenders, ..SchedulingOptions::default() };
    tasks.spawn(scheduling::run(api, Clock::System, metrics, options, stop.clone()));
}

/// Starts the controllers that the flags name. `resources`: what the API serves; `root_ca`: what `kube-root-ca.crt`
/// publishes, empty for nothing.
pub(crate) fn start_controllers(
    api: Arc<dyn ResourceApi>,
    flags: &Controllers,
    figures: Arc<Figures>,
    resources: Vec<Resource>,
    root_ca: String,
    stop: &CancellationToken,
) -> anyhow::Result<manager::Running> {
    let controllers = flags.controllers.join(",");
    let config = ManagerConfig { controllers, resources, root_ca, figures, ..ManagerConfig::default() };
    Ok(Manager::start_until(api, &config, stop)?)
}

/// Starts simulated nodes.
pub(crate) fn start_nodes(
    api: Arc<dyn ResourceApi>,
    flags: &Nodes,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<Fleet> {
    let nodes = u32::try_from(flags.simulated_nodes)
        .map_err(|_| anyhow::anyhow!("--simulated-nodes: {} are too many", flags.simulated_nodes))?;
    let mut config = FleetConfig { nodes, ..FleetConfig::default() };
    config.simulated.start_delay = Duration::from_millis(flags.simulated_start_delay_ms);
    config.simulated.seed = flags.simulated_seed;
    config.node.zones = flags.simulated_zones;
    Ok(Fleet::start(api, config, tasks, stop))
}

/// The role `scheduler`.
pub(crate) fn scheduler(flags: Scheduler) -> anyhow::Result<()> {
    log::start(&flags.logging);
    let config = configuration(&flags.scheduling)?.gated(flags.features.gates()?);
    let kubeconfig = flags.kubeconfig.or_else(|| config.kubeconfig.clone());
    let kubeconfig =
        kubeconfig.ok_or_else(|| anyhow::anyhow!("--kubeconfig FILE must say which cluster to work for"))?;
    run(&kubeconfig, "scheduler", |api, tasks, stop| async move {
        let elect = flags.leader_elect.unwrap_or(config.leader_elect);
        let lease = elect.then(|| config.lease.config(identity()));
        let metrics = Arc::new(figures(&config));
        let (standing, shown) = (Arc::new(Standing::new("kube-scheduler", &stop)), metrics.clone());
        let component = component::Scheduler { config: &config, metrics: metrics.clone(), api: api.clone() };
        let serving = component::serve(&flags.serving, 10259, component.part(&standing), &api).await?;
        let work = async move |api, leading: CancellationToken| {
            standing.leads(&leading);
            start_scheduler(api, &config, shown, &tasks, &leading);
            tasks.close();
            tasks.wait().await;
            Ok(())
        };
        let outcome = elected(api, lease, stop.clone(), work).await;
        component::end(serving).await;
        outcome
    })
}

/// The role `controller-manager`.
pub(crate) fn controller_manager(flags: ControllerManager) -> anyhow::Result<()> {
    let root_ca = match &flags.root_ca_file {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| anyhow::anyhow!("cannot use --root-ca-file {}: {error}", path.display()))?,
        None => String::new(),
    };
    log::start(&flags.remote.logging);
    // No loop acts on a gate yet: the flag is checked, and what it cannot do is said.
    flags.features.gates()?;
    run(&flags.remote.kubeconfig, "controller-manager", |api, _tasks, stop| async move {
        let controllers = flags.controllers;
        let resources = resource::collections().cloned().collect();
        let standing = Arc::new(Standing::new("kube-controller-manager", &stop));
        let figures = Arc::new(Figures::default());
        let part = component::controllers(&controllers, &figures, &standing);
        let serving = component::serve(&flags.serving, 10257, part, &api).await?;
        let work = async move |api, leading: CancellationToken| {
            standing.leads(&leading);
            start_controllers(api, &controllers, figures, resources, root_ca, &leading)?.stopped().await;
            Ok(())
        };
        let lease = flags.election.leader_elect.then(|| LeaderConfig::new("kube-controller-manager", identity()));
        let outcome = elected(api, lease, stop.clone(), work).await;
        component::end(serving).await;
        outcome
    })
}

/// The role `kubelet`.
pub(crate) fn kubelet(flags: Kubelet) -> anyhow::Result<()> {
    log::start(&flags.remote.logging);
    run(&flags.remote.kubeconfig, "kubelet", |api, tasks, stop| async move {
        let _fleet = start_nodes(api, &flags.nodes, &tasks, &stop)?;
        tasks.close();
        tasks.wait().await;
        Ok(())
    })
}

/// Runs a role on a remote API server until a signal.
fn run<F, W>(kubeconfig: &Path, role: &str, work: F) -> anyhow::Result<()>
where
    F: FnOnce(Arc<dyn ResourceApi>, TaskTracker, CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    let access = Kubeconfig::load(kubeconfig)?.access(None)?;
    let server = format!("{}:{}", access.host, access.port);
    runtime()?.block_on(async {
        let mut signals = Signals::listen()?;
        let stop = CancellationToken::new();
        let api = Client::new(access, &format!("gantry-{role}"));
        say(&format!("gantry {role} works for {server}"))?;
        let ending = stop.clone();
        let waiting = tokio::spawn(async move {
            let signal = signals.next().await;
            tracing::info!(signal, "shutting down");
            ending.cancel();
        });
        let outcome = work(api, TaskTracker::new(), stop).await;
        waiting.abort();
        outcome
    })
}

/// Runs `work` as the leader of all instances of its kind, or at once if election is off. Ends when leadership is lost,
/// as upstream's components do: whoever supervises the process starts it again.
async fn elected<W, F>(
    api: Arc<dyn ResourceApi>,
    lease: Option<LeaderConfig>,
    stop: CancellationToken,
    work: W,
) -> anyhow::Result<()>
where
    W: FnOnce(Arc<dyn ResourceApi>, CancellationToken) -> F,
    F: Future<Output = anyhow::Result<()>>,
{
    let Some(lease) = lease else { return work(api, stop).await };
    let name = lease.name.clone();
    let mut outcome = Ok(());
    lead(api.clone(), Clock::System, lease, stop.clone(), |leading| async {
        outcome = work(api, leading).await;
    })
    .await;
    outcome?;
    anyhow::ensure!(stop.is_cancelled(), "the lease kube-system/{name} was lost");
    Ok(())
}

/// This process among the candidates for a Lease.
fn identity() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{}_{}", host.trim(), std::process::id())
}
