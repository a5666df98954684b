//! `[metrics]`: how much the registry's own metrics tell apart.

use schemars::JsonSchema;

use crate::config::settings::units::replace;

/// `[metrics]` as written.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Metrics {
    /// Tracers whose metrics have a series of their own, by the names of their tenants and the like: those that were made first, for good.
    /// All others are one series together; with 0 all are. Default: 100.
    pub max_tracers: Option<usize>,
}

/// `[metrics]` with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetricsSettings {
    /// Tracers whose metrics have a series of their own.
    pub max_tracers: usize,
}

impl Metrics {
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.max_tracers, over.max_tracers.as_ref());
    }

    pub(crate) fn settings(&self) -> MetricsSettings {
        MetricsSettings {
            max_tracers: self.max_tracers.unwrap_or(100),
        }
    }
}
