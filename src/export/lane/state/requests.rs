//! A lane's requests in progress, as its status shows them.
//!
//! | state | event | next |
//! |---|---|---|
//! | waits for a permit | a breaker is open | waits at a breaker |
//! | waits at a breaker | the breakers admit it | waits for a permit |
//! | waits for a permit | it gets a permit | sent, as a numbered attempt |
//! | waits for a permit, waits at a breaker | the selector is paused | paused |
//! | paused | the selector is resumed | waits for a permit, with a new start time |
//! | sent | the attempt fails and is retried later | waits to retry |
//! | sent, waits to retry | the next attempt begins | waits for a permit |
//!
//! A request ends when its guard is dropped. A lane without requests allocates nothing for them.

use std::time::SystemTime;

use crate::export::accounting::lane_status::{RequestKind, RequestState, RequestStatus};
use crate::export::schedule::breaker_status::{BreakerState, BreakerStatus};

/// The requests in progress, oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    begun: u64,
    open: Vec<OpenRequest>,
}

struct OpenRequest {
    number: u64,
    status: RequestStatus,
}

impl Requests {
    /// Begins a request and returns its number.
    pub(crate) fn begin(&mut self, kind: RequestKind) -> u64 {
        self.begun += 1;
        let (number, status) = (self.begun, RequestStatus::new(kind));
        self.open.push(OpenRequest { number, status });
        number
    }

    pub(crate) fn find(&mut self, number: u64) -> Option<&mut RequestStatus> {
        let open = self.open.iter_mut().find(|open| open.number == number);
        open.map(|open| &mut open.status)
    }

    #[cfg(test)]
    pub(crate) fn any_sent(&self) -> bool {
        self.open.iter().any(|open| open.status.state == RequestState::Sent)
    }

    /// Ends a request. Returns true if none is left.
    pub(crate) fn end(&mut self, number: u64) -> bool {
        self.open.retain(|open| open.number != number);
        self.open.is_empty()
    }

    /// Returns when the oldest request of a kind that is pending began. Leaves out paused ones.
    pub(crate) fn oldest_since(&self, is_pending: impl Fn(RequestKind) -> bool) -> Option<SystemTime> {
        let statuses = self.open.iter().map(|open| &open.status);
        let active = statuses.filter(|status| status.state != RequestState::Paused && is_pending(status.kind));
        active.map(|status| status.since).min()
    }

    /// Returns the oldest request of a kind that is pending. `breakers` returns the tracer's and
    /// the endpoint's breaker for a kind.
    pub(crate) fn oldest(
        &self,
        is_pending: impl Fn(RequestKind) -> bool,
        breakers: impl Fn(RequestKind) -> [BreakerStatus; 2],
    ) -> Option<RequestStatus> {
        let mut statuses = self.open.iter().map(|open| open.status);
        let mut status = statuses.find(|status| is_pending(status.kind))?;
        let admitted_at = admitted_at(breakers(status.kind));
        match status.state {
            RequestState::WaitsForPermit | RequestState::Paused | RequestState::Sent => {}
            RequestState::WaitsAtBreaker => status.next_attempt = admitted_at,
            RequestState::WaitsToRetry => status.next_attempt = status.next_attempt.max(admitted_at),
        }
        Some(status)
    }
}

/// Returns when the breakers admit the next request: after their pauses and after the receiver's
/// requested wait. `None` if that depends on another request.
fn admitted_at(breakers: [BreakerStatus; 2]) -> Option<SystemTime> {
    let until = |breaker: &BreakerStatus| match breaker.state {
        BreakerState::Open { until } => breaker.asked_until.max(Some(until)),
        BreakerState::Closed | BreakerState::HalfOpen => breaker.asked_until,
    };
    let is_half_open = breakers.iter().any(|breaker| breaker.state == BreakerState::HalfOpen);
    let latest = breakers.iter().filter_map(until).max();
    latest.filter(|_| !is_half_open)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn next_attempt_is_the_latest_breaker_time_unless_a_breaker_is_half_open() {
        let open = |seconds| BreakerStatus {
            state: BreakerState::Open {
                until: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
            },
            ..BreakerStatus::default()
        };
        let half_open = BreakerStatus {
            state: BreakerState::HalfOpen,
            ..BreakerStatus::default()
        };
        let at = |seconds| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(admitted_at([open(1), open(2)]), at(2));
        assert_eq!(admitted_at([open(3), BreakerStatus::default()]), at(3));
        assert_eq!(admitted_at([open(3), half_open]), None);
        assert_eq!(admitted_at([BreakerStatus::default(); 2]), None);
        let requested = BreakerStatus {
            asked_until: at(5),
            ..open(1)
        };
        assert_eq!(admitted_at([requested, open(2)]), at(5));
    }
}
