//! What the roles `scheduler` and `controller-manager` serve about themselves, on their own ports: see
//! [`gantry_apiserver::component`]. `up` needs none of it: there the API server speaks for all parts.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::OnceLock;

use gantry_apiserver::component::{self as server, PROMETHEUS, Page, Running};
use gantry_apiserver::http::health::{Check, Health};
use gantry_apiserver::metrics::process;
use gantry_controllers::runtime::figures::Figures;
use gantry_controllers::scheduling::config::Configuration;
use gantry_controllers::scheduling::metrics::{Metrics, resources};
use gantry_machinery::client::Client;
use gantry_machinery::client::kubeconfig::Kubeconfig;
use gantry_machinery::resource_api::ResourceApi;
use tokio_util::sync::CancellationToken;

use crate::flags::{Controllers, Serving};

/// Whether a role leads, and whether it is ending.
pub(crate) struct Standing {
    name: &'static str,
    stop: CancellationToken,
    leading: OnceLock<CancellationToken>,
}

impl Standing {
    pub(crate) fn new(name: &'static str, stop: &CancellationToken) -> Self {
        Self { name, stop: stop.clone(), leading: OnceLock::new() }
    }

    /// The role's work begins; it leads until the token says otherwise.
    pub(crate) fn leads(&self, leading: &CancellationToken) {
        // A role begins its work once.
        let _ = self.leading.set(leading.clone());
    }

    fn is_leader(&self) -> bool {
        self.leading.get().is_some_and(|leading| !leading.is_cancelled())
    }

    /// Leadership was held and is lost, and nobody asked the process to end: only a new start helps.
    fn is_lost(&self) -> bool {
        self.leading.get().is_some_and(CancellationToken::is_cancelled) && !self.stop.is_cancelled()
    }

    fn checks(self: &Arc<Self>) -> Vec<Check> {
        let (lost, ending) = (self.clone(), self.stop.clone());
        vec![
            Check::alive(
                "leaderElection",
                move || {
                    if lost.is_lost() { Err("the lease was lost".to_owned()) } else { Ok(()) }
                },
            ),
            Check::ready(
                "shutdown",
                move || {
                    if ending.is_cancelled() { Err("shutting down".to_owned()) } else { Ok(()) }
                },
            ),
        ]
    }

    /// Series that both roles have.
    fn write(&self, out: &mut String) {
        use std::fmt::Write as _;
        const NAME: &str = "leader_election_master_status";
        let _ =
            writeln!(out, "# HELP {NAME} [ALPHA] Whether this process holds the Lease: 1, or 0.\n# TYPE {NAME} gauge");
        let _ = writeln!(out, "{NAME}{{name=\"{}\"}} {}", self.name, u8::from(self.is_leader()));
        process::write(out);
    }
}

/// The checks and pages of a role.
pub(crate) struct Part {
    health: Health,
    pages: Vec<Page>,
}

/// What the scheduler shows.
pub(crate) struct Scheduler<'a> {
    pub(crate) config: &'a Configuration,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) api: Arc<dyn ResourceApi>,
}

impl Scheduler<'_> {
    pub(crate) fn part(self, standing: &Arc<Standing>) -> Part {
        let mut checks = standing.checks();
        let (metrics, leader) = (self.metrics.clone(), standing.clone());
        checks.push(Check::alive("scheduling-loop", move || metrics.moves()));
        let metrics = self.metrics.clone();
        // Who waits for the Lease follows nothing yet, and is as ready as it will be.
        let synced = move || if leader.is_leader() { metrics.synced() } else { Ok(()) };
        checks.push(Check::ready("sched-handler-sync", synced));
        let config = serde_json::json!({"kubescheduler.config.k8s.io": self.config.shown()}).to_string();
        let (metrics, standing, api) = (self.metrics, standing.clone(), self.api);
        let pages = vec![
            Page::new("/configz", "application/json", move || config.clone()),
            Page::new("/metrics", PROMETHEUS, move || {
                let mut text = String::new();
                metrics.write(&mut text);
                standing.write(&mut text);
                text
            }),
            Page::asked("/metrics/resources", PROMETHEUS, move || resources::text(api.clone())),
        ];
        Part { health: Health::new(checks), pages }
    }
}

/// What the controllers show.
pub(crate) fn controllers(flags: &Controllers, figures: &Arc<Figures>, standing: &Arc<Standing>) -> Part {
    let config = serde_json::json!({"kubecontrollermanager.config.k8s.io": {"Generic": {
        "Controllers": flags.controllers,
        "LeaderElection": {"ResourceLock": "leases", "ResourceName": standing.name, "ResourceNamespace": "kube-system"},
    }}})
    .to_string();
    let checks = standing.checks();
    let (standing, figures) = (standing.clone(), figures.clone());
    let pages = vec![
        Page::new("/configz", "application/json", move || config.clone()),
        Page::new("/metrics", PROMETHEUS, move || {
            let mut text = String::new();
            figures.write(&mut text);
            standing.write(&mut text);
            text
        }),
    ];
    Part { health: Health::new(checks), pages }
}

/// Serves; `None` where the flags want no port.
pub(crate) async fn serve(
    flags: &Serving,
    port: u16,
    part: Part,
    api: &Arc<dyn ResourceApi>,
) -> anyhow::Result<Option<(Running, CancellationToken)>> {
    let port = flags.secure_port.unwrap_or(port);
    if port == 0 {
        return Ok(None);
    }
    let asked = |path: &Option<std::path::PathBuf>| path.as_deref().map_or_else(|| Ok(api.clone()), client);
    let serving = server::Serving {
        address: SocketAddr::new(flags.bind_address, port),
        tls: flags.tls_cert_file.clone().zip(flags.tls_private_key_file.clone()),
        client_ca_file: flags.client_ca_file.clone(),
        always_allowed: flags.authorization_always_allow_paths.clone(),
    };
    let (authn, authz) = (asked(&flags.authentication_kubeconfig)?, asked(&flags.authorization_kubeconfig)?);
    // Answers while the role ends its work: probes shall see that it is ending, not that it is gone.
    let until = CancellationToken::new();
    let running = server::serve(&serving, part.health, part.pages, authn, authz, until.clone()).await?;
    Ok(Some((running, until)))
}

/// Ends serving, once the role's work has ended.
pub(crate) async fn end(serving: Option<(Running, CancellationToken)>) {
    if let Some((running, until)) = serving {
        until.cancel();
        running.stopped().await;
    }
}

fn client(kubeconfig: &Path) -> anyhow::Result<Arc<dyn ResourceApi>> {
    let access = Kubeconfig::load(kubeconfig)?.access(None)?;
    Ok(Client::new(access, "gantry-review"))
}
