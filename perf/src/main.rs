//! `gantry-perf`: a load generator for any Kubernetes API server, ours or upstream's.
//!
//! Open loop: every request has an arrival time of its own and its latency counts from there, so a server that stalls
//! cannot hide it (no coordinated omission). Prints one JSON line, and draws an HTML report on request.

mod connect;
mod growth;
mod measure;
mod read;
mod report;
mod schedule;
mod watch_fanout;
mod workload;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
#[command(name = "gantry-perf", version, about = "Measures a Kubernetes API server from outside")]
struct Cli {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Creates pods and waits until the scheduler has bound each of them
    Schedule(schedule::Options),
    /// Reads an object or a list again and again
    Read(read::Options),
    /// Shows how the costs that criterion measured grow with the size of the cluster
    Growth(growth::Options),
    /// Changes one object again and again under the eyes of many watchers
    Watch(watch_fanout::Options),
}

/// What every scenario takes.
#[derive(Args, Clone, Debug)]
struct Common {
    /// The cluster to measure
    #[arg(long, env = "KUBECONFIG")]
    kubeconfig: PathBuf,
    /// Processes of the control plane, whose CPU time and memory are reported (repeatable)
    #[arg(long = "pid")]
    pids: Vec<u32>,
    /// Writes an HTML report with percentile plots here
    #[arg(long)]
    report: Option<PathBuf>,
    /// Words that go into the result as they are: the commit, the machine
    #[arg(long, default_value = "")]
    label: String,
    /// No progress bar
    #[arg(long)]
    quiet: bool,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let result = runtime.block_on(async {
        match cli.scenario {
            Scenario::Schedule(options) => schedule::run(options).await,
            Scenario::Read(options) => read::run(options).await,
            Scenario::Growth(options) => growth::run(&options),
            Scenario::Watch(options) => watch_fanout::run(options).await,
        }
    });
    // Watches still open would hold a graceful end up for nothing.
    runtime.shutdown_background();
    result
}
