//! What went wrong with a lane's requests, for spans and for session events apart: a success of one is none of the other.
//!
//! | the last row | event | next |
//! |---|---|---|
//! | none, or over | a request fails, or is taken with a complaint | a row of one, since now |
//! | goes on | a request fails, or is taken with a complaint | one more |
//! | goes on | a request is taken without a complaint | over, since now |
//! | none, or over | a request waits at an open breaker | a row of one, since now: unavailable |
//! | goes on | a request waits at an open breaker | the same: what opened the breaker says more |

use std::time::SystemTime;

use crate::export::accounting::counted_lane::Failures;
use crate::export::accounting::lane_status::{ErrorsStatus, RequestKind};
use crate::export::error::ExportError;
use crate::util::wall_time;

/// The last rows, by kind.
#[derive(Default)]
pub(crate) struct LastFailures([Option<Box<Failures>>; 2]);

impl LastFailures {
    /// The row to show: one that goes on before one that is over, and of equals the later one.
    pub(crate) fn to_show(&self) -> Option<&Failures> {
        let rank = |failures: &Failures| (failures.goes_on(), failures.status.last);
        let rows = self.0.iter().flatten().map(Box::as_ref);
        rows.reduce(|one, other| if rank(other) > rank(one) { other } else { one })
    }

    pub(crate) fn fail(&mut self, kind: RequestKind, error: ExportError) {
        let now = wall_time::shown(SystemTime::now());
        let last = &mut self.0[kind as usize];
        let row = last.take().filter(|row| row.goes_on());
        let (since, before) = row.map_or((now, 0), |row| (row.status.since, row.status.count));
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
        if let Some(row) = self.0[kind as usize].as_mut().filter(|row| row.goes_on()) {
            row.status.over = Some(wall_time::shown(SystemTime::now()));
        }
    }

    /// A request waits at a breaker.
    pub(crate) fn hold_up(&mut self, kind: RequestKind, error: ExportError) {
        if !self.0[kind as usize].as_ref().is_some_and(|row| row.goes_on()) {
            self.fail(kind, error);
        }
    }
}
