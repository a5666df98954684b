//! Whether memory stays flat.
//!
//! The allocator keeps what the largest backlog so far took, so memory rises by steps while backlogs still come that are larger than all
//! before. What leaks rises for ever: the middle third is compared with the last.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// What comes before is warming up: connections, the allocator's own memory.
const WARM_UP: Duration = Duration::from_secs(60);
/// Fewer samples after that say nothing.
const LEAST: usize = 120;
/// By so much of it memory may differ between two thirds; what waits in queues differs as well.
const ALLOWED: u64 = 10;

/// Resident memory, half second by half second.
pub(crate) struct Memory {
    begun: Instant,
    samples: Vec<u64>,
}

/// Medians of the middle third after the warm-up and of the last, in bytes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Drift {
    pub(crate) middle: u64,
    pub(crate) last: u64,
}

impl Memory {
    pub(crate) fn new() -> Self {
        Self {
            begun: Instant::now(),
            samples: Vec::new(),
        }
    }

    pub(crate) fn sample(&mut self) -> u64 {
        let resident = of_status("VmRSS:").unwrap_or_default() * 1024;
        if self.begun.elapsed() >= WARM_UP {
            self.samples.push(resident);
        }
        resident
    }

    /// `None` where there was not enough time to tell.
    pub(crate) fn drift(&self) -> Option<Drift> {
        let third = self.samples.len() / 3;
        (self.samples.len() >= LEAST).then(|| Drift {
            middle: median(&self.samples[third..2 * third]),
            last: median(&self.samples[self.samples.len() - third..]),
        })
    }
}

impl Drift {
    pub(crate) fn is_flat(self) -> bool {
        self.last <= self.middle + self.middle / ALLOWED
    }
}

pub(crate) fn threads() -> u64 {
    of_status("Threads:").unwrap_or_default()
}

/// A number that Linux tells of this process; nothing elsewhere.
fn of_status(name: &str) -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn median(samples: &[u64]) -> u64 {
    let mut samples = samples.to_vec();
    samples.sort_unstable();
    samples[samples.len() / 2]
}
