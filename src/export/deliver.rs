//! Attempts at one request until there is a verdict: back-off with full jitter, `Retry-After`, giving up.
//!
//! A request that waits for its repetition holds no permit, so it takes nothing from other tracers.

use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::engine::Shared;
use super::lane::Lane;
use super::transport::Call;
use super::verdict::{Verdict, judge};
use crate::config::RetrySettings;
use crate::ledger::DropReason;

/// What became of a request in the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Delivered { rejected: u64 },
    Dropped(DropReason),
}

/// The requests that may be under way at the same time.
///
/// A lane whose last attempt failed or was slow waits in a line of its own: endpoints that hang use up that line, and the healthy
/// ones go on as if they were not there.
#[derive(Debug)]
pub(super) struct Permits {
    healthy: Semaphore,
    suspect: Semaphore,
}

impl Permits {
    pub(super) fn new(max_concurrent: usize) -> Self {
        Self {
            healthy: Semaphore::new(max_concurrent),
            suspect: Semaphore::new((max_concurrent / 8).max(1)),
        }
    }

    async fn acquire(&self, lane: &Lane) -> SemaphorePermit<'_> {
        let line = if lane.is_suspect() {
            &self.suspect
        } else {
            &self.healthy
        };
        line.acquire().await.expect("the engine never closes its semaphores")
    }
}

/// Sends a request of `count` spans (or of one session event) until there is a verdict.
pub(super) async fn deliver(shared: &Shared, lane: &Lane, call: &Call, count: u64) -> Outcome {
    let retry = &shared.settings.retry;
    let started = Instant::now();
    let mut attempt = 0;
    loop {
        let permit = shared.permits.acquire(lane).await;
        let sent = Instant::now();
        let result = shared.transport.send(call, &lane.destination, &lane.key).await;
        drop(permit);
        let verdict = judge(&call.url, result, count, &lane.key, SystemTime::now());
        let slow = sent.elapsed() > shared.settings.timeout / 4;
        match verdict {
            Verdict::Delivered { rejected, warning } => {
                lane.note_success(slow, warning);
                return Outcome::Delivered { rejected };
            }
            Verdict::Drop { reason, error } => {
                lane.note_failure(error);
                return Outcome::Dropped(reason);
            }
            Verdict::Repeat { after, error } => {
                lane.note_failure(error);
                let wait = backoff(retry, attempt).max(after.unwrap_or_default());
                if started.elapsed() + wait > retry.max_elapsed {
                    return Outcome::Dropped(DropReason::RetriesExhausted);
                }
                // A flush may shorten our own back-off, never what the server asked for.
                lane.wait_before_repeating(wait, after.is_none()).await;
                attempt += 1;
            }
        }
    }
}

/// Full jitter: a random time up to a bound that doubles with each attempt.
fn backoff(retry: &RetrySettings, attempt: u32) -> Duration {
    let bound = retry
        .initial_backoff
        .saturating_mul(2_u32.saturating_pow(attempt))
        .min(retry.max_backoff);
    bound.mul_f64(rand::rng().random_range(0.0..=1.0))
}
