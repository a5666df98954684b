//! Attempts at one request until there is a verdict: back-off with full jitter, `Retry-After`, giving up.
//!
//! A request that waits for its repetition holds no permit, so it takes nothing from other tracers. One that waits at an open breaker does
//! so without a back-off of its own: the breaker's pause is one for all, and it doubles in the same way. One whose key is refused is sent
//! again at once where there is another key, and is else repeated as where the receiver fails.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use futures_util::FutureExt;
use rand::Rng;
use tokio::time::timeout;

use super::ExportError;
use super::engine::Shared;
use super::gate::Showed;
use super::hand::Hand;
use super::lane::Lane;
use super::permits::{Load, Place, admit, gate};
use super::transport::{Attempt, Call};
use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::ledger::DropReason;
use crate::secret::ApiKey;

/// How long an answer may take before the request makes room for others. Nothing follows from it for the lane: its receiver may be far away.
const LASTS: Duration = Duration::from_millis(100);

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

impl Outcome {
    /// Whether spans were taken of a request that had so many.
    pub(super) fn has_taken(self, count: usize) -> bool {
        matches!(self, Self::Delivered { rejected } if rejected < count as u64)
    }
}

/// Sees a request through, from its encoding to its outcome. What it carries is dropped where it cannot be encoded, and where the code that
/// encodes and sends it panics: the lane or the outbox that it is of goes on with the next.
pub(super) async fn see_through(
    lane: &Lane,
    load: Load,
    request: impl Future<Output = Result<Outcome, ExportError>>,
) -> Outcome {
    // What a panic leaves behind is the request's own; permits go back as they are dropped, and locks are taken in spite of a panic.
    let ended = AssertUnwindSafe(request).catch_unwind().await;
    let outcome = ended.unwrap_or_else(|_| Err(ExportError::Encoding("encoding or sending it panicked".to_owned())));
    outcome.unwrap_or_else(|error| {
        lane.note_failure(load, false, error);
        Outcome::Dropped(DropReason::Encoding)
    })
}

/// Sends a request until there is a verdict. The first attempt has the place that it is given, if it is given one.
///
/// At a breaker it waits no longer than `export.retry.max_elapsed` in all; where it was not sent before, `export.timeout` at the least.
///
/// `started` is when this request, or one that it is a part of, was first sent or first met an open breaker: the time for repetitions is
/// counted from there. Waiting for a place is nobody's refusal, and does not count.
pub(super) async fn deliver<'a>(
    shared: &'a Shared,
    lane: &'a Arc<Lane>,
    call: &Call,
    (load, count): (Load, u64),
    mut given: Option<Place<'a>>,
    started: &mut Option<Instant>,
) -> Outcome {
    let retry = &shared.settings.retry;
    let mut attempt = 0;
    let mut changed: Option<Hand> = None;
    loop {
        let (verdict, slow, flushes, hand) = {
            let place = match given.take() {
                Some(place) => Some(place),
                None if attempt == 0 => first_place(shared, lane, load, started).await,
                None => admit(shared, lane, load, retry.max_elapsed, started).await,
            };
            let Some(mut place) = place else {
                return Outcome::Dropped(gate(lane, load).reason());
            };
            let mut hand = changed.take().unwrap_or_else(|| Hand::of(&lane.keyring));
            let flushes = lane.flushes();
            started.get_or_insert_with(|| shared.driver.now());
            lane.clock.pay(call.encoded.body.len());
            let (sent, slow) = send(shared, lane, call, &hand.key().secret, &mut place).await;
            let connected = sent.connected;
            let verdict = judge(&call.url, sent.result, count, &sent.secrets, SystemTime::now());
            let mut entry = place.leave();
            if let Verdict::Deny { error } = &verdict {
                entry.reached();
                lane.note_failure(load, slow, error.clone());
                let tried = hand.sent();
                // A source that takes longer heals the tracer when it answers, as any later key does.
                let is_sent_again = hand.change(&lane.keyring, shared.settings.timeout).await;
                lane.note_refused_key(load, tried, error);
                if is_sent_again {
                    // What was refused was no key of this tracer's any more: nothing is learnt of how it is treated.
                    changed = Some(hand);
                    attempt += 1;
                    continue;
                }
            }
            lane.note_verdict(load, &verdict);
            entry.showed(Showed::by(&verdict, connected), retry);
            lane.log_breakers(load);
            (verdict, slow, flushes, hand)
        };
        match verdict {
            Verdict::Delivered { rejected, warning } => {
                lane.keyring.note_taken(hand.key());
                lane.note_taken_key(load, hand.sent());
                lane.note_success(load, slow, warning);
                return Outcome::Delivered { rejected };
            }
            Verdict::Refuse { reason, error } => {
                lane.note_failure(load, slow, error);
                return Outcome::Refused(reason);
            }
            Verdict::Drop { reason, error } => {
                lane.note_failure(load, slow, error);
                return Outcome::Dropped(reason);
            }
            // Where there is another key meanwhile, it does not wait.
            Verdict::Deny { .. } if !lane.keyring.wait(lane, hand.current()) => {}
            Verdict::Deny { .. } => {
                if !pause(shared, lane, load, (attempt, flushes), None, *started).await {
                    return Outcome::Dropped(DropReason::Unauthorized);
                }
            }
            Verdict::Repeat { after, error } => {
                lane.note_failure(load, slow, error);
                if !pause(shared, lane, load, (attempt, flushes), after, *started).await {
                    return Outcome::Dropped(DropReason::RetriesExhausted);
                }
            }
        }
        attempt += 1;
    }
}

/// Waits before a repetition, unless that waits at a breaker anyway; false where the time for repetitions is over before that.
async fn pause(
    shared: &Shared,
    lane: &Lane,
    load: Load,
    (attempt, flushes): (u32, u64),
    after: Option<Duration>,
    started: Option<Instant>,
) -> bool {
    if after.is_none() && !gate(lane, load).is_ready() {
        return true;
    }
    let retry = &shared.settings.retry;
    let wait = backoff(retry, attempt).max(after.unwrap_or_default());
    // Saturating: what a server asks for may be any number of seconds.
    if since(shared, started).saturating_add(wait) > retry.max_elapsed {
        return false;
    }
    // A flush may shorten our own back-off, never what the server asked for.
    if after.is_none() {
        lane.wait_before_repeating(wait, flushes).await;
    } else {
        tokio::time::sleep(wait).await;
    }
    true
}

/// How long a request is at it.
fn since(shared: &Shared, started: Option<Instant>) -> Duration {
    let elapsed = |started| shared.driver.now().saturating_duration_since(started);
    started.map_or(Duration::ZERO, elapsed)
}

/// A place for what was not sent yet. It has at least the time that a probe may take.
pub(super) async fn first_place<'a>(
    shared: &'a Shared,
    lane: &'a Lane,
    load: Load,
    started: &mut Option<Instant>,
) -> Option<Place<'a>> {
    let settings = &shared.settings;
    let patience = settings.retry.max_elapsed.max(settings.timeout);
    let place = admit(shared, lane, load, patience, started).await;
    if place.is_none() {
        lane.note_not_asked(load);
    }
    place
}

/// One attempt, and whether it took long. The lane is known to be slow as soon as it is, not only when the attempt is over.
async fn send<'a>(
    shared: &Shared,
    lane: &'a Lane,
    call: &Call,
    key: &'a ApiKey,
    place: &mut Place<'_>,
) -> (Attempt<'a>, bool) {
    let on = lane.connections.line(lane.is_suspect());
    let mut sending = pin!(shared.transport.send(call, &lane.destination, key, &on));
    let slow = shared.settings.timeout / 4;
    let lasts = LASTS.min(slow);
    if let Ok(sent) = timeout(lasts, &mut sending).await {
        return (sent, false);
    }
    place.step_aside();
    if let Ok(sent) = timeout(slow.saturating_sub(lasts), &mut sending).await {
        return (sent, false);
    }
    lane.note_slow();
    on.note_slow();
    // Room may have come free.
    place.step_aside();
    (sending.await, true)
}

/// Full jitter: a random time up to a bound that doubles with each attempt.
fn backoff(retry: &RetrySettings, attempt: u32) -> Duration {
    let bound = retry.longest_wait(attempt);
    bound.mul_f64(rand::rng().random_range(0.0..=1.0))
}
