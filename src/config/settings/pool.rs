//! `[pool]`: how many tracers are kept, and for how long.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::config::settings::units::HumanDuration;
use crate::config::settings::units::replace;

/// `[pool]` as written.
#[derive(Clone, Debug, Default, PartialEq, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    /// Tracers that are kept at the most, dedicated ones not counted. Where there are as many, the idle one that was used least recently
    /// makes room for a new one. Default: 10000.
    #[schemars(range(min = 1))]
    pub max_tracers: Option<usize>,
    /// How long an idle tracer is kept, or "never" where the time alone ends none. Default: 30m.
    #[schemars(with = "Option<WrittenTimeout>")]
    pub idle_timeout: Option<IdleTimeout>,
    /// What becomes of a look-up that would make a tracer where there are `max_tracers`. Default: reject.
    pub when_full: Option<WhenFull>,
}

/// How long an idle tracer is kept: `30m`, or `never` where it is kept however long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdleTimeout {
    /// So long, and up to an eighth of it longer, two minutes at the most.
    After(Duration),
    /// Until its place is needed.
    Never,
}

/// What becomes of a look-up that would make one tracer too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits until an idle tracer made room, for 250 ms at the most. If none is idle it is an error; tracers that are there are not concerned.
    #[default]
    Reject,
    /// The tracer is made at once, above the bound, and counted. Idle tracers make room afterwards.
    Grow,
}

/// `[pool]` with every default filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolSettings {
    /// Tracers that are kept at the most.
    pub max_tracers: usize,
    /// How long an idle tracer is kept.
    pub idle_timeout: IdleTimeout,
    /// What becomes of a look-up that would make one tracer too many.
    pub when_full: WhenFull,
}

/// How the timeout is written.
#[derive(JsonSchema)]
#[schemars(extend("examples" = ["30m", "never"]))]
#[expect(dead_code, reason = "describes the written form")]
struct WrittenTimeout(String);

impl<'de> Deserialize<'de> for IdleTimeout {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self::Never);
        }
        let written = HumanDuration::deserialize(serde::de::value::StringDeserializer::new(text))?;
        Ok(Self::After(written.0))
    }
}

impl Pool {
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.max_tracers, over.max_tracers.as_ref());
        replace(&mut self.idle_timeout, over.idle_timeout.as_ref());
        replace(&mut self.when_full, over.when_full.as_ref());
    }

    pub(crate) fn settings(&self) -> PoolSettings {
        let half_an_hour = IdleTimeout::After(Duration::from_secs(30 * 60));
        PoolSettings {
            max_tracers: self.max_tracers.unwrap_or(10_000),
            idle_timeout: self.idle_timeout.unwrap_or(half_an_hour),
            when_full: self.when_full.unwrap_or_default(),
        }
    }
}
