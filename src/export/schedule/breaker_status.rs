//! Status of circuit breakers.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::util::wall_time;

/// Circuit breakers of a tracer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Breakers {
    /// Breaker for span requests.
    pub spans: BreakerStatus,
    /// Breaker for session-event requests.
    pub session_events: BreakerStatus,
    /// Breaker for connections to the scheme, host and port. Shared by all tracers of the registry
    /// with the same connection settings.
    pub endpoint: BreakerStatus,
}

/// Status of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct BreakerStatus {
    /// State of the breaker.
    pub state: BreakerState,
    /// Consecutive failures.
    pub failures: u32,
    /// End of the wait that the receiver requested (`Retry-After`, `RetryInfo`), at most
    /// `export.retry.max_retry_after` after its answer. No request is sent before, in any state,
    /// even for a flush. Keeps its value after the wait. `None` if the receiver never requested
    /// one.
    #[serde(with = "wall_time::optional")]
    pub asked_until: Option<SystemTime>,
}

/// State of a circuit breaker.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BreakerState {
    /// Requests pass.
    #[default]
    Closed,
    /// Requests wait.
    Open {
        /// When the next request may pass as a probe.
        #[serde(with = "wall_time")]
        until: SystemTime,
    },
    /// A probe is in progress; other requests wait for its outcome.
    HalfOpen,
}
