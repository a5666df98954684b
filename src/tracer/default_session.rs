//! The session of spans started outside any session.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwapOption;

use crate::context::SessionStamp;

/// The session of spans started outside any session. Read at the start of each span, so it takes no
/// lock; without a default session it reads only a flag.
#[derive(Default)]
pub(super) struct DefaultSession {
    stamp: ArcSwapOption<SessionStamp>,
    is_set: AtomicBool,
}

impl DefaultSession {
    pub(super) fn set(&self, stamp: &Arc<SessionStamp>) {
        self.stamp.store(Some(Arc::clone(stamp)));
        // Release pairs with the load in `get`: a thread that sees the flag also sees the stamp.
        self.is_set.store(true, Ordering::Release);
    }

    /// Whether a default session exists and has not ended.
    pub(super) fn is_open(&self) -> bool {
        // Relaxed, as in `SessionStamp::carried`.
        self.get().is_some_and(|stamp| !stamp.ended.load(Ordering::Relaxed))
    }

    pub(super) fn get(&self) -> Option<Arc<SessionStamp>> {
        if !self.is_set.load(Ordering::Acquire) {
            return None;
        }
        self.stamp.load_full()
    }
}
