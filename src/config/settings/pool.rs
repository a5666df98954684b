//! `[pool]`: how many tracers are kept, and for how long.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::read::table::Table;
use crate::config::rules::values::{at_least_one, more_than_zero};
use crate::config::settings::declare::settings;
#[cfg(feature = "schema")]
use crate::config::settings::schema_types;
use crate::config::settings::setting::impl_setting;
#[cfg(feature = "gateway")]
use crate::config::settings::written::written_as_json;

settings! {
    /// `[pool]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("pool")]
    pub struct Pool {
        /// Maximum pooled tracers, without dedicated ones. At the maximum, a new tracer evicts the
        /// least recently used idle one. Default: 10000.
        #[schema(range(min = 1))]
        #[default(10_000, at_least_one)]
        pub max_tracers: Option<usize>,
        /// How long an idle tracer is kept, or "never" to evict only at the maximum. Default: 30m.
        #[schema(with = "Option<schema_types::IdleTimeout>")]
        #[default(IdleTimeout::After(Duration::from_secs(30 * 60)), positive)]
        pub idle_timeout: Option<IdleTimeout>,
        /// What happens to a look-up that would exceed `max_tracers`. Default: reject.
        #[default(WhenFull::Reject)]
        pub when_full: Option<WhenFull>,
    }

    /// `[pool]` with every default filled in.
    pub struct PoolSettings;
}

/// How long an idle tracer is kept: `30m`, or `never` for no time limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleTimeout {
    /// This long, plus up to an eighth, at most two minutes.
    After(Duration),
    /// Until its slot is needed.
    Never,
}

/// What happens to a look-up that would exceed the maximum number of tracers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhenFull {
    /// The look-up waits up to 250 ms for the eviction of an idle tracer, and fails if none is
    /// idle. Look-ups of existing tracers are not affected.
    #[default]
    Reject,
    /// The tracer is created immediately above the maximum, and counted. Idle tracers are evicted
    /// later.
    Grow,
}

impl<'de> Deserialize<'de> for IdleTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        let time = humantime::parse_duration(&text);
        time.map(Self::After)
            .map_err(|error| D::Error::custom(format!("invalid duration: {error}")))
    }
}

impl Serialize for IdleTimeout {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::After(time) => serializer.collect_str(&humantime::format_duration(*time)),
            Self::Never => serializer.serialize_str("never"),
        }
    }
}

impl_setting! {
    IdleTimeout: |table: &mut Table<'_>, name| table.take(name, "a duration such as \"30m\", or \"never\"");
    WhenFull: Table::choose;
}

#[cfg(feature = "gateway")]
written_as_json!(IdleTimeout, WhenFull);

fn positive(timeout: IdleTimeout) -> Option<String> {
    match timeout {
        IdleTimeout::After(time) => more_than_zero(time).map(|message| format!("{message}, or \"never\"")),
        IdleTimeout::Never => None,
    }
}
