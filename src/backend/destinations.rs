//! Destinations, one for all tracers whose bindings say the same: with a thousand tenants, the addresses, headers and attributes of most are
//! equal, and what is of one tracer (its key, its ids, its selector) is never in a destination.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::{Destination, DestinationError};
use crate::config::{Protocol, ResolvedBinding};

/// How many are kept to compare with: as many kinds of bindings as may come by turns. Where each tracer has another, as with `{tenant}` in
/// the metadata, none is found and each has its own.
const KEPT: usize = 8;

/// Makes destinations.
#[derive(Debug)]
pub(crate) struct Destinations {
    protocol: Protocol,
    /// The last ones, and what they were made from.
    recent: Mutex<VecDeque<(Arc<ResolvedBinding>, Arc<Destination>)>>,
}

impl Destinations {
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self {
            protocol,
            recent: Mutex::default(),
        }
    }

    /// The destination of a binding, shared with those of the last ones that say the same.
    ///
    /// # Errors
    /// As [`Destination::new`].
    pub(crate) fn of(&self, binding: &ResolvedBinding) -> Result<Arc<Destination>, DestinationError> {
        let found = self
            .lock()
            .iter()
            .find_map(|(made_from, destination)| say_the_same(made_from, binding).then(|| Arc::clone(destination)));
        if let Some(found) = found {
            return Ok(found);
        }
        // Outside the lock: two callers may make the same, and each tracer keeps its own.
        let destination = Arc::new(Destination::new(binding, self.protocol)?);
        let made = (Arc::new(binding.clone()), Arc::clone(&destination));
        let mut recent = self.lock();
        recent.push_back(made);
        let oldest = if recent.len() > KEPT { recent.pop_front() } else { None };
        drop(recent);
        drop(oldest);
        Ok(destination)
    }

    /// A panic while the lock was held can only come from the allocator; the list behind it is still whole.
    fn lock(&self) -> MutexGuard<'_, VecDeque<(Arc<ResolvedBinding>, Arc<Destination>)>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether two bindings are the same but for whose they are and where the key comes from. Also what no destination is made from is compared,
/// so that nobody has to know what is.
fn say_the_same(one: &ResolvedBinding, other: &ResolvedBinding) -> bool {
    // All fields by name: a new one is not forgotten.
    let ResolvedBinding {
        selector: _,
        api_key: _,
        backend,
        endpoint,
        untrusted,
        project,
        auth,
        tls,
        proxy,
        headers,
        source,
        metadata,
        resource,
        sampling_ratio,
        limits,
        trust_remote_parent,
        propagate_session_id,
        sessions,
        weight,
    } = one;
    *backend == other.backend
        && *endpoint == other.endpoint
        && *untrusted == other.untrusted
        && *project == other.project
        && *auth == other.auth
        && *tls == other.tls
        && *proxy == other.proxy
        && *headers == other.headers
        && *source == other.source
        && *metadata == other.metadata
        && *resource == other.resource
        && sampling_ratio.total_cmp(&other.sampling_ratio).is_eq()
        && *limits == other.limits
        && *trust_remote_parent == other.trust_remote_parent
        && *propagate_session_id == other.propagate_session_id
        && *sessions == other.sessions
        && *weight == other.weight
}
