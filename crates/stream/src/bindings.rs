//! Bindings of tenants that all replicas share, in a bucket.
//!
//! A replica follows the bucket, so a look-up needs no server. Until it has read all of it,
//! look-ups fail, because the tenant may be in what is missing. While the servers are away, the
//! last bindings stay in force.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use async_nats::jetstream::kv::{Entry, Operation};
use bytes::Bytes;

use crate::layout::names::unescape;

/// Largest binding, in bytes.
pub(crate) const MAX_BINDING: usize = 256 << 10;

/// Most bytes of all bindings. Later ones are not read, and their tenants cannot be looked up.
const MAX_BYTES: usize = 512 << 20;

/// The shared bindings as this replica knows them.
#[derive(Debug, Default)]
pub struct SharedBindings(RwLock<State>);

#[derive(Debug, Default)]
struct State {
    /// JSON by tenant. `None`: too large, or one too many.
    bindings: HashMap<String, Option<Bytes>>,
    bytes: usize,
    is_complete: bool,
}

/// A shared binding cannot be read now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BindingsError {
    /// The bucket was not read yet.
    #[error("the shared bindings are not read yet")]
    NotRead,
    /// The binding of this tenant is too large, or all of them are.
    #[error("the shared binding is larger than 256 KiB, or all of them than 512 MiB")]
    TooLarge,
}

impl SharedBindings {
    /// Returns the binding of a tenant as JSON, or `None` if it has no shared binding. Never blocks
    /// for longer than a copy of a pointer.
    ///
    /// # Errors
    /// [`BindingsError`] if it is not known whether the tenant has one.
    pub fn get(&self, tenant: &str) -> Result<Option<Bytes>, BindingsError> {
        let state = self.0.read().unwrap_or_else(PoisonError::into_inner);
        match state.bindings.get(tenant) {
            Some(Some(json)) => Ok(Some(json.clone())),
            Some(None) => Err(BindingsError::TooLarge),
            None if state.is_complete => Ok(None),
            None => Err(BindingsError::NotRead),
        }
    }

    pub(crate) fn note(&self, entry: Entry) {
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = unescape(&entry.key) {
            state.bytes -= state.bindings.remove(&tenant).flatten().map_or(0, |json| json.len());
            if entry.operation == Operation::Put {
                let fits = entry.value.len() <= MAX_BINDING && state.bytes + entry.value.len() <= MAX_BYTES;
                state.bytes += if fits { entry.value.len() } else { 0 };
                state.bindings.insert(tenant, fits.then_some(entry.value));
            }
        }
        state.is_complete |= entry.seen_current;
    }

    pub(crate) fn note_empty(&self) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).is_complete = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::names::escape;

    fn entry(tenant: &str, value: Vec<u8>, operation: Operation, seen_current: bool) -> Entry {
        Entry {
            bucket: "tr-bindings".to_owned(),
            key: escape(tenant),
            value: value.into(),
            revision: 1,
            delta: 0,
            created: std::time::SystemTime::UNIX_EPOCH.into(),
            operation,
            seen_current,
        }
    }

    #[test]
    fn a_tenant_is_unknown_only_after_all_were_read() {
        let bindings = SharedBindings::default();
        assert_eq!(bindings.get("acme"), Err(BindingsError::NotRead));
        bindings.note(entry("acme", b"{}".to_vec(), Operation::Put, false));
        assert_eq!(bindings.get("acme"), Ok(Some(Bytes::from_static(b"{}"))));
        assert_eq!(bindings.get("globex"), Err(BindingsError::NotRead));
        bindings.note(entry("big.corp", vec![0; MAX_BINDING + 1], Operation::Put, true));
        assert_eq!(bindings.get("globex"), Ok(None));
        assert_eq!(bindings.get("big.corp"), Err(BindingsError::TooLarge));
        bindings.note(entry("big.corp", vec![b'1'], Operation::Put, true));
        assert_eq!(bindings.get("big.corp"), Ok(Some(Bytes::from_static(b"1"))));
        bindings.note(entry("acme", Vec::new(), Operation::Delete, true));
        assert_eq!(bindings.get("acme"), Ok(None));
        assert_eq!(bindings.0.read().expect("no panic").bytes, 1);
    }
}
