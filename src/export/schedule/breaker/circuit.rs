//! State machine of a circuit breaker, without lock, clock or randomness.
//!
//! `n` is the number of consecutive failures, `N` is [`THRESHOLD`], `gap` is [`GAP`]. The caller
//! provides the pause of each opening.
//!
//! | state | request | success | failure | probe ends without an outcome | wake-up |
//! |---|---|---|---|---|---|
//! | closed, `n` | admitted | closed, 0 | closed, `n + 1`; open until now + pause, if that is `N` | | same |
//! | open, pause not over | waits | closed, 0 | same | | open until `gap` after it opened, if that is earlier |
//! | open, pause over | half-open: the request is the probe | closed, 0 | same | | same |
//! | half-open | waits | closed, 0 | of the probe: `n + 1`, open until now + pause, at most `gap` if woken; of others: same | open, pause over | half-open, woken |
//!
//! A turn at a receiver that is short of capacity ends the pause of an open breaker and changes
//! nothing else.
//!
//! A receiver may also request a wait: nothing is admitted before it ends, in any state. Neither a
//! success nor a wake-up ends it; the latest requested time counts.
//!
//! Outcomes of requests admitted earlier may arrive at any time. A success shows that the receiver
//! works; a late failure changes nothing.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// Consecutive failures that open the breaker.
pub(crate) const THRESHOLD: u32 = 5;
/// Shortest pause between probes after a wake-up.
pub(crate) const GAP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circuit {
    pub(crate) failures: u32,
    pub(crate) phase: Phase,
    /// End of the wait requested by the receiver.
    held_until: Option<Instant>,
    /// Number of probes, to give each its own number.
    probes: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Phase {
    #[default]
    Closed,
    Open {
        since: Instant,
        until: Instant,
    },
    HalfOpen {
        probe: u64,
        woken: bool,
    },
}

/// Answer to a request that asks for admission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    Enter,
    /// Admitted as the only probe, with its number.
    Probe(u64),
    Wait(Wait),
}

/// What a request waits for, unless the state changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Until(Instant),
    ForProbe,
}

impl Circuit {
    /// Returns what a request would wait for, or `None` if it would be admitted.
    pub(crate) fn wait(&self, now: Instant) -> Option<Wait> {
        if let Some(until) = self.asked_until(now) {
            return Some(Wait::Until(until));
        }
        match self.phase {
            Phase::Open { until, .. } if now < until => Some(Wait::Until(until)),
            Phase::HalfOpen { .. } => Some(Wait::ForProbe),
            Phase::Closed | Phase::Open { .. } => None,
        }
    }

    /// Returns the end of the wait requested by the receiver, unless it is over.
    pub(crate) fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.held_until.filter(|until| now < *until)
    }

    /// Records a wait requested by the receiver.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.held_until = self.held_until.max(Some(until));
    }

    pub(crate) fn try_enter(&mut self, now: Instant) -> Decision {
        if let Some(wait) = self.wait(now) {
            return Decision::Wait(wait);
        }
        if self.phase == Phase::Closed {
            return Decision::Enter;
        }
        self.probes += 1;
        self.phase = Phase::HalfOpen {
            probe: self.probes,
            woken: false,
        };
        Decision::Probe(self.probes)
    }

    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.phase = Phase::Closed;
    }

    /// Records a failure of a request, with its probe number if it was a probe. `pause` returns the
    /// length of an opening, by the number of earlier openings since the last success.
    pub(crate) fn fail(&mut self, now: Instant, probe: Option<u64>, pause: impl FnOnce(u32) -> Duration) {
        let at_most = match self.phase {
            Phase::Closed => Duration::MAX,
            Phase::HalfOpen { probe: current, woken } if probe == Some(current) => {
                if woken {
                    GAP
                } else {
                    Duration::MAX
                }
            }
            Phase::Open { .. } | Phase::HalfOpen { .. } => return,
        };
        self.failures = self.failures.saturating_add(1);
        if self.failures >= THRESHOLD {
            let pause = pause(self.failures - THRESHOLD).min(at_most);
            self.phase = Phase::Open {
                since: now,
                // Ignore a pause beyond the clock's range.
                until: now.checked_add(pause).unwrap_or(now),
            };
        }
    }

    /// Ends a probe without an outcome.
    pub(crate) fn give_up(&mut self, now: Instant, probe: u64) {
        if matches!(self.phase, Phase::HalfOpen { probe: current, .. } if probe == current) {
            self.phase = Phase::Open { since: now, until: now };
        }
    }

    /// Ends the pause of an opening: the request with the turn at a receiver short of capacity
    /// becomes the probe.
    pub(crate) fn allow_probe(&mut self, now: Instant) {
        if let Phase::Open { until, .. } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    /// Allows a probe soon, because of a flush or a new key.
    pub(crate) fn wake_retries(&mut self) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Open { since, until } => *until = since.checked_add(GAP).map_or(*until, |soon| soon.min(*until)),
            Phase::HalfOpen { woken, .. } => *woken = true,
        }
    }
}
