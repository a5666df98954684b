//! What the registry remembers about traces and refused batches.

use opentelemetry::trace::TraceId;

use super::handle::TracerRegistry;
use crate::export::{RefusedBatch, TraceExplanation};
use crate::selector::{Selector, SelectorError};

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

    /// Returns the last refused batches of a selector, newest first: at most
    /// `export.dead_letters.max_batches`. Empty if that is 0, and in a forked child of the registry's
    /// process.
    ///
    /// The bodies contain the data of the program or its clients.
    ///
    /// # Errors
    /// [`SelectorError`] if the selector is not valid.
    pub fn refused<S>(&self, selector: S) -> Result<Vec<RefusedBatch>, SelectorError>
    where
        S: TryInto<Selector, Error: Into<SelectorError>>,
    {
        let selector = selector.try_into().map_err(Into::into)?;
        if self.0.engine.is_forked() {
            return Ok(Vec::new());
        }
        let ledger = self.0.accounting.find(&selector);
        Ok(ledger.map(|ledger| ledger.refused.list()).unwrap_or_default())
    }
}
