//! State machine of one problem in the log, from its first line to its last. Has no lock or clock.
//!
//! | state | event | next |
//! |---|---|---|
//! | quiet, pause over | it happens | due |
//! | quiet, in a pause | it happens | quiet, counted |
//! | due | the line is written | reported, in a pause |
//! | due | the registry's line limit is reached | quiet, in a pause, counted |
//! | reported | it happens | reported, counted |
//! | reported | it is over | quiet; one line |
//! | due, quiet | it is over | same: an unreported start needs no end |

use std::time::Instant;

use super::budget::{Granted, LineBudget, PAUSE};

/// Log state of one problem.
#[derive(Debug, Default)]
pub(crate) struct Episode {
    /// Occurrences since the last line.
    count: u64,
    due: bool,
    reported: bool,
    /// Whether it happened since the last call of [`end_if_calm`](Self::end_if_calm).
    recurred: bool,
    not_before: Option<Instant>,
}

/// Numbers of a line about the start of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Occurrences since the last line about the problem.
    pub(crate) count: u64,
    /// Number of the registry's lines left out since the last written one, if any.
    pub(crate) left_out: Option<u64>,
}

impl Episode {
    /// Records `count` occurrences. Returns whether a line is due.
    pub(crate) fn note(&mut self, count: u64, now: Instant) -> bool {
        self.count = self.count.saturating_add(count);
        self.recurred = true;
        self.due |= !self.reported && self.not_before.is_none_or(|at| at <= now);
        self.due
    }

    /// Returns the due line, if the budget permits it.
    pub(crate) fn begin(&mut self, now: Instant, budget: &LineBudget) -> Option<Begun> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.not_before = now.checked_add(PAUSE);
        let Granted { left_out } = budget.take(now)?;
        self.reported = true;
        Some(Begun {
            count: self.count,
            left_out,
        })
    }

    /// Ends the episode. Returns the occurrences, if its start was reported.
    pub(crate) fn end(&mut self) -> Option<u64> {
        std::mem::take(&mut self.reported).then(|| std::mem::take(&mut self.count))
    }

    /// Returns whether it can be dropped without losing state.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        !self.due && !self.reported && self.not_before.is_none_or(|at| at <= now)
    }

    /// Ends the episode if nothing happened since the last call.
    pub(crate) fn end_if_calm(&mut self) -> Option<u64> {
        if std::mem::take(&mut self.recurred) {
            None
        } else {
            self.end()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_flapping_problem_is_reported_once_per_pause_with_all_occurrences() {
        let (budget, start) = (LineBudget::default(), Instant::now());
        let mut episode = Episode::default();
        assert!(episode.note(2, start));
        assert_eq!(
            episode.begin(start, &budget),
            Some(Begun {
                count: 2,
                left_out: None
            })
        );
        assert!(!episode.note(3, start));
        assert_eq!(episode.begin(start, &budget), None);
        assert_eq!(episode.end(), Some(5));
        assert_eq!(episode.end(), None);
        for at in 1..60 {
            let now = start + Duration::from_secs(at);
            assert!(!episode.note(1, now));
            assert_eq!((episode.begin(now, &budget), episode.end()), (None, None));
        }
        assert!(episode.note(1, start + PAUSE));
        assert_eq!(
            episode.begin(start + PAUSE, &budget),
            Some(Begun {
                count: 60,
                left_out: None
            })
        );
    }

    #[test]
    fn an_ongoing_problem_does_not_end_between_two_occurrences() {
        let mut episode = Episode::default();
        let now = Instant::now();
        episode.note(1, now);
        episode.begin(now, &LineBudget::default());
        for _ in 0..10 {
            assert_eq!(episode.end_if_calm(), None);
            episode.note(1, now);
        }
        assert_eq!((episode.end_if_calm(), episode.end_if_calm()), (None, Some(11)));
    }
}
