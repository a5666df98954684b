//! The requests of a lane that are under way, as a status explains them.
//!
//! | state | event | next |
//! |---|---|---|
//! | waits for a place | a breaker does not let it through | waits at a breaker |
//! | waits at a breaker | the breakers let it through | waits for a place |
//! | waits for a place | it has one | sent, as an attempt with a number |
//! | sent | its attempt failed, and it is repeated after a time | waits for its time |
//! | sent, waits for its time | its next attempt begins | waits for a place |
//!
//! A request ends when its guard is dropped. A lane without one has no memory for them.

use std::time::SystemTime;

use crate::export::accounting::lane_status::{RequestKind, RequestState, RequestStatus};
use crate::export::schedule::breaker_status::{BreakerState, BreakerStatus};

/// The requests that are under way, the oldest first.
#[derive(Default)]
pub(crate) struct Requests {
    begun: u64,
    open: Vec<Open>,
}

struct Open {
    number: u64,
    status: RequestStatus,
}

impl Requests {
    /// Begins a request, and returns its number.
    pub(crate) fn begin(&mut self, kind: RequestKind) -> u64 {
        self.begun += 1;
        let (number, status) = (self.begun, RequestStatus::new(kind));
        self.open.push(Open { number, status });
        number
    }

    pub(crate) fn find(&mut self, number: u64) -> Option<&mut RequestStatus> {
        let open = self.open.iter_mut().find(|open| open.number == number);
        open.map(|open| &mut open.status)
    }

    /// Ends a request. Returns whether none is left.
    pub(crate) fn end(&mut self, number: u64) -> bool {
        self.open.retain(|open| open.number != number);
        self.open.is_empty()
    }

    /// The request that is under way for the longest, of those whose kind is pending. `breakers` are those of its kind, the tracer's own and
    /// the endpoint's.
    pub(crate) fn oldest(
        &self,
        is_pending: impl Fn(RequestKind) -> bool,
        breakers: impl Fn(RequestKind) -> [BreakerStatus; 2],
    ) -> Option<RequestStatus> {
        let mut statuses = self.open.iter().map(|open| open.status);
        let mut status = statuses.find(|status| is_pending(status.kind))?;
        let let_through = let_through(breakers(status.kind));
        match status.state {
            RequestState::WaitsForPlace | RequestState::Sent => {}
            RequestState::WaitsAtBreaker => status.next_attempt = let_through,
            RequestState::WaitsToRepeat => status.next_attempt = status.next_attempt.max(let_through),
        }
        Some(status)
    }
}

/// When breakers let the next request through: not before they open again, and not before the receiver said. `None` if that depends on
/// another request.
fn let_through(breakers: [BreakerStatus; 2]) -> Option<SystemTime> {
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
    fn at_breakers_the_last_that_opens_again_says_when_unless_another_request_tries() {
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
        assert_eq!(let_through([open(1), open(2)]), at(2));
        assert_eq!(let_through([open(3), BreakerStatus::default()]), at(3));
        assert_eq!(let_through([open(3), half_open]), None);
        assert_eq!(let_through([BreakerStatus::default(); 2]), None);
        let asked = BreakerStatus {
            asked_until: at(5),
            ..open(1)
        };
        assert_eq!(let_through([asked, open(2)]), at(5));
    }
}
