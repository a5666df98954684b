//! A request to the session API, as sent and as it arrived.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::super::super::check::parse_canary;
use super::super::super::program::operation::OpId;
use super::super::content::session_id;
use super::super::program::{Action, SessionCall};
use super::super::world::Period;
use tracer_registry_collector::Span;

/// A request to the session API that may have been taken.
pub(super) struct SentSession {
    pub(super) member: usize,
    pub(super) client: usize,
    pub(super) action: Action,
    pub(super) id: String,
    pub(super) min: u64,
    pub(super) max: u64,
    /// The most arrivals of a copy, if the receiver of the target takes no request twice.
    pub(super) copies: u64,
    /// Permitted arrivals besides, of what was in flight at a cut.
    pub(super) repeats: u64,
    pub(super) period: Period,
    /// Arrivals, by member.
    pub(super) arrived: BTreeMap<usize, u64>,
    /// Whether a span of it has another session.
    pub(super) has_wrong_session: bool,
}

impl SentSession {
    pub(super) fn is_start(&self) -> bool {
        matches!(self.action, Action::Start { .. })
    }

    /// Counts an arrival as a span.
    pub(super) fn arrived(&mut self, member: usize, span: &Span) {
        *self.arrived.entry(member).or_default() += 1;
        self.has_wrong_session |= span.session_id.as_deref() != Some(&self.id);
    }
}

/// Returns the operation of a received span, which may be a request to the session API.
pub(super) fn op_of(span: &Span) -> Option<OpId> {
    let op = |text: &str| parse_canary(text).map(|(_, op)| op);
    if span.name.starts_with("session.") {
        return span.attributes.values().filter_map(Value::as_str).find_map(op);
    }
    op(&span.name)
}

/// Returns what a success lacks.
pub(super) fn wrong_answer(session: &SessionCall, seed: u64, answer: &Value) -> Option<&'static str> {
    let has = |names: &[&str]| names.iter().all(|name| answer[name].is_string());
    let given = match session.action {
        Action::Start { session, .. } => {
            if !has(&["event_id", "session_id", "org_id", "workspace_id", "project_id"]) {
                return Some("an answer with five ids");
            }
            session.map(|number| session_id(seed, number))
        }
        Action::Enrich { .. } | Action::Event { .. } => {
            if !has(&["event_id"]) {
                return Some("an answer with the id");
            }
            None
        }
    };
    let is_given = given.is_none_or(|given| answer["session_id"] == *given);
    (!is_given).then_some("the id of the client")
}

/// Returns the operations with data in the body of a request to the receiver: several if it merges
/// enrichments.
pub(super) fn ops_of(body: &Map<String, Value>) -> Vec<OpId> {
    let op = |value: &Value| parse_canary(value.as_str()?).map(|(_, op)| op);
    let named = ["session_name", "event_name"]
        .iter()
        .find_map(|name| op(body.get(*name)?));
    if let Some(named) = named {
        return vec![named];
    }
    let entries = body.get("metadata").and_then(Value::as_object).into_iter().flatten();
    let enrichments = entries.filter(|(name, _)| name.strip_prefix('e').is_some_and(|op| op.parse::<OpId>().is_ok()));
    enrichments.filter_map(|(_, value)| op(value)).collect()
}
