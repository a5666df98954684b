//! The log's lines about losses: one when something begins, one when it is over, never one for each request or span.
//!
//! | bound | number |
//! |---|---|
//! | lines that say that the same thing begins for the same selector or endpoint | one in [`PAUSE`](super::budget::PAUSE) |
//! | the same for all selectors and endpoints of a registry together | [`LINES`](super::budget::LINES) in each pause |
//! | lines that say that something is over | one for each line that said that it begins |
//!
//! What happens is noted where it happens, also by threads of the application. The lines are written by the engine's tasks, which run with
//! telemetry suppressed, and never under a lock: a subscriber may make spans of them, or look at the registry.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;
use std::time::Instant;

use serde::Serialize;

use super::budget::LineBudget;
use super::episode::{Begun, Episode};
use crate::export::accounting::lane_status::RequestKind;
use crate::ledger::DropReason;
use crate::util::fork::ForkLock;

/// The target of these lines.
pub(crate) const TARGET: &str = "tracer_registry::health";

/// What lines are about, of one selector or one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    /// The receiver refuses the key.
    Key(RequestKind),
    /// A breaker is open.
    Breaker(RequestKind),
    /// No connection to the endpoint comes about, and its breaker is open.
    Endpoint,
    /// Something is dropped.
    Dropped(RequestKind, DropReason),
}

/// What goes wrong for one selector, or at one endpoint. Takes no memory until something does.
#[derive(Debug, Default)]
pub(crate) struct Episodes(OnceLock<Box<ForkLock<BTreeMap<Subject, Episode>>>>);

/// A line to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) subject: Subject,
    pub(crate) says: Says,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Says {
    Begins(Begun),
    /// It happened so often in all.
    Over(u64),
}

impl Episodes {
    /// Something happened `count` times. Returns whether a line is to be written about it.
    pub(crate) fn note(&self, subject: Subject, count: u64) -> bool {
        let episodes = self.0.get_or_init(Box::default);
        let mut episodes = episodes.lock();
        episodes.entry(subject).or_default().note(count, Instant::now())
    }

    /// Returns the lines of what began, within the bounds.
    pub(crate) fn begun(&self, budget: &LineBudget) -> Vec<Line> {
        let now = Instant::now();
        self.lines(|subject, episode| {
            let says = Says::Begins(episode.begin(now, budget)?);
            Some(Line { subject, says })
        })
    }

    /// What is `concerned` is over at once, if it was reported.
    pub(crate) fn end(&self, concerned: impl Fn(Subject) -> bool) -> Vec<Line> {
        self.over(concerned, Episode::end)
    }

    /// What is `concerned` is over if nothing of it happened since this was called last.
    pub(crate) fn end_if_calm(&self, concerned: impl Fn(Subject) -> bool) -> Vec<Line> {
        self.over(concerned, Episode::end_if_calm)
    }

    fn over(&self, concerned: impl Fn(Subject) -> bool, end: impl Fn(&mut Episode) -> Option<u64>) -> Vec<Line> {
        self.lines(|subject, episode| {
            let says = Says::Over(Some(episode).filter(|_| concerned(subject)).and_then(&end)?);
            Some(Line { subject, says })
        })
    }

    fn lines(&self, mut line: impl FnMut(Subject, &mut Episode) -> Option<Line>) -> Vec<Line> {
        let Some(episodes) = self.0.get() else {
            return Vec::new();
        };
        let mut episodes = episodes.lock();
        episodes
            .iter_mut()
            .filter_map(|(subject, episode)| line(*subject, episode))
            .collect()
    }
}

/// A value by the name that it has in JSON.
pub(crate) struct ReasonName<T>(pub(crate) T);

impl<T: Serialize> fmt::Display for ReasonName<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.serialize(f)
    }
}
