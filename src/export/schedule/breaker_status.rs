//! Breakers, as a status shows them.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::util::wall_time;

/// The breakers on a tracer's way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Breakers {
    /// How the receiver treats the tracer's spans.
    pub spans: BreakerStatus,
    /// How it treats what is told of the tracer's sessions.
    pub session_events: BreakerStatus,
    /// Whether connections to its scheme, host and port come about; the same one for all tracers of
    /// the registry that send there.
    pub endpoint: BreakerStatus,
}

/// A breaker at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// Whether requests are let through.
    pub state: BreakerState,
    /// Failures in a row.
    pub failures: u32,
    /// Until when the receiver asked not to be sent anything (`Retry-After`, `RetryInfo`), at most
    /// `export.retry.max_retry_after` from its answer. Holds in every state, and a flush does not
    /// end it. It stays when it is over. `None` if the receiver never asked.
    #[serde(with = "wall_time::optional")]
    pub asked_until: Option<SystemTime>,
}

/// Whether a breaker lets requests through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// It does.
    #[default]
    Closed,
    /// It does not.
    Open {
        /// Then the next request is let through, as a probe.
        #[serde(with = "wall_time")]
        until: SystemTime,
    },
    /// A probe is under way; all others wait for what becomes of it.
    HalfOpen,
}
