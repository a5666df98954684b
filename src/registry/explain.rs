//! What the registry knows about a trace.

use opentelemetry::trace::TraceId;

use super::handle::TracerRegistry;
use crate::export::TraceExplanation;

impl TracerRegistry {
    /// Returns what happened to the spans of a trace in the last minutes, for each selector. `None`
    /// if `export.explain.max_traces` is 0, and in a forked child of the registry's process.
    ///
    /// Session events belong to no trace. Ids are kept as keyed hashes of 64 bits: two traces with
    /// equal hashes would be reported together.
    pub fn explain(&self, trace_id: TraceId) -> Option<TraceExplanation> {
        if self.0.engine.is_forked() {
            return None;
        }
        let table = self.0.engine.shared.explain.as_ref()?;
        Some(table.explain(trace_id))
    }
}
