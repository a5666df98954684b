//! Events of code that knows no tracers: each on the span that it belongs on, once.

use std::collections::HashMap;

use super::super::program::operation::OpId;
use super::finding::FindingKind;
use super::{Check, parse_canary};

impl Check<'_> {
    pub(super) fn check_events(&mut self) {
        let expected = self.expected;
        // Whose project an event is in is seen by its canary, like everything else.
        let mut seen: HashMap<OpId, Vec<OpId>> = HashMap::new();
        for (reported, arrivals) in &self.arrived {
            for event in arrivals.iter().flat_map(|arrival| &arrival.span.events) {
                if let Some((_, op)) = parse_canary(&event.name) {
                    seen.entry(op).or_default().push(reported.op());
                }
            }
        }
        for (op, span) in &expected.events {
            let Some(member) = expected.spans.get(span).map(|span| span.who.member) else {
                continue;
            };
            let seen = seen.remove(op).unwrap_or_default();
            if seen != [*span] {
                let expected = format!("its event once, on the span of #{span}");
                self.find(
                    FindingKind::WrongAttribute,
                    member,
                    Some(*op),
                    expected,
                    format!("on the spans of {seen:?}"),
                );
            }
        }
    }
}
