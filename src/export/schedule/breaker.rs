//! Circuit breaker: while a receiver fails, requests wait, and one at a time probes the receiver.
//!
//! [`circuit`] holds the state machine; this module adds lock, clock and waiters. A waiting request
//! holds no permit.

mod circuit;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rand::Rng;
use tokio::sync::Notify;

use super::breaker_status::{BreakerState, BreakerStatus};
use crate::config::RetrySettings;
use crate::util::fork::ForkLock;
use crate::util::wall_time;
use circuit::{Circuit, Decision, Phase, Wait};

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Allocated by the first failure; most receivers never fail. Closed until then.
    inner: OnceLock<Box<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    state: ForkLock<State>,
    /// Notifies waiting requests of state changes.
    changed: Notify,
    /// Whether the last failure was a refused key.
    denied: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    circuit: Circuit,
    /// End of the opening by the wall clock. Computed once per opening, so that the status is
    /// stable.
    until: Option<SystemTime>,
    /// End of the wait requested by the receiver, by the wall clock.
    asked_until: Option<SystemTime>,
}

/// An admitted request. If dropped without an outcome, it reports nothing; if it was the probe,
/// another request may probe.
#[must_use]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: Option<u64>,
}

impl Breaker {
    /// Returns whether a request would be admitted.
    pub(crate) fn is_ready(&self) -> bool {
        self.inner
            .get()
            .is_none_or(|inner| inner.state.lock().circuit.wait(now()).is_none())
    }

    /// Waits until a request would be admitted. Only one waiter becomes the probe, so check again
    /// afterwards.
    pub(crate) async fn ready(&self) {
        if let Some(inner) = self.inner.get() {
            inner.ready().await;
        }
    }

    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let decision = self
            .inner
            .get()
            .map(|inner| inner.state.lock().circuit.try_enter(now()));
        let probe = match decision {
            None | Some(Decision::Enter) => None,
            Some(Decision::Probe(probe)) => Some(probe),
            Some(Decision::Wait(_)) => return None,
        };
        Some(Pass { breaker: self, probe })
    }

    /// Allows a probe soon, because of a flush or a new key.
    pub(crate) fn wake_retries(&self) {
        self.change(Circuit::wake_retries);
    }

    /// Ends an opening, so that the next request is admitted as a probe.
    pub(crate) fn allow_probe(&self) {
        self.change(|circuit| circuit.allow_probe(now()));
    }

    /// Admits nothing until the wait requested by the receiver is over.
    pub(crate) fn hold(&self, wait: Duration) {
        // Ignore a wait beyond the clock's range.
        if let Some(until) = now().checked_add(wait) {
            let inner = self.inner.get_or_init(Box::default);
            inner.change(|circuit| circuit.hold(until));
            let mut state = inner.state.lock();
            state.asked_until = state.asked_until.max(Some(to_wall_clock(until)));
        }
    }

    /// Returns the end of the wait requested by the receiver, unless it is over.
    pub(crate) fn asked_until(&self) -> Option<Instant> {
        let inner = self.inner.get()?;
        inner.state.lock().circuit.asked_until(now())
    }

    /// Returns whether the breaker is open or half-open.
    pub(crate) fn is_open(&self) -> bool {
        self.inner
            .get()
            .is_some_and(|inner| inner.state.lock().circuit.phase != Phase::Closed)
    }

    /// Returns whether the last failure was a refused key.
    pub(crate) fn is_denied(&self) -> bool {
        let inner = self.inner.get();
        inner.is_some_and(|inner| inner.denied.load(Ordering::Relaxed))
    }

    /// Closes the breaker after a key change, if the last failure was a refused key.
    pub(crate) fn note_new_key(&self) {
        if self.is_denied() {
            self.succeed();
        }
    }

    pub(crate) fn status(&self) -> BreakerStatus {
        self.inner
            .get()
            .map_or_else(BreakerStatus::default, |inner| inner.status())
    }

    fn succeed(&self) {
        if let Some(inner) = self.inner.get() {
            inner.denied.store(false, Ordering::Relaxed);
            inner.change(Circuit::succeed);
        }
    }

    /// Applies a change, unless nothing has failed yet.
    fn change(&self, change: impl FnOnce(&mut Circuit)) {
        if let Some(inner) = self.inner.get() {
            inner.change(change);
        }
    }
}

impl Inner {
    async fn ready(&self) {
        loop {
            // Registered before the check, so no change is missed.
            let changed = self.changed.notified();
            let wait = self.state.lock().circuit.wait(now());
            match wait {
                None => return,
                // Check again after a timeout too.
                Some(Wait::Until(until)) => drop(tokio::time::timeout_at(until.into(), changed).await),
                Some(Wait::ForProbe) => changed.await,
            }
        }
    }

    fn status(&self) -> BreakerStatus {
        let State {
            circuit,
            until,
            asked_until,
        } = *self.state.lock();
        let state = match (circuit.phase, until) {
            (Phase::Open { .. }, Some(until)) => BreakerState::Open { until },
            (Phase::HalfOpen { .. }, _) => BreakerState::HalfOpen,
            (Phase::Closed | Phase::Open { .. }, _) => BreakerState::Closed,
        };
        BreakerStatus {
            state,
            failures: circuit.failures,
            asked_until,
        }
    }

    fn change(&self, change: impl FnOnce(&mut Circuit)) {
        let mut state = self.state.lock();
        let before = state.circuit.phase;
        change(&mut state.circuit);
        let after = state.circuit.phase;
        let changed = after != before;
        if changed {
            state.until = match after {
                Phase::Open { until, .. } => Some(to_wall_clock(until)),
                Phase::Closed | Phase::HalfOpen { .. } => None,
            };
        }
        drop(state);
        if changed {
            self.changed.notify_waiters();
        }
    }
}

impl Pass<'_> {
    pub(crate) fn succeeded(mut self) {
        self.probe = None;
        self.breaker.succeed();
    }

    /// Reports a failure. `denied`: the key was refused.
    pub(crate) fn failed(mut self, retry: &RetrySettings, denied: bool) {
        let probe = self.probe.take();
        let inner = self.breaker.inner.get_or_init(Box::default);
        inner.denied.store(denied, Ordering::Relaxed);
        inner.change(|circuit| circuit.fail(now(), probe, |openings| pause(retry, openings)));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            self.breaker.change(|circuit| circuit.give_up(now(), probe));
        }
    }
}

/// Returns the current time of tokio's clock, which tests may pause.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// Converts a time in the near future to wall-clock time.
fn to_wall_clock(time: Instant) -> SystemTime {
    let now = SystemTime::now();
    let left = time.saturating_duration_since(self::now());
    wall_time::to_millis(now.checked_add(left).unwrap_or(now))
}

/// Returns the length of an opening: a random time between half and all of the longest back-off,
/// because a pause near zero has no effect. At most a quarter of `max_elapsed`, so that a request
/// sees some probes before it expires.
fn pause(retry: &RetrySettings, openings: u32) -> Duration {
    retry
        .longest_wait(openings)
        .min(retry.max_elapsed / 4)
        .mul_f64(rand::rng().random_range(0.5..=1.0))
}
