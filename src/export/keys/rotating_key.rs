//! The key of one source, rotated without recreating its tracers.
//!
//! Lanes with the same key source share a [`RotatingKey`], so the source is read once for all of
//! them. It is read again:
//!
//! | when | how soon |
//! |---|---|
//! | a receiver refuses the current key | at once; if that returns no other key, after a pause that doubles |
//! | its file changes | at once |
//! | three quarters of its lifetime are over | then; after a failure, in an eighth of the lifetime or `export.retry.max_backoff`, whichever is shorter |
//! | a tracer is created with it | the look-up reads it |
//!
//! Reads are ordered by their start: a read that began before the last applied one is ignored.
//!
//! | read | key | error |
//! |---|---|---|
//! | another key | replaced; the previous one is kept until a receiver accepts the new one; waiting lanes resume | none |
//! | the same key | unchanged | none |
//! | an error | unchanged: the last good one | the error |
//!
//! Each lane tracks whether its receiver accepts the key, because lanes with the same source may
//! have different receivers.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime};

use super::key_renewals::Renewable;
use super::key_services::KeyServices;
use super::key_state::{Extra, Key, KeyWaiter, State};
use crate::export::accounting::key_status::KeyStatus;
use crate::export::log::budget::{Granted, PAUSE};
use crate::export::log::changes::{ChangeKind, Problem};
use crate::export::log::episode::{Begun, End, Start};
use crate::export::log::episodes::TARGET;
use crate::export::schedule::blocking;
use crate::secret::{ApiKey, Fingerprint, KeyOrigin, SecretError};
use crate::util::fork::ForkLock;
use crate::util::wall_time;

/// Dropped waiters are removed each time this many waiters were added.
const CLEANUP_INTERVAL: usize = 64;

/// What happened to a source, to be logged and recorded.
enum LogEvent {
    Failing(SecretError, Start),
    Readable(End),
    /// The fingerprint of the new key, and the permission for a line.
    NewAccepted(Fingerprint, Option<Granted>),
}

/// The store that finds keys by origin.
pub(super) trait KeyOwner: Send + Sync {
    /// Called when a key with this origin is dropped.
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
        read_number: u64,
        key: ApiKey,
    ) -> Arc<Self> {
        let new = Arc::new(Self {
            origin: Arc::clone(origin),
            services: Arc::clone(services),
            owner,
            state: ForkLock::new(State {
                key: Arc::new(Key { secret: key, number: 0 }),
                since: SystemTime::now(),
                read_number,
                reported: None,
                extra: None,
            }),
        });
        if let Some(lifetime) = origin.lifetime() {
            new.schedule(&mut new.state.lock(), lifetime / 4 * 3);
        }
        new
    }

    /// Returns the current key.
    pub(crate) fn key(&self) -> Arc<Key> {
        Arc::clone(&self.state.lock().key)
    }

    /// Fingerprint of the current key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.key().secret.fingerprint(&self.services.fingerprinter)
    }

    /// Returns the previous key if no receiver has accepted the current one. `None` if `current` is
    /// outdated.
    pub(crate) fn previous(&self, current: &Key) -> Option<Arc<Key>> {
        let state = self.state.lock();
        let extra = state.extra.as_ref().filter(|_| state.key.number == current.number)?;
        extra.previous.clone()
    }

    /// Returns whether the key with this number is current.
    pub(crate) fn is_current(&self, number: u64) -> bool {
        self.state.lock().key.number == number
    }

    /// Returns the source of the key and the header scheme it is for.
    pub(crate) fn origin(&self) -> &KeyOrigin {
        &self.origin
    }

    /// Records that a receiver accepted a key. Logs and records a new key, at most once
    /// per [`PAUSE`].
    pub(crate) fn note_accepted(&self, key: &Key) {
        let mut state = self.state.lock();
        if state.key.number != key.number {
            return;
        }
        let mut is_new = false;
        if let Some(extra) = &mut state.extra {
            is_new = extra.previous.take().is_some();
            if std::mem::take(&mut extra.untried) {
                is_new = true;
                extra.end_pause();
            }
        }
        state.free_if_unused();
        if !is_new {
            return;
        }
        let now = Instant::now();
        let is_due = |logged: Instant| now.saturating_duration_since(logged) >= PAUSE;
        if state.reported.is_none_or(is_due) {
            state.reported = Some(now);
            let fingerprint = state.key.secret.fingerprint(&self.services.fingerprinter);
            drop(state);
            self.log(LogEvent::NewAccepted(fingerprint, self.services.lines.take_spare(now)));
        }
    }

    /// Discards the previous key because it was refused too.
    pub(crate) fn discard_previous(&self, key: &Key) {
        if let Some(extra) = &mut self.state.lock().extra {
            extra.previous.take_if(|previous| previous.number == key.number);
        }
    }

    /// Returns whether the key differs from `refused`, reading the source if needed. Concurrent
    /// callers share one read. Does not read during the pause after a fruitless read.
    pub(crate) async fn refresh(self: &Arc<Self>, refused: &Key) -> bool {
        let read_done = {
            let mut state = self.state.lock();
            if state.key.number != refused.number {
                return true;
            }
            let extra = state.extra();
            if !extra.is_reading && extra.not_before.is_some_and(|at| Instant::now() < at) {
                return false;
            }
            extra.refused = true;
            // Registered under the lock, so the end of the read is not missed.
            let read_done = Arc::clone(&extra.read_done).notified_owned();
            self.start_read(extra);
            read_done
        };
        read_done.await;
        self.state.lock().key.number != refused.number
    }

    /// Reads the source because its file changed.
    #[cfg(feature = "watch")]
    pub(crate) fn note_change(self: &Arc<Self>) {
        let mut state = self.state.lock();
        let extra = state.extra();
        extra.read_again = extra.is_reading;
        self.start_read(extra);
    }

    /// Reads the source in the background, repeating if it changes during the read.
    fn start_read(self: &Arc<Self>, extra: &mut Extra) {
        if std::mem::replace(&mut extra.is_reading, true) {
            return;
        }
        let Some(runtime) = &self.services.runtime else { return };
        let key = Arc::clone(self);
        runtime.spawn(async move {
            let (services, origin) = (&key.services, &key.origin);
            loop {
                let permits = services.limits.acquire(&origin.source).await;
                let read_number = services.begin_read();
                let (reader, from) = (services.reader.clone(), Arc::clone(origin));
                let read = blocking::run(move || reader.read_in_background(&from)).await;
                drop(permits);
                let read = read.unwrap_or_else(|error| Err(origin.no_thread_error(error.into())));
                if !key.finish_read(read_number, read) {
                    return;
                }
            }
        });
    }

    /// Ends a background read. Returns whether to read again at once.
    fn finish_read(self: &Arc<Self>, read_number: u64, read: Result<ApiKey, SecretError>) -> bool {
        self.apply_read(read_number, read);
        let mut state = self.state.lock();
        let extra = state.extra();
        let again = std::mem::take(&mut extra.read_again);
        if !again {
            extra.is_reading = false;
            extra.read_done.notify_waiters();
            state.free_if_unused();
        }
        again
    }

    /// Applies the result of a read.
    pub(super) fn apply_read(self: &Arc<Self>, read_number: u64, read: Result<ApiKey, SecretError>) {
        let (retry, lines) = (&self.services.retry, &self.services.lines);
        let mut state = self.state.lock();
        if read_number <= state.read_number {
            return;
        }
        state.read_number = read_number;
        let mut next = self.origin.lifetime().map(|lifetime| lifetime / 4 * 3);
        let mut waiting = BTreeMap::new();
        let mut log_event = None;
        let now = Instant::now();
        match read {
            Ok(key) if !key.is_same(&state.key.secret) => {
                waiting = state.rotate(key, retry);
                log_event = state.extra().failing.end().map(LogEvent::Readable);
            }
            Ok(_) => {
                if let Some(extra) = &mut state.extra {
                    extra.error = None;
                    extra.start_pause(retry);
                    log_event = extra.failing.end().map(LogEvent::Readable);
                }
            }
            Err(error) => {
                let extra = state.extra();
                if extra.failing.note(1, now)
                    && let Some(start) = extra.failing.begin(now, lines)
                {
                    log_event = Some(LogEvent::Failing(error.clone(), start));
                }
                extra.error = Some(error);
                extra.start_pause(retry);
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
        if let Some(log_event) = log_event {
            self.log(log_event);
        }
        for waiter in waiting.values().filter_map(Weak::upgrade) {
            waiter.note_key_change();
        }
    }

    fn schedule(self: &Arc<Self>, state: &mut State, after: Duration) {
        let extra = state.extra();
        extra.due = Instant::now().checked_add(after);
        self.set_timer(extra);
    }

    /// Sets the renewal timer, unless it is already set to an earlier time.
    fn set_timer(self: &Arc<Self>, extra: &mut Extra) {
        if let Some(due) = extra.due
            && extra.timer.is_none_or(|timer| due < timer)
        {
            let earlier = extra.timer.replace(due);
            let this = Arc::clone(self) as Arc<dyn Renewable>;
            self.services.renewals.set(&this, due, earlier);
        }
    }

    /// Registers a waiter for a key change. Returns false if the key with the number `refused` has
    /// changed already.
    pub(crate) fn wait_for_change(&self, waiter: &Arc<dyn KeyWaiter>, refused: u64) -> bool {
        let mut state = self.state.lock();
        let waits = state.key.number == refused;
        if waits {
            let waiting = &mut state.extra().waiting;
            // Otherwise dropped lanes stay until the key changes.
            if waiting.len() % CLEANUP_INTERVAL == CLEANUP_INTERVAL - 1 {
                waiting.retain(|_, waiter| waiter.strong_count() > 0);
            }
            waiting.insert(Arc::as_ptr(waiter).addr(), Arc::downgrade(waiter));
        }
        waits
    }

    /// Returns the status of the key and its source. Each lane adds its receiver's refusals.
    pub(crate) fn status(&self) -> KeyStatus {
        let state = self.state.lock();
        KeyStatus {
            fingerprint: state.key.secret.fingerprint(&self.services.fingerprinter),
            since: wall_time::to_millis(state.since),
            rotations: state.key.number,
            error: state.extra.as_ref().and_then(|extra| extra.error.clone()),
            refused: None,
        }
    }

    /// Returns whether the last read of the source failed.
    pub(crate) fn is_failing(&self) -> bool {
        self.state
            .lock()
            .extra
            .as_ref()
            .is_some_and(|extra| extra.error.is_some())
    }

    /// Call without the lock: a `tracing` subscriber may need it.
    fn log(&self, log_event: LogEvent) {
        let source = &self.origin.source;
        let record = |kind, detail| self.services.changes.record(kind, None, None, Some(detail));
        match log_event {
            LogEvent::Failing(error, Start { is_new, line }) => {
                if is_new {
                    record(ChangeKind::ProblemBegan(Problem::KeySourceFailing), error.to_string());
                }
                if let Some(Begun { left_out, .. }) = line {
                    tracing::warn!(target: TARGET, left_out, "key renewal failed, keeping the last good key: {error}");
                }
            }
            LogEvent::Readable(End { line }) => {
                record(ChangeKind::ProblemEnded(Problem::KeySourceFailing), source.to_string());
                if line.is_some() {
                    tracing::info!(target: TARGET, %source, "key renewal works again");
                }
            }
            LogEvent::NewAccepted(fingerprint, granted) => {
                record(ChangeKind::KeyRotated, format!("{source}: {fingerprint}"));
                if let Some(Granted { left_out }) = granted {
                    tracing::info!(target: TARGET, %source, %fingerprint, left_out, "receiver accepts the new API key");
                }
            }
        }
    }
}

impl Renewable for RotatingKey {
    fn note_due(self: Arc<Self>, due: Instant) {
        let mut state = self.state.lock();
        let extra = state.extra();
        extra.timer.take_if(|timer| *timer == due);
        if extra.due.is_some_and(|wanted| wanted <= due) {
            self.start_read(extra);
        } else {
            self.set_timer(extra);
        }
    }
}

impl Drop for RotatingKey {
    fn drop(&mut self) {
        // In a forked child, locks may never be released, and nothing is renewed or watched.
        if self.services.fork_guard.is_forked_child() {
            return;
        }
        let address = std::ptr::from_ref(self).addr();
        let timer = self.state.get_mut().extra.as_ref().and_then(|extra| extra.timer);
        if let Some(due) = timer {
            self.services.renewals.unset((due, address));
        }
        if let Some(owner) = self.owner.upgrade() {
            owner.forget(&self.origin);
        }
    }
}
