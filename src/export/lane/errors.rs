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

use super::Lane;
use super::state::State;
use crate::export::ExportError;
use crate::export::accounting::lane_status::ErrorsStatus;
use crate::export::schedule::permits::Load;
use crate::util::wall_time;

/// The last row of failures, and what the last of them was.
#[derive(Clone, Debug)]
pub(crate) struct Failures {
    pub(crate) error: ExportError,
    pub(crate) status: ErrorsStatus,
}

/// By [`Load`].
pub(super) type LastFailures = [Option<Box<Failures>>; 2];

impl Failures {
    fn goes_on(&self) -> bool {
        self.status.over.is_none()
    }

    /// The one to show of two: one that goes on before one that is over, and of equals the later one.
    fn to_show<'a>(one: &'a Self, other: &'a Self) -> &'a Self {
        let rank = |failures: &Self| (failures.goes_on(), failures.status.last);
        if rank(other) > rank(one) { other } else { one }
    }

    /// What the selector's later tracers delivered ends what an earlier one of it failed at.
    pub(crate) fn end_by(&mut self, delivery: Option<SystemTime>) {
        let delivery = delivery.map(wall_time::shown).filter(|at| *at > self.status.last);
        self.status.over = self.status.over.or(delivery);
    }
}

impl State {
    pub(super) fn failures(&self) -> Option<&Failures> {
        let all = self.seldom.as_ref()?.failures.iter().flatten().map(Box::as_ref);
        all.reduce(Failures::to_show)
    }

    fn last_failures(&mut self, load: Load) -> &mut Option<Box<Failures>> {
        &mut self.seldom().failures[load as usize]
    }

    pub(super) fn fail(&mut self, load: Load, error: ExportError) {
        let now = wall_time::shown(SystemTime::now());
        let last = self.last_failures(load);
        let row = last.take().filter(|row| row.goes_on());
        let (since, before) = row.map_or((now, 0), |row| (row.status.since, row.status.count));
        let status = ErrorsStatus {
            kind: load.into(),
            since,
            last: now,
            count: before + 1,
            over: None,
        };
        *last = Some(Box::new(Failures { error, status }));
    }

    fn succeed(&mut self, load: Load) {
        // Most lanes never failed, and have no such box.
        let last = self
            .seldom
            .as_mut()
            .and_then(|seldom| seldom.failures[load as usize].as_mut());
        if let Some(row) = last.filter(|row| row.goes_on()) {
            row.status.over = Some(wall_time::shown(SystemTime::now()));
        }
    }

    /// A request waits at a breaker.
    pub(super) fn hold_up(&mut self, load: Load, error: ExportError) {
        if !self.last_failures(load).as_ref().is_some_and(|row| row.goes_on()) {
            self.fail(load, error);
        }
    }
}

impl Lane {
    /// The receiver took a request, perhaps with a complaint.
    pub(crate) fn note_success(&self, load: Load, slow: bool, warning: Option<ExportError>) {
        let mut state = self.state.lock();
        state.suspect = slow;
        match warning {
            Some(warning) => state.fail(load, warning),
            None => state.succeed(load),
        }
    }

    /// A quick refusal costs the others nothing, so it makes no suspect: that line may be full of those that hang.
    pub(crate) fn note_failure(&self, load: Load, slow: bool, error: ExportError) {
        let mut state = self.state.lock();
        state.suspect = slow;
        state.fail(load, error);
    }

    /// A request was given up that was never sent.
    pub(crate) fn note_not_asked(&self, load: Load) {
        let error = self.unavailable();
        self.state.lock().fail(load, error);
    }
}
