//! The log of `serve`, on standard error.

use std::io;

use tracer_registry_gateway::config::{LogFormat, LogLevel, LogSettings};
use tracing::Level;
use tracing::subscriber::set_global_default;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

/// Installs the log for the rest of the process.
pub(super) fn install(settings: LogSettings) {
    let level = match settings.level {
        LogLevel::Warn => Level::WARN,
        LogLevel::Info => Level::INFO,
        LogLevel::Debug => Level::DEBUG,
    };
    // Other crates have lines for each request.
    let filter = Targets::new()
        .with_target("tracer_registry", level)
        .with_default(Level::WARN);
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match settings.format {
        LogFormat::Text => lines.with_target(false).with_ansi(false).boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    // Fails only if it was set before.
    drop(set_global_default(registry().with(lines.with_filter(filter))));
}
