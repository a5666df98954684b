//! State machine of one problem, from its first report to its last: log lines and recorded changes.
//! Has no lock or clock.
//!
//! | state | event | next |
//! |---|---|---|
//! | quiet, pause over | it happens | due |
//! | quiet, in a pause | it happens | quiet, counted |
//! | due | it is reported | reported, in a pause |
//! | due | the same, but the registry's line limit is reached | reported without a line, in a pause, counted |
//! | reported | it happens | reported, counted |
//! | reported without a line, pause over | it happens | due, for the line alone |
//! | reported | it is over | quiet; one line, if its start had one |
//! | due, quiet | it is over | same: an unreported start needs no end |

use std::time::{Instant, SystemTime};

use super::budget::{Granted, LineBudget, PAUSE};

/// State of one problem.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub(crate) struct Episode {
    /// Occurrences since the last line.
    count: u64,
    due: bool,
    reported: bool,
    /// Whether its start has a line.
    logged: bool,
    /// Whether it happened since the last call of [`end_if_calm`](Self::end_if_calm).
    recurred: bool,
    not_before: Option<Instant>,
    /// Its first and its last occurrence, unless it is over.
    ongoing: Option<(Instant, Instant)>,
}

/// A problem that is not over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ongoing {
    /// Time of the first occurrence.
    pub(crate) since: SystemTime,
    /// Time of the last occurrence.
    pub(crate) last: SystemTime,
    /// Occurrences since the last log line about the problem.
    pub(crate) count: u64,
}

/// Start of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Start {
    /// Whether it was not reported before.
    pub(crate) is_new: bool,
    /// The line to write, if one is due and the budget permits it.
    pub(crate) line: Option<Begun>,
}

/// Numbers of a line about the start of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Begun {
    /// Occurrences since the last line about the problem.
    pub(crate) count: u64,
    /// Number of the registry's lines left out since the last written one, if any.
    pub(crate) left_out: Option<u64>,
}

/// End of a reported problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// Occurrences, if a line is due.
    pub(crate) line: Option<u64>,
}

impl Episode {
    /// Records `count` occurrences. Returns whether a report is due.
    pub(crate) fn note(&mut self, count: u64, now: Instant) -> bool {
        self.count = self.count.saturating_add(count);
        self.recurred = true;
        self.ongoing.get_or_insert((now, now)).1 = now;
        self.due |= !self.logged && self.not_before.is_none_or(|at| at <= now);
        self.due
    }

    /// Returns the due report, with a line if the budget permits it.
    pub(crate) fn begin(&mut self, now: Instant, budget: &LineBudget) -> Option<Start> {
        if !std::mem::take(&mut self.due) {
            return None;
        }
        self.not_before = now.checked_add(PAUSE);
        // It may have ended before this report.
        self.ongoing.get_or_insert((now, now));
        let line = budget.take(now).map(|Granted { left_out }| Begun {
            count: self.count,
            left_out,
        });
        self.logged = line.is_some();
        let is_new = !std::mem::replace(&mut self.reported, true);
        (is_new || line.is_some()).then_some(Start { is_new, line })
    }

    /// Ends the episode. Returns its end, if its start was reported.
    pub(crate) fn end(&mut self) -> Option<End> {
        self.ongoing = None;
        let line = std::mem::take(&mut self.logged).then(|| std::mem::take(&mut self.count));
        std::mem::take(&mut self.reported).then_some(End { line })
    }

    /// Returns whether it can be dropped without losing state.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        !self.due && !self.reported && self.not_before.is_none_or(|at| at <= now)
    }

    /// Ends the episode if nothing happened since the last call.
    pub(crate) fn end_if_calm(&mut self) -> Option<End> {
        if std::mem::take(&mut self.recurred) {
            None
        } else {
            self.end()
        }
    }

    /// Returns the problem, unless it is over. Not only reported ones.
    pub(crate) fn ongoing(&self) -> Option<Ongoing> {
        let (since, last) = self.ongoing?;
        let wall = SystemTime::now();
        let time_of = |at: Instant| wall.checked_sub(at.elapsed()).unwrap_or(wall);
        Some(Ongoing {
            since: time_of(since),
            last: time_of(last),
            count: self.count,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn logged(count: u64) -> Start {
        let left_out = None;
        Start {
            is_new: true,
            line: Some(Begun { count, left_out }),
        }
    }

    fn ended(count: u64) -> End {
        End { line: Some(count) }
    }

    #[test]
    fn a_flapping_problem_is_reported_once_per_pause_with_all_occurrences() {
        let (budget, start) = (LineBudget::default(), Instant::now());
        let mut episode = Episode::default();
        assert!(episode.note(2, start));
        assert_eq!(episode.begin(start, &budget), Some(logged(2)));
        assert!(!episode.note(3, start));
        assert_eq!(episode.begin(start, &budget), None);
        assert_eq!(episode.end(), Some(ended(5)));
        assert_eq!(episode.end(), None);
        for at in 1..60 {
            let now = start + Duration::from_secs(at);
            assert!(!episode.note(1, now));
            assert_eq!((episode.begin(now, &budget), episode.end()), (None, None));
        }
        assert!(episode.note(1, start + PAUSE));
        assert_eq!(episode.begin(start + PAUSE, &budget), Some(logged(60)));
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
        assert_eq!((episode.end_if_calm(), episode.end_if_calm()), (None, Some(ended(11))));
    }

    #[test]
    fn a_problem_beyond_the_line_limit_is_reported_once_and_gets_its_line_after_the_pause() {
        let (none, budget, start) = (LineBudget::new(0), LineBudget::default(), Instant::now());
        let mut episode = Episode::default();
        episode.note(1, start);
        let without_line = |is_new| Start { is_new, line: None };
        assert_eq!(episode.begin(start, &none), Some(without_line(true)));
        assert!(!episode.note(1, start));
        assert!(episode.note(1, start + PAUSE));
        assert_eq!(episode.begin(start + PAUSE, &none), None, "nothing new to report");
        assert!(episode.note(1, start + 2 * PAUSE));
        let line = Start {
            is_new: false,
            ..logged(4)
        };
        assert_eq!(episode.begin(start + 2 * PAUSE, &budget), Some(line));
        assert_eq!(episode.end(), Some(ended(4)));
        episode.note(1, start + 3 * PAUSE);
        episode.begin(start + 3 * PAUSE, &none);
        assert_eq!(episode.end(), Some(End { line: None }), "its start has no line");
    }

    #[test]
    fn a_problem_is_ongoing_from_its_first_occurrence_to_its_end() {
        let (budget, now) = (LineBudget::default(), Instant::now());
        let mut episode = Episode::default();
        assert_eq!(episode.ongoing(), None);
        for at in [now, now + Duration::from_secs(1)] {
            episode.note(1, at);
            episode.begin(at, &budget);
        }
        let ongoing = episode.ongoing().expect("not over");
        assert!(ongoing.count == 2 && ongoing.since < ongoing.last, "{ongoing:?}");
        episode.end();
        assert_eq!(episode.ongoing(), None);
        assert!(!episode.note(1, now), "no report is due in the pause");
        assert!(episode.ongoing().is_some());
    }
}
