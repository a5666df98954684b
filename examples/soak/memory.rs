//! Checks that memory stays flat.
//!
//! The allocator keeps the memory of the largest backlog, so memory rises in steps while backlogs
//! still grow. A leak rises forever: compare the middle third with the last.

use std::fs;
use std::time::{Duration, Instant};

use serde::Serialize;

/// Samples before this are ignored: connections and the allocator warm up.
const WARM_UP: Duration = Duration::from_secs(60);
/// Fewer samples are inconclusive.
const LEAST: usize = 120;
/// Allowed growth between two thirds, as a divisor; queued data varies too.
const ALLOWED: u64 = 10;

/// Resident memory, sampled every half second.
pub(crate) struct Memory {
    begun: Instant,
    samples: Vec<u64>,
}

/// Median of the middle and of the last third after the warm-up, in bytes.
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

    /// Returns `None` with too few samples.
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

/// Reads a number from Linux's status of this process. `None` on other systems.
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
