//! The role `up`: a whole cluster in one process. The loops talk to the registry through the same `ResourceApi` that a
//! loop in another process has over HTTPS, only without the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use gantry_apiserver::metrics::process;
use gantry_apiserver::registry::request::RequestContext;
use gantry_controllers::runtime::figures::Figures;
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::flags::Up;
use crate::serve::{Served, runtime};
use crate::signals::Signals;
use crate::{log, remote, say};

/// How long loops may take to finish what they are at.
const LOOPS_END_WITHIN: Duration = Duration::from_secs(5);

/// Runs a cluster until a signal.
pub(crate) fn run(flags: Up) -> anyhow::Result<()> {
    log::start(&flags.apiserver.logging);
    runtime()?.block_on(cluster(flags))
}

async fn cluster(flags: Up) -> anyhow::Result<()> {
    let began = Instant::now();
    // A file that is wrong is said before anything is touched.
    let configuration = remote::configuration(&flags.scheduling)?;
    let mut signals = Signals::listen()?;
    let served = Served::start(&flags.apiserver).await?;
    let configuration = configuration.gated(served.gates);
    let tasks = TaskTracker::new();
    let stop = CancellationToken::new();
    let api =
        |name: &str| -> Arc<dyn ResourceApi> { Arc::new(served.registry.as_user(RequestContext::in_process(name))) };
    let scheduling = Arc::new(remote::figures(&configuration));
    remote::start_scheduler(api("system:kube-scheduler"), &configuration, scheduling.clone(), &tasks, &stop);
    let resources = served.registry.table().collections().map(|row| (*row.resource).clone()).collect();
    let root_ca = served.server.pki().ca.certificate.clone();
    let manager = api("system:kube-controller-manager");
    let figures = Arc::new(Figures::default());
    let controllers = {
        let figures = figures.clone();
        remote::start_controllers(manager, &flags.controllers, figures, resources, root_ca, &stop)?
    };
    for part in ["scheduler", "controller-manager"] {
        let stop = stop.clone();
        let test = move || if stop.is_cancelled() { Err("shutting down".to_owned()) } else { Ok(()) };
        served.registry.components().add(part, test);
    }
    let _fleet = remote::start_nodes(api("system:nodes"), &flags.nodes, &tasks, &stop)?;
    served.server.metrics().add_source(move |out| scheduling.write(out));
    served.server.metrics().add_source(move |out| figures.write(out));
    served.server.metrics().add_source(process::write);

    say(&format!(
        "gantry is ready on {} ({:.2} s)\n  export KUBECONFIG={}\n  kubectl get nodes",
        served.server.local_url(),
        began.elapsed().as_secs_f64(),
        served.kubeconfig.display()
    ))?;
    let signal = signals.next().await;
    tracing::info!(signal, "shutting down");
    // Loops first, while the API still answers them; then the server; the store last.
    stop.cancel();
    tasks.close();
    let ended = async { tokio::join!(tasks.wait(), controllers.stop()) };
    if tokio::time::timeout(LOOPS_END_WITHIN, ended).await.is_err() {
        tracing::warn!("some loops did not end in time");
    }
    served.stop().await;
    Ok(())
}
