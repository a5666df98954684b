//! `[pool]`: how many tracers are kept, and for how long.

use std::time::Duration;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::config::read::table::Table;
use crate::config::rules::values::{at_least_one, more_than_zero};
use crate::config::settings::declare::settings;
#[cfg(feature = "schema")]
use crate::config::settings::forms;
use crate::config::settings::setting::replaced;

settings! {
    /// `[pool]` as written.
    #[derive(Clone, Debug, Default, PartialEq)]
    #[at("pool")]
    pub struct Pool {
        /// Tracers that are kept at the most, dedicated ones not counted. If there are as many, the idle one that was used least recently
        /// makes room for a new one. Default: 10000.
        #[schema(range(min = 1))]
        #[default(10_000, at_least_one)]
        pub max_tracers: Option<usize>,
        /// How long an idle tracer is kept, or "never" if the time alone ends none. Default: 30m.
        #[schema(with = "Option<forms::IdleTimeout>")]
        #[default(IdleTimeout::After(Duration::from_secs(30 * 60)), not_at_once)]
        pub idle_timeout: Option<IdleTimeout>,
        /// What happens to a look-up that would make a tracer if there are `max_tracers`. Default: reject.
        #[default(WhenFull::Reject)]
        pub when_full: Option<WhenFull>,
    }

    /// `[pool]` with every default filled in.
    pub struct PoolSettings;
}

/// How long an idle tracer is kept: `30m`, or `never` if it is kept however long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleTimeout {
    /// So long, and up to an eighth of it longer, two minutes at the most.
    After(Duration),
    /// Until its place is needed.
    Never,
}

/// What happens to a look-up that would make one tracer too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits until an idle tracer made room, for 250 ms at the most. If none is idle it is an error; tracers that are there are not concerned.
    #[default]
    Reject,
    /// The tracer is made at once, above the bound, and counted. Idle tracers make room afterwards.
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
            .map_err(|error| D::Error::custom(format!("no duration: {error}")))
    }
}

replaced! {
    IdleTimeout: |table: &mut Table<'_>, name| table.take(name, "a duration such as \"30m\", or \"never\"");
    WhenFull: Table::choose;
}

fn not_at_once(timeout: IdleTimeout) -> Option<String> {
    match timeout {
        IdleTimeout::After(time) => more_than_zero(time).map(|message| format!("{message}, or \"never\"")),
        IdleTimeout::Never => None,
    }
}
