//! The traces of a batch, with the number of their spans.

/// Keyed hash of a trace id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TraceKey(pub(super) u64);

/// Distinct traces, with the number of their spans.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TraceCounts(Vec<(TraceKey, u32)>);

impl TraceCounts {
    /// Counts spans by their traces. Spans of one trace usually follow one another.
    pub(crate) fn of(spans: &[TraceKey]) -> Self {
        let mut counts: Vec<(TraceKey, u32)> = Vec::new();
        for run in spans.chunk_by(PartialEq::eq) {
            counts.push((run[0], u32::try_from(run.len()).unwrap_or(u32::MAX)));
        }
        counts.sort_unstable_by_key(|(key, _)| *key);
        counts.dedup_by(|(key, more), (earlier, count)| {
            let is_same = key == earlier;
            if is_same {
                *count = count.saturating_add(*more);
            }
            is_same
        });
        Self(counts)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (TraceKey, u32)> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_counted_by_trace_in_any_order() {
        let keys = [3, 3, 1, 3, 2, 1].map(TraceKey);
        let counts: Vec<_> = TraceCounts::of(&keys)
            .iter()
            .map(|(key, count)| (key.0, count))
            .collect();
        assert_eq!(counts, [(1, 2), (2, 1), (3, 3)]);
        assert_eq!(TraceCounts::of(&[]), TraceCounts::default());
    }
}
