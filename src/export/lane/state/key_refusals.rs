//! Refusals of the lane's key by its receiver. Spans and session events are separate, because they
//! use different paths of the receiver.
//!
//! | state | event | next |
//! |---|---|---|
//! | any | the current key is refused, and its source has no other | refused: since the first refusal, counted |
//! | refused | the refused key, or a later one, is accepted | accepted |
//! | refused | the previous key, sent as a fallback, is accepted | refused; the status mentions the previous key |
//! | refused | an earlier key is accepted in a request that was in flight when the key changed | refused |
//! | accepted | any key is accepted | accepted |

use std::time::SystemTime;

use crate::export::accounting::key_status::{KeyRefusal, KeyStatus};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::keys::request_key::SentKey;
use crate::secret::{KeyOrigin, KeyRefusalStatus};
use crate::util::wall_time;

/// The refusals of a lane's key, by request kind.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyRefusals([Option<Refusal>; 2]);

#[derive(Clone, Copy)]
struct Refusal {
    shown: KeyRefusal,
    /// Number of the last refused key.
    number: u64,
    /// Whether the previous key was accepted since.
    previous_accepted: bool,
}

impl KeyRefusals {
    /// Records a refusal of the current key, when its source has no other.
    pub(crate) fn refuse(&mut self, kind: RequestKind, number: u64, status: KeyRefusalStatus) {
        let refusal = &mut self.0[kind as usize];
        let earlier = refusal.map(|earlier| earlier.shown);
        *refusal = Some(Refusal {
            shown: KeyRefusal {
                status,
                since: earlier.map_or_else(|| wall_time::to_millis(SystemTime::now()), |earlier| earlier.since),
                count: earlier.map_or(0, |earlier| earlier.count) + 1,
            },
            number,
            previous_accepted: refusal.is_some_and(|earlier| earlier.previous_accepted && earlier.number == number),
        });
    }

    /// Records that the previous key was refused too.
    pub(crate) fn refuse_before(&mut self, kind: RequestKind) {
        if let Some(refusal) = &mut self.0[kind as usize] {
            refusal.previous_accepted = false;
        }
    }

    /// Records an accepted key. Returns whether that ends the refusal, or `None` if there is none.
    pub(crate) fn take(&mut self, kind: RequestKind, sent: SentKey) -> Option<bool> {
        let refusal = &mut self.0[kind as usize];
        let refused = refusal.as_mut()?;
        if sent.is_previous() {
            refused.previous_accepted = refused.number == sent.current;
            return Some(false);
        }
        let is_over = sent.key >= refused.number;
        refusal.take_if(|_| is_over);
        Some(is_over)
    }

    /// Returns the status of the last refusal.
    pub(crate) fn status(&self, kind: RequestKind) -> Option<KeyRefusalStatus> {
        self.0[kind as usize].map(|refusal| refusal.shown.status)
    }

    pub(crate) fn is_refused(&self) -> bool {
        self.0.iter().any(Option::is_some)
    }

    /// Adds the refusals to the key's status.
    pub(crate) fn add_to(self, key: &mut KeyStatus, origin: &KeyOrigin) {
        let [spans, events] = self.0;
        let Some(first) = spans.or(events) else { return };
        let other = events.filter(|_| spans.is_some());
        key.refused = Some(KeyRefusal {
            since: other.map_or(first.shown.since, |other| other.shown.since.min(first.shown.since)),
            count: first.shown.count + other.map_or(0, |other| other.shown.count),
            ..first.shown
        });
        if key.error.is_none() {
            key.error = Some(origin.refused_error(first.shown.status, first.previous_accepted));
        }
    }
}
