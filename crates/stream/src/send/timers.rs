//! What a partition does from time to time.

use std::time::{Duration, Instant};

/// Something that is due again and again.
#[derive(Debug)]
pub(crate) struct Every {
    period: Duration,
    at: Instant,
}

impl Every {
    fn new(period: Duration, now: Instant) -> Self {
        Self {
            period,
            at: now + period,
        }
    }

    /// Whether it is due. Then it is due again after its period.
    pub(crate) fn is_due(&mut self, now: Instant) -> bool {
        let is_due = self.at <= now;
        if is_due {
            self.at = now + self.period;
        }
        is_due
    }

    /// Makes it due within a second.
    pub(crate) fn hasten(&mut self, now: Instant) {
        self.at = self.at.min(now + Duration::from_secs(1));
    }
}

/// The timers of a partition.
#[derive(Debug)]
pub(crate) struct Timers {
    /// Queues that wait for too long are parked.
    pub(crate) park: Every,
    /// What changed is written.
    pub(crate) checkpoint: Every,
    /// The books are written although nothing changed, so that others see a live owner.
    pub(crate) touch: Every,
    /// The servers extend the time of messages that are in work.
    pub(crate) renew: Every,
    /// Totals are read.
    pub(crate) totals: Every,
    /// Gaps are counted as lost.
    pub(crate) resolve: Every,
    /// Pulls are opened again, and the scan of the parking stream is tried again.
    pub(crate) retry: Every,
    /// Parked messages are counted for the status.
    pub(crate) count: Every,
    /// Old messages of the parking stream are dropped, and old processes forgotten.
    pub(crate) clean: Every,
}

impl Timers {
    pub(crate) fn new(now: Instant) -> Self {
        let every = |millis| Every::new(Duration::from_millis(millis), now);
        Self {
            park: every(200),
            checkpoint: every(500),
            touch: every(2000),
            renew: every(3000),
            totals: every(2000),
            resolve: every(1000),
            retry: every(1000),
            count: every(1000),
            clean: every(60_000),
        }
    }
}
