//! The key of one source, and what happened to it: a machine without a lock of its own.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Instant, SystemTime};

use rand::Rng;
use tokio::sync::Notify;

use crate::config::RetrySettings;
use crate::export::log::episode::Episode;
use crate::secret::{ApiKey, SecretError};

/// What waits for another key.
pub(crate) trait KeyWaiter: Send + Sync {
    /// There is another key: what waits because the one before was refused goes on.
    fn take_new_key(&self);
}

/// A key that the source gave.
pub(crate) struct Key {
    pub(crate) secret: ApiKey,
    /// How many others were before it.
    pub(crate) number: u64,
}

pub(super) struct State {
    pub(super) key: Arc<Key>,
    pub(super) since: SystemTime,
    /// The reading that was taken last.
    pub(super) reading: u64,
    /// What most keys never need.
    pub(super) more: Option<Box<More>>,
}

#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "each of them changes without the others")]
pub(super) struct More {
    pub(super) error: Option<SecretError>,
    /// What the log says of the error.
    pub(super) failing: Episode,
    /// The last key that receivers took, as long as none took the current one.
    pub(super) before: Option<Arc<Key>>,
    /// The current one was refused, and that is why the source is asked.
    pub(super) refused: bool,
    /// The current one came because the one before it was refused, and no receiver took it yet.
    pub(super) untried: bool,
    /// How often it was asked because of that without giving a key that a receiver took, in a row.
    pub(super) in_vain: u32,
    pub(super) not_before: Option<Instant>,
    /// The source is being asked.
    pub(super) asking: bool,
    /// Something happened meanwhile: it is to be asked once more.
    pub(super) again: bool,
    pub(super) asked: Arc<Notify>,
    /// When it is to be asked for its lifetime.
    pub(super) due: Option<Instant>,
    /// When it is told that its time may have come: not later than that. Each tracer that is made puts the time off, and asks for nothing new.
    pub(super) ordered: Option<Instant>,
    /// Lanes whose requests wait for another key, by address.
    pub(super) waiting: BTreeMap<usize, Weak<dyn KeyWaiter>>,
}

impl State {
    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Gives the lanes that waited for it.
    pub(super) fn rotate(&mut self, key: ApiKey, retry: &RetrySettings) -> BTreeMap<usize, Weak<dyn KeyWaiter>> {
        let number = self.key.number + 1;
        let old = std::mem::replace(&mut self.key, Arc::new(Key { secret: key, number }));
        self.since = SystemTime::now();
        let more = self.more();
        // One that is refused is of no more use. One that nobody took yet is no better than the one before it.
        more.untried = more.refused;
        if !more.refused && more.before.is_none() {
            more.before = Some(old);
        }
        more.error = None;
        if more.refused {
            // Until a receiver takes it: a source may give another one each time, and none that is any good.
            more.note_vain(retry);
        } else {
            more.end_pause();
        }
        std::mem::take(&mut more.waiting)
    }

    /// Gives memory back that says nothing any more.
    pub(super) fn tidy(&mut self) {
        self.more.take_if(|more| {
            let now = Instant::now();
            let is_calm = more.error.is_none() && more.not_before.is_none_or(|at| at <= now);
            is_calm
                && more.failing.is_idle(now)
                && more.before.is_none()
                && !more.asking
                && more.due.is_none()
                && more.waiting.is_empty()
        });
    }
}

impl More {
    pub(super) fn end_pause(&mut self) {
        self.in_vain = 0;
        self.not_before = None;
    }

    /// Where it was asked because the key is refused, it is not asked for that again before a pause.
    pub(super) fn note_vain(&mut self, retry: &RetrySettings) {
        if !std::mem::take(&mut self.refused) {
            return;
        }
        let now = Instant::now();
        let long_ago = |at: Instant| now.saturating_duration_since(at) > retry.max_backoff;
        if self.not_before.is_none_or(long_ago) {
            self.in_vain = 0;
        }
        let pause = retry.longest_wait(self.in_vain);
        self.in_vain = self.in_vain.saturating_add(1);
        self.not_before = now.checked_add(pause.mul_f64(rand::rng().random_range(0.5..=1.0)));
    }
}
