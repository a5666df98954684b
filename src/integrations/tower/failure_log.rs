//! Limits the log lines about failed look-ups: one a minute for each selector of a layer, and ten a
//! minute for a layer. Clients may choose selectors, so they must not use up the registry's limit.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::export::{Begun, Episode, LineBudget};
use crate::util::fork::ForkLock;

/// Maximum selectors with log state, because clients may choose them. The failures of further
/// selectors are not logged.
const MAX_SELECTORS: usize = 1024;

/// Minimum time between two removals of idle log state.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);

/// Maximum lines of one layer per minute.
const MAX_LINES: u32 = 10;

/// Log state of the failed look-ups of one layer.
#[derive(Debug)]
pub(super) struct FailureLog {
    failures: ForkLock<Failures>,
    lines: LineBudget,
}

impl Default for FailureLog {
    fn default() -> Self {
        Self {
            failures: ForkLock::default(),
            lines: LineBudget::new(MAX_LINES),
        }
    }
}

#[derive(Debug, Default)]
struct Failures {
    by_selector: HashMap<String, Episode>,
    swept: Option<Instant>,
}

impl FailureLog {
    /// Records a failure. Returns the numbers of the line to write, if one is due.
    pub(super) fn note(&self, selector: String, now: Instant) -> Option<Begun> {
        let mut failures = self.failures.lock_unless_forked()?;
        if !failures.has_room_for(&selector, now) {
            return None;
        }
        let episode = failures.by_selector.entry(selector).or_default();
        if !episode.note(1, now) {
            return None;
        }
        let start = episode.begin(now, &self.lines)?;
        // An ongoing failure is logged again after the pause.
        episode.end();
        start.line
    }
}

impl Failures {
    fn has_room_for(&mut self, selector: &str, now: Instant) -> bool {
        if self.by_selector.len() < MAX_SELECTORS || self.by_selector.contains_key(selector) {
            return true;
        }
        let is_recent = |at| now.saturating_duration_since(at) < SWEEP_INTERVAL;
        if !self.swept.is_some_and(is_recent) {
            self.swept = Some(now);
            self.by_selector.retain(|_, episode| !episode.is_idle(now));
        }
        self.by_selector.len() < MAX_SELECTORS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn each_selector_has_one_line_per_minute_with_the_failures_since_the_last_one() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let count = |selector: &str, at| log.note(selector.to_owned(), at).map(|begun| begun.count);
        assert_eq!(count("tenant:acme", start), Some(1));
        assert_eq!(count("tenant:globex", start), Some(1));
        assert_eq!(count("tenant:acme", start + MINUTE / 2), None);
        assert_eq!(count("tenant:acme", start + MINUTE), Some(2));
    }

    #[test]
    fn state_is_limited_and_freed_after_the_pause() {
        let (log, start) = (FailureLog::default(), Instant::now());
        let note = |number: usize, at| log.note(format!("tenant:t{number}"), at);
        let written = (0..10 * MAX_SELECTORS).filter(|number| note(*number, start).is_some());
        assert_eq!(written.count(), 10);
        assert_eq!(log.failures.lock().by_selector.len(), MAX_SELECTORS);
        let left_out = u64::try_from(MAX_SELECTORS - 10).ok();
        let next = Begun { count: 1, left_out };
        assert_eq!(note(10 * MAX_SELECTORS, start + MINUTE), Some(next));
        assert_eq!(log.failures.lock().by_selector.len(), 1);
    }
}
