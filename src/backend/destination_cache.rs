//! Shares destinations between tracers with equal bindings. Of a thousand tenants, most have equal
//! addresses, headers and attributes; a destination never contains data of a single tracer (key,
//! ids, selector).

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Destination, DestinationError};
use crate::config::{Protocol, ResolvedBinding, ResolvedRedact};
use crate::secret::KeySource;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Number of recent destinations to compare with. If each tracer has its own binding, as with
/// `{tenant}` in the metadata, no destination is shared.
const MAX_RECENT: usize = 8;

/// Creates and shares destinations.
#[derive(Debug)]
pub(crate) struct DestinationCache {
    protocol: Protocol,
    /// The most recent destinations, with the bindings that they were created from.
    recent: ForkLock<VecDeque<(ResolvedBinding, Arc<Destination>)>>,
}

impl DestinationCache {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            recent: ForkLock::default(),
        }
    }

    /// Returns the destination of a binding, shared with a recent equal binding.
    ///
    /// # Errors
    /// As [`Destination::new`].
    pub(crate) fn get_or_create(&self, binding: &ResolvedBinding) -> Result<Arc<Destination>, DestinationError> {
        // These do not affect the destination. All other fields are compared, even those that it
        // does not use.
        let shared = ResolvedBinding {
            selector: Selector::default(),
            api_key: KeySource::env(""),
            redact: ResolvedRedact::default(),
            ..binding.clone()
        };
        let mut recent = self.recent.lock();
        if let Some((_, found)) = recent.iter().find(|(created_from, _)| *created_from == shared) {
            return Ok(Arc::clone(found));
        }
        drop(recent);
        // Created outside the lock. Two callers may create equal destinations; each tracer then
        // keeps its own.
        let destination = Arc::new(Destination::new(binding, self.protocol)?);
        recent = self.recent.lock();
        recent.push_back((shared, Arc::clone(&destination)));
        let oldest = if recent.len() > MAX_RECENT {
            recent.pop_front()
        } else {
            None
        };
        drop(recent);
        drop(oldest);
        Ok(destination)
    }
}
