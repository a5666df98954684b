//! Histogram of delays, by millisecond.

/// The last bucket holds all longer delays.
const BUCKETS: usize = 60_001;

/// Counts of delays by millisecond, up to one minute.
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

    pub(crate) fn note(&mut self, nanos: u64) {
        let bucket = usize::try_from(nanos / 1_000_000).map_or(BUCKETS - 1, |at| at.min(BUCKETS - 1));
        self.counts[bucket] += 1;
        self.all += 1;
    }

    /// Returns the delay in milliseconds that `part` per thousand of the spans do not exceed.
    pub(crate) fn quantile(&self, part: u64) -> f64 {
        let wanted = self.all * part / 1000;
        let mut seen = 0;
        for (millis, count) in (0_u32..).zip(&self.counts) {
            seen += u64::from(*count);
            if seen > wanted {
                return f64::from(millis) + 0.5;
            }
        }
        0.0
    }
}
