//! Attempts at one request until it has an outcome: back-off with full jitter, `Retry-After`,
//! expiry.
//!
//! A request that waits to retry holds no permit. A request that waits at an open breaker has no
//! back-off of its own, because the breaker's pause doubles in the same way. A request with a
//! refused key is resent at once if another key is available, otherwise retried like a failure.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt;
use futures_util::future::{Either, select};
use rand::Rng;
use tokio::time::timeout;

use super::admission::{Admission, admit, first_admission};
use super::outcome::Outcome;
use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::export::accounting::lane_status::RequestKind;
use crate::export::error::ExportError;
use crate::export::explain::counts::TraceCounts;
use crate::export::explain::fate::{AnswerCode, Note};
use crate::export::keys::key_state::KeyWaiter;
use crate::export::keys::request_key::RequestKey;
use crate::export::lane::Lane;
use crate::export::lane::receiver::Age;
use crate::export::lane::request::RequestGuard;
use crate::export::net::exchange::Call;
use crate::export::net::transport::Attempt;
use crate::export::schedule::breaker_chain::BreakerChain;
use crate::export::schedule::capacity_queue::{CapacityQueue, QueuedRequest, Turn};
use crate::ledger::DropReason;
use crate::secret::ApiKey;
use crate::util::fork::ForkLock;
use crate::util::grpc_code;

#[cfg(test)]
mod tests;

/// How long an answer may take before the request moves to an overflow permit. Does not mark the
/// lane as slow: its receiver may be far away.
const OVERFLOW_AFTER: Duration = Duration::from_millis(100);

/// Reaction to a fault: a failure of the receiver that the content of the request may have caused.
#[derive(Clone, Copy, Debug)]
pub(crate) enum OnFault {
    /// Retries as after a 503.
    Retry,
    /// Returns `Outcome::Faulted`.
    Return,
    /// Retries until the lane has a free quarantine slot, then returns.
    Quarantine,
    /// Retries until the lane's number of delivered requests differs from this one, then returns.
    AwaitDelivery(u64),
}

impl OnFault {
    fn returns(self, lane: &Lane) -> bool {
        match self {
            Self::Retry => false,
            Self::Return => true,
            Self::Quarantine => lane.has_quarantine_slot(),
            Self::AwaitDelivery(before) => lane.delivered_requests() != before,
        }
    }
}

/// Runs a request from encoding to outcome. If encoding fails, or encoding or sending panics, its
/// data is dropped and the lane or session queue continues.
pub(crate) async fn run_request(
    lane: &Lane,
    kind: RequestKind,
    request: impl Future<Output = Result<Outcome, ExportError>>,
) -> Outcome {
    // Unwind safe: the state belongs to the request, permits are released on drop, and locks ignore
    // poisoning.
    let ended = AssertUnwindSafe(request).catch_unwind().await;
    let outcome = ended.unwrap_or_else(|_| Err(ExportError::Encoding("encoding or sending panicked".to_owned())));
    outcome.unwrap_or_else(|error| {
        lane.note_failure(kind, false, error);
        Outcome::Dropped(DropReason::Encoding)
    })
}

/// A request to deliver.
pub(crate) struct Sending<'a> {
    pub(crate) call: &'a Call,
    pub(crate) request: &'a RequestGuard<'a>,
    /// Number of spans in the request.
    pub(crate) count: u64,
    /// Traces of these spans. Empty if `explain` is off.
    pub(crate) traces: &'a TraceCounts,
    pub(crate) age: Age,
    pub(crate) on_fault: OnFault,
    /// Takes the error of a refused request.
    pub(crate) refusal: Option<&'a ForkLock<Option<ExportError>>>,
}

/// Sends a request until it has an outcome. The first attempt uses `admission`, if given.
///
/// Retries for `export.retry.max_elapsed`, counted from the request's age, or for less if its data
/// goes to disk. A request that was never sent waits at a breaker for at least `export.timeout`.
/// Ends early if the lane is closed, or leaves its data on disk.
pub(super) async fn deliver(lane: &Arc<Lane>, sending: &Sending<'_>, admission: Option<Admission<'_>>) -> Outcome {
    let mut delivery = Delivery {
        lane,
        sending,
        age: sending.age,
        attempts: 0,
        #[cfg(feature = "metrics")]
        began: None,
        flushes: 0,
        other_key: None,
        turn: None,
        was_short: false,
    };
    let outcome = {
        let run = pin!(delivery.run(admission));
        match select(run, pin!(lane.interrupted())).await {
            Either::Left((outcome, _)) => outcome,
            Either::Right(_) => Outcome::HandedOver,
        }
    };
    #[cfg(feature = "metrics")]
    if let Some(began) = delivery.began {
        let durations = &lane.shared().durations;
        durations.record(&lane.destination.origin, outcome, began.elapsed());
    }
    outcome
}

/// State of a request across attempts.
struct Delivery<'a> {
    lane: &'a Arc<Lane>,
    sending: &'a Sending<'a>,
    age: Age,
    /// Attempts made.
    attempts: u32,
    /// When the first attempt began.
    #[cfg(feature = "metrics")]
    began: Option<std::time::Instant>,
    /// The lane's number of flushes when the last attempt began.
    flushes: u64,
    /// Key of the next attempt, if the last one's key was refused and another is available.
    other_key: Option<RequestKey>,
    /// Turn to try at a receiver that is short of capacity. Held until the answer arrives.
    turn: Option<Turn<'a>>,
    /// Whether the last answer reported a lack of capacity.
    was_short: bool,
}

/// Result of an attempt.
struct AttemptResult {
    verdict: Verdict,
    slow: bool,
    key: RequestKey,
    is_short: bool,
}

/// The retry time ends before the next attempt.
struct Expired;

impl<'a> Delivery<'a> {
    async fn run(&mut self, mut admission: Option<Admission<'a>>) -> Outcome {
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
                && let Some(outcome) = self.apply(answered).await
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
            admit(self.lane, request, self.age, self.max_elapsed()).await
        }
    }

    /// Sends once. Returns `None` if the key was refused and the request is resent at once with
    /// another one.
    async fn attempt(&mut self, mut admission: Admission<'a>) -> Option<AttemptResult> {
        let (lane, kind) = (self.lane, self.kind());
        let Sending {
            call,
            request,
            count,
            traces,
            on_fault,
            ..
        } = *self.sending;
        let mut key = self.other_key.take().unwrap_or_else(|| RequestKey::of(&lane.key));
        self.flushes = lane.flushes();
        request.begin_attempt(self.attempts);
        #[cfg(feature = "metrics")]
        self.began.get_or_insert_with(std::time::Instant::now);
        lane.virtual_time.charge(call.encoded.body.len());
        let (sent, slow) = send(lane, call, &key.key().secret, &mut admission).await;
        let connected = sent.connected;
        lane.note_counts(traces, Note::Attempt(AnswerCode::of(&sent.result)));
        let verdict = judge(&call.url, sent.result, count, &sent.secrets, SystemTime::now());
        let verdict = effective_verdict(verdict, on_fault.returns(lane), self.retry());
        let mut pass = admission.into_pass();
        request.end_attempt(self.attempts, &verdict);
        // Record before the breakers, so that the log line of an opened breaker has its cause.
        if let Some(error) = verdict.failure() {
            lane.note_failure(kind, slow, error.clone());
        }
        if let Verdict::Deny { error } = &verdict {
            pass.note_reached();
            // Release the turn: other requests need not wait for the key.
            self.turn = None;
            let tried = key.sent();
            // If the source takes longer, its key is used once it answers.
            let is_sent_again = key.change(&lane.key, lane.shared().settings.timeout).await;
            lane.note_refused_key(kind, tried, error);
            if is_sent_again {
                // The refused key was outdated, so the verdict does not apply to the tracer.
                self.other_key = Some(key);
                return None;
            }
        }
        lane.note_verdict(kind, &verdict);
        pass.end(verdict.signal(connected), self.retry());
        lane.log_breakers(kind);
        if matches!(verdict, Verdict::Delivered { .. }) {
            let bytes = call.encoded.body.len();
            self.capacity_queue()
                .note_delivered(lane.share(kind), bytes, self.was_short);
        }
        self.turn = None;
        Some(AttemptResult {
            is_short: connected && is_shortage(&verdict),
            verdict,
            slow,
            key,
        })
    }

    /// Applies the verdict. Returns `None` if the request must be sent again.
    async fn apply(&mut self, answered: AttemptResult) -> Option<Outcome> {
        let (lane, kind) = (self.lane, self.kind());
        let AttemptResult {
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
            Verdict::Refuse { reason, error } => {
                self.note_refusal(error);
                Some(Outcome::Refused(reason))
            }
            Verdict::Fault { error } => {
                self.note_refusal(error);
                Some(Outcome::Faulted)
            }
            Verdict::Drop { reason, error } => {
                self.note_refusal(error);
                Some(Outcome::Dropped(reason))
            }
            Verdict::Deny { .. } => {
                let waiter = Arc::clone(lane) as Arc<dyn KeyWaiter>;
                // Do not wait if the key changed meanwhile.
                let waits = lane.key.wait_for_change(&waiter, key.current());
                let is_over = waits && self.pause(None, None).await.is_err();
                is_over.then_some(Outcome::Dropped(DropReason::Unauthorized))
            }
            Verdict::Retry { after, .. } => {
                let joined = is_short.then(|| self.capacity_queue().join(lane.share(kind), self.was_short));
                self.was_short = is_short;
                match self.pause(after, joined.flatten()).await {
                    Ok(turn) => self.turn = turn,
                    Err(Expired) => return Some(Outcome::Dropped(DropReason::RetriesExhausted)),
                }
                None
            }
        }
    }

    /// Waits before a retry, unless the retry waits at a breaker anyway.
    ///
    /// A wait requested by the receiver applies to all of the tracer's requests of this kind and
    /// happens at the breaker. A request that waits for capacity may get its turn before its own
    /// wait ends, and holds the turn until its answer arrives.
    async fn pause(
        &self,
        after: Option<Duration>,
        waiting: Option<QueuedRequest<'a>>,
    ) -> Result<Option<Turn<'a>>, Expired> {
        let (lane, retry, breakers) = (self.lane, self.retry(), self.breakers());
        let request = self.sending.request;
        if after.is_none() && waiting.is_none() && !breakers.is_ready() {
            return Ok(None);
        }
        let requested = after.unwrap_or_default().min(retry.max_retry_after);
        if !requested.is_zero() {
            breakers.own.hold(requested);
        }
        let left = self.time_left();
        // If retry time stands still, the requested wait may end before it does.
        let stands_still = lane.shared().driver.may_pause() || lane.keeps_data();
        if left.is_zero() || requested > left && !stands_still {
            return Err(Expired);
        }
        // A flush shortens the back-off, never a wait requested by the receiver. The last attempt
        // happens when the retry time ends.
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
            if self.capacity_queue().is_trying() {
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
            breakers.own.allow_probe();
        }
        Ok(turn)
    }

    fn note_refusal(&self, error: ExportError) {
        if let Some(refusal) = self.sending.refusal {
            *refusal.lock() = Some(error);
        }
    }

    fn time_left(&self) -> Duration {
        self.lane.time_left(self.age, self.max_elapsed())
    }

    /// Returns for how long it is retried. A quarantined batch has the whole time: it must be found
    /// out whether one of its spans is at fault.
    fn max_elapsed(&self) -> Duration {
        match self.sending.on_fault {
            OnFault::Retry | OnFault::Quarantine => self.lane.patience(self.kind()),
            OnFault::Return | OnFault::AwaitDelivery(_) => self.retry().max_elapsed,
        }
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

    /// Returns the capacity queue for requests of this kind.
    fn capacity_queue(&self) -> &'a CapacityQueue {
        self.lane.connections.capacity_queue(self.kind())
    }
}

/// Applies the settings to a verdict: a fault that is not returned becomes a retry, and
/// `Retry-After` is ignored if `max_retry_after` is zero.
fn effective_verdict(verdict: Verdict, returns: bool, retry: &RetrySettings) -> Verdict {
    match verdict {
        Verdict::Fault { error } if !returns => Verdict::Retry { after: None, error },
        Verdict::Retry { after: Some(_), error } if retry.max_retry_after.is_zero() => {
            Verdict::Retry { after: None, error }
        }
        verdict => verdict,
    }
}

/// Returns whether the receiver reports a lack of capacity without a time to retry after.
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

/// Makes one attempt and returns whether it was slow. Marks the lane as slow while the attempt is
/// still in progress.
async fn send<'a>(lane: &'a Lane, call: &Call, key: &'a ApiKey, admission: &mut Admission<'_>) -> (Attempt<'a>, bool) {
    let shared = lane.shared();
    let on = lane.connections.lease(lane.is_slow());
    let mut sending = pin!(shared.transport.send(call, &lane.destination, key, &on));
    let slow = shared.settings.timeout / 4;
    let overflow_after = OVERFLOW_AFTER.min(slow);
    if let Ok(sent) = timeout(overflow_after, &mut sending).await {
        return (sent, false);
    }
    admission.move_to_overflow();
    if let Ok(sent) = timeout(slow.saturating_sub(overflow_after), &mut sending).await {
        return (sent, false);
    }
    lane.note_slow();
    on.note_slow();
    // An overflow permit may be free by now.
    admission.move_to_overflow();
    (sending.await, true)
}

/// Longest wait of a request in the queue of a receiver that is short of capacity. Its turn comes
/// earlier, unless the requests before it fail for another reason.
fn longest_own_wait(retry: &RetrySettings) -> Duration {
    retry.max_backoff.mul_f64(rand::rng().random_range(0.5..=1.0))
}

/// Returns a back-off with full jitter: a random time up to a limit that doubles with each attempt.
pub(crate) fn backoff(retry: &RetrySettings, attempt: u32) -> Duration {
    let bound = retry.longest_wait(attempt);
    bound.mul_f64(rand::rng().random_range(0.0..=1.0))
}
