//! Consecutive failures of a lane's requests. Spans and session events are separate: a success of
//! one does not end failures of the other.
//!
//! | last series | event | next |
//! |---|---|---|
//! | none, or over | a request fails, or succeeds with a warning | new series of one, since now |
//! | ongoing | a request fails, or succeeds with a warning | one more |
//! | ongoing | a request succeeds without a warning | over, since now |
//! | none, or over | a request waits at an open breaker | new series of one, since now: unavailable |
//! | ongoing | a request waits at an open breaker | same: the error that opened the breaker is more specific |

use std::time::SystemTime;

use crate::export::accounting::counted_lane::Failures;
use crate::export::accounting::lane_status::{ErrorsStatus, RequestKind};
use crate::export::error::ExportError;
use crate::util::wall_time;

/// The last series of failures, by kind.
#[derive(Default)]
pub(crate) struct LastFailures([Option<Box<Failures>>; 2]);

impl LastFailures {
    /// Returns the series to show: an ongoing one before one that is over, otherwise the later one.
    pub(crate) fn current(&self) -> Option<&Failures> {
        let rank = |failures: &Failures| (failures.is_ongoing(), failures.status.last);
        let series = self.0.iter().flatten().map(Box::as_ref);
        series.reduce(|one, other| if rank(other) > rank(one) { other } else { one })
    }

    pub(crate) fn fail(&mut self, kind: RequestKind, error: ExportError) {
        let now = wall_time::to_millis(SystemTime::now());
        let last = &mut self.0[kind as usize];
        let series = last.take().filter(|series| series.is_ongoing());
        let (since, before) = series.map_or((now, 0), |series| (series.status.since, series.status.count));
        let status = ErrorsStatus {
            kind,
            since,
            last: now,
            count: before + 1,
            over: None,
        };
        *last = Some(Box::new(Failures { error, status }));
    }

    pub(crate) fn succeed(&mut self, kind: RequestKind) {
        if let Some(series) = self.0[kind as usize].as_mut().filter(|series| series.is_ongoing()) {
            series.status.over = Some(wall_time::to_millis(SystemTime::now()));
        }
    }

    /// Starts a series when a request waits at a breaker, unless one is ongoing.
    pub(crate) fn note_breaker_wait(&mut self, kind: RequestKind, error: ExportError) {
        if !self.0[kind as usize].as_ref().is_some_and(|series| series.is_ongoing()) {
            self.fail(kind, error);
        }
    }
}
