//! `[metrics]`: how much the registry's own metrics tell apart.

use crate::config::settings::declare::settings;

settings! {
    /// `[metrics]` as written.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[at("metrics")]
    pub struct Metrics {
        /// Tracers whose metrics have a series of their own, by the names of their tenants and the like: those that were made first, for good.
        /// All others are one series together; with 0 all are. Default: 100.
        #[default(100)]
        pub max_tracers: Option<usize>,
    }

    /// `[metrics]` with every default filled in.
    pub struct MetricsSettings;
}
