//! The rules of what an operator should look at, and the tracers that they apply to.

use std::time::{Duration, SystemTime};

use serde::Serialize;

use crate::export::{LaneSummary, SelectorLedger, Subject};
use crate::ledger::DropReason;

/// How long a request may take without a delivery of its tracer.
const STUCK_AFTER: Duration = Duration::from_secs(5 * 60);

/// How long a loss is a problem after the last one.
const LOSS_FOR: Duration = Duration::from_secs(15 * 60);

/// How urgent something is, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Severity {
    /// Data is lost, or will be.
    Error,
    /// Sending is delayed, or may fail soon.
    Warning,
    /// A state that an operator caused.
    Notice,
}

/// A rule, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rule {
    SpansLost,
    QueueFull,
    TracerNotCreated,
    MemoryPressure,
    SpoolFailing,
    SpoolFull,
    SpoolSetAside,
    ReceiverAcceptsNothing,
    EndpointUnreachable,
    KeyRefused,
    PoolFull,
    ConfigurationRefused,
    KeySourceFailing,
    BreakerOpen,
    SpoolOld,
    Paused,
    Erased,
}

/// A problem of one tracer.
pub(super) struct TracerProblem {
    pub(super) rule: Rule,
    pub(super) since: Option<SystemTime>,
    /// Of a loss.
    pub(super) reason: Option<DropReason>,
}

impl Rule {
    #[cfg(test)]
    const ALL: [Self; 17] = [
        Self::SpansLost,
        Self::QueueFull,
        Self::TracerNotCreated,
        Self::MemoryPressure,
        Self::SpoolFailing,
        Self::SpoolFull,
        Self::SpoolSetAside,
        Self::ReceiverAcceptsNothing,
        Self::EndpointUnreachable,
        Self::KeyRefused,
        Self::PoolFull,
        Self::ConfigurationRefused,
        Self::KeySourceFailing,
        Self::BreakerOpen,
        Self::SpoolOld,
        Self::Paused,
        Self::Erased,
    ];

    /// Returns the name, as in docs/operations.md.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::SpansLost => "spans_lost",
            Self::QueueFull => "queue_full",
            Self::TracerNotCreated => "tracer_not_created",
            Self::MemoryPressure => "memory_pressure",
            Self::ReceiverAcceptsNothing => "receiver_accepts_nothing",
            Self::EndpointUnreachable => "endpoint_unreachable",
            Self::KeyRefused => "key_refused",
            Self::PoolFull => "pool_full",
            Self::ConfigurationRefused => "configuration_refused",
            Self::KeySourceFailing => "key_source_failing",
            Self::BreakerOpen => "breaker_open",
            Self::SpoolFailing => "spool_failing",
            Self::SpoolFull => "spool_full",
            Self::SpoolSetAside => "spool_set_aside",
            Self::SpoolOld => "spool_old",
            Self::Paused => "paused",
            Self::Erased => "erased",
        }
    }

    pub(super) fn severity(self) -> Severity {
        match self {
            Self::Paused | Self::Erased => Severity::Notice,
            Self::KeySourceFailing | Self::BreakerOpen | Self::SpoolOld => Severity::Warning,
            _ => Severity::Error,
        }
    }

    pub(super) fn message(self) -> &'static str {
        match self {
            Self::SpansLost => "spans or session events were lost after a queue accepted them",
            Self::QueueFull => "spans or session events were lost or refused because a queue was full",
            Self::TracerNotCreated => "look-ups fail because the tracer cannot be created",
            Self::MemoryPressure => "queued data uses more than three quarters of export.max_queue_bytes",
            Self::ReceiverAcceptsNothing => "the receiver has accepted nothing for 5 minutes",
            Self::EndpointUnreachable => "connections to the endpoint fail",
            Self::KeyRefused => "the receiver refuses the key",
            Self::PoolFull => "look-ups of new names fail because the pool is full",
            Self::ConfigurationRefused => "the running configuration differs from its files",
            Self::KeySourceFailing => "the source of the key fails, and the last good key stays in use",
            Self::BreakerOpen => "requests fail, and one at a time is tried",
            Self::SpoolFailing => "the disk or the files of spool.path fail, and nothing is written there",
            Self::SpoolFull => "spool.max_bytes or the disk is full, and takes no more data",
            Self::SpoolSetAside => "a file of the spool could not be used, and was renamed",
            Self::SpoolOld => "data on disk is older than half of spool.max_age",
            Self::Paused => "sending is paused",
            Self::Erased => "data is erased, and later data is refused until it is allowed",
        }
    }
}

/// Returns whether requests of a tracer fail now, whether or not data is lost.
pub(super) fn has_failing_requests(summary: &LaneSummary, now: SystemTime) -> bool {
    summary.key_refused
        || summary.key_failing
        || summary.open_breakers > 0
        || summary.is_unreachable
        || accepts_nothing(summary, now)
}

/// Returns the problems of a selector now. Does not allocate if it has none.
pub(super) fn problems(ledger: &SelectorLedger, summary: &LaneSummary, now: SystemTime) -> Vec<TracerProblem> {
    let ongoing = ledger.episodes.problems();
    let is_recent = |last: SystemTime| now.duration_since(last).unwrap_or_default() < LOSS_FOR;
    let losses = ongoing.iter().filter(|(_, problem)| is_recent(problem.last));
    let losses = losses.filter_map(|(subject, problem)| {
        let (Subject::Dropped(_, reason) | Subject::Refused(_, reason)) = *subject else {
            return None;
        };
        Some(TracerProblem {
            rule: rule_of_loss(reason)?,
            since: Some(problem.since),
            reason: Some(reason),
        })
    });
    let began = |is_meant: fn(&Subject) -> bool| {
        let meant = ongoing.iter().filter(|(subject, _)| is_meant(subject));
        meant.map(|(_, problem)| problem.since).min()
    };
    let states = [
        (
            Rule::ReceiverAcceptsNothing,
            accepts_nothing(summary, now),
            summary.oldest_request,
        ),
        (Rule::EndpointUnreachable, summary.is_unreachable, None),
        (
            Rule::KeyRefused,
            summary.key_refused,
            began(|subject| matches!(subject, Subject::Key(_))),
        ),
        (Rule::KeySourceFailing, summary.key_failing, None),
        (
            Rule::BreakerOpen,
            summary.open_breakers > 0,
            began(|subject| matches!(subject, Subject::Breaker(_))),
        ),
    ];
    let states = states.into_iter().filter(|(_, holds, _)| *holds);
    let states = states.map(|(rule, _, since)| TracerProblem {
        rule,
        since,
        reason: None,
    });
    losses.chain(states).collect()
}

fn rule_of_loss(reason: DropReason) -> Option<Rule> {
    match reason {
        DropReason::QueueFull
        | DropReason::QueueFullUnauthorized
        | DropReason::QueueFullUnavailable
        | DropReason::SpoolFull => Some(Rule::QueueFull),
        DropReason::Unauthorized
        | DropReason::Refused
        | DropReason::TooLarge
        | DropReason::Rejected
        | DropReason::RetriesExhausted
        | DropReason::Encoding
        | DropReason::SpoolExpired
        | DropReason::SpoolDamaged => Some(Rule::SpansLost),
        // The registry is gone, the data was erased or limited on purpose, or a look-up fails, which
        // is a problem of its own.
        DropReason::Shutdown
        | DropReason::AfterShutdown
        | DropReason::Purged
        | DropReason::Quota
        | DropReason::NoTracer => None,
    }
}

/// Returns whether the receiver has accepted nothing since a request began [`STUCK_AFTER`] ago.
fn accepts_nothing(summary: &LaneSummary, now: SystemTime) -> bool {
    summary.oldest_request.is_some_and(|began| {
        let is_old = now.duration_since(began).is_ok_and(|age| age >= STUCK_AFTER);
        is_old && summary.last_delivery.is_none_or(|delivery| delivery < began)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_that_accepted_nothing_since_a_request_began_five_minutes_ago_is_a_problem() {
        let now = SystemTime::now();
        let ago = |seconds| Some(now - Duration::from_secs(seconds));
        let of = |oldest_request, last_delivery| {
            let summary = LaneSummary {
                last_delivery,
                oldest_request,
                ..LaneSummary::default()
            };
            accepts_nothing(&summary, now)
        };
        assert!(of(ago(300), None) && of(ago(900), ago(901)));
        assert!(!of(None, None) && !of(ago(299), None) && !of(ago(900), ago(899)));
    }

    #[test]
    fn the_rules_are_ordered_by_severity_and_each_is_in_the_table_of_alerts() {
        assert!(Rule::ALL.is_sorted() && Rule::ALL.is_sorted_by_key(|rule| rule.severity()));
        let page = include_str!("../../../docs/operations.md");
        let table = page
            .split("## What to alert on")
            .nth(1)
            .and_then(|rest| rest.split("\n## ").next());
        let rows = table
            .expect("the section")
            .lines()
            .filter(|line| line.starts_with("| "));
        let cells = rows
            .filter_map(|row| row.split('|').nth(2))
            .map(|cell| cell.trim().trim_matches('`'));
        let mut documented: Vec<&str> = cells.filter(|cell| !["-", "rule"].contains(cell)).collect();
        documented.sort_unstable();
        let mut names = Rule::ALL.map(Rule::name);
        names.sort_unstable();
        assert_eq!(documented, names);
    }
}
