//! Fair order at a receiver that is short of capacity: one that answers 503 or UNAVAILABLE and asks
//! for no wait.
//!
//! A back-off of its own for each request is unfair there. The tracer that was let in starts again
//! with a short back-off, while the back-offs of all others grow, so it is let in again. Here the
//! refused requests of one connection key form a queue instead, spans and session events apart:
//! they are different paths at the receiver. The order of the tracers in it is the bytes that the
//! receiver took from each, divided by the tracer's weight; the requests of one tracer go first in,
//! first out.
//!
//! | event | effect |
//! |---|---|
//! | the receiver takes a request | the first of the queue tries at once |
//! | a try is refused | the first of the queue tries after a back-off that doubles with each try since the last success |
//! | [`TRIES`] tries in a row are refused | no more tries until the next success: each request waits as it does in an outage |
//! | the own wait of a request of the queue is over, and no request of the queue was taken meanwhile | it tries as well |
//! | a request that was never refused, while a tracer that is behind its own tries | waits until a try is refused or its tracer is the next, at most [`GIVES_WAY`] for each try |
//!
//! A refusal may be about one tracer instead of capacity. So a request that is refused too often
//! while others are taken no longer joins the queue. It waits in its own back-off, and holds
//! nothing up. The next success of its tracer ends that.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{Either, select};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::fair_semaphore::scaled;
use crate::util::fork::ForkLock;

#[cfg(test)]
mod tests;

/// Tries of the queue without a success. With the default back-off they take about a minute and a
/// half at most.
const TRIES: u32 = 8;
/// Longest wait of a new request for the tries of other tracers, and the age from which on a try is
/// not waited for: it may wait for an answer, a breaker or a key for minutes.
const GIVES_WAY: Duration = Duration::from_millis(100);

/// The requests that wait for capacity at one connection key.
#[derive(Debug, Default)]
pub(crate) struct Shortage {
    state: ForkLock<State>,
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
    /// Requests that were in the queue, and were taken: in their turn, or because their own wait
    /// was over.
    left_taken: u64,
    /// The last number that was given to a request that joined, or to a tracer that takes its place
    /// behind all of an equal share.
    number: u64,
    /// The tracers with requests that wait, and these requests by number.
    waiting: BTreeMap<Position, BTreeMap<u64, Arc<Notify>>>,
    /// Since when.
    trying: BTreeMap<Position, Instant>,
}

/// Share of the tracer, and a number, which no other has.
type Position = (u64, u64);

/// What the receiver took from one tracer.
#[derive(Debug)]
pub(crate) struct Share {
    weight: u32,
    /// Bytes divided by weight.
    taken: AtomicU64,
    /// Of the tracer's position, while requests of it wait. Each tracer has one of its own by then.
    number: AtomicU64,
    /// Successes at the connection key when this tracer was refused or taken last.
    seen: AtomicU64,
    /// Refusals with a success of another tracer before each, since this tracer was taken last.
    passed_over: AtomicU32,
}

/// A refused request in the queue. Dropping it leaves the queue.
#[derive(Debug)]
pub(crate) struct Waiting<'a> {
    shortage: &'a Shortage,
    share: &'a Share,
    number: u64,
    call: Arc<Notify>,
}

/// A try of the queue. Dropping it says that its answer has come.
#[derive(Debug)]
pub(crate) struct Try<'a> {
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
            left_taken: 0,
            number: 0,
            waiting: BTreeMap::new(),
            trying: BTreeMap::new(),
        }
    }
}

impl Share {
    pub(crate) fn new(weight: u32) -> Self {
        Self {
            weight,
            taken: AtomicU64::new(0),
            number: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            passed_over: AtomicU32::new(0),
        }
    }

    fn position(&self) -> Position {
        (self.taken.load(Ordering::Relaxed), self.number.load(Ordering::Relaxed))
    }
}

// Shares are read and written under the lock of the state, so relaxed is enough.
impl Shortage {
    /// The receiver took a request of so many bytes, which may have been in the queue before.
    pub(crate) fn note_delivered(&self, share: &Share, bytes: usize, was_refused: bool) {
        let mut state = self.state.lock();
        let waiting = state.waiting.remove(&share.position());
        let before = share.taken.fetch_add(scaled(bytes, share.weight), Ordering::Relaxed);
        if let Some(waiting) = waiting {
            state.waiting.insert(share.position(), waiting);
        }
        state.now = state.now.max(before);
        state.successes += 1;
        state.tries = 0;
        state.left_taken += u64::from(was_refused);
        share.seen.store(state.successes, Ordering::Relaxed);
        share.passed_over.store(0, Ordering::Relaxed);
        state.call_first();
    }

    /// Joins the queue with a request that was refused, for the first time or again. `None` if the
    /// refusals seem to be about its tracer.
    pub(crate) fn join<'a>(&'a self, share: &'a Share, again: bool) -> Option<Waiting<'a>> {
        let mut state = self.state.lock();
        if share.seen.swap(state.successes, Ordering::Relaxed) != state.successes {
            share.passed_over.fetch_add(1, Ordering::Relaxed);
        }
        // All others may have had their turn, and some of them twice.
        if share.passed_over.load(Ordering::Relaxed) as usize > 8 + 2 * state.waiting.len() {
            return None;
        }
        let number = state.next_number();
        let call = Arc::new(Notify::new());
        if let Some(waiting) = state.waiting.get_mut(&share.position()) {
            waiting.insert(number, Arc::clone(&call));
        } else {
            if !again {
                // A tracer that had nothing to send has not saved up anything.
                share.taken.fetch_max(state.now, Ordering::Relaxed);
            }
            share.number.store(number, Ordering::Relaxed);
            let waiting = BTreeMap::from([(number, Arc::clone(&call))]);
            state.waiting.insert(share.position(), waiting);
        }
        Some(Waiting {
            shortage: self,
            share,
            number,
            call,
        })
    }

    /// Whether the receiver took something lately, so that the queue tries.
    pub(crate) fn tries(&self) -> bool {
        self.state.lock().tries < TRIES
    }

    /// Lets tracers that are behind try before a request that was never refused: until one of them
    /// is refused, or none is left.
    pub(crate) async fn give_way(&self, share: &Share) {
        let given = async {
            loop {
                // Made before the look: from here on it hears every end.
                let ended = self.ended.notified();
                if !self.state.lock().is_one_behind(share) {
                    return;
                }
                ended.await;
            }
        };
        // Either end of the wait is the same to the caller.
        drop(timeout(GIVES_WAY, given).await);
    }
}

impl<'a> Waiting<'a> {
    /// Waits for the request's turn to try. `None` if it is to try without one, because its own
    /// wait is over and the queue did not move meanwhile, or because `own_wait` returned that it
    /// must try at once.
    ///
    /// `back_off` is the wait of the first of the queue, by how many tries were refused in a row
    /// before.
    pub(crate) async fn turn<OwnWait: Future<Output = bool>>(
        self,
        own_wait: impl Fn() -> OwnWait,
        back_off: impl Fn(u32) -> Duration,
    ) -> Option<Try<'a>> {
        let called = async {
            loop {
                let tries = self.shortage.state.lock().tries_if_first(&self);
                match tries {
                    None => self.call.notified().await,
                    Some(tries) => {
                        let wait = tries.checked_sub(1).map(&back_off).unwrap_or_default();
                        if timeout(wait, self.call.notified()).await.is_err()
                            && let Some(turn) = self.begin_try()
                        {
                            return turn;
                        }
                    }
                }
            }
        };
        let own_wait = async {
            let mut moved = true;
            while moved {
                let before = self.shortage.state.lock().left_taken;
                let must_try = own_wait().await;
                moved = !must_try && self.shortage.state.lock().left_taken != before;
            }
        };
        match select(pin!(called), pin!(own_wait)).await {
            Either::Left((turn, _)) => Some(turn),
            Either::Right(_) => None,
        }
    }

    /// `None` if another request is first by now.
    fn begin_try(&self) -> Option<Try<'a>> {
        let mut state = self.shortage.state.lock();
        state.tries_if_first(self)?;
        let position = (self.share.position().0, self.number);
        // The tracer's other requests wait behind those of an equal share.
        let number = state.next_number();
        if let Some(others) = state.leave(self) {
            self.share.number.store(number, Ordering::Relaxed);
            state.waiting.insert(self.share.position(), others);
        }
        state.trying.insert(position, Instant::now());
        state.tries += 1;
        state.call_first();
        Some(Try {
            shortage: self.shortage,
            position,
        })
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Tries since the last success, if the queue tries and this request is its first.
    fn tries_if_first(&self, request: &Waiting<'_>) -> Option<u32> {
        let (position, requests) = self.waiting.first_key_value()?;
        let is_first = *position == request.share.position() && requests.keys().next() == Some(&request.number);
        (is_first && self.tries < TRIES).then_some(self.tries)
    }

    /// Takes a request out, and with it the others of its tracer, which are given back if there are
    /// any.
    fn leave(&mut self, request: &Waiting<'_>) -> Option<BTreeMap<u64, Arc<Notify>>> {
        let mut requests = self.waiting.remove(&request.share.position())?;
        requests.remove(&request.number);
        (!requests.is_empty()).then_some(requests)
    }

    /// Whether a tracer tries, or is about to, of which less was taken.
    fn is_one_behind(&self, share: &Share) -> bool {
        let own = share.taken.load(Ordering::Relaxed);
        let is_behind = |position: &Position| position.0 < own;
        let mut tries = self.trying.iter().take_while(|(position, _)| is_behind(position));
        tries.any(|(_, began)| began.elapsed() < GIVES_WAY)
            || self.tries == 0 && self.waiting.keys().next().is_some_and(is_behind)
    }

    /// Lets the first of the queue see that something changed.
    fn call_first(&self) {
        let first = self.waiting.first_key_value();
        if let Some(call) = first.and_then(|(_, requests)| requests.values().next()) {
            call.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.shortage.state.lock();
        let requests = state.waiting.get(&self.share.position());
        // Where it left to try, it is not there any more.
        if requests.is_some_and(|requests| requests.contains_key(&self.number)) {
            if let Some(others) = state.leave(self) {
                state.waiting.insert(self.share.position(), others);
            }
            state.call_first();
        }
    }
}

impl Drop for Try<'_> {
    fn drop(&mut self) {
        self.shortage.state.lock().trying.remove(&self.position);
        self.shortage.ended.notify_waiters();
    }
}
