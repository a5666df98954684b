//! The redaction of a selector without its tracer.

use std::sync::Arc;

use super::bindings::SourceQuery;
use super::error::LookupError;
use super::handle::TracerRegistry;
use crate::policy::redaction::Redaction;
use crate::selector::Selector;

impl TracerRegistry {
    /// Returns the redaction that a tracer of a selector would have now, with counts of its own.
    /// Reads no key but that of hashes.
    pub(crate) fn redaction(&self, selector: &Selector) -> Result<Option<Arc<Redaction>>, LookupError> {
        self.0.check_not_forked()?;
        let binding = self.0.state.bindings.resolve(selector, &SourceQuery::Ask)?.binding;
        Ok(self.0.policies(&binding)?.redaction)
    }
}
