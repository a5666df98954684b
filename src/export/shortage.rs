//! Fair order at a receiver that is short of capacity: one that answers 503 or UNAVAILABLE and asks for no wait.
//!
//! A back-off of its own for each request is unfair there. The tracer that was let in starts again with a short back-off, while the
//! back-offs of all others grow, so it is let in again. Here the refused requests of one connection key form a queue instead. Its order is
//! the bytes that the receiver took from each tracer, divided by the tracer's weight.
//!
//! | event | effect |
//! |---|---|
//! | the receiver takes a request | the first of the queue tries at once |
//! | a try is refused | the first of the queue tries after a back-off that doubles with each try since the last success |
//! | [`TRIES`] tries in a row are refused | no more tries until the next success: each request waits as it does in an outage |
//! | the own wait of a request of the queue is over, and no try was taken meanwhile | it tries as well |
//! | a request that was never refused, while a tracer that is behind its own tries | waits until a try is refused or its tracer is the next, at most [`GIVES_WAY`] |
//!
//! A refusal may be about one tracer instead of capacity. So a request that is refused too often while others are taken no longer joins
//! the queue. It waits in its own back-off, and holds nothing up. The next success of its tracer ends that.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio::time::timeout;

use super::turns::scaled;

#[cfg(test)]
mod tests;

/// Tries of the queue without a success. With the default back-off they take about a minute and a half at most.
const TRIES: u32 = 8;
/// Longest wait of a new request for the tries of other tracers.
const GIVES_WAY: Duration = Duration::from_millis(100);

/// The requests that wait for capacity at one connection key.
#[derive(Debug, Default)]
pub(super) struct Shortage {
    state: Mutex<State>,
    /// Notified when a try ends.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// Virtual time: the share of the tracer that was taken last, before that request.
    now: u64,
    successes: u64,
    /// Tries of the queue since the last success.
    tries: u32,
    /// Tries of the queue that were taken.
    tries_taken: u64,
    /// Numbers the requests that joined, so that equal shares go first in, first out.
    joined: u64,
    waiting: BTreeMap<Position, Arc<Notify>>,
    trying: BTreeSet<Position>,
}

/// Share of the tracer, and number of the request.
type Position = (u64, u64);

/// What the receiver took from one tracer.
#[derive(Debug)]
pub(super) struct Share {
    weight: u32,
    /// Bytes divided by weight.
    taken: AtomicU64,
    /// Successes at the connection key when this tracer was refused or taken last.
    seen: AtomicU64,
    /// Refusals with a success of another tracer before each, since this tracer was taken last.
    passed_over: AtomicU32,
}

/// A refused request in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(super) struct Waiting<'a> {
    shortage: &'a Shortage,
    position: Position,
    call: Arc<Notify>,
}

/// A try of the queue. Dropping it says that its answer has come.
#[derive(Debug)]
pub(super) struct Try<'a> {
    shortage: &'a Shortage,
    position: Position,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: 0,
            successes: 0,
            // Nothing was taken yet.
            tries: TRIES,
            tries_taken: 0,
            joined: 0,
            waiting: BTreeMap::new(),
            trying: BTreeSet::new(),
        }
    }
}

impl Share {
    pub(super) fn new(weight: u32) -> Self {
        Self {
            weight,
            taken: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            passed_over: AtomicU32::new(0),
        }
    }
}

// Shares are read and written under the lock of the state, so relaxed is enough.
impl Shortage {
    /// The receiver took a request of so many bytes, which the queue may have let try.
    pub(super) fn note_taken(&self, share: &Share, bytes: usize, turn: Option<&Try<'_>>) {
        let mut state = self.lock();
        let before = share.taken.fetch_add(scaled(bytes, share.weight), Ordering::Relaxed);
        state.now = state.now.max(before);
        state.successes += 1;
        state.tries = 0;
        state.tries_taken += u64::from(turn.is_some());
        share.seen.store(state.successes, Ordering::Relaxed);
        share.passed_over.store(0, Ordering::Relaxed);
        state.call_first();
    }

    /// Joins the queue with a request that was refused, for the first time or again. `None` if the refusals seem to be about its tracer.
    pub(super) fn join(&self, share: &Share, again: bool) -> Option<Waiting<'_>> {
        let mut state = self.lock();
        if share.seen.swap(state.successes, Ordering::Relaxed) != state.successes {
            share.passed_over.fetch_add(1, Ordering::Relaxed);
        }
        // All others may have had their turn, and some of them twice.
        if share.passed_over.load(Ordering::Relaxed) as usize > 8 + 2 * state.waiting.len() {
            return None;
        }
        if !again {
            // A tracer that had nothing to send has not saved up anything.
            share.taken.fetch_max(state.now, Ordering::Relaxed);
        }
        let position = (share.taken.load(Ordering::Relaxed), state.joined);
        state.joined += 1;
        let call = Arc::new(Notify::new());
        state.waiting.insert(position, Arc::clone(&call));
        Some(Waiting {
            shortage: self,
            position,
            call,
        })
    }

    /// Whether the receiver took something lately, so that the queue tries.
    pub(super) fn tries(&self) -> bool {
        self.lock().tries < TRIES
    }

    /// Lets tracers that are behind try before a request that was never refused: until one of them is refused, or none is left.
    pub(super) async fn give_way(&self, share: &Share) {
        let given = async {
            loop {
                // Made before the look: from here on it hears every end.
                let ended = self.ended.notified();
                if !self.lock().is_one_behind(share) {
                    return;
                }
                ended.await;
            }
        };
        // Either end of the wait is the same to the caller.
        drop(timeout(GIVES_WAY, given).await);
    }

    /// A panic while the lock was held can only come from the allocator.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<'a> Waiting<'a> {
    /// Waits for the request's turn to try. `None` if it is to try without one, because its own wait is over and the queue did not move
    /// meanwhile, or because `own_wait` returned that it must try at once.
    ///
    /// `back_off` is the wait of the first of the queue, by how many tries were refused in a row before.
    pub(super) async fn turn<OwnWait: Future<Output = bool>>(
        self,
        own_wait: impl Fn() -> OwnWait,
        back_off: impl Fn(u32) -> Duration,
    ) -> Option<Try<'a>> {
        let called = async {
            loop {
                let tries = self.shortage.lock().tries_if_first(self.position);
                match tries {
                    None => self.call.notified().await,
                    Some(tries) => {
                        let wait = tries.checked_sub(1).map(&back_off).unwrap_or_default();
                        if timeout(wait, self.call.notified()).await.is_err() && self.begin_try() {
                            return;
                        }
                    }
                }
            }
        };
        let own_wait = async {
            let mut moved = true;
            while moved {
                let before = self.shortage.lock().tries_taken;
                let must_try = own_wait().await;
                moved = !must_try && self.shortage.lock().tries_taken != before;
            }
        };
        match select(pin!(called), pin!(own_wait)).await {
            Either::Left(_) => Some(Try {
                shortage: self.shortage,
                position: self.position,
            }),
            Either::Right(_) => None,
        }
    }

    /// False if another request is first by now.
    fn begin_try(&self) -> bool {
        let mut state = self.shortage.lock();
        let is_first = state.tries_if_first(self.position).is_some();
        if is_first {
            state.waiting.remove(&self.position);
            state.trying.insert(self.position);
            state.tries += 1;
            state.call_first();
        }
        is_first
    }
}

impl State {
    /// Tries since the last success, if the queue tries and this request is its first.
    fn tries_if_first(&self, position: Position) -> Option<u32> {
        let is_first = self.waiting.keys().next() == Some(&position);
        (is_first && self.tries < TRIES).then_some(self.tries)
    }

    /// Whether a tracer tries, or is about to, of which less was taken.
    fn is_one_behind(&self, share: &Share) -> bool {
        let own = share.taken.load(Ordering::Relaxed);
        let is_behind = |position: &Position| position.0 < own;
        self.trying.first().is_some_and(is_behind)
            || self.tries == 0 && self.waiting.keys().next().is_some_and(is_behind)
    }

    /// Lets the first of the queue see that something changed.
    fn call_first(&self) {
        if let Some(call) = self.waiting.values().next() {
            call.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shortage.lock();
        if state.waiting.remove(&self.position).is_some() {
            state.call_first();
        }
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        self.shortage.lock().trying.remove(&self.position);
        self.shortage.ended.notify_waiters();
    }
}
