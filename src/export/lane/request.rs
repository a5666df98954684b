//! Status of a lane's request while it is in progress.

use std::time::{Duration, SystemTime};

use super::lane::Lane;
use crate::export::accounting::lane_status::{RequestKind, RequestState, RequestStatus};
use crate::export::send::verdict::Verdict;
use crate::util::wall_time;

/// A request in progress. Dropping it ends the request.
pub(crate) struct RequestGuard<'a> {
    lane: &'a Lane,
    pub(crate) kind: RequestKind,
    number: u64,
}

impl Lane {
    /// Begins a request, which waits for a permit.
    pub(crate) fn begin_request(&self, kind: RequestKind) -> RequestGuard<'_> {
        let number = self.state.lock().requests.get_or_insert_default().begin(kind);
        RequestGuard {
            lane: self,
            kind,
            number,
        }
    }
}

impl Lane {
    /// Returns whether a request has no answer yet.
    #[cfg(test)]
    pub(crate) fn is_sending(&self) -> bool {
        let state = self.state.lock();
        state.requests.as_ref().is_some_and(|requests| requests.any_sent())
    }
}

impl RequestGuard<'_> {
    /// The request waits for a permit to be sent.
    pub(crate) fn wait_for_permit(&self) {
        self.change(|status| status.change(RequestState::WaitsForPermit, None));
    }

    /// The request waits at an open breaker.
    pub(crate) fn wait_at_breaker(&self) {
        self.change(|status| status.change(RequestState::WaitsAtBreaker, None));
    }

    /// The request waits because the selector is paused.
    pub(crate) fn wait_paused(&self) {
        self.change(|status| status.change(RequestState::Paused, None));
    }

    /// The pause is over. Its time does not count as time of the request.
    pub(crate) fn end_pause(&self) {
        self.change(|status| {
            status.since = wall_time::to_millis(SystemTime::now());
            status.change(RequestState::WaitsForPermit, None);
        });
    }

    /// Begins an attempt, after `before` earlier ones.
    pub(crate) fn begin_attempt(&self, before: u32) {
        self.change(|status| {
            status.attempt = before.saturating_add(1);
            status.change(RequestState::Sent, None);
        });
    }

    /// Ends the attempt after `before` earlier ones. If the verdict leads to a retry, the status
    /// shows the next attempt.
    pub(crate) fn end_attempt(&self, before: u32, verdict: &Verdict) {
        let requested = match verdict {
            Verdict::Deny { .. } | Verdict::Fault { .. } => None,
            Verdict::Retry { after, .. } => *after,
            Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => return,
        };
        self.change(|status| {
            status.attempt = before.saturating_add(2);
            status.asked_wait_ms = requested.map(|requested| u64::try_from(requested.as_millis()).unwrap_or(u64::MAX));
            status.change(RequestState::WaitsToRetry, None);
        });
    }

    /// The request waits this long before its next attempt.
    pub(crate) fn wait_to_retry(&self, wait: Duration) {
        let due = SystemTime::now().checked_add(wait).map(wall_time::to_millis);
        self.change(|status| status.change(RequestState::WaitsToRetry, due));
    }

    fn change(&self, change: impl FnOnce(&mut RequestStatus)) {
        let mut state = self.lane.state.lock();
        if let Some(status) = state.requests.as_mut().and_then(|requests| requests.find(self.number)) {
            change(status);
        }
    }
}

impl Drop for RequestGuard<'_> {
    fn drop(&mut self) {
        let mut state = self.lane.state.lock();
        // Free the list with the last request.
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
    fn status_shows_the_oldest_request_and_ended_requests_are_freed() {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        let shown = || lane.snapshot().oldest_request;
        assert!(lane.accept_event(10).is_ok());
        lane.push(span("span"));
        let first = lane.begin_request(RequestKind::SessionEvents);
        let second = lane.begin_request(RequestKind::Spans);
        first.begin_attempt(0);
        let error = ExportError::Reported("down".to_owned());
        let after = Some(Duration::from_millis(1500));
        first.end_attempt(0, &Verdict::Retry { after, error });
        first.wait_to_retry(Duration::from_secs(60));
        let status = shown().expect("two requests are in progress");
        assert_eq!(
            (status.state, status.attempt, status.asked_wait_ms),
            (RequestState::WaitsToRetry, 2, Some(1500))
        );
        let wait = status
            .next_attempt
            .map(|due| due.duration_since(status.since).unwrap_or_default());
        assert!(wait >= Some(Duration::from_secs(59)), "{status:?}");
        assert_eq!(shown(), Some(status));
        drop(first);
        let status = shown().expect("one request is in progress");
        assert_eq!(
            (status.state, status.attempt, status.next_attempt),
            (RequestState::WaitsForPermit, 1, None)
        );
        drop(second);
        assert_eq!(shown(), None);
        assert!(lane.state.lock().requests.is_none());
    }
}
