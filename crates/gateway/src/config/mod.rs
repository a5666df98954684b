//! The table `[gateway]`.
//!
//! [`Settings::read`] reads it from a configuration that
//! [`Config::load_for_gateway`](tracer_registry::config::Config::load_for_gateway) loaded. Every
//! problem of every layer is reported at once, with its file and key path. No token is read.

mod admin;
mod allow;
mod caller;
mod folder;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod settings;
mod stream;
mod telemetry;
#[cfg(test)]
pub(crate) mod tests;

pub use admin::AdminSettings;
pub use allow::Allow;
pub use caller::{BasicPart, CallerSettings, TenantRule};
pub(crate) use folder::path_of;
pub use settings::{OtherSignals, Settings, Tls};
pub use stream::{StreamCredentials, StreamRole, StreamSettings, StreamTls};
pub use telemetry::{LogFormat, LogLevel, LogSettings, TelemetrySettings};
