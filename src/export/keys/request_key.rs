//! The key that one request is sent with, and what is done where a receiver refuses it.
//!
//! The source may have another key, or another request may have found it out already: then the same request goes out again with that one, at
//! once. A source may also give a key that its receiver does not know: half of one, while somebody writes it, or one that takes a while
//! to get around. So where the source has nothing else, and no receiver took its key yet, the one before is tried too. Where
//! all that is refused, the receiver fails for this tracer.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::key_state::Key;
use super::rotating_key::RotatingKey;

/// How often a request is sent again at once. Further keys wait as every repetition does: a source may give another one each time.
const MAX_CHANGES: u32 = 3;

/// The key of an attempt, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sent {
    pub(crate) key: u64,
    /// The key that was current then: another one if the current one was refused, and the one before was tried in its place.
    pub(crate) current: u64,
}

/// The key of a request.
pub(crate) struct RequestKey {
    key: Arc<Key>,
    /// The number of the current one; that of `key`, unless that is the one before.
    current: u64,
    changes: u32,
}

impl Sent {
    /// Whether it was the key before the current one.
    pub(crate) fn is_before(self) -> bool {
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

    /// The current key that was refused, by its number.
    pub(crate) fn current(&self) -> u64 {
        self.current
    }

    pub(crate) fn sent(&self) -> Sent {
        Sent {
            key: self.key.number,
            current: self.current,
        }
    }

    /// The receiver refused the key: whether there is another one to send the same with at once. Waits for the source no longer than its
    /// patience.
    pub(crate) async fn change(&mut self, key: &Arc<RotatingKey>, patience: Duration) -> bool {
        if self.sent().is_before() {
            key.forget_before(&self.key);
            return false;
        }
        if self.changes == MAX_CHANGES {
            return false;
        }
        self.changes += 1;
        if timeout(patience, key.another_than(&self.key)).await == Ok(true) {
            self.key = key.key();
            self.current = self.key.number;
            return true;
        }
        let before = key.before(&self.key);
        let is_there = before.is_some();
        self.key = before.unwrap_or_else(|| Arc::clone(&self.key));
        is_there
    }
}
