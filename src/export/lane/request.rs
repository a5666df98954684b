//! A request of a lane while it is under way.

use std::time::{Duration, SystemTime};

use super::lane::Lane;
use crate::export::accounting::lane_status::{RequestKind, RequestState, RequestStatus};
use crate::export::send::verdict::Verdict;
use crate::util::wall_time;

/// A request that is under way until this is dropped.
pub(crate) struct UnderWay<'a> {
    lane: &'a Lane,
    pub(crate) kind: RequestKind,
    number: u64,
}

impl Lane {
    /// A request begins: it waits for its place.
    pub(crate) fn begin_request(&self, kind: RequestKind) -> UnderWay<'_> {
        let number = self.state.lock().requests.get_or_insert_default().begin(kind);
        UnderWay {
            lane: self,
            kind,
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
        // A lane without requests has no memory for them.
        state.requests.take_if(|requests| requests.end(self.number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Binding;
    use crate::export::accounting::counted_lane::CountedLane;
    use crate::export::error::ExportError;
    use crate::export::lane::tests::lane;
    use crate::export::test_fixtures::span;

    #[test]
    fn the_oldest_request_is_shown_and_nothing_is_kept_of_those_that_ended() {
        let (lane, _account, _rung) = lane(Binding::new());
        let shown = || lane.snapshot().oldest_request;
        assert!(lane.accept_event(10).is_some());
        lane.push(span("span"));
        let first = lane.begin_request(RequestKind::SessionEvents);
        let second = lane.begin_request(RequestKind::Spans);
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
}
