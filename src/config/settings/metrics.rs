//! `[metrics]`: detail of the registry's own metrics.

use crate::config::settings::declare::settings;

settings! {
    /// `[metrics]` as written.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    #[at("metrics")]
    pub struct Metrics {
        /// Number of tracers with their own metric series, labelled with their selectors. The first
        /// tracers keep theirs permanently; all others share one series. With 0, all share one.
        /// Default: 100.
        #[default(100)]
        pub max_tracers: Option<usize>,
    }

    /// `[metrics]` with every default filled in.
    pub struct MetricsSettings;
}
