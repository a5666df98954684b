//! Fair queue for a receiver that is short of capacity: one that answers 503 or UNAVAILABLE without
//! a requested wait.
//!
//! Independent back-offs are unfair there: the tracer that was accepted restarts with a short
//! back-off, while those of all others grow. So the refused requests of one connection key form a
//! queue, spans and session events separately, because they use different paths of the receiver.
//! Tracers are ordered by delivered bytes divided by weight; the requests of one tracer are first
//! in, first out.
//!
//! | event | effect |
//! |---|---|
//! | a request is delivered | the first request of the queue tries at once |
//! | a try is refused | the first request tries after a back-off that doubles with each try since the last success |
//! | [`MAX_TRIES`] consecutive tries are refused | no more tries until the next success: each request waits as in an outage |
//! | a queued request's own wait is over, and the queue delivered nothing meanwhile | it tries as well |
//! | a new request, while a tracer that is behind its own tries | waits until a try is refused or its tracer is next, at most [`YIELD_LIMIT`] per try |
//!
//! A refusal may concern one tracer instead of capacity. So a request that is refused too often
//! while others are delivered leaves the queue and uses its own back-off, until its tracer's next
//! success.

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

/// Most consecutive tries without a success. With the default back-off, they take at most about 90
/// seconds.
const MAX_TRIES: u32 = 8;
/// Longest wait of a new request for tries of other tracers. Older tries are ignored, because a try
/// may wait for minutes for an answer, a breaker or a key.
const YIELD_LIMIT: Duration = Duration::from_millis(100);

/// Queue of the requests that wait for capacity at one connection key.
#[derive(Debug, Default)]
pub(crate) struct CapacityQueue {
    state: ForkLock<State>,
    /// Notified when a try ends.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    /// Virtual time: the delivered share of the last successful tracer, before that request.
    now: u64,
    successes: u64,
    /// Tries since the last success.
    tries: u32,
    /// Number of queued requests that were delivered, in their turn or after their own wait.
    delivered_from_queue: u64,
    /// Last number assigned to a request or a tracer's position.
    number: u64,
    /// Waiting requests by tracer position and number.
    waiting: BTreeMap<Position, BTreeMap<u64, Arc<Notify>>>,
    /// Current tries and when they began.
    trying: BTreeMap<Position, Instant>,
}

/// A tracer's delivered share and a unique number.
type Position = (u64, u64);

/// What the receiver accepted from one tracer.
#[derive(Debug)]
pub(crate) struct CapacityShare {
    weight: u32,
    /// Delivered bytes divided by weight.
    delivered: AtomicU64,
    /// Number of the tracer's position while its requests wait. Unique among waiting tracers.
    number: AtomicU64,
    /// Successes at the connection key when this tracer was last refused or delivered.
    seen: AtomicU64,
    /// Refusals that followed a success of another tracer, since this tracer's last delivery.
    passed_over: AtomicU32,
}

/// A refused request in the queue. Leaves the queue on drop.
#[derive(Debug)]
pub(crate) struct QueuedRequest<'a> {
    queue: &'a CapacityQueue,
    share: &'a CapacityShare,
    number: u64,
    wake: Arc<Notify>,
}

/// A turn to try. Drop it when the answer arrives.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    queue: &'a CapacityQueue,
    position: Position,
}

impl Default for State {
    fn default() -> Self {
        Self {
            now: 0,
            successes: 0,
            // No tries before the first success.
            tries: MAX_TRIES,
            delivered_from_queue: 0,
            number: 0,
            waiting: BTreeMap::new(),
            trying: BTreeMap::new(),
        }
    }
}

impl CapacityShare {
    pub(crate) fn new(weight: u32) -> Self {
        Self {
            weight,
            delivered: AtomicU64::new(0),
            number: AtomicU64::new(0),
            seen: AtomicU64::new(0),
            passed_over: AtomicU32::new(0),
        }
    }

    fn position(&self) -> Position {
        (
            self.delivered.load(Ordering::Relaxed),
            self.number.load(Ordering::Relaxed),
        )
    }
}

// Relaxed: shares are accessed only under the state's lock.
impl CapacityQueue {
    /// Records a delivered request. `was_refused`: it had been in the queue.
    pub(crate) fn note_delivered(&self, share: &CapacityShare, bytes: usize, was_refused: bool) {
        let mut state = self.state.lock();
        let waiting = state.waiting.remove(&share.position());
        let before = share
            .delivered
            .fetch_add(scaled(bytes, share.weight), Ordering::Relaxed);
        if let Some(waiting) = waiting {
            state.waiting.insert(share.position(), waiting);
        }
        state.now = state.now.max(before);
        state.successes += 1;
        state.tries = 0;
        state.delivered_from_queue += u64::from(was_refused);
        share.seen.store(state.successes, Ordering::Relaxed);
        share.passed_over.store(0, Ordering::Relaxed);
        state.wake_first();
    }

    /// Adds a refused request to the queue. `again`: it was refused before. Returns `None` if the
    /// refusals seem to concern its tracer.
    pub(crate) fn join<'a>(&'a self, share: &'a CapacityShare, again: bool) -> Option<QueuedRequest<'a>> {
        let mut state = self.state.lock();
        if share.seen.swap(state.successes, Ordering::Relaxed) != state.successes {
            share.passed_over.fetch_add(1, Ordering::Relaxed);
        }
        // By now every other tracer may have had its turn, some of them twice.
        if share.passed_over.load(Ordering::Relaxed) as usize > 8 + 2 * state.waiting.len() {
            return None;
        }
        let number = state.next_number();
        let wake = Arc::new(Notify::new());
        if let Some(waiting) = state.waiting.get_mut(&share.position()) {
            waiting.insert(number, Arc::clone(&wake));
        } else {
            if !again {
                // An idle tracer saves no credit.
                share.delivered.fetch_max(state.now, Ordering::Relaxed);
            }
            share.number.store(number, Ordering::Relaxed);
            let waiting = BTreeMap::from([(number, Arc::clone(&wake))]);
            state.waiting.insert(share.position(), waiting);
        }
        Some(QueuedRequest {
            queue: self,
            share,
            number,
            wake,
        })
    }

    /// Returns whether the queue makes tries: fewer than [`MAX_TRIES`] were refused since the last
    /// success.
    pub(crate) fn is_trying(&self) -> bool {
        self.state.lock().tries < MAX_TRIES
    }

    /// Delays a new request while tracers that are behind its own try: until one is refused or none
    /// is left, or the limit is reached.
    pub(crate) async fn yield_to_waiting(&self, share: &CapacityShare) {
        let given = async {
            loop {
                // Registered before the check, so no end is missed.
                let ended = self.ended.notified();
                if !self.state.lock().has_tracer_behind(share) {
                    return;
                }
                ended.await;
            }
        };
        drop(timeout(YIELD_LIMIT, given).await);
    }
}

impl<'a> QueuedRequest<'a> {
    /// Waits for the request's turn to try. Returns `None` if it must try without a turn: its own
    /// wait ended and the queue delivered nothing meanwhile, or `own_wait` returned true.
    ///
    /// `back_off` returns the wait of the first request, by the number of consecutive refused
    /// tries.
    pub(crate) async fn turn<OwnWait: Future<Output = bool>>(
        self,
        own_wait: impl Fn() -> OwnWait,
        back_off: impl Fn(u32) -> Duration,
    ) -> Option<Turn<'a>> {
        let called = async {
            loop {
                let tries = self.queue.state.lock().tries_if_first(&self);
                match tries {
                    None => self.wake.notified().await,
                    Some(tries) => {
                        let wait = tries.checked_sub(1).map(&back_off).unwrap_or_default();
                        if timeout(wait, self.wake.notified()).await.is_err()
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
                let before = self.queue.state.lock().delivered_from_queue;
                let must_try = own_wait().await;
                moved = !must_try && self.queue.state.lock().delivered_from_queue != before;
            }
        };
        match select(pin!(called), pin!(own_wait)).await {
            Either::Left((turn, _)) => Some(turn),
            Either::Right(_) => None,
        }
    }

    /// Begins a try. Returns `None` if another request is first by now.
    fn begin_try(&self) -> Option<Turn<'a>> {
        let mut state = self.queue.state.lock();
        state.tries_if_first(self)?;
        let position = (self.share.position().0, self.number);
        // Move the tracer's other requests behind tracers with an equal share.
        let number = state.next_number();
        if let Some(others) = state.leave(self) {
            self.share.number.store(number, Ordering::Relaxed);
            state.waiting.insert(self.share.position(), others);
        }
        state.trying.insert(position, Instant::now());
        state.tries += 1;
        state.wake_first();
        Some(Turn {
            queue: self.queue,
            position,
        })
    }
}

impl State {
    fn next_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    /// Returns the tries since the last success, if the queue makes tries and this request is
    /// first.
    fn tries_if_first(&self, request: &QueuedRequest<'_>) -> Option<u32> {
        let (position, requests) = self.waiting.first_key_value()?;
        let is_first = *position == request.share.position() && requests.keys().next() == Some(&request.number);
        (is_first && self.tries < MAX_TRIES).then_some(self.tries)
    }

    /// Removes all requests of the request's tracer. Returns the others, if there are any.
    fn leave(&mut self, request: &QueuedRequest<'_>) -> Option<BTreeMap<u64, Arc<Notify>>> {
        let mut requests = self.waiting.remove(&request.share.position())?;
        requests.remove(&request.number);
        (!requests.is_empty()).then_some(requests)
    }

    /// Returns whether a tracer with a smaller share tries or is about to try.
    fn has_tracer_behind(&self, share: &CapacityShare) -> bool {
        let own = share.delivered.load(Ordering::Relaxed);
        let is_behind = |position: &Position| position.0 < own;
        let mut tries = self.trying.iter().take_while(|(position, _)| is_behind(position));
        tries.any(|(_, began)| began.elapsed() < YIELD_LIMIT)
            || self.tries == 0 && self.waiting.keys().next().is_some_and(is_behind)
    }

    /// Wakes the first request of the queue.
    fn wake_first(&self) {
        let first = self.waiting.first_key_value();
        if let Some(wake) = first.and_then(|(_, requests)| requests.values().next()) {
            wake.notify_one();
        }
    }
}

impl Drop for QueuedRequest<'_> {
    fn drop(&mut self) {
        let mut state = self.queue.state.lock();
        let requests = state.waiting.get(&self.share.position());
        // A request that began a try has left the queue already.
        if requests.is_some_and(|requests| requests.contains_key(&self.number)) {
            if let Some(others) = state.leave(self) {
                state.waiting.insert(self.share.position(), others);
            }
            state.wake_first();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.queue.state.lock().trying.remove(&self.position);
        self.queue.ended.notify_waiters();
    }
}
