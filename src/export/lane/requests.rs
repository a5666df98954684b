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

use std::time::{Duration, SystemTime};

use super::Lane;
use super::state::State;
use crate::export::accounting::lane_status::{RequestState, RequestStatus};
use crate::export::schedule::breaker::{BreakerState, BreakerStatus};
use crate::export::schedule::permits::Load;
use crate::export::send::verdict::Verdict;
use crate::util::wall_time;

/// The requests that are under way, the oldest first.
#[derive(Default)]
pub(super) struct Requests {
    begun: u64,
    open: Vec<Open>,
}

struct Open {
    number: u64,
    load: Load,
    status: RequestStatus,
}

/// A request that is under way until this is dropped.
pub(crate) struct UnderWay<'a> {
    lane: &'a Lane,
    pub(crate) load: Load,
    number: u64,
}

impl Requests {
    fn find(&mut self, number: u64) -> Option<&mut RequestStatus> {
        let open = self.open.iter_mut().find(|open| open.number == number);
        open.map(|open| &mut open.status)
    }
}

impl State {
    /// The request that is under way for the longest; one whose outcome is in the books is not. `breakers` are those of its kind, the
    /// tracer's own and the endpoint's.
    pub(super) fn oldest_request(&self, breakers: impl Fn(Load) -> [BreakerStatus; 2]) -> Option<RequestStatus> {
        let is_pending = |load| match load {
            Load::Spans => self.ledger.pending() > 0,
            Load::SessionEvent => self.events_ledger().pending() > 0,
        };
        let mut open = self.requests.as_ref()?.open.iter();
        let oldest = open.find(|open| is_pending(open.load))?;
        let mut status = oldest.status;
        let let_through = let_through(breakers(oldest.load));
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

impl Lane {
    /// A request begins: it waits for its place.
    pub(crate) fn begin_request(&self, load: Load) -> UnderWay<'_> {
        let mut state = self.state.lock();
        let requests = state.requests.get_or_insert_default();
        requests.begun += 1;
        let number = requests.begun;
        let status = RequestStatus::new(load);
        requests.open.push(Open { number, load, status });
        UnderWay {
            lane: self,
            load,
            number,
        }
    }
}

impl UnderWay<'_> {
    /// It waits for a place among the requests that may be sent at the same time.
    pub(crate) fn waits_for_place(&self) {
        self.change(|status| status.change(RequestState::WaitsForPlace, None));
    }

    /// A breaker does not let it through.
    pub(crate) fn waits_at_breaker(&self) {
        self.change(|status| status.change(RequestState::WaitsAtBreaker, None));
    }

    /// An attempt begins; `before` were made before it.
    pub(crate) fn sent(&self, before: u32) {
        self.change(|status| {
            status.attempt = before.saturating_add(1);
            status.change(RequestState::Sent, None);
        });
    }

    /// The attempt after `before` others is over. If its verdict is another attempt, that is the one that comes next.
    pub(crate) fn answered(&self, before: u32, verdict: &Verdict) {
        let asked = match verdict {
            Verdict::Deny { .. } | Verdict::Fault { .. } => None,
            Verdict::Repeat { after, .. } => *after,
            Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => return,
        };
        self.change(|status| {
            status.attempt = before.saturating_add(2);
            status.asked_wait_ms = asked.map(|asked| u64::try_from(asked.as_millis()).unwrap_or(u64::MAX));
            status.change(RequestState::WaitsToRepeat, None);
        });
    }

    /// The next attempt is due after this time.
    pub(crate) fn waits(&self, wait: Duration) {
        let due = SystemTime::now().checked_add(wait).map(wall_time::shown);
        self.change(|status| status.change(RequestState::WaitsToRepeat, due));
    }

    fn change(&self, change: impl FnOnce(&mut RequestStatus)) {
        let mut state = self.lane.state.lock();
        if let Some(status) = state.requests.as_mut().and_then(|requests| requests.find(self.number)) {
            change(status);
        }
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.state.lock();
        if let Some(requests) = &mut state.requests {
            requests.open.retain(|open| open.number != self.number);
            if requests.open.is_empty() {
                state.requests = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::lane;
    use super::*;
    use crate::config::Binding;
    use crate::export::ExportError;
    use crate::export::test_fixtures::span;

    #[test]
    fn the_oldest_request_is_shown_and_nothing_is_kept_of_those_that_ended() {
        let (lane, _account, _rung) = lane(Binding::new());
        let shown = || lane.snapshot().oldest_request;
        assert!(lane.accept_event(10).is_some());
        lane.push(span("span"));
        let first = lane.begin_request(Load::SessionEvent);
        let second = lane.begin_request(Load::Spans);
        first.sent(0);
        let error = ExportError::Reported("down".to_owned());
        let after = Some(Duration::from_millis(1500));
        first.answered(0, &Verdict::Repeat { after, error });
        first.waits(Duration::from_secs(60));
        let status = shown().expect("two are under way");
        assert_eq!(
            (status.state, status.attempt, status.asked_wait_ms),
            (RequestState::WaitsToRepeat, 2, Some(1500))
        );
        let wait = status
            .next_attempt
            .map(|due| due.duration_since(status.since).unwrap_or_default());
        assert!(wait >= Some(Duration::from_secs(59)), "{status:?}");
        assert_eq!(shown(), Some(status));
        drop(first);
        let status = shown().expect("one is under way");
        assert_eq!(
            (status.state, status.attempt, status.next_attempt),
            (RequestState::WaitsForPlace, 1, None)
        );
        drop(second);
        assert_eq!(shown(), None);
        assert!(lane.state.lock().requests.is_none());
    }

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
