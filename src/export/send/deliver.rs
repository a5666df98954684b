//! Attempts at one request until there is a verdict: back-off with full jitter, `Retry-After`, giving up.
//!
//! A request that waits for its repetition holds no permit, so it takes nothing from other tracers. One that waits at an open breaker does
//! so without a back-off of its own: the breaker's pause is one for all, and it doubles in the same way. One whose key is refused is sent
//! again at once where there is another key, and is else repeated as where the receiver fails.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use rand::Rng;
use tokio::time::timeout;

use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::export::ExportError;
use crate::export::engine::Shared;
use crate::export::keys::request_key::RequestKey;
use crate::export::lane::{Age, Lane, UnderWay};
use crate::export::net::transport::{Attempt, Call};
use crate::export::schedule::breaker_chain::AttemptSignal;
use crate::export::schedule::permits::{Admission, Load, admit, gate};
use crate::export::schedule::shortage::{Share, Shortage, Try, Waiting};
use crate::ledger::DropReason;
use crate::secret::ApiKey;

#[cfg(test)]
mod tests;

/// How long an answer may take before the request makes room for others. Nothing follows from it for the lane: its receiver may be far away.
const LASTS: Duration = Duration::from_millis(100);

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Delivered {
        rejected: u64,
    },
    /// Not taken as it is; parts of it may be.
    Refused(DropReason),
    Dropped(DropReason),
    /// The receiver failed on it, and it is not repeated as it is for now.
    Faulted,
}

/// What is done if the receiver fails on a request, by an answer that may be about what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFault {
    /// Repeats it as after a 503.
    Repeat,
    /// Gives it back.
    GiveBack,
    /// Gives it back as soon as the lane has room aside for its batch; repeats it until then.
    SetAside,
    /// Gives it back as soon as other spans of the lane were taken than so many requests; repeats it until then.
    AwaitTaken(u64),
}

impl OnFault {
    fn gives_back(self, lane: &Lane) -> bool {
        match self {
            Self::Repeat => false,
            Self::GiveBack => true,
            Self::SetAside => lane.has_room_aside(),
            Self::AwaitTaken(before) => lane.taken_requests() != before,
        }
    }
}

impl Outcome {
    /// Whether it was given up because its time was over.
    pub(crate) fn is_expired(self) -> bool {
        matches!(
            self,
            Self::Dropped(DropReason::RetriesExhausted | DropReason::Unauthorized)
        )
    }

    /// Whether spans were taken of a request that had so many.
    pub(crate) fn has_taken(self, count: usize) -> bool {
        matches!(self, Self::Delivered { rejected } if rejected < count as u64)
    }
}

/// Sees a request through, from its encoding to its outcome. What it carries is dropped where it cannot be encoded, and where the code that
/// encodes and sends it panics: the lane or the outbox that it is of goes on with the next.
pub(crate) async fn see_through(
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

/// A request that is sent until there is a verdict.
pub(crate) struct Sending<'a> {
    pub(crate) call: &'a Call,
    pub(crate) request: &'a UnderWay<'a>,
    /// Spans that it carries.
    pub(crate) count: u64,
    pub(crate) age: Age,
    pub(crate) on_fault: OnFault,
}

/// Sends a request until there is a verdict. The first attempt has the place that it is given, if it is given one.
///
/// It is repeated for `export.retry.max_elapsed`, which is counted as its age says. At a breaker, what was not sent before waits
/// `export.timeout` at the least.
pub(crate) async fn deliver<'a>(
    shared: &'a Shared,
    lane: &'a Arc<Lane>,
    sending: &Sending<'_>,
    mut given: Option<Admission<'a>>,
) -> Outcome {
    let retry = &shared.settings.retry;
    let (call, request, mut age) = (sending.call, sending.request, sending.age);
    let load = request.load;
    let mut attempt = 0;
    let mut changed: Option<RequestKey> = None;
    let (shortage, share) = shortage(lane, load);
    // Held until the answer has come.
    let mut turn: Option<Try<'_>> = None;
    let mut was_short = false;
    loop {
        let (verdict, slow, flushes, hand, is_short) = {
            let place = match given.take() {
                Some(place) => Some(place),
                None if attempt == 0 => first_place(shared, lane, request, age).await,
                None => admit(shared, lane, request, age, retry.max_elapsed).await,
            };
            let Some(mut place) = place else {
                return Outcome::Dropped(gate(lane, load).reason());
            };
            let mut hand = changed.take().unwrap_or_else(|| RequestKey::of(&lane.key));
            let flushes = lane.flushes();
            request.sent(attempt);
            lane.clock.pay(call.encoded.body.len());
            let (sent, slow) = send(shared, lane, call, &hand.key().secret, &mut place).await;
            let connected = sent.connected;
            let verdict = judge(&call.url, sent.result, sending.count, &sent.secrets, SystemTime::now());
            let verdict = obeyed(verdict, sending.on_fault.gives_back(lane), retry);
            let mut entry = place.leave();
            request.answered(attempt, &verdict);
            if let Verdict::Deny { error } = &verdict {
                entry.reached();
                lane.note_failure(load, slow, error.clone());
                // Its answer has come: others need not wait for the key.
                drop(turn.take());
                let tried = hand.sent();
                // A source that takes longer heals the tracer when it answers, as any later key does.
                let is_sent_again = hand.change(&lane.key, shared.settings.timeout).await;
                lane.note_refused_key(load, tried, error);
                if is_sent_again {
                    // What was refused was no key of this tracer's any more: nothing is learnt of how it is treated.
                    changed = Some(hand);
                    attempt += 1;
                    continue;
                }
            }
            // Before the breakers: what reports that one opened has the failure that opened it.
            if let Verdict::Refuse { error, .. }
            | Verdict::Drop { error, .. }
            | Verdict::Repeat { error, .. }
            | Verdict::Fault { error } = &verdict
            {
                lane.note_failure(load, slow, error.clone());
            }
            lane.note_verdict(load, &verdict);
            entry.signal(AttemptSignal::by(&verdict, connected), retry);
            lane.log_breakers(load);
            let is_short = connected && is_shortage(&verdict);
            if matches!(verdict, Verdict::Delivered { .. }) {
                shortage.note_taken(share, call.encoded.body.len(), was_short);
            }
            drop(turn.take());
            (verdict, slow, flushes, hand, is_short)
        };
        if matches!(verdict, Verdict::Deny { .. } | Verdict::Repeat { .. }) {
            age = lane.age_of_refused(age);
        }
        match verdict {
            Verdict::Delivered { rejected, warning } => {
                lane.key.note_taken(hand.key());
                lane.note_taken_key(load, hand.sent());
                lane.note_success(load, slow, warning);
                return Outcome::Delivered { rejected };
            }
            Verdict::Refuse { reason, .. } => return Outcome::Refused(reason),
            Verdict::Fault { .. } => return Outcome::Faulted,
            Verdict::Drop { reason, .. } => return Outcome::Dropped(reason),
            // Where there is another key meanwhile, it does not wait.
            Verdict::Deny { .. } if !lane.key.wait(lane, hand.current()) => {}
            Verdict::Deny { .. } => {
                if pause(shared, lane, (request, age), (attempt, flushes), None, None)
                    .await
                    .is_err()
                {
                    return Outcome::Dropped(DropReason::Unauthorized);
                }
            }
            Verdict::Repeat { after, .. } => {
                let waiting = is_short.then(|| shortage.join(share, was_short)).flatten();
                was_short = is_short;
                match pause(shared, lane, (request, age), (attempt, flushes), after, waiting).await {
                    Ok(own_turn) => turn = own_turn,
                    Err(TimeOver) => return Outcome::Dropped(DropReason::RetriesExhausted),
                }
            }
        }
        attempt += 1;
    }
}

/// The queue of the requests with such a load, and what the receiver took of the tracer's.
fn shortage(lane: &Lane, load: Load) -> (&Shortage, &Share) {
    (&lane.connections.shortages[load as usize], &lane.shares[load as usize])
}

/// A verdict as it is obeyed: a fault that is not given back is repeated, and so is what asks for a wait if no such wait is obeyed.
fn obeyed(verdict: Verdict, gives_back: bool, retry: &RetrySettings) -> Verdict {
    match verdict {
        Verdict::Fault { error } if !gives_back => Verdict::Repeat { after: None, error },
        Verdict::Repeat { after: Some(_), error } if retry.max_retry_after.is_zero() => {
            Verdict::Repeat { after: None, error }
        }
        verdict => verdict,
    }
}

/// Whether the receiver says that it has no capacity, and does not say until when.
fn is_shortage(verdict: &Verdict) -> bool {
    const UNAVAILABLE: i32 = 14;
    matches!(
        verdict,
        Verdict::Repeat {
            after: None,
            error: ExportError::Status { status: 503, .. } | ExportError::Grpc { code: UNAVAILABLE, .. }
        }
    )
}

/// The time for repetitions is over before the next one.
struct TimeOver;

/// Waits before a repetition, unless that waits at a breaker anyway.
///
/// What the receiver asked for holds for all of the tracer's requests with such a load, and is waited for at the breaker. A request that
/// waits for capacity may get its turn to try before its own wait is over, and holds it until its answer comes.
async fn pause<'a>(
    shared: &Shared,
    lane: &Lane,
    (request, age): (&UnderWay<'_>, Age),
    (attempt, flushes): (u32, u64),
    after: Option<Duration>,
    waiting: Option<Waiting<'a>>,
) -> Result<Option<Try<'a>>, TimeOver> {
    let retry = &shared.settings.retry;
    let gate = gate(lane, request.load);
    if after.is_none() && waiting.is_none() && !gate.is_ready() {
        return Ok(None);
    }
    let asked = after.unwrap_or_default().min(retry.max_retry_after);
    if !asked.is_zero() {
        gate.hold(asked);
    }
    let left = lane.time_left(age, retry.max_elapsed);
    // A clock that stands still now and then shows less time than will pass for the receiver.
    if left.is_zero() || asked > left && !shared.driver.may_stand_still() {
        return Err(TimeOver);
    }
    // A flush may shorten our own back-off, never what the receiver asked for. The last attempt is when the time is over, not before.
    let wait_for = |wait: Duration| {
        let wait = wait.min(lane.time_left(age, retry.max_elapsed));
        request.waits(wait);
        lane.wait_before_repeating(wait, flushes)
    };
    let Some(waiting) = waiting else {
        wait_for(backoff(retry, attempt)).await;
        return Ok(None);
    };
    let own_wait = || async {
        if shortage(lane, request.load).0.tries() {
            wait_for(longest_own_wait(retry)).await;
            return lane.flushes() != flushes || lane.time_left(age, retry.max_elapsed).is_zero();
        }
        if gate.is_ready() {
            wait_for(backoff(retry, attempt)).await;
        } else {
            request.waits_at_breaker();
            lane.note_held_up(request.load);
            drop(timeout(lane.time_left(age, retry.max_elapsed), gate.ready()).await);
        }
        true
    };
    let turn = waiting.turn(own_wait, |tries| backoff(retry, tries)).await;
    if turn.is_some() {
        gate.let_one_try();
    }
    Ok(turn)
}

/// A place for what was not sent yet. It has at least the time that a probe may take.
pub(crate) async fn first_place<'a>(
    shared: &'a Shared,
    lane: &'a Lane,
    request: &UnderWay<'_>,
    age: Age,
) -> Option<Admission<'a>> {
    let (shortage, share) = shortage(lane, request.load);
    shortage.give_way(share).await;
    let place = admit(shared, lane, request, age, patience_unsent(shared)).await;
    if place.is_none() && gate(lane, request.load).asked_until().is_none() {
        lane.note_not_asked(request.load);
    }
    place
}

/// How long what was not sent yet waits at a breaker.
pub(crate) fn patience_unsent(shared: &Shared) -> Duration {
    let settings = &shared.settings;
    settings.retry.max_elapsed.max(settings.timeout)
}

/// One attempt, and whether it took long. The lane is known to be slow as soon as it is, not only when the attempt is over.
async fn send<'a>(
    shared: &Shared,
    lane: &'a Lane,
    call: &Call,
    key: &'a ApiKey,
    place: &mut Admission<'_>,
) -> (Attempt<'a>, bool) {
    let on = lane.connections.lease(lane.is_suspect());
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

/// The own wait of a request in the queue of a receiver that is short of capacity: its turn comes earlier, unless those before it in the
/// queue are refused for another reason.
fn longest_own_wait(retry: &RetrySettings) -> Duration {
    retry.max_backoff.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Full jitter: a random time up to a bound that doubles with each attempt.
pub(crate) fn backoff(retry: &RetrySettings, attempt: u32) -> Duration {
    let bound = retry.longest_wait(attempt);
    bound.mul_f64(rand::rng().random_range(0.0..=1.0))
}
