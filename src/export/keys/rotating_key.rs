//! The key of one source, and how it becomes another one while its tracers stay.
//!
//! Lanes whose key comes from the same source share a [`RotatingKey`], so the source is asked once for all of them. It is asked again:
//!
//! | when | how soon |
//! |---|---|
//! | a receiver refuses the key that is current | at once; where that gave no other key, not before a pause, which doubles |
//! | the file that it is in changes | at once |
//! | three quarters of its lifetime are over | then; where that fails, after an eighth of it, or `export.retry.max_backoff` |
//! | a tracer is made with it | the look-up does it |
//!
//! What comes is judged by when its reading began: one that began earlier than another that counted is too late.
//!
//! | reading | the key | the error |
//! |---|---|---|
//! | another key | replaced, the one before kept until a receiver took the new one; waiting lanes go on | none |
//! | the same | stays | none |
//! | a fault | stays: the last good one | the fault |
//!
//! Whether a receiver takes the key is not known here but by each lane: lanes with the same source may have different receivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::key_renewals::Renewable;
use super::key_services::KeyServices;
use super::key_state::{Key, KeyWaiter, More, State};
use crate::export::accounting::key_status::KeyStatus;
use crate::export::log::episodes::TARGET;
use crate::export::schedule::blocking;
use crate::secret::{ApiKey, Fingerprint, KeyOrigin, SecretError};
use crate::util::fork::ForkLock;
use crate::util::wall_time;

/// After how many more that wait those are looked for that are gone.
const MANY: usize = 64;

/// What the log is to say of a source.
enum News {
    /// The error, and how many lines were left out before.
    Failing(SecretError, Option<u64>),
    Readable,
}

/// Where keys are found by their origin.
pub(super) trait KeyOwner: Send + Sync {
    /// A key with this origin is gone.
    fn forget(&self, origin: &KeyOrigin);
}

/// The key of one source.
pub(crate) struct RotatingKey {
    origin: Arc<KeyOrigin>,
    services: Arc<KeyServices>,
    owner: Weak<dyn KeyOwner>,
    state: ForkLock<State>,
}

impl RotatingKey {
    pub(super) fn new(
        origin: &Arc<KeyOrigin>,
        services: &Arc<KeyServices>,
        owner: Weak<dyn KeyOwner>,
        reading: u64,
        key: ApiKey,
    ) -> Arc<Self> {
        let new = Arc::new(Self {
            origin: Arc::clone(origin),
            services: Arc::clone(services),
            owner,
            state: ForkLock::new(State {
                key: Arc::new(Key { secret: key, number: 0 }),
                since: SystemTime::now(),
                reading,
                more: None,
            }),
        });
        if let Some(lifetime) = origin.lifetime() {
            new.schedule(&mut new.state.lock(), lifetime / 4 * 3);
        }
        new
    }

    /// The key that requests are to be sent with.
    pub(crate) fn key(&self) -> Arc<Key> {
        Arc::clone(&self.state.lock().key)
    }

    /// Fingerprint of the current key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key().secret.fingerprint(&self.services.fingerprinter)
    }

    /// The one before, where no receiver took the current one yet; none where `current` is current no more.
    pub(crate) fn before(&self, current: &Key) -> Option<Arc<Key>> {
        let state = self.state.lock();
        let more = state.more.as_ref().filter(|_| state.key.number == current.number)?;
        more.before.clone()
    }

    /// Whether requests are sent with this key now.
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.state.lock().key.number == number
    }

    /// Where the key comes from, and the header that it is for.
    pub(crate) fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    /// A receiver took a key.
    pub(crate) fn note_accepted(&self, key: &Key) {
        let mut state = self.state.lock();
        if state.key.number != key.number {
            return;
        }
        if let Some(more) = &mut state.more {
            more.before = None;
            if std::mem::take(&mut more.untried) {
                more.end_pause();
            }
        }
        state.tidy();
    }

    /// The one before is refused as well.
    pub(crate) fn forget_before(&self, key: &Key) {
        if let Some(more) = &mut self.state.lock().more {
            more.before.take_if(|before| before.number == key.number);
        }
    }

    /// A receiver refused a key: whether there is another one now. The source is asked where none is known, once for all who want to know
    /// at the same time, and not at all for a while after it gave nothing new.
    pub(crate) async fn another_than(self: &Arc<Self>, refused: &Key) -> bool {
        let asked = {
            let mut state = self.state.lock();
            if state.key.number != refused.number {
                return true;
            }
            let more = state.more();
            if !more.asking && more.not_before.is_some_and(|at| Instant::now() < at) {
                return false;
            }
            more.refused = true;
            // Made under the lock: from here on it hears the end.
            let asked = Arc::clone(&more.asked).notified_owned();
            self.ask(more);
            asked
        };
        asked.await;
        self.state.lock().key.number != refused.number
    }

    /// Something happened to what the key is read from.
    #[cfg(feature = "watch")]
    pub(crate) fn note_change(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let more = state.more();
        more.again = more.asking;
        self.ask(more);
    }

    /// Asks the source in the background, and again as long as something happened meanwhile.
    fn ask(self: &Arc<Self>, more: &mut More) {
        if std::mem::replace(&mut more.asking, true) {
            return;
        }
        let Some(runtime) = &self.services.runtime else { return };
        let key = Arc::clone(self);
        runtime.spawn(async move {
            let (services, origin) = (&key.services, &key.origin);
            loop {
                let permits = services.limits.acquire(&origin.source).await;
                let reading = services.begin_reading();
                let (reader, from) = (services.reader.clone(), Arc::clone(origin));
                let read = blocking::run(move || reader.read_in_background(&from)).await;
                drop(permits);
                let read = read.unwrap_or_else(|error| Err(origin.no_thread_error(error.into())));
                if !key.answered(reading, read) {
                    return;
                }
            }
        });
    }

    /// The source was asked. Whether it is to be asked once more, at once.
    fn answered(self: &Arc<Self>, reading: u64, read: Result<ApiKey, SecretError>) -> bool {
        self.take(reading, read);
        let mut state = self.state.lock();
        let more = state.more();
        let again = std::mem::take(&mut more.again);
        if !again {
            more.asking = false;
            more.asked.notify_waiters();
            state.tidy();
        }
        again
    }

    /// Takes what a reading gave.
    pub(super) fn take(self: &Arc<Self>, reading: u64, read: Result<ApiKey, SecretError>) {
        let (retry, lines) = (&self.services.retry, &self.services.lines);
        let mut state = self.state.lock();
        if reading <= state.reading {
            return;
        }
        state.reading = reading;
        let mut next = self.origin.lifetime().map(|lifetime| lifetime / 4 * 3);
        let mut waiting = BTreeMap::new();
        let mut news = None;
        let now = Instant::now();
        match read {
            Ok(key) if !key.is_same(&state.key.secret) => {
                waiting = state.rotate(key, retry);
                news = state.more().failing.end().map(|_| News::Readable);
            }
            Ok(_) => {
                if let Some(more) = &mut state.more {
                    more.error = None;
                    more.note_vain(retry);
                    news = more.failing.end().map(|_| News::Readable);
                }
            }
            Err(error) => {
                let more = state.more();
                if more.failing.note(1, now)
                    && let Some(begun) = more.failing.begin(now, lines)
                {
                    news = Some(News::Failing(error.clone(), begun.left_out));
                }
                more.error = Some(error);
                more.note_vain(retry);
                next = self
                    .origin
                    .lifetime()
                    .map(|lifetime| (lifetime / 8).min(retry.max_backoff));
            }
        }
        if let Some(next) = next {
            self.schedule(&mut state, next);
        }
        drop(state);
        if let Some(news) = news {
            self.log(news);
        }
        for waiter in waiting.values().filter_map(Weak::upgrade) {
            waiter.take_new_key();
        }
    }

    fn schedule(self: &Arc<Self>, state: &mut State, after: Duration) {
        let more = state.more();
        more.due = Instant::now().checked_add(after);
        self.order(more);
    }

    /// Has itself told when its time has come, unless it is told before that anyway.
    fn order(self: &Arc<Self>, more: &mut More) {
        if let Some(due) = more.due
            && more.ordered.is_none_or(|ordered| due < ordered)
        {
            let earlier = more.ordered.replace(due);
            let this = Arc::clone(self) as Arc<dyn Renewable>;
            self.services.renewals.set(&this, due, earlier);
        }
    }

    /// Registers a waiter for a key change. Returns false if the key with the number `refused` has changed already.
    pub(crate) fn wait(&self, waiter: &Arc<dyn KeyWaiter>, refused: u64) -> bool {
        let mut state = self.state.lock();
        let waits = state.key.number == refused;
        if waits {
            let waiting = &mut state.more().waiting;
            // Lanes that are gone would stay until there is another key.
            if waiting.len() % MANY == MANY - 1 {
                waiting.retain(|_, waiter| waiter.strong_count() > 0);
            }
            waiting.insert(Arc::as_ptr(waiter).addr(), Arc::downgrade(waiter));
        }
        waits
    }

    /// The key as its source gives it; what the receiver says of it is the lane's to add.
    pub(crate) fn status(&self) -> KeyStatus {
        let state = self.state.lock();
        KeyStatus {
            fingerprint: state.key.secret.fingerprint(&self.services.fingerprinter),
            since: wall_time::to_millis(state.since),
            rotations: state.key.number,
            error: state.more.as_ref().and_then(|more| more.error.clone()),
            refused: None,
        }
    }

    /// Not under the lock: a subscriber may need it.
    fn log(&self, news: News) {
        let source = &self.origin.source;
        match news {
            News::Failing(error, left_out) => tracing::warn!(
                target: TARGET, left_out, "a key cannot be renewed, and the last good one stays in use: {error}"
            ),
            News::Readable => tracing::info!(target: TARGET, %source, "a key can be renewed again"),
        }
    }
}

impl Renewable for RotatingKey {
    fn note_age(self: Arc<Self>, due: Instant) {
        let mut state = self.state.lock();
        let more = state.more();
        more.ordered.take_if(|ordered| *ordered == due);
        if more.due.is_some_and(|wanted| wanted <= due) {
            self.ask(more);
        } else {
            self.order(more);
        }
    }
}

impl Drop for RotatingKey {
    fn drop(&mut self) {
        // A forked child would wait for locks that are never released, and nothing is renewed or watched there.
        if self.services.fork_guard.is_forked_child() {
            return;
        }
        let address = std::ptr::from_ref(self).addr();
        let ordered = self.state.get_mut().more.as_ref().and_then(|more| more.ordered);
        if let Some(due) = ordered {
            self.services.renewals.unset((due, address));
        }
        if let Some(owner) = self.owner.upgrade() {
            owner.forget(&self.origin);
        }
    }
}
