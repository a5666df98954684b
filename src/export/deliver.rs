//! Attempts at one request until there is a verdict: back-off with full jitter, `Retry-After`, giving up.
//!
//! A request that waits for its repetition holds no permit, so it takes nothing from other tracers. One that waits at an open breaker does
//! so without a back-off of its own: the breaker's pause is one for all, and it doubles in the same way.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use rand::Rng;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::ExportError;
use super::engine::Shared;
use super::gate::{Entry, Gate, Showed};
use super::lane::Lane;
use super::transport::{Attempt, Call};
use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::ledger::DropReason;

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered {
        rejected: u64,
    },
    /// Not taken as it is; parts of it may be.
    Refused(DropReason),
    Dropped(DropReason),
}

/// The requests that may be under way at the same time.
///
/// A lane whose last attempt was slow waits in a line of its own: endpoints that hang use up that line, and the healthy ones go on as if
/// they were not there. A request that turns out to be slow gives its place among the healthy ones up, as long as there is room beside
/// them: so many endpoints may begin to hang at once without others having to wait for their time to be over.
#[derive(Debug)]
pub(super) struct Permits {
    healthy: Semaphore,
    /// Beside the healthy line, for requests that began in it.
    slow: Semaphore,
    suspect: Semaphore,
}

/// The right to have a request under way.
struct Permit<'a> {
    held: SemaphorePermit<'a>,
    /// Where a slow request may move to, if it began among the healthy ones.
    beside: Option<&'a Semaphore>,
}

impl Permits {
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self {
            healthy: Semaphore::new(max_concurrent),
            slow: Semaphore::new(max_concurrent),
            suspect: Semaphore::new((max_concurrent / 8).max(1)),
        }
    }

    async fn acquire(&self, lane: &Lane) -> Permit<'_> {
        if !lane.is_suspect() {
            let held = turn(&self.healthy).await;
            // What was learnt of the lane meanwhile counts: a hundred requests of one that hangs may stand in this line.
            if !lane.is_suspect() {
                return Permit {
                    held,
                    beside: Some(&self.slow),
                };
            }
        }
        Permit {
            held: turn(&self.suspect).await,
            beside: None,
        }
    }
}

impl Permit<'_> {
    /// The request is slow: its place among the healthy ones is free again, if there is room beside them.
    fn step_aside(&mut self) {
        if let Some(room) = self.beside.take()
            && let Ok(place) = room.try_acquire()
        {
            self.held = place;
        }
    }
}

async fn turn(line: &Semaphore) -> SemaphorePermit<'_> {
    line.acquire().await.expect("nobody closes these semaphores")
}

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Load {
    Spans(u64),
    /// One session event, or several that are told as one.
    SessionEvent,
}

/// Sees a request through, from its encoding to its outcome. What it carries is dropped where it cannot be encoded, and where the code that
/// encodes and sends it panics: the lane or the outbox that it is of goes on with the next.
pub(super) async fn see_through(lane: &Lane, request: impl Future<Output = Result<Outcome, ExportError>>) -> Outcome {
    // What a panic leaves behind is the request's own; permits go back as they are dropped, and locks are taken in spite of a panic.
    let ended = AssertUnwindSafe(request).catch_unwind().await;
    let outcome = ended.unwrap_or_else(|_| Err(ExportError::Encoding("encoding or sending it panicked".to_owned())));
    outcome.unwrap_or_else(|error| {
        lane.note_failure(false, error);
        Outcome::Dropped(DropReason::Encoding)
    })
}

/// Sends a request until there is a verdict.
///
/// At a breaker it waits no longer than `export.retry.max_elapsed` in all; where it was not sent before, `export.timeout` at the least.
///
/// `started` is when this request, or one that it is a part of, was first sent or first met an open breaker: the time for repetitions is
/// counted from there. Waiting for a place is nobody's refusal, and does not count.
pub(super) async fn deliver(
    shared: &Shared,
    lane: &Lane,
    call: &Call,
    load: Load,
    started: &mut Option<Instant>,
) -> Outcome {
    let retry = &shared.settings.retry;
    let (count, gate) = match load {
        Load::Spans(count) => (count, lane.gates.for_spans()),
        Load::SessionEvent => (1, lane.gates.for_session_events()),
    };
    let mut attempt = 0;
    loop {
        let (verdict, slow, flushes) = {
            // One that was not sent yet has at least the time that a probe may take.
            let at_least = if attempt == 0 {
                shared.settings.timeout
            } else {
                Duration::ZERO
            };
            let patience = retry.max_elapsed.max(at_least);
            let admitted = admit(shared, lane, load, gate, patience, started);
            let Some(mut place) = admitted.await else {
                if attempt == 0 {
                    lane.note_not_asked();
                }
                return Outcome::Dropped(DropReason::RetriesExhausted);
            };
            let flushes = lane.flushes();
            started.get_or_insert_with(|| shared.driver.now());
            let (sent, slow) = send(shared, lane, call, &mut place.permit).await;
            let verdict = judge(&call.url, sent.result, count, &lane.key, SystemTime::now());
            place.entry.showed(Showed::by(&verdict, sent.connected), retry);
            (verdict, slow, flushes)
        };
        match verdict {
            Verdict::Delivered { rejected, warning } => {
                lane.note_success(slow, warning);
                return Outcome::Delivered { rejected };
            }
            Verdict::Refuse { reason, error } => {
                lane.note_failure(slow, error);
                return Outcome::Refused(reason);
            }
            Verdict::Drop { reason, error } => {
                lane.note_failure(slow, error);
                return Outcome::Dropped(reason);
            }
            Verdict::Repeat { after, error } => {
                lane.note_failure(slow, error);
                if after.is_some() || gate.is_ready() {
                    let wait = backoff(retry, attempt).max(after.unwrap_or_default());
                    // Saturating: what a server asks for may be any number of seconds.
                    let elapsed = started.map_or(Duration::ZERO, |started| {
                        shared.driver.now().saturating_duration_since(started)
                    });
                    if elapsed.saturating_add(wait) > retry.max_elapsed {
                        return Outcome::Dropped(DropReason::RetriesExhausted);
                    }
                    // A flush may shorten our own back-off, never what the server asked for.
                    if after.is_none() {
                        lane.wait_before_repeating(wait, flushes).await;
                    } else {
                        tokio::time::sleep(wait).await;
                    }
                }
                attempt += 1;
            }
        }
    }
}

/// What a request has while it is under way.
struct Place<'a> {
    entry: Entry<'a>,
    permit: Permit<'a>,
    /// Of session events.
    _turn: Option<SemaphorePermit<'a>>,
}

/// Waits until the breakers let a request through and there is a place for it; at the breakers without a place, and no longer than its
/// patience. `None` where that is over.
async fn admit<'a>(
    shared: &'a Shared,
    lane: &'a Lane,
    load: Load,
    gate: Gate<'a>,
    patience: Duration,
    started: &mut Option<Instant>,
) -> Option<Place<'a>> {
    loop {
        if !gate.is_ready() {
            lane.note_held_up();
            let now = shared.driver.now();
            let elapsed = now.saturating_duration_since(*started.get_or_insert(now));
            let left = patience.saturating_sub(elapsed);
            tokio::time::timeout(left, gate.ready()).await.ok()?;
        }
        let turn = match load {
            Load::Spans(_) => None,
            Load::SessionEvent => Some(turn(&lane.session_turns).await),
        };
        let permit = shared.permits.acquire(lane).await;
        // A breaker may have opened meanwhile, or somebody else be its probe: then the place is for others.
        if let Some(entry) = gate.enter() {
            return Some(Place {
                entry,
                permit,
                _turn: turn,
            });
        }
    }
}

/// One attempt, and whether it took long. The lane is known to be slow as soon as it is, not only when the attempt is over.
async fn send(shared: &Shared, lane: &Lane, call: &Call, permit: &mut Permit<'_>) -> (Attempt, bool) {
    let on = lane.connections.line(lane.is_suspect());
    let mut sending = pin!(shared.transport.send(call, &lane.destination, &lane.key, &on));
    if let Ok(sent) = tokio::time::timeout(shared.settings.timeout / 4, &mut sending).await {
        return (sent, false);
    }
    lane.note_slow();
    on.note_slow();
    permit.step_aside();
    (sending.await, true)
}

/// Full jitter: a random time up to a bound that doubles with each attempt.
fn backoff(retry: &RetrySettings, attempt: u32) -> Duration {
    let bound = retry.longest_wait(attempt);
    bound.mul_f64(rand::rng().random_range(0.0..=1.0))
}
