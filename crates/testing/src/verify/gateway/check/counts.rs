//! Arrivals of each span and each request to the session API.

use std::collections::HashMap;

use super::super::super::program::operation::OpId;
use super::sent_session::{op_of, ops_of};
use tracer_registry_collector::LocalCollector;

/// Arrivals, by the name of the member, and the number of the span or the operation.
pub(in super::super) type Counts = HashMap<(String, OpId), u64>;

/// Returns what has arrived so far.
pub(in super::super) fn counts(collector: &LocalCollector) -> Counts {
    let mut counts = Counts::new();
    let projects = collector.projects();
    for name in projects.iter().filter_map(|project| project.name.as_deref()) {
        let Some(project) = collector.project(name) else {
            continue;
        };
        let spans = project.spans().iter().filter_map(|span| op_of(span));
        let operations = project.sessions().iter().flat_map(|session| &session.operations);
        let calls = operations.filter_map(|operation| operation.body.as_object());
        let bodies = calls.chain(project.events().iter().map(|event| &event.body));
        for op in spans.chain(bodies.flat_map(ops_of)) {
            *counts.entry((name.to_owned(), op)).or_default() += 1;
        }
    }
    counts
}
