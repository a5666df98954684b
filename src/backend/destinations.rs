//! Destinations, one for all tracers whose bindings say the same: with a thousand tenants, the addresses, headers and attributes of most are
//! equal, and what is of one tracer (its key, its ids, its selector) is never in a destination.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

use super::{Destination, DestinationError};
use crate::config::{Protocol, ResolvedBinding};
use crate::secret::KeySource;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// How many are kept to compare with: as many kinds of bindings as may come by turns. Where each tracer has another, as with `{tenant}` in
/// the metadata, none is found and each has its own.
const KEPT: usize = 8;

/// Makes destinations.
#[derive(Debug)]
pub(crate) struct Destinations {
    protocol: Protocol,
    /// The last ones, and what they were made from.
    recent: ForkLock<VecDeque<(ResolvedBinding, Arc<Destination>)>>,
}

impl Destinations {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            recent: ForkLock::default(),
        }
    }

    /// The destination of a binding, shared with those of the last ones that say the same.
    ///
    /// # Errors
    /// As [`Destination::new`].
    pub(crate) fn of(&self, binding: &ResolvedBinding) -> Result<Arc<Destination>, DestinationError> {
        // Whose it is and where the key comes from makes no difference; all else is compared, also what no destination is made from.
        let shared = ResolvedBinding {
            selector: Selector::default(),
            api_key: KeySource::env(""),
            ..binding.clone()
        };
        let mut recent = self.recent.lock();
        if let Some((_, found)) = recent.iter().find(|(made_from, _)| *made_from == shared) {
            return Ok(Arc::clone(found));
        }
        drop(recent);
        // Outside the lock: two callers may make the same, and each tracer keeps its own.
        let destination = Arc::new(Destination::new(binding, self.protocol)?);
        recent = self.recent.lock();
        recent.push_back((shared, Arc::clone(&destination)));
        let oldest = if recent.len() > KEPT { recent.pop_front() } else { None };
        drop(recent);
        drop(oldest);
        Ok(destination)
    }
}
