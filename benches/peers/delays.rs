//! Histogram of delays.

use std::time::Duration;

/// Width of a bucket.
const WIDTH: Duration = Duration::from_micros(20);
/// The last bucket holds all longer delays: those above a minute.
const BUCKETS: usize = 3_000_000;

/// Counts of delays.
pub(crate) struct Delays {
    counts: Vec<u32>,
    all: u64,
}

impl Delays {
    pub(crate) fn new() -> Self {
        Self {
            counts: vec![0; BUCKETS],
            all: 0,
        }
    }

    pub(crate) fn note(&mut self, delay: Duration) {
        let bucket = delay.as_nanos() / WIDTH.as_nanos();
        let bucket = usize::try_from(bucket).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1));
        self.counts[bucket] += 1;
        self.all += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count += more;
        }
        self.all += other.all;
    }

    pub(crate) fn clear(&mut self) {
        self.counts.fill(0);
        self.all = 0;
    }

    /// Returns the delay in milliseconds that `part` per thousand do not exceed.
    pub(crate) fn quantile(&self, part: u64) -> f64 {
        let wanted = self.all * part / 1000;
        let mut seen = 0;
        for (bucket, count) in (0_u32..).zip(&self.counts) {
            seen += u64::from(*count);
            if seen > wanted {
                return (f64::from(bucket) + 0.5) * WIDTH.as_secs_f64() * 1e3;
            }
        }
        0.0
    }
}
