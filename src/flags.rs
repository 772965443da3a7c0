//! The command line: roles and flags, under upstream's names wherever upstream has one. Parsed here, typed by the
//! crates that use them.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use gantry_machinery::feature::Gates;

/// A Kubernetes 1.36 control plane in one process, built around its scheduler.
#[derive(Parser, Debug)]
#[command(name = "gantry", version, subcommand_negates_reqs = true, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) role: Option<Role>,
    #[command(flatten)]
    pub(crate) up: Up,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Role {
    /// Run a whole cluster in this process: store, API server, scheduler, controllers, simulated nodes (the default)
    Up(Up),
    /// Run the API server alone, on the embedded store or on etcd
    Apiserver(Apiserver),
    /// Run the scheduler alone, against any Kubernetes API server
    Scheduler(Scheduler),
    /// Run the controllers alone, against any Kubernetes API server
    ControllerManager(ControllerManager),
    /// Run nodes alone, against any Kubernetes API server (simulated ones: real containers are not built yet)
    Kubelet(Kubelet),
    /// Say why a pod is where it is, or nowhere
    #[command(subcommand)]
    Explain(Explain),
    /// Copy the embedded store of a stopped server into one file
    Backup(Backup),
    /// Make an embedded store from a backup file
    Restore(Restore),
    /// Print the version
    Version,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Up {
    #[command(flatten)]
    pub(crate) apiserver: Apiserver,
    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
    #[command(flatten)]
    pub(crate) controllers: Controllers,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Scheduling {
    /// How to schedule: a KubeSchedulerConfiguration [default: upstream's default profile]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Apiserver {
    /// Where the store, the certificates and the kubeconfig are kept [default: gantry in the user's state directory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) bind_address: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 6443)]
    pub(crate) secure_port: u16,
    /// Further names and addresses for the serving certificate, comma-separated
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) tls_san: Vec<String>,
    /// Keep the cluster's state in this etcd instead of the embedded store, comma-separated URLs
    #[arg(long, value_name = "URLS", value_delimiter = ',')]
    pub(crate) etcd_servers: Vec<String>,
    /// The prefix of all keys in etcd
    #[arg(long, value_name = "PREFIX", default_value = "/gantry")]
    pub(crate) etcd_prefix: String,
    /// The addresses that Services are given
    #[arg(long, value_name = "CIDR", default_value = "10.96.0.0/12")]
    pub(crate) service_cluster_ip_range: String,
    /// Requests under way at once that do not change anything; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 400)]
    pub(crate) max_requests_inflight: usize,
    /// Requests under way at once that change something; more are refused with 429
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) max_mutating_requests_inflight: usize,
    /// How requests are authorized: RBAC or AlwaysAllow
    #[arg(long, value_name = "MODE", default_value = "RBAC")]
    pub(crate) authorization_mode: String,
    /// Which versions and resources of the API are served: api/all, api/ga, api/beta, api/alpha, GROUP/VERSION or
    /// GROUP/VERSION/RESOURCE, each with =true or =false, comma-separated
    #[arg(long, value_name = "LIST")]
    pub(crate) runtime_config: Vec<String>,
    #[command(flatten)]
    pub(crate) features: Features,
    /// Whether requests without credentials are served as system:anonymous
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) anonymous_auth: bool,
    /// Shards of the watch cache [default: one per core]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<usize>,
    /// Collections whose writes need not be on disk when they are acknowledged, such as leases.coordination.k8s.io or
    /// events, comma-separated. What a power cut may then lose of them is theirs alone.
    #[arg(long, value_name = "COLLECTIONS", value_delimiter = ',')]
    pub(crate) relaxed_durability: Vec<String>,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Features {
    /// Features that are switched on or off: Name=true or Name=false, comma-separated; AllAlpha and AllBeta for whole
    /// stages
    #[arg(long, value_name = "LIST")]
    feature_gates: Vec<String>,
}

impl Features {
    /// Which gates are on; what is worth telling goes to the log.
    pub(crate) fn gates(&self) -> anyhow::Result<Gates> {
        let (gates, notices) = Gates::parse(self.feature_gates.iter().map(String::as_str))
            .map_err(|error| anyhow::anyhow!("--feature-gates: {error}"))?;
        for notice in notices {
            tracing::warn!("{notice}");
        }
        Ok(gates)
    }
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Nodes {
    /// How many simulated nodes to run
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub(crate) simulated_nodes: usize,
    /// Label the simulated nodes with this many zones, in turn; 0 for none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) simulated_zones: u32,
    /// How long a simulated container takes to start, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 500)]
    pub(crate) simulated_start_delay_ms: u64,
    /// The seed of everything random about simulated nodes
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    pub(crate) simulated_seed: u64,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Controllers {
    /// Which controllers run: '*' for all, 'name' for one, '-name' for all but one; comma-separated
    #[arg(long, value_name = "LIST", default_value = "*", value_delimiter = ',', allow_hyphen_values = true)]
    pub(crate) controllers: Vec<String>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Remote {
    /// The cluster to work for
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: PathBuf,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Serving {
    /// The address that health and metrics are served on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub(crate) bind_address: IpAddr,
    /// The port that health and metrics are served on; 0 for none [default: 10259 the scheduler, 10257 the controllers]
    #[arg(long, value_name = "PORT")]
    pub(crate) secure_port: Option<u16>,
    /// The certificate that health and metrics are served with, and what follows it [default: a self-signed one]
    #[arg(long, value_name = "FILE", requires = "tls_private_key_file")]
    pub(crate) tls_cert_file: Option<PathBuf>,
    /// The key of --tls-cert-file
    #[arg(long, value_name = "FILE", requires = "tls_cert_file")]
    pub(crate) tls_private_key_file: Option<PathBuf>,
    /// The authorities that sign client certificates [default: as the cluster publishes them]
    #[arg(long, value_name = "FILE")]
    pub(crate) client_ca_file: Option<PathBuf>,
    /// The cluster that is asked whose token a request carries [default: the one to work for]
    #[arg(long, value_name = "FILE")]
    pub(crate) authentication_kubeconfig: Option<PathBuf>,
    /// The cluster that is asked what somebody may read [default: the one to work for]
    #[arg(long, value_name = "FILE")]
    pub(crate) authorization_kubeconfig: Option<PathBuf>,
    /// What everybody may read, comma-separated
    #[arg(long, value_name = "PATHS", value_delimiter = ',', default_value = "/healthz,/readyz,/livez")]
    pub(crate) authorization_always_allow_paths: Vec<String>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Scheduler {
    /// The cluster to work for [default: the configuration's clientConnection.kubeconfig]
    #[arg(long, value_name = "FILE", env = "KUBECONFIG")]
    pub(crate) kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
    /// Whether to wait for a Lease that only one of several instances holds [default: as configured, or true]
    #[arg(long, value_name = "BOOL", action = clap::ArgAction::Set)]
    pub(crate) leader_elect: Option<bool>,
    #[command(flatten)]
    pub(crate) features: Features,
    #[command(flatten)]
    pub(crate) logging: Logging,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Election {
    /// Whether to wait for a Lease that only one of several instances holds
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) leader_elect: bool,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct ControllerManager {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) serving: Serving,
    #[command(flatten)]
    pub(crate) election: Election,
    #[command(flatten)]
    pub(crate) controllers: Controllers,
    #[command(flatten)]
    pub(crate) features: Features,
    /// The PEM bundle published as kube-root-ca.crt in every namespace [default: none is published]
    #[arg(long, value_name = "FILE")]
    pub(crate) root_ca_file: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Kubelet {
    #[command(flatten)]
    pub(crate) remote: Remote,
    #[command(flatten)]
    pub(crate) nodes: Nodes,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Explain {
    /// Which nodes could take the pod, why the others could not, and how the best ones score
    Pod(ExplainPod),
}

#[derive(Args, Debug, Clone)]
pub(crate) struct ExplainPod {
    /// The pod
    pub(crate) name: String,
    /// Its namespace [default: the kubeconfig's]
    #[arg(short, long, value_name = "NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// How it is printed
    #[arg(short, long, value_name = "FORMAT", default_value = "text")]
    pub(crate) output: Output,
    /// How many of the best nodes are shown
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(crate) nodes: usize,
    #[command(flatten)]
    pub(crate) scheduling: Scheduling,
    #[command(flatten)]
    pub(crate) remote: Remote,
}

#[derive(clap::ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Backup {
    /// The data directory of the stopped server
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// The file to write; must not exist
    pub(crate) file: PathBuf,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Restore {
    /// The backup to read
    pub(crate) file: PathBuf,
    /// The data directory to fill; must hold no store
    #[arg(long, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Args, Debug, Clone)]
pub(crate) struct Logging {
    /// How much is logged: 0 warnings, 1 and 2 also what happens, 4 details, 6 every request
    #[arg(short, long = "v", value_name = "LEVEL", default_value_t = 1)]
    pub(crate) verbosity: u8,
}

/// Where state is kept if nobody says: `$XDG_STATE_HOME/gantry`, or `~/.local/state/gantry`.
pub(crate) fn data_dir(asked: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let from = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    asked
        .or_else(|| from("XDG_STATE_HOME").map(|dir| dir.join("gantry")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/gantry")))
        .ok_or_else(|| anyhow::anyhow!("neither --data-dir nor HOME says where to keep the cluster's state"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_flags_do_not_contradict_each_other() {
        Cli::command().debug_assert();
    }

    #[test]
    fn up_is_the_default_role() {
        let cli = Cli::try_parse_from(["gantry", "--simulated-nodes", "7"]).unwrap();
        assert!(cli.role.is_none());
        assert_eq!(cli.up.nodes.simulated_nodes, 7);
        let cli = Cli::try_parse_from(["gantry", "up", "--secure-port", "0", "--controllers=*,-deployment-controller"])
            .unwrap();
        let Some(Role::Up(up)) = cli.role else { panic!("up was asked for") };
        assert_eq!(up.apiserver.secure_port, 0);
        assert_eq!(up.controllers.controllers, ["*", "-deployment-controller"]);
    }
}
