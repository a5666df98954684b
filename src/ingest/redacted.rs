//! What redaction leaves of traces, without sending them.

use super::traces::Traces;
use crate::registry::{LookupError, TracerRegistry};
use crate::selector::Selector;

/// Traces after redaction.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Redacted {
    /// What would be sent, before the binding's attributes are added.
    pub traces: Traces,
    /// The rules of the selector by name, each with the number of values that it changed.
    pub rules: Vec<(String, u64)>,
    /// Values that were removed because rules could not be applied to them.
    pub unreadable: u64,
}

impl TracerRegistry {
    /// Applies the redaction of a selector to traces, as [`ingest`](Self::ingest) does. Queues and
    /// counts nothing, and reads no key but that of hashes (`redact.key`).
    ///
    /// # Errors
    /// Returns a [`LookupError`] if the selector is unknown or the key of hashes cannot be read.
    pub fn redact(&self, selector: &Selector, traces: Traces) -> Result<Redacted, LookupError> {
        let Traces(mut payload) = traces;
        let (mut rules, mut unreadable) = (Vec::new(), 0);
        if let Some(redaction) = self.redaction(selector)? {
            payload.redact(&redaction);
            let counts = redaction.counts();
            rules = counts
                .0
                .into_iter()
                .map(|(name, count)| (name.to_owned(), count))
                .collect();
            unreadable = counts.1;
        }
        Ok(Redacted {
            traces: Traces(payload),
            rules,
            unreadable,
        })
    }
}
