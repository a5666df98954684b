//! A breaker: while a receiver fails, requests to it wait instead of trying, and one at a time
//! tries for all.
//!
//! The states and their moves are [`circuit`]'s. Here are the lock, the clock and those who wait. A
//! request that waits holds nothing.

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
use circuit::{Answer, Circuit, Phase, Wait};

#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// Made by the first failure. Most receivers never fail, and until then it is closed.
    works: OnceLock<Box<Works>>,
}

#[derive(Debug, Default)]
struct Works {
    state: ForkLock<State>,
    /// Notified for all that wait, whenever what they wait for may have changed.
    changed: Notify,
    /// The last failure was about the key.
    denied: AtomicBool,
}

#[derive(Clone, Copy, Debug, Default)]
struct State {
    circuit: Circuit,
    /// Until when it is open, by the wall clock: read once for each opening, so that a status says
    /// the same until something changes.
    until: Option<SystemTime>,
    /// Until when the receiver asked to wait, likewise.
    asked_until: Option<SystemTime>,
}

/// A request that was let through. Dropped without an outcome it tells nothing, and if it was the
/// probe, another one is let through.
#[must_use]
pub(crate) struct Pass<'a> {
    breaker: &'a Breaker,
    probe: Option<u64>,
}

impl Breaker {
    /// Whether a request would be let through.
    pub(crate) fn is_ready(&self) -> bool {
        self.works
            .get()
            .is_none_or(|works| works.state.lock().circuit.wait(now()).is_none())
    }

    /// Waits until a request would be let through. Of all who wait for a probe's time only one is,
    /// so ask again.
    pub(crate) async fn ready(&self) {
        if let Some(works) = self.works.get() {
            works.ready().await;
        }
    }

    pub(crate) fn enter(&self) -> Option<Pass<'_>> {
        let answer = self.works.get().map(|works| works.state.lock().circuit.ask(now()));
        let probe = match answer {
            None | Some(Answer::Enter) => None,
            Some(Answer::Probe(probe)) => Some(probe),
            Some(Answer::Wait(_)) => return None,
        };
        Some(Pass { breaker: self, probe })
    }

    /// A flush, or another key: it tries soon.
    pub(crate) fn wake_retries(&self) {
        self.change(Circuit::wake_retries);
    }

    /// Ends an opening, so that the next request is let through as a probe.
    pub(crate) fn let_one_try(&self) {
        self.change(|circuit| circuit.let_one_try(now()));
    }

    /// The receiver asked for a wait: until it is over nothing is let through.
    pub(crate) fn hold(&self, wait: Duration) {
        // A moment that no clock can show is none.
        if let Some(until) = now().checked_add(wait) {
            let works = self.works.get_or_init(Box::default);
            works.change(|circuit| circuit.hold(until));
            let mut state = works.state.lock();
            state.asked_until = state.asked_until.max(Some(on_the_wall_clock(until)));
        }
    }

    /// When the receiver said to come back, unless that is over.
    pub(crate) fn asked_until(&self) -> Option<Instant> {
        let works = self.works.get()?;
        works.state.lock().circuit.asked_until(now())
    }

    /// Whether requests wait, but for one that tries at a time.
    pub(crate) fn is_open(&self) -> bool {
        self.works
            .get()
            .is_some_and(|works| works.state.lock().circuit.phase != Phase::Closed)
    }

    /// Whether the last failure was about the key.
    pub(crate) fn is_denied(&self) -> bool {
        let works = self.works.get();
        works.is_some_and(|works| works.denied.load(Ordering::Relaxed))
    }

    /// There is another key: failures of the one before say nothing any more.
    pub(crate) fn note_new_key(&self) {
        if self.is_denied() {
            self.succeed();
        }
    }

    pub(crate) fn status(&self) -> BreakerStatus {
        self.works
            .get()
            .map_or_else(BreakerStatus::default, |works| works.status())
    }

    fn succeed(&self) {
        if let Some(works) = self.works.get() {
            works.denied.store(false, Ordering::Relaxed);
            works.change(Circuit::succeed);
        }
    }

    /// Changes nothing where nothing has failed yet.
    fn change(&self, change: impl FnOnce(&mut Circuit)) {
        if let Some(works) = self.works.get() {
            works.change(change);
        }
    }
}

impl Works {
    async fn ready(&self) {
        loop {
            // Made before the look: from here on it hears every change.
            let changed = self.changed.notified();
            let wait = self.state.lock().circuit.wait(now());
            match wait {
                None => return,
                // Either end of the wait is the same: there is a look again.
                Some(Wait::Until(until)) => drop(tokio::time::timeout_at(until.into(), changed).await),
                Some(Wait::ForTheProbe) => changed.await,
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
                Phase::Open { until, .. } => Some(on_the_wall_clock(until)),
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

    /// `denied` says that it was about the key.
    pub(crate) fn failed(mut self, retry: &RetrySettings, denied: bool) {
        let probe = self.probe.take();
        let works = self.breaker.works.get_or_init(Box::default);
        works.denied.store(denied, Ordering::Relaxed);
        works.change(|circuit| circuit.fail(now(), probe, |openings| pause(retry, openings)));
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(probe) = self.probe {
            self.breaker.change(|circuit| circuit.give_up(now(), probe));
        }
    }
}

/// On the clock of what moves the tasks, which tests may stop.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// A time that is not far, as a status shows it.
fn on_the_wall_clock(time: Instant) -> SystemTime {
    let now = SystemTime::now();
    let left = time.saturating_duration_since(self::now());
    wall_time::to_millis(now.checked_add(left).unwrap_or(now))
}

/// As long as a wait between two repetitions may be, and half of it at the least: a random time
/// that is next to nothing would be no pause. No longer than a quarter of the time for repetitions,
/// so that a request sees some probes before it is given up.
fn pause(retry: &RetrySettings, openings: u32) -> Duration {
    retry
        .longest_wait(openings)
        .min(retry.max_elapsed / 4)
        .mul_f64(rand::rng().random_range(0.5..=1.0))
}
