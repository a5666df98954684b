//! What is wrong after a run: each deviation of what was received from what the oracle says.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::super::program::operation::OpId;

/// How many findings of a round are kept; all are counted.
const KEPT: usize = 100;

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Of what kind.
    pub kind: FindingKind,
    /// The member that it is about.
    pub tenant: String,
    /// The operation of the program, if one is known.
    pub operation: Option<u32>,
    /// What the oracle says.
    pub expected: String,
    /// What was seen.
    pub seen: String,
}

/// The kinds of deviations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Something of one project in a request under another one's key, or a span in another one's project.
    Leaked,
    /// A span, a session or an enrichment that never arrived.
    Lost,
    /// One that arrived more than once.
    Duplicated,
    /// Data without an origin in the program.
    Unexpected,
    /// A span with another parent than its own.
    WrongParent,
    /// A span in another trace than its parent's, or two new traces that are one.
    WrongTrace,
    /// A span with another session, or none.
    WrongSession,
    /// A span with another source.
    WrongSource,
    /// A span without an attribute that was set on it, or with one that was not.
    WrongAttribute,
    /// A session with other data than it was started or enriched with.
    WrongSessionData,
    /// Enrichments in another order than they were made in.
    WrongOrder,
    /// Outgoing headers with another parent, or other baggage.
    WrongHeaders,
    /// Code that saw another tracer or another session as current.
    WrongCurrent,
    /// A look-up of a wrong name that gave a tracer, or another error.
    WrongLookup,
    /// A request without a key.
    NoKey,
    /// Books that do not agree with what was received.
    WrongBooks,
    /// A flush that did not deliver everything.
    Incomplete,
    /// A program that did not end.
    Hung,
}

/// The deviations of a round.
#[derive(Clone, Debug, Default)]
pub(in super::super) struct Findings {
    pub(in super::super) first: Vec<Finding>,
    pub(in super::super) counts: BTreeMap<FindingKind, u64>,
}

impl Findings {
    pub(in super::super) fn add(
        &mut self,
        kind: FindingKind,
        tenant: &str,
        operation: Option<OpId>,
        expected: impl fmt::Display,
        seen: impl fmt::Display,
    ) {
        *self.counts.entry(kind).or_default() += 1;
        if self.first.len() < KEPT {
            self.first.push(Finding {
                kind,
                tenant: tenant.to_owned(),
                operation,
                expected: expected.to_string(),
                seen: seen.to_string(),
            });
        }
    }
}

impl FindingKind {
    /// Every kind, in the order of the report.
    pub const ALL: [Self; 18] = [
        Self::Leaked,
        Self::Lost,
        Self::Duplicated,
        Self::Unexpected,
        Self::WrongParent,
        Self::WrongTrace,
        Self::WrongSession,
        Self::WrongSource,
        Self::WrongAttribute,
        Self::WrongSessionData,
        Self::WrongOrder,
        Self::WrongHeaders,
        Self::WrongCurrent,
        Self::WrongLookup,
        Self::NoKey,
        Self::WrongBooks,
        Self::Incomplete,
        Self::Hung,
    ];
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Leaked => "leaked",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Unexpected => "unexpected",
            Self::WrongParent => "wrong parent",
            Self::WrongTrace => "wrong trace",
            Self::WrongSession => "wrong session",
            Self::WrongSource => "wrong source",
            Self::WrongAttribute => "wrong attribute",
            Self::WrongSessionData => "wrong session data",
            Self::WrongOrder => "wrong order",
            Self::WrongHeaders => "wrong headers",
            Self::WrongCurrent => "wrong current scope",
            Self::WrongLookup => "wrong look-up",
            Self::NoKey => "no key",
            Self::WrongBooks => "wrong books",
            Self::Incomplete => "incomplete flush",
            Self::Hung => "did not end",
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.tenant)?;
        if let Some(operation) = self.operation {
            write!(f, ", #{operation}")?;
        }
        write!(f, ": expected {}, seen {}", self.expected, self.seen)
    }
}
