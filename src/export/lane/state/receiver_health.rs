//! Health of a lane's receiver: the reason to report when the queue is full.
//!
//! Spans and session events are separate, because they use different paths of the receiver. The
//! health follows from the last finished attempt. It is guarded by the lane's lock, which the
//! thread that ends a span holds anyway.
//!
//! | event | next health |
//! |---|---|
//! | 401, 403, and the key's source has no other key | unauthorized |
//! | no connection, a broken one, a timeout, 408, 5xx | unavailable |
//! | any other answer: 2xx, 429 (gRPC: RESOURCE_EXHAUSTED), a request refused for its content | works |
//! | a request waits at an open breaker | unavailable, if it was works |
//! | the key changes | works, if it was unauthorized |
//!
//! An attempt in progress changes nothing.

use crate::export::accounting::lane_status::RequestKind;
use crate::export::error::ExportError;
use crate::export::send::verdict::Verdict;
use crate::ledger::DropReason;
use crate::util::grpc_code;

/// How the receiver treats requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Health {
    /// It answers and accepts the key. Default before the first attempt.
    #[default]
    Works,
    /// It refuses the key.
    Unauthorized,
    /// It is unreachable, times out, or reports that it is unavailable.
    Unavailable,
}

/// Health of the receiver, by kind.
#[derive(Default)]
pub(crate) struct ReceiverHealth([Health; 2]);

impl Health {
    fn after(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Deny { .. } => Self::Unauthorized,
            Verdict::Retry { error, .. } if !is_limit(error) => Self::Unavailable,
            Verdict::Fault { .. } => Self::Unavailable,
            Verdict::Retry { .. } | Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => {
                Self::Works
            }
        }
    }

    /// Returns the drop reason for data that does not fit.
    fn drop_reason(self) -> DropReason {
        match self {
            Self::Works => DropReason::QueueFull,
            Self::Unauthorized => DropReason::QueueFullUnauthorized,
            Self::Unavailable => DropReason::QueueFullUnavailable,
        }
    }
}

/// Returns whether a working receiver applies a rate limit.
fn is_limit(error: &ExportError) -> bool {
    matches!(
        error,
        ExportError::Status { status: 429, .. }
            | ExportError::Grpc {
                code: grpc_code::RESOURCE_EXHAUSTED,
                ..
            }
    )
}

impl ReceiverHealth {
    /// Returns the drop reason for data that does not fit the queue or the memory budget.
    pub(crate) fn drop_reason(&self, kind: RequestKind) -> DropReason {
        self.0[kind as usize].drop_reason()
    }

    pub(crate) fn note_verdict(&mut self, kind: RequestKind, verdict: &Verdict) {
        self.0[kind as usize] = Health::after(verdict);
    }

    /// Records that a request waits at an open breaker.
    pub(crate) fn note_breaker_wait(&mut self, kind: RequestKind) {
        let receiver_health = &mut self.0[kind as usize];
        if *receiver_health == Health::Works {
            *receiver_health = Health::Unavailable;
        }
    }

    /// Discards the refusal of a previous key.
    pub(crate) fn forget_key_refusal(&mut self) {
        for receiver_health in &mut self.0 {
            if *receiver_health == Health::Unauthorized {
                *receiver_health = Health::Works;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::Binding;
    use crate::export::accounting::counted_lane::CountedLane;
    use crate::export::keys::key_state::KeyWaiter;
    use crate::export::lane::Lane;
    use crate::export::lane::tests::lane;
    use crate::export::test_fixtures::span;

    fn status(status: u16) -> ExportError {
        ExportError::Status {
            url: String::new(),
            status,
            message: None,
            retry_after: None,
        }
    }

    fn repeat(error: ExportError, after: Option<u64>) -> Verdict {
        Verdict::Retry {
            after: after.map(Duration::from_secs),
            error,
        }
    }

    #[test]
    fn each_verdict_maps_to_a_health() {
        let grpc = |code| ExportError::Grpc {
            url: String::new(),
            code,
            message: None,
            retry_after: None,
        };
        let timeout = ExportError::Timeout {
            url: String::new(),
            timeout: Duration::from_secs(1),
        };
        let reason = DropReason::Refused;
        for (verdict, receiver_health) in [
            (Verdict::Deny { error: status(401) }, Health::Unauthorized),
            (repeat(status(500), None), Health::Unavailable),
            (repeat(status(503), Some(1)), Health::Unavailable),
            (repeat(timeout, None), Health::Unavailable),
            (repeat(grpc(14), None), Health::Unavailable),
            (repeat(grpc(8), Some(1)), Health::Works),
            (repeat(status(429), None), Health::Works),
            (repeat(status(429), Some(1)), Health::Works),
            (
                Verdict::Refuse {
                    reason,
                    error: status(404),
                },
                Health::Works,
            ),
            (
                Verdict::Drop {
                    reason,
                    error: status(302),
                },
                Health::Works,
            ),
            (
                Verdict::Delivered {
                    rejected: 1,
                    warning: None,
                },
                Health::Works,
            ),
        ] {
            assert_eq!(Health::after(&verdict), receiver_health, "{verdict:?}");
        }
    }

    /// Fills the queue, then returns the drop reason of one more span after each event.
    fn reasons(events: &[&dyn Fn(&Lane)]) -> Vec<DropReason> {
        let (lane, _ledger, _events_rx) = lane(Binding::new());
        while lane.snapshot().ledgers.spans.snapshot().lost() == 0 {
            lane.push(span("fills the queue"));
        }
        let dropped = || lane.snapshot().ledgers.spans.snapshot().dropped;
        let after = events.iter().map(|event| {
            event(&lane);
            let before = dropped();
            lane.push(span("does not fit"));
            let after = dropped();
            let mut reasons = after
                .into_iter()
                .filter(|(reason, count)| before.get(reason) != Some(count));
            reasons.next().expect("the span is dropped").0
        });
        after.collect()
    }

    #[test]
    fn breaker_waits_and_key_changes_follow_the_health_table() {
        use DropReason::{QueueFull, QueueFullUnauthorized, QueueFullUnavailable};
        let breaker_wait = |lane: &Lane| lane.note_breaker_wait(RequestKind::Spans);
        let other_breaker_wait = |lane: &Lane| lane.note_breaker_wait(RequestKind::SessionEvents);
        let new_key = |lane: &Lane| lane.note_key_change();
        let denied = |lane: &Lane| lane.note_verdict(RequestKind::Spans, &Verdict::Deny { error: status(403) });
        let delivered = |lane: &Lane| {
            let verdict = Verdict::Delivered {
                rejected: 0,
                warning: None,
            };
            lane.note_verdict(RequestKind::Spans, &verdict);
        };
        assert_eq!(
            reasons(&[&other_breaker_wait, &breaker_wait, &new_key, &delivered]),
            [QueueFull, QueueFullUnavailable, QueueFullUnavailable, QueueFull]
        );
        assert_eq!(
            reasons(&[&denied, &breaker_wait, &new_key, &denied, &delivered]),
            [
                QueueFullUnauthorized,
                QueueFullUnauthorized,
                QueueFull,
                QueueFullUnauthorized,
                QueueFull
            ]
        );
    }
}
