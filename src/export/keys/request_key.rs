//! The key of one request, and its replacement if the receiver refuses it.
//!
//! If the source has another key, or another request has already read it, the request is resent
//! with that key at once. A source may also return a key that the receiver does not know: a partly
//! written file, or a key that is not yet active. So if the source has no other key and no receiver
//! has accepted the current one, the previous key is tried too. If all are refused, the attempt
//! counts as a failure.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::key_state::Key;
use super::rotating_key::RotatingKey;

/// Most immediate resends of a request. Further keys wait like any retry, because a source may
/// return a different key each time.
const MAX_CHANGES: u32 = 3;

/// Numbers of the key that an attempt used and of the key that was current.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SentKey {
    pub(crate) key: u64,
    /// The current key. Differs from `key` if the previous key was tried instead.
    pub(crate) current: u64,
}

/// The key of a request.
pub(crate) struct RequestKey {
    key: Arc<Key>,
    /// Number of the current key. Differs from `key`'s number if `key` is the previous one.
    current: u64,
    changes: u32,
}

impl SentKey {
    /// Returns whether the attempt used the previous key.
    pub(crate) fn is_previous(self) -> bool {
        self.key != self.current
    }
}

impl RequestKey {
    pub(crate) fn of(key: &RotatingKey) -> Self {
        let key = key.key();
        Self {
            current: key.number,
            key,
            changes: 0,
        }
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    /// Returns the number of the current key.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    pub(crate) fn sent(&self) -> SentKey {
        SentKey {
            key: self.key.number,
            current: self.current,
        }
    }

    /// Switches to another key after a refusal. Returns whether to resend at once. Waits for the
    /// source for at most `max_wait`.
    pub(crate) async fn change(&mut self, key: &Arc<RotatingKey>, max_wait: Duration) -> bool {
        if self.sent().is_previous() {
            key.discard_previous(&self.key);
            return false;
        }
        if self.changes == MAX_CHANGES {
            return false;
        }
        self.changes += 1;
        if timeout(max_wait, key.refresh(&self.key)).await == Ok(true) {
            self.key = key.key();
            self.current = self.key.number;
            return true;
        }
        let previous = key.previous(&self.key);
        let has_previous = previous.is_some();
        self.key = previous.unwrap_or_else(|| Arc::clone(&self.key));
        has_previous
    }
}
