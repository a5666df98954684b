//! What the lane's receiver says of its key, for spans and for session events apart: they are different paths at the receiver.
//!
//! | state | event | next |
//! |---|---|---|
//! | any | the current key is refused, and its source has no other | refused: since the first refusal, counted |
//! | refused | the key that is refused, or a later one, is taken | fine |
//! | refused | the key is taken that came before the refused one, in its place | refused, and says so |
//! | refused | an earlier key is taken by a request that was under way when the key changed | refused |
//! | fine | any key is taken | fine |

use std::time::SystemTime;

use crate::export::accounting::key_status::{KeyRefusal, KeyStatus};
use crate::export::accounting::lane_status::RequestKind;
use crate::export::keys::request_key::Sent;
use crate::secret::{KeyOrigin, KeyRefusalStatus};
use crate::util::wall_time;

/// The refusals of a lane's key, by what the requests carried.
#[derive(Clone, Copy, Default)]
pub(crate) struct KeyRefusals([Option<Refusal>; 2]);

#[derive(Clone, Copy)]
struct Refusal {
    shown: KeyRefusal,
    /// The last key that was refused.
    number: u64,
    /// The key before that one was taken since.
    before_is_taken: bool,
}

impl KeyRefusals {
    /// A current key was refused, and its source has no other.
    pub(crate) fn refuse(&mut self, kind: RequestKind, number: u64, status: KeyRefusalStatus) {
        let refusal = &mut self.0[kind as usize];
        let earlier = refusal.map(|earlier| earlier.shown);
        *refusal = Some(Refusal {
            shown: KeyRefusal {
                status,
                since: earlier.map_or_else(|| wall_time::shown(SystemTime::now()), |earlier| earlier.since),
                count: earlier.map_or(0, |earlier| earlier.count) + 1,
            },
            number,
            before_is_taken: refusal.is_some_and(|earlier| earlier.before_is_taken && earlier.number == number),
        });
    }

    /// The key before the refused one was refused as well.
    pub(crate) fn refuse_before(&mut self, kind: RequestKind) {
        if let Some(refusal) = &mut self.0[kind as usize] {
            refusal.before_is_taken = false;
        }
    }

    /// A key was taken. Returns whether that ends a refusal; `None` if there is none.
    pub(crate) fn take(&mut self, kind: RequestKind, sent: Sent) -> Option<bool> {
        let refusal = &mut self.0[kind as usize];
        let refused = refusal.as_mut()?;
        if sent.is_before() {
            refused.before_is_taken = refused.number == sent.current;
            return Some(false);
        }
        let is_over = sent.key >= refused.number;
        refusal.take_if(|_| is_over);
        Some(is_over)
    }

    /// What the receiver answered last.
    pub(crate) fn status(&self, kind: RequestKind) -> Option<KeyRefusalStatus> {
        self.0[kind as usize].map(|refusal| refusal.shown.status)
    }

    /// Adds what the receiver says of the key.
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
            key.error = Some(origin.refused_by_receiver(first.shown.status, first.before_is_taken));
        }
    }
}
