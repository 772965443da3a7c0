//! The log: one line per event on standard error, as much of it as `-v` asks for.

use std::io::IsTerminal as _;

use tracing::level_filters::LevelFilter;

use crate::flags::Logging;

/// Starts the log. Called once, before anything can log.
pub(crate) fn start(logging: &Logging) {
    let level = match logging.verbosity {
        0 => LevelFilter::WARN,
        1..=3 => LevelFilter::INFO,
        4..=5 => LevelFilter::DEBUG,
        _ => LevelFilter::TRACE,
    };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
}
