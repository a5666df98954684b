//! Log lines and changes about problems: one when a problem starts and one when it ends, never one
//! per request or span.
//!
//! | limit | number |
//! |---|---|
//! | lines and changes about the start of the same problem of the same selector or endpoint | one per [`PAUSE`](super::budget::PAUSE) |
//! | such lines for all selectors and endpoints of a registry | [`MAX_LINES`](super::budget::MAX_LINES) per pause |
//! | lines about the end of a problem | one for each line about its start |
//! | changes about the end of a problem | one for each change about its start |
//!
//! Problems are recorded where they happen, possibly on application threads. The engine's tasks
//! write the lines, with telemetry suppressed and without holding a lock, because a subscriber may
//! create spans from them or call the registry.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Instant;

use serde::Serialize;

use super::budget::LineBudget;
use super::changes::Problem;
use super::episode::{End, Episode, Ongoing, Start};
use crate::export::accounting::lane_status::RequestKind;
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;

/// `tracing` target of these lines.
pub(crate) const TARGET: &str = "tracer_registry::health";

/// Problem of one selector or endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The receiver refuses the key.
    Key(RequestKind),
    /// A breaker is open.
    Breaker(RequestKind),
    /// Connections to the endpoint fail, and its breaker is open.
    Endpoint,
    /// Data is dropped.
    Dropped(RequestKind, DropReason),
    /// The queue takes no data of clients, which may send it again.
    #[cfg_attr(not(feature = "encoded"), expect(dead_code, reason = "only the gateway has clients"))]
    Refused(RequestKind, DropReason),
}

impl Subject {
    /// Returns the kind of the problem, as changes name it.
    pub(crate) fn problem(self) -> Problem {
        match self {
            Self::Key(_) => Problem::KeyRefused,
            Self::Breaker(_) => Problem::BreakerOpen,
            Self::Endpoint => Problem::EndpointUnreachable,
            Self::Dropped(_, reason) => Problem::DataDropped(reason),
            Self::Refused(_, reason) => Problem::DataRefused(reason),
        }
    }
}

/// Problems of one selector or endpoint. Allocates with the first problem.
#[derive(Debug, Default)]
#[expect(
    clippy::box_collection,
    reason = "most selectors have none, and a pointer is a third of a map"
)]
pub(crate) struct Episodes(ForkLock<Option<Box<BTreeMap<Subject, Episode>>>>);

/// Start or end of a problem, to be logged and recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ProblemEvent {
    pub(crate) subject: Subject,
    pub(crate) transition: Transition,
}

/// Start or end of a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transition {
    Begins(Start),
    Ends(End),
}

impl Episodes {
    /// Records `count` occurrences. Returns whether a report is due. Runs on application threads, also
    /// in forked children.
    pub(crate) fn note(&self, subject: Subject, count: u64) -> bool {
        let Some(mut episodes) = self.0.lock_unless_forked() else {
            return false;
        };
        let episodes = episodes.get_or_insert_default();
        episodes.entry(subject).or_default().note(count, Instant::now())
    }

    /// Returns the due reports of new problems, within the limits.
    pub(crate) fn take_begun(&self, budget: &LineBudget) -> Vec<ProblemEvent> {
        let now = Instant::now();
        self.events(|subject, episode| {
            let transition = Transition::Begins(episode.begin(now, budget)?);
            Some(ProblemEvent { subject, transition })
        })
    }

    /// Ends the problems for which `affected` returns true. Returns the reported ones.
    pub(crate) fn end(&self, affected: impl Fn(Subject) -> bool) -> Vec<ProblemEvent> {
        self.end_with(affected, Episode::end)
    }

    /// Ends the problems for which `affected` returns true, if they did not recur since the last
    /// call. Returns the reported ones.
    pub(crate) fn end_if_calm(&self, affected: impl Fn(Subject) -> bool) -> Vec<ProblemEvent> {
        self.end_with(affected, Episode::end_if_calm)
    }

    /// Returns the problems that are not over. Empty in a forked child if the lock is taken.
    pub(crate) fn problems(&self) -> Vec<(Subject, Ongoing)> {
        let Some(episodes) = self.0.lock_unless_forked() else {
            return Vec::new();
        };
        let episodes = episodes.iter().flat_map(|episodes| episodes.iter());
        episodes
            .filter_map(|(subject, episode)| Some((*subject, episode.ongoing()?)))
            .collect()
    }

    fn end_with(
        &self,
        affected: impl Fn(Subject) -> bool,
        end: impl Fn(&mut Episode) -> Option<End>,
    ) -> Vec<ProblemEvent> {
        self.events(|subject, episode| {
            let transition = Transition::Ends(Some(episode).filter(|_| affected(subject)).and_then(&end)?);
            Some(ProblemEvent { subject, transition })
        })
    }

    fn events(&self, mut event: impl FnMut(Subject, &mut Episode) -> Option<ProblemEvent>) -> Vec<ProblemEvent> {
        let mut episodes = self.0.lock();
        let episodes = episodes.iter_mut().flat_map(|episodes| episodes.iter_mut());
        episodes
            .filter_map(|(subject, episode)| event(*subject, episode))
            .collect()
    }
}

/// Displays a value by its serialized name.
pub(crate) struct ReasonName<T>(pub(crate) T);

impl<T: Serialize> fmt::Display for ReasonName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
