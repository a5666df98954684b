//! Events of the `tracing` crate: each must be on the right span, once.

use std::collections::HashMap;

use super::super::program::operation::OpId;
use super::finding::FindingKind;
use super::{Check, parse_canary};

impl Check<'_> {
    pub(super) fn check_events(&mut self) {
        let expected = self.expected;
        // The scan for canaries finds events in a wrong project.
        let mut seen: HashMap<OpId, Vec<OpId>> = HashMap::new();
        for (reported, arrivals) in &self.arrived {
            for event in arrivals.iter().flat_map(|arrival| &arrival.span.events) {
                if let Some((_, op)) = parse_canary(&event.name) {
                    seen.entry(op).or_default().push(reported.op());
                }
            }
        }
        for (op, span) in &expected.events {
            let Some(member) = expected.spans.get(span).map(|span| span.target.member) else {
                continue;
            };
            let seen = seen.remove(op).unwrap_or_default();
            if seen != [*span] {
                let expected = format!("one event on the span of #{span}");
                self.find(
                    FindingKind::WrongAttribute,
                    member,
                    Some(*op),
                    expected,
                    format!("events on the spans of operations {seen:?}"),
                );
            }
        }
    }
}
