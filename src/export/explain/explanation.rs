//! What an explanation shows.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::ledger::DropReason;
use crate::selector::Selector;
use crate::util::wall_time;

/// What happened to a trace in the last minutes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TraceExplanation {
    /// One entry for each selector that the registry saw spans of the trace for, in the order of
    /// the first ones. Empty if it saw none, or has forgotten them.
    pub selectors: Vec<TraceFate>,
    /// Further selectors, of which nothing is kept: at most 8 are. A lower bound, at most 64.
    pub more_selectors: u64,
    /// How long a trace is kept after the last thing that happened to it: `export.explain.keep`.
    #[serde(serialize_with = "duration")]
    pub kept: Duration,
}

/// What happened to the spans of a trace for one selector. `accepted` always equals the sum of
/// `delivered`, `unclear`, `pending` and all `dropped`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TraceFate {
    /// The selector.
    pub selector: Selector,
    /// Caller of the gateway that sent spans last. `None` for spans of the program.
    pub caller: Option<String>,
    /// When the first thing happened, in whole seconds since the start of the registry.
    #[serde(with = "wall_time")]
    pub first: SystemTime,
    /// When the last thing happened.
    #[serde(with = "wall_time")]
    pub last: SystemTime,
    /// Spans that the tracer accepted, as in its ledger.
    pub accepted: u64,
    /// Spans that were not sampled.
    pub sampled_out: u64,
    /// Spans of clients that were larger than `limits.span_bytes`.
    pub too_large: u64,
    /// Spans of clients in refused requests. A client that sends again counts again.
    pub refused: u64,
    /// Batches with spans of the trace.
    pub batches: u64,
    /// Attempts at requests with spans of the trace.
    pub attempts: u64,
    /// Answers to these attempts.
    pub answers: Vec<AnswerCount>,
    /// Spans that the receiver accepted.
    pub delivered: u64,
    /// Spans in requests of which the receiver accepted only a part (partial success). It does not
    /// report which spans it rejected.
    pub unclear: u64,
    /// Spans that wait for a request, or are in one. Also spans that a shutdown left behind.
    pub pending: u64,
    /// Spans that were not delivered, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// Number of equal answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct AnswerCount {
    /// HTTP status (`"200"`), gRPC status (`"grpc 14"`), `"none"` without an answer, or `"other"`
    /// for all answers that differ from the first three.
    pub answer: String,
    /// Number of attempts with this answer.
    pub count: u64,
}

fn duration<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*duration))
}
