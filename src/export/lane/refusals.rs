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

use super::Lane;
use super::state::State;
use crate::export::ExportError;
use crate::export::accounting::key_status::{KeyRefusal, KeyStatus};
use crate::export::keys::request_key::Sent;
use crate::export::schedule::permits::Load;
use crate::faults::{Fault, planted};
use crate::secret::KeyRefusalStatus;
use crate::util::wall_time;

/// The refusals of a lane's key, by what the requests carried.
pub(super) type Refusals = [Option<Refusal>; 2];

#[derive(Clone, Copy)]
pub(super) struct Refusal {
    shown: KeyRefusal,
    /// The last key that was refused.
    number: u64,
    /// The key before that one was taken since.
    before_is_taken: bool,
}

impl Lane {
    /// The receiver refused the key of a request, and the key's source was asked since.
    pub(crate) fn note_refused_key(&self, load: Load, sent: Sent, error: &ExportError) {
        let Some(status) = error.key_refusal() else { return };
        let mut state = self.state.lock();
        if sent.is_before() {
            if let Some(refusal) = state.refusal_mut(load) {
                refusal.before_is_taken = false;
            }
        } else if self.key.is_current(sent.key) {
            // Looked at under the lane's lock: if the key changes later, the answer to the next one comes later too.
            state.refuse_key(load, sent.current, status);
            drop(state);
            self.log_refused_key(load);
        }
    }

    /// The receiver took the key of a request.
    pub(crate) fn note_taken_key(&self, load: Load, sent: Sent) {
        let is_late = !sent.is_before() && !self.key.is_current(sent.key);
        let mut state = self.state.lock();
        if is_late && planted(Fault::LateAnswerAlarms) {
            state.refuse_key(load, sent.key + 1, KeyRefusalStatus::Http(401));
        }
        let is_over = match state.refusal_mut(load) {
            Some(refusal) if sent.is_before() => {
                refusal.before_is_taken = refusal.number == sent.current;
                false
            }
            Some(refusal) if sent.key < refusal.number => false,
            Some(_) => {
                state.seldom().refusals[load as usize] = None;
                true
            }
            // Another lane of the selector may have been refused.
            None => !is_late && !sent.is_before(),
        };
        drop(state);
        if is_over {
            self.log_taken_key(load);
        }
    }

    /// Adds what the receiver says of the key.
    pub(super) fn judge_key(&self, key: &mut KeyStatus, refusals: Refusals) {
        let [spans, events] = refusals;
        let Some(first) = spans.or(events) else { return };
        let other = events.filter(|_| spans.is_some());
        key.refused = Some(KeyRefusal {
            since: other.map_or(first.shown.since, |other| other.shown.since.min(first.shown.since)),
            count: first.shown.count + other.map_or(0, |other| other.shown.count),
            ..first.shown
        });
        if key.error.is_none() {
            let error = (self.key.origin()).refused_by_receiver(first.shown.status, first.before_is_taken);
            key.error = Some(error);
        }
    }
}

impl Refusal {
    pub(super) fn status(&self) -> KeyRefusalStatus {
        self.shown.status
    }
}

impl State {
    fn refuse_key(&mut self, load: Load, number: u64, status: KeyRefusalStatus) {
        let refusal = &mut self.seldom().refusals[load as usize];
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
}
