//! Whether requests are let through, and when again: a machine without lock, clock or chance of its
//! own.
//!
//! `n` counts failures in a row, `N` is [`THRESHOLD`], `gap` is [`GAP`]. A pause is given by the
//! caller for each opening.
//!
//! | state | asked | success | failure | the probe ends without an outcome | wake-up |
//! |---|---|---|---|---|---|
//! | closed, `n` | let through | closed, 0 | closed, `n + 1`; open until now + pause, if that is `N` | | same |
//! | open, before its time | waits | closed, 0 | same | | open until `gap` after it opened, if that is earlier |
//! | open, its time is over | half-open: who asked is the probe | closed, 0 | same | | same |
//! | half-open | waits | closed, 0 | of the probe: `n + 1`, open until now + pause, `gap` at the most if woken; of others: same | open, its time over | half-open, woken |
//!
//! A turn at a receiver that is short of capacity ends an opening: open becomes open with its time
//! over. It changes nothing else.
//!
//! Besides, a receiver may have said when to come back: until then nothing is let through in any
//! state. Neither a success nor a wake-up ends that; of several such moments the last one counts.
//!
//! Successes and failures of requests that were let through earlier come at any time. A success
//! shows that the receiver is there; a failure that the machine knows of already changes nothing.

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

/// Failures in a row that open it.
pub(crate) const THRESHOLD: u32 = 5;
/// A wake-up does not make it try more often than this.
pub(crate) const GAP: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Circuit {
    pub(crate) failures: u32,
    pub(crate) phase: Phase,
    /// When the receiver said to come back.
    asked: Option<Instant>,
    /// Counts probes, so that each has a number of its own.
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

/// What a request is told that asks to be let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Enter,
    /// As the only one, under this number.
    Probe(u64),
    Wait(Wait),
}

/// What to wait for, unless something changes before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wait {
    Until(Instant),
    ForTheProbe,
}

impl Circuit {
    /// What there is to wait for; `None` where a request would be let through.
    pub(crate) fn wait(&self, now: Instant) -> Option<Wait> {
        if let Some(until) = self.asked_until(now) {
            return Some(Wait::Until(until));
        }
        match self.phase {
            Phase::Open { until, .. } if now < until => Some(Wait::Until(until)),
            Phase::HalfOpen { .. } => Some(Wait::ForTheProbe),
            Phase::Closed | Phase::Open { .. } => None,
        }
    }

    /// When the receiver said to come back, unless that is over.
    pub(crate) fn asked_until(&self, now: Instant) -> Option<Instant> {
        self.asked.filter(|until| now < *until)
    }

    /// The receiver says when to come back.
    pub(crate) fn hold(&mut self, until: Instant) {
        self.asked = self.asked.max(Some(until));
    }

    pub(crate) fn ask(&mut self, now: Instant) -> Answer {
        if let Some(wait) = self.wait(now) {
            return Answer::Wait(wait);
        }
        if self.phase == Phase::Closed {
            return Answer::Enter;
        }
        self.probes += 1;
        self.phase = Phase::HalfOpen {
            probe: self.probes,
            woken: false,
        };
        Answer::Probe(self.probes)
    }

    pub(crate) fn succeed(&mut self) {
        self.failures = 0;
        self.phase = Phase::Closed;
    }

    /// A request failed; `probe` is its number if it was one. `pause` is asked for the length of
    /// the opening, by how often it opened since the last success.
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
                // A pause that no clock can show is none.
                until: now.checked_add(pause).unwrap_or(now),
            };
        }
    }

    /// The probe ends, and nothing was learnt by it.
    pub(crate) fn give_up(&mut self, now: Instant, probe: u64) {
        if matches!(self.phase, Phase::HalfOpen { probe: current, .. } if probe == current) {
            self.phase = Phase::Open { since: now, until: now };
        }
    }

    /// Ends an opening now: the request that has its turn at a receiver short of capacity is the
    /// probe.
    pub(crate) fn let_one_try(&mut self, now: Instant) {
        if let Phase::Open { until, .. } = &mut self.phase {
            *until = now.min(*until);
        }
    }

    /// A flush, or another key: it tries soon.
    pub(crate) fn wake_retries(&mut self) {
        match &mut self.phase {
            Phase::Closed => {}
            Phase::Open { since, until } => *until = since.checked_add(GAP).map_or(*until, |soon| soon.min(*until)),
            Phase::HalfOpen { woken, .. } => *woken = true,
        }
    }
}
