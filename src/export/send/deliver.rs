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

use super::admission::{Admission, admit, first_admission};
use super::outcome::Outcome;
use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::error::ExportError;
use crate::export::keys::key_state::KeyWaiter;
use crate::export::keys::request_key::RequestKey;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::export::net::exchange::Call;
use crate::export::net::transport::Attempt;
use crate::export::schedule::breaker_chain::BreakerChain;
use crate::export::schedule::shortage::{Shortage, Try, Waiting};
use crate::ledger::DropReason;
use crate::secret::ApiKey;
use crate::util::grpc_code;

#[cfg(test)]
mod tests;

/// How long an answer may take before the request makes room for others. Nothing follows from it for the lane: its receiver may be far away.
const LASTS: Duration = Duration::from_millis(100);

/// What is done if the receiver fails on a request, by an answer that may be about what it carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFault {
    /// Repeats it as after a 503.
    Retry,
    /// Gives it back.
    Return,
    /// Gives it back as soon as the lane has room aside for its batch; repeats it until then.
    Quarantine,
    /// Gives it back as soon as other spans of the lane were taken than so many requests; repeats it until then.
    AwaitDelivery(u64),
}

impl OnFault {
    fn gives_back(self, lane: &Lane) -> bool {
        match self {
            Self::Retry => false,
            Self::Return => true,
            Self::Quarantine => lane.has_quarantine_slot(),
            Self::AwaitDelivery(before) => lane.delivered_requests() != before,
        }
    }
}

/// Sees a request through, from its encoding to its outcome. What it carries is dropped where it cannot be encoded, and where the code that
/// encodes and sends it panics: the lane or the session queue that it is of goes on with the next.
pub(crate) async fn run_request(
    lane: &Lane,
    kind: RequestKind,
    request: impl Future<Output = Result<Outcome, ExportError>>,
) -> Outcome {
    // What a panic leaves behind is the request's own; permits go back as they are dropped, and locks are taken in spite of a panic.
    let ended = AssertUnwindSafe(request).catch_unwind().await;
    let outcome = ended.unwrap_or_else(|_| Err(ExportError::Encoding("encoding or sending it panicked".to_owned())));
    outcome.unwrap_or_else(|error| {
        lane.note_failure(kind, false, error);
        Outcome::Dropped(DropReason::Encoding)
    })
}

/// A request that is sent until there is a verdict.
pub(crate) struct Sending<'a> {
    pub(crate) call: &'a Call,
    pub(crate) request: &'a RequestGuard<'a>,
    /// Spans that it carries.
    pub(crate) count: u64,
    pub(crate) age: Age,
    pub(crate) on_fault: OnFault,
}

/// Sends a request until there is a verdict. The first attempt has the admission that it is given, if it is given one.
///
/// It is repeated for `export.retry.max_elapsed`, which is counted as its age says. At a breaker, what was not sent before waits
/// `export.timeout` at the least.
pub(super) async fn deliver(lane: &Arc<Lane>, sending: &Sending<'_>, admission: Option<Admission<'_>>) -> Outcome {
    let delivery = Delivery {
        lane,
        sending,
        age: sending.age,
        attempts: 0,
        flushes: 0,
        other_key: None,
        turn: None,
        was_short: false,
    };
    delivery.run(admission).await
}

/// A request between two attempts.
struct Delivery<'a> {
    lane: &'a Arc<Lane>,
    sending: &'a Sending<'a>,
    age: Age,
    /// How many were made.
    attempts: u32,
    /// Flushes of the lane when the last attempt began.
    flushes: u64,
    /// What the next attempt is sent with, if the last one's key was refused and there is another.
    other_key: Option<RequestKey>,
    /// A turn at a receiver that is short of capacity. Held until the answer has come.
    turn: Option<Try<'a>>,
    /// The last answer said that the receiver has no capacity.
    was_short: bool,
}

/// An attempt that has its answer, or none in time.
struct Answered {
    verdict: Verdict,
    slow: bool,
    key: RequestKey,
    is_short: bool,
}

/// The time for repetitions is over before the next one.
struct TimeOver;

impl<'a> Delivery<'a> {
    async fn run(mut self, mut admission: Option<Admission<'a>>) -> Outcome {
        loop {
            let admitted = match admission.take() {
                Some(admission) => Some(admission),
                None => self.admit().await,
            };
            let Some(admitted) = admitted else {
                return Outcome::Dropped(self.breakers().reason());
            };
            let answered = self.attempt(admitted).await;
            if let Some(answered) = answered
                && let Some(outcome) = self.follow(answered).await
            {
                return outcome;
            }
            self.attempts += 1;
        }
    }

    async fn admit(&self) -> Option<Admission<'a>> {
        let request = self.sending.request;
        if self.attempts == 0 {
            first_admission(self.lane, request, self.age).await
        } else {
            admit(self.lane, request, self.age, self.retry().max_elapsed).await
        }
    }

    /// Sends once. `None` if the key was refused, and the request is sent again at once with another one.
    async fn attempt(&mut self, mut admission: Admission<'a>) -> Option<Answered> {
        let (lane, kind) = (self.lane, self.kind());
        let Sending {
            call,
            request,
            count,
            on_fault,
            ..
        } = *self.sending;
        let mut key = self.other_key.take().unwrap_or_else(|| RequestKey::of(&lane.key));
        self.flushes = lane.flushes();
        request.begin_attempt(self.attempts);
        lane.virtual_time.pay(call.encoded.body.len());
        let (sent, slow) = send(lane, call, &key.key().secret, &mut admission).await;
        let connected = sent.connected;
        let verdict = judge(&call.url, sent.result, count, &sent.secrets, SystemTime::now());
        let verdict = obeyed(verdict, on_fault.gives_back(lane), self.retry());
        let mut pass = admission.leave();
        request.end_attempt(self.attempts, &verdict);
        // Before the breakers: what reports that one opened has the failure that opened it.
        if let Some(error) = verdict.failure() {
            lane.note_failure(kind, slow, error.clone());
        }
        if let Verdict::Deny { error } = &verdict {
            pass.reached();
            // Its answer has come: others need not wait for the key.
            self.turn = None;
            let tried = key.sent();
            // A source that takes longer heals the tracer when it answers, as any later key does.
            let is_sent_again = key.change(&lane.key, lane.shared().settings.timeout).await;
            lane.note_refused_key(kind, tried, error);
            if is_sent_again {
                // What was refused was no key of this tracer's any more: nothing is learnt of how it is treated.
                self.other_key = Some(key);
                return None;
            }
        }
        lane.note_verdict(kind, &verdict);
        pass.end(verdict.signal(connected), self.retry());
        lane.log_breakers(kind);
        if matches!(verdict, Verdict::Delivered { .. }) {
            let bytes = call.encoded.body.len();
            self.shortage().note_delivered(lane.share(kind), bytes, self.was_short);
        }
        self.turn = None;
        Some(Answered {
            is_short: connected && is_shortage(&verdict),
            verdict,
            slow,
            key,
        })
    }

    /// Does what the verdict says. `None` if the request is to be sent again.
    async fn follow(&mut self, answered: Answered) -> Option<Outcome> {
        let (lane, kind) = (self.lane, self.kind());
        let Answered {
            verdict,
            slow,
            key,
            is_short,
        } = answered;
        if matches!(verdict, Verdict::Deny { .. } | Verdict::Retry { .. }) {
            self.age = lane.age_after_refusal(self.age);
        }
        match verdict {
            Verdict::Delivered { rejected, warning } => {
                lane.key.note_accepted(key.key());
                lane.note_accepted_key(kind, key.sent());
                lane.note_success(kind, slow, warning);
                Some(Outcome::Delivered { rejected })
            }
            Verdict::Refuse { reason, .. } => Some(Outcome::Refused(reason)),
            Verdict::Fault { .. } => Some(Outcome::Faulted),
            Verdict::Drop { reason, .. } => Some(Outcome::Dropped(reason)),
            Verdict::Deny { .. } => {
                let waiter = Arc::clone(lane) as Arc<dyn KeyWaiter>;
                // If there is another key meanwhile, it does not wait.
                let waits = lane.key.wait(&waiter, key.current());
                let is_over = waits && self.pause(None, None).await.is_err();
                is_over.then_some(Outcome::Dropped(DropReason::Unauthorized))
            }
            Verdict::Retry { after, .. } => {
                let joined = is_short.then(|| self.shortage().join(lane.share(kind), self.was_short));
                self.was_short = is_short;
                match self.pause(after, joined.flatten()).await {
                    Ok(turn) => self.turn = turn,
                    Err(TimeOver) => return Some(Outcome::Dropped(DropReason::RetriesExhausted)),
                }
                None
            }
        }
    }

    /// Waits before a repetition, unless that waits at a breaker anyway.
    ///
    /// What the receiver asked for holds for all of the tracer's requests of this kind, and is waited for at the breaker. A request that
    /// waits for capacity may get its turn to try before its own wait is over, and holds it until its answer comes.
    async fn pause(&self, after: Option<Duration>, waiting: Option<Waiting<'a>>) -> Result<Option<Try<'a>>, TimeOver> {
        let (lane, retry, breakers) = (self.lane, self.retry(), self.breakers());
        let request = self.sending.request;
        if after.is_none() && waiting.is_none() && !breakers.is_ready() {
            return Ok(None);
        }
        let asked = after.unwrap_or_default().min(retry.max_retry_after);
        if !asked.is_zero() {
            breakers.own.hold(asked);
        }
        let left = self.time_left();
        // A clock that stands still now and then shows less time than will pass for the receiver.
        if left.is_zero() || asked > left && !lane.shared().driver.may_stand_still() {
            return Err(TimeOver);
        }
        // A flush may shorten our own back-off, never what the receiver asked for. The last attempt is when the time is over, not before.
        let wait_for = |wait: Duration| {
            let wait = wait.min(self.time_left());
            request.wait_to_retry(wait);
            lane.wait_before_retry(wait, self.flushes)
        };
        let Some(waiting) = waiting else {
            wait_for(backoff(retry, self.attempts)).await;
            return Ok(None);
        };
        let own_wait = || async {
            if self.shortage().tries() {
                wait_for(longest_own_wait(retry)).await;
                return lane.flushes() != self.flushes || self.time_left().is_zero();
            }
            if breakers.is_ready() {
                wait_for(backoff(retry, self.attempts)).await;
            } else {
                request.wait_at_breaker();
                lane.note_breaker_wait(self.kind());
                drop(timeout(self.time_left(), breakers.ready()).await);
            }
            true
        };
        let turn = waiting.turn(own_wait, |tries| backoff(retry, tries)).await;
        if turn.is_some() {
            breakers.own.let_one_try();
        }
        Ok(turn)
    }

    fn time_left(&self) -> Duration {
        self.lane.time_left(self.age, self.retry().max_elapsed)
    }

    fn kind(&self) -> RequestKind {
        self.sending.request.kind
    }

    fn retry(&self) -> &'a RetrySettings {
        &self.lane.shared().settings.retry
    }

    fn breakers(&self) -> BreakerChain<'a> {
        self.lane.breakers.chain(self.kind())
    }

    /// The queue of the requests of this kind.
    fn shortage(&self) -> &'a Shortage {
        self.lane.connections.shortage(self.kind())
    }
}

/// A verdict as it is obeyed: a fault that is not given back is repeated, and so is what asks for a wait if no such wait is obeyed.
fn obeyed(verdict: Verdict, gives_back: bool, retry: &RetrySettings) -> Verdict {
    match verdict {
        Verdict::Fault { error } if !gives_back => Verdict::Retry { after: None, error },
        Verdict::Retry { after: Some(_), error } if retry.max_retry_after.is_zero() => {
            Verdict::Retry { after: None, error }
        }
        verdict => verdict,
    }
}

/// Whether the receiver says that it has no capacity, and does not say until when.
fn is_shortage(verdict: &Verdict) -> bool {
    matches!(
        verdict,
        Verdict::Retry {
            after: None,
            error: ExportError::Status { status: 503, .. }
                | ExportError::Grpc {
                    code: grpc_code::UNAVAILABLE,
                    ..
                }
        }
    )
}

/// One attempt, and whether it took long. The lane is known to be slow as soon as it is, not only when the attempt is over.
async fn send<'a>(lane: &'a Lane, call: &Call, key: &'a ApiKey, admission: &mut Admission<'_>) -> (Attempt<'a>, bool) {
    let shared = lane.shared();
    let on = lane.connections.lease(lane.is_slow());
    let mut sending = pin!(shared.transport.send(call, &lane.destination, key, &on));
    let slow = shared.settings.timeout / 4;
    let lasts = LASTS.min(slow);
    if let Ok(sent) = timeout(lasts, &mut sending).await {
        return (sent, false);
    }
    admission.step_aside();
    if let Ok(sent) = timeout(slow.saturating_sub(lasts), &mut sending).await {
        return (sent, false);
    }
    lane.note_slow();
    on.note_slow();
    // Room may have come free.
    admission.step_aside();
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
