//! `gantry`: roles and flags. Composes the parts; every decision is in the crate it belongs to.

mod component;
mod explain;
mod flags;
mod log;
mod memory;
mod remote;
mod serve;
mod signals;
mod storage;
mod up;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser;

use crate::flags::{Cli, Explain, Role};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `version` and the API's `/version` say after the upstream level.
const VERSION: &str = env!("CARGO_PKG_VERSION");

fn main() -> ExitCode {
    memory::use_small_pages();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        // Help and the like are answers, not errors.
        Err(error) if !error.use_stderr() => error.exit(),
        Err(error) => return refuse(&error),
    };
    let outcome = match cli.role.unwrap_or(Role::Up(cli.up)) {
        Role::Up(up) => up::run(up),
        Role::Apiserver(apiserver) => serve::run(apiserver),
        Role::Scheduler(flags) => remote::scheduler(flags),
        Role::ControllerManager(flags) => remote::controller_manager(flags),
        Role::Kubelet(flags) => remote::kubelet(flags),
        Role::Explain(Explain::Pod(flags)) => explain::pod(&flags),
        Role::Backup(flags) => storage::backup(flags),
        Role::Restore(flags) => storage::restore(&flags),
        Role::Version => say(&format!("gantry {VERSION}, Kubernetes v1.36")),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // One line: the chain of causes, not a trace.
            let _ = writeln!(std::io::stderr(), "gantry: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says in one line what is wrong with the command line, and what to do.
fn refuse(error: &clap::Error) -> ExitCode {
    let text = error.to_string();
    let what = text.lines().next().unwrap_or_default().trim_start_matches("error: ");
    let _ = writeln!(std::io::stderr(), "gantry: {what} (see gantry --help)");
    ExitCode::from(2)
}

/// Prints a line on standard output; a reader that went away is no reason to stop.
fn say(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}");
    let _ = out.flush();
    Ok(())
}
