//! How the receiver treats what a lane sends: the reason why a full queue is full.
//!
//! One standing for spans and one for session events, which are different paths at the receiver. It is what the last finished attempt showed,
//! and is kept under the lane's lock, which the thread that ends a span holds anyway.
//!
//! | event | next standing |
//! |---|---|
//! | 401, 403, and the key's source has no other key | unauthorized |
//! | no connection, a broken one, no answer in time, 408, 5xx | unavailable |
//! | any other answer: a 2xx, 429 (gRPC: RESOURCE_EXHAUSTED), a request refused for what it carries | works |
//! | a request waits at an open breaker | unavailable, if it was works |
//! | the key becomes another one | works, if it was unauthorized |
//!
//! An attempt that has no answer yet changes nothing. Between requests the standing stays what it was.

use crate::export::accounting::lane_status::RequestKind;
use crate::export::error::ExportError;
use crate::export::send::verdict::Verdict;
use crate::ledger::DropReason;
use crate::util::grpc_code;

/// How the receiver treats one kind of what a lane sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// It answers, and does not refuse the key. Also before the first attempt.
    #[default]
    Works,
    /// It refuses the key.
    Unauthorized,
    /// It cannot be reached, does not answer in time, or answers that it cannot take anything now.
    Unavailable,
}

/// By kind.
#[derive(Default)]
pub(crate) struct Standings([Standing; 2]);

impl Standing {
    fn after(verdict: &Verdict) -> Self {
        match verdict {
            Verdict::Deny { .. } => Self::Unauthorized,
            Verdict::Repeat { error, .. } if !is_limit(error) => Self::Unavailable,
            Verdict::Fault { .. } => Self::Unavailable,
            Verdict::Repeat { .. } | Verdict::Delivered { .. } | Verdict::Refuse { .. } | Verdict::Drop { .. } => {
                Self::Works
            }
        }
    }

    /// Why something is dropped for which there is no room.
    fn no_room(self) -> DropReason {
        match self {
            Self::Works => DropReason::QueueFull,
            Self::Unauthorized => DropReason::QueueFullUnauthorized,
            Self::Unavailable => DropReason::QueueFullUnavailable,
        }
    }
}

/// Whether a receiver that works limits how much it takes.
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

impl Standings {
    /// Why something is dropped for which there is no room: in the queue, or in the memory of all tracers.
    pub(crate) fn no_room(&self, kind: RequestKind) -> DropReason {
        self.0[kind as usize].no_room()
    }

    pub(crate) fn note_verdict(&mut self, kind: RequestKind, verdict: &Verdict) {
        self.0[kind as usize] = Standing::after(verdict);
    }

    /// A request waits at a breaker.
    pub(crate) fn hold_up(&mut self, kind: RequestKind) {
        let standing = &mut self.0[kind as usize];
        if *standing == Standing::Works {
            *standing = Standing::Unavailable;
        }
    }

    /// What was learnt by a key that is not current any more says nothing.
    pub(crate) fn forget_refused_key(&mut self) {
        for standing in &mut self.0 {
            if *standing == Standing::Unauthorized {
                *standing = Standing::Works;
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
        Verdict::Repeat {
            after: after.map(Duration::from_secs),
            error,
        }
    }

    #[test]
    fn each_verdict_has_its_standing() {
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
        for (verdict, standing) in [
            (Verdict::Deny { error: status(401) }, Standing::Unauthorized),
            (repeat(status(500), None), Standing::Unavailable),
            (repeat(status(503), Some(1)), Standing::Unavailable),
            (repeat(timeout, None), Standing::Unavailable),
            (repeat(grpc(14), None), Standing::Unavailable),
            (repeat(grpc(8), Some(1)), Standing::Works),
            (repeat(status(429), None), Standing::Works),
            (repeat(status(429), Some(1)), Standing::Works),
            (
                Verdict::Refuse {
                    reason,
                    error: status(404),
                },
                Standing::Works,
            ),
            (
                Verdict::Drop {
                    reason,
                    error: status(302),
                },
                Standing::Works,
            ),
            (
                Verdict::Delivered {
                    rejected: 1,
                    warning: None,
                },
                Standing::Works,
            ),
        ] {
            assert_eq!(Standing::after(&verdict), standing, "{verdict:?}");
        }
    }

    /// What became of one more span than there is room for, after each of these events.
    fn reasons(events: &[&dyn Fn(&Lane)]) -> Vec<DropReason> {
        let (lane, _account, _rung) = lane(Binding::new());
        while lane.snapshot().ledgers.spans.snapshot().lost() == 0 {
            lane.push(span("fills the queue"));
        }
        let dropped = || lane.snapshot().ledgers.spans.snapshot().dropped;
        let after = events.iter().map(|event| {
            event(&lane);
            let before = dropped();
            lane.push(span("one more"));
            let after = dropped();
            let mut reasons = after
                .into_iter()
                .filter(|(reason, count)| before.get(reason) != Some(count));
            reasons.next().expect("it is dropped").0
        });
        after.collect()
    }

    #[test]
    fn a_request_at_a_breaker_and_a_new_key_change_the_standing_as_the_table_says() {
        use DropReason::{QueueFull, QueueFullUnauthorized, QueueFullUnavailable};
        let held_up = |lane: &Lane| lane.note_held_up(RequestKind::Spans);
        let other_held_up = |lane: &Lane| lane.note_held_up(RequestKind::SessionEvents);
        let new_key = |lane: &Lane| lane.take_new_key();
        let denied = |lane: &Lane| lane.note_verdict(RequestKind::Spans, &Verdict::Deny { error: status(403) });
        let taken = |lane: &Lane| {
            let verdict = Verdict::Delivered {
                rejected: 0,
                warning: None,
            };
            lane.note_verdict(RequestKind::Spans, &verdict);
        };
        assert_eq!(
            reasons(&[&other_held_up, &held_up, &new_key, &taken]),
            [QueueFull, QueueFullUnavailable, QueueFullUnavailable, QueueFull]
        );
        assert_eq!(
            reasons(&[&denied, &held_up, &new_key, &denied, &taken]),
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
