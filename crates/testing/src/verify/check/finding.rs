//! Deviations of the received data from the oracle's expectation.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::super::program::operation::OpId;

/// Findings of a round that are kept; all are counted.
const MAX_FINDINGS: usize = 100;

/// One deviation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Kind of the deviation.
    pub kind: FindingKind,
    /// Selector of the affected tracer, or `all`.
    pub tenant: String,
    /// Operation of the program, if known.
    pub operation: Option<u32>,
    /// Expectation of the oracle.
    pub expected: String,
    /// Observed value.
    pub seen: String,
}

/// Kind of a deviation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingKind {
    /// Data of one project in a request under another project's key.
    Leaked,
    /// A span, session or enrichment that never arrived.
    Lost,
    /// A span, session or enrichment that arrived more than once.
    Duplicated,
    /// Data that the program did not create.
    Unexpected,
    /// A span with a wrong parent.
    WrongParent,
    /// A span outside its parent's trace, or two root spans in one trace.
    WrongTrace,
    /// A span with a wrong session, or without its session.
    WrongSession,
    /// A span with a wrong source.
    WrongSource,
    /// A span with a missing, wrong or unexpected attribute.
    WrongAttribute,
    /// A session with wrong data.
    WrongSessionData,
    /// Enrichments in the wrong order.
    WrongOrder,
    /// Outgoing headers with a wrong parent or wrong baggage.
    WrongHeaders,
    /// A wrong current tracer or session.
    WrongCurrent,
    /// A look-up with a wrong result.
    WrongLookup,
    /// An answer of the gateway with a wrong status or count.
    WrongAnswer,
    /// A request without a key.
    NoKey,
    /// A ledger that does not match the received data.
    WrongLedger,
    /// A flush that did not deliver everything.
    Incomplete,
    /// A program that exceeded the time limit.
    Hung,
}

/// Deviations of a round.
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
        if self.first.len() < MAX_FINDINGS {
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
    /// All kinds, in the order of the report.
    pub const ALL: [Self; 19] = [
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
        Self::WrongAnswer,
        Self::NoKey,
        Self::WrongLedger,
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
            Self::WrongAnswer => "wrong answer",
            Self::NoKey => "missing key",
            Self::WrongLedger => "wrong ledger",
            Self::Incomplete => "incomplete flush",
            Self::Hung => "hung",
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
