//! The loops: the scheduler, the controllers and the nodes, on whatever `ResourceApi` they are given. `up` gives them the
//! registry of this process; the roles here give them a client of the API server that a kubeconfig names.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use gantry_controllers::manager::{Manager, ManagerConfig};
use gantry_controllers::runtime::leader::{LeaderConfig, lead};
use gantry_kubelet::fleet::{Fleet, FleetConfig};
use gantry_machinery::client::Client;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::clock::Clock;
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::{ControllerManager, Controllers, Kubelet, Loop, Nodes, Remote};
use crate::serve::runtime;
use crate::signals::Signals;
use crate::{log, say};

/// Starts the controllers that the flags name.
pub(crate) fn start_controllers(
    api: Arc<dyn ResourceApi>,
    flags: &Controllers,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<()> {
    let config = ManagerConfig { controllers: flags.controllers.clone(), ..ManagerConfig::default() };
    Manager::start(api, config, tasks, stop).map_err(|error| anyhow::anyhow!("--controllers: {error}"))
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
    Ok(Fleet::start(api, config, tasks, stop))
}

/// The role `controller-manager`.
pub(crate) fn controller_manager(flags: ControllerManager) -> anyhow::Result<()> {
    run(&flags.remote, "controller-manager", |api, tasks, stop| async move {
        let controllers = flags.controllers;
        elected(api.clone(), "kube-controller-manager", flags.election.leader_elect, stop, async move |leading| {
            let inner = TaskTracker::new();
            if let Err(error) = start_controllers(api, &controllers, &inner, &leading) {
                tracing::error!(%error, "no controller runs");
            }
            inner.close();
            inner.wait().await;
        })
        .await;
        drop(tasks);
        Ok(())
    })
}

/// The role `kubelet`.
pub(crate) fn kubelet(flags: Kubelet) -> anyhow::Result<()> {
    run(&flags.remote, "kubelet", |api, tasks, stop| async move {
        let _fleet = start_nodes(api, &flags.nodes, &tasks, &stop)?;
        tasks.close();
        tasks.wait().await;
        Ok(())
    })
}

/// Runs a role on a remote API server until a signal.
fn run<F, W>(flags: &Remote, role: &str, work: F) -> anyhow::Result<()>
where
    F: FnOnce(Arc<dyn ResourceApi>, TaskTracker, CancellationToken) -> W,
    W: Future<Output = anyhow::Result<()>>,
{
    log::start(&flags.logging);
    let access = Kubeconfig::load(&flags.kubeconfig)?.access(None)?;
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

/// Runs `work` as the leader of all instances of its kind, or at once if election is off; again after leadership was
/// lost, until `stop`.
async fn elected<W, F>(api: Arc<dyn ResourceApi>, lease: &str, elect: bool, stop: CancellationToken, work: W)
where
    W: FnOnce(CancellationToken) -> F,
    F: Future<Output = ()>,
{
    if elect {
        let identity =
            format!("{}_{}", std::env::var("HOSTNAME").unwrap_or_else(|_| "gantry".into()), std::process::id());
        lead(api, Clock::System, LeaderConfig::new(lease, identity), stop, work).await;
    } else {
        work(stop).await;
    }
}
