//! One thing that goes wrong, from its first line to its last: a machine without lock or clock of its own.
//!
//! | state | event | next |
//! |---|---|---|
//! | quiet, its pause is over | it happens | due |
//! | quiet, in its pause | it happens | quiet, counted |
//! | due | the line may be written | reported, in a pause |
//! | due | the registry has written enough lines | quiet, in a pause, counted |
//! | reported | it happens | reported, counted |
//! | reported | it is over | quiet; one line |
//! | due, quiet | it is over | the same: what was not reported needs no end |

use std::time::Instant;

use super::budget::{Granted, LineBudget, PAUSE};

#[derive(Debug, Default)]
pub(crate) struct Episode {
    /// How often it happened since the last line.
    count: u64,
    due: bool,
    reported: bool,
    /// It happened since somebody asked whether it is over.
    is_fresh: bool,
    not_before: Option<Instant>,
}

/// What a line says of something that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// How often it happened since the last line about it.
    pub(crate) count: u64,
    /// How many lines of the registry were left out since the last that was written, if any.
    pub(crate) left_out: Option<u64>,
}

impl Episode {
    /// It happened `count` times. Returns whether a line is due.
    pub(crate) fn note(&mut self, count: u64, now: Instant) -> bool {
        self.count = self.count.saturating_add(count);
        self.is_fresh = true;
        self.due |= !self.reported && self.not_before.is_none_or(|at| at <= now);
        self.due
    }

    /// Returns the line that is due, if the budget has one left.
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

    /// It is over. Returns how often it happened, if that was reported.
    pub(crate) fn end(&mut self) -> Option<u64> {
        std::mem::take(&mut self.reported).then(|| std::mem::take(&mut self.count))
    }

    /// Whether nothing is lost if it is forgotten.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        !self.due && !self.reported && self.not_before.is_none_or(|at| at <= now)
    }

    /// It is over if it did not happen since this was called last.
    pub(crate) fn end_if_calm(&mut self) -> Option<u64> {
        if std::mem::take(&mut self.is_fresh) {
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
    fn what_begins_and_ends_all_the_time_is_reported_once_in_a_pause_with_all_that_happened() {
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
    fn what_goes_on_is_not_over_between_two_occurrences() {
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
