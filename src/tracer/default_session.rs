//! The session of spans that are started outside any.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::context::SessionStamp;
use crate::faults::{self, Fault, planted};
use crate::home::Home;

/// The session of spans that are started outside any. Spans ask for it at their start, so where there is none they take no lock.
#[derive(Default)]
pub(super) struct DefaultSession {
    is_set: AtomicBool,
    stamp: RwLock<Option<Arc<SessionStamp>>>,
    home: Home,
}

impl DefaultSession {
    /// In a fork, nothing.
    pub(super) fn set(&self, stamp: &Arc<SessionStamp>) {
        if self.home.is_left() {
            return;
        }
        if planted(Fault::DefaultSessionShared) {
            faults::set_of_thread(stamp);
        }
        *self.stamp.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(stamp));
        // Release, for the load in `get`: who sees the flag sees the stamp.
        self.is_set.store(true, Ordering::Release);
    }

    /// Whether there is one that has not ended.
    pub(super) fn is_open(&self) -> bool {
        // Relaxed, as where spans ask whether it ended.
        self.get().is_some_and(|stamp| !stamp.ended.load(Ordering::Relaxed))
    }

    pub(super) fn get(&self) -> Option<Arc<SessionStamp>> {
        if planted(Fault::DefaultSessionShared) {
            return faults::of_thread().cloned();
        }
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        self.home.read(&self.stamp)?.clone()
    }
}
