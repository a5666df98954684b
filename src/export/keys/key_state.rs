//! State of a rotating key, without a lock.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use rand::Rng;
use tokio::sync::Notify;

use crate::config::RetrySettings;
use crate::export::log::episode::Episode;
use crate::secret::{ApiKey, SecretError};

/// Waits for a key change after a refusal.
pub(crate) trait KeyWaiter: Send + Sync {
    /// Called when the key changed. Resumes the requests that wait for it.
    fn note_key_change(&self);
}

/// A key returned by its source.
pub(crate) struct Key {
    pub(crate) secret: ApiKey,
    /// Number of keys before it.
    pub(crate) number: u64,
}

pub(super) struct State {
    pub(super) key: Arc<Key>,
    pub(super) since: SystemTime,
    /// Number of the last applied read.
    pub(super) read_number: u64,
    /// When a new key was last reported.
    pub(super) reported: Option<Instant>,
    /// State that most keys never allocate.
    pub(super) extra: Option<Box<Extra>>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "the flags are independent")]
pub(super) struct Extra {
    pub(super) error: Option<SecretError>,
    /// Report state of the error.
    pub(super) failing: Episode,
    /// The last key that a receiver accepted, until one accepts the current key.
    pub(super) previous: Option<Arc<Key>>,
    /// The current key was refused, and the source is read because of that.
    pub(super) refused: bool,
    /// The current key replaced a refused one, and no receiver has accepted it yet.
    pub(super) untried: bool,
    /// Consecutive reads after a refusal that returned no accepted key.
    pub(super) fruitless_reads: u32,
    /// End of the pause before the next read after a refusal.
    pub(super) not_before: Option<Instant>,
    /// The source is being read.
    pub(super) is_reading: bool,
    /// The source changed during the read and must be read again.
    pub(super) read_again: bool,
    pub(super) read_done: Arc<Notify>,
    /// When the key is due for renewal.
    pub(super) due: Option<Instant>,
    /// Deadline of the renewal timer, at most `due`. A new tracer postpones `due` without setting a
    /// new timer.
    pub(super) timer: Option<Instant>,
    /// Lanes that wait for a key change, by address.
    pub(super) waiting: BTreeMap<usize, Weak<dyn KeyWaiter>>,
}

impl State {
    pub(super) fn extra(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    /// Replaces the key. Returns the lanes that waited for a change.
    pub(super) fn rotate(&mut self, key: ApiKey, retry: &RetrySettings) -> BTreeMap<usize, Weak<dyn KeyWaiter>> {
        let number = self.key.number + 1;
        let old = std::mem::replace(&mut self.key, Arc::new(Key { secret: key, number }));
        self.since = SystemTime::now();
        let extra = self.extra();
        // Keep the old key as a fallback, unless it was refused or itself never accepted.
        extra.untried = extra.refused;
        if !extra.refused && extra.previous.is_none() {
            extra.previous = Some(old);
        }
        extra.error = None;
        if extra.refused {
            // Pause until a receiver accepts the key: a source may return a different bad key each
            // time.
            extra.start_pause(retry);
        } else {
            extra.end_pause();
        }
        std::mem::take(&mut extra.waiting)
    }

    /// Frees the extra state if it holds no information.
    pub(super) fn free_if_unused(&mut self) {
        self.extra.take_if(|extra| {
            let now = Instant::now();
            let is_calm = extra.error.is_none() && extra.not_before.is_none_or(|at| at <= now);
            is_calm
                && extra.failing.is_idle(now)
                && extra.previous.is_none()
                && !extra.is_reading
                && extra.due.is_none()
                && extra.waiting.is_empty()
        });
    }
}

impl Extra {
    pub(super) fn end_pause(&mut self) {
        self.fruitless_reads = 0;
        self.not_before = None;
    }

    /// Starts a pause before the next read, if the current read was caused by a refusal. The pause
    /// doubles with each fruitless read.
    pub(super) fn start_pause(&mut self, retry: &RetrySettings) {
        if !std::mem::take(&mut self.refused) {
            return;
        }
        let now = Instant::now();
        let long_ago = |at: Instant| now.saturating_duration_since(at) > retry.max_backoff;
        if self.not_before.is_none_or(long_ago) {
            self.fruitless_reads = 0;
        }
        let pause = retry.longest_wait(self.fruitless_reads);
        self.fruitless_reads = self.fruitless_reads.saturating_add(1);
        self.not_before = now.checked_add(pause.mul_f64(rand::rng().random_range(0.5..=1.0)));
    }
}
