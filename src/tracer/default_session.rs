//! The session of spans that are started outside any.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwapOption;

use crate::context::SessionStamp;

/// The session of spans that are started outside any. Read at the start of each span, so it takes no lock.
#[derive(Default)]
pub(super) struct DefaultSession {
    stamp: ArcSwapOption<SessionStamp>,
}

impl DefaultSession {
    pub(super) fn set(&self, stamp: &Arc<SessionStamp>) {
        self.stamp.store(Some(Arc::clone(stamp)));
    }

    /// Whether there is one that has not ended.
    pub(super) fn is_open(&self) -> bool {
        // Relaxed, as where spans ask whether it ended.
        self.get().is_some_and(|stamp| !stamp.ended.load(Ordering::Relaxed))
    }

    pub(super) fn get(&self) -> Option<Arc<SessionStamp>> {
        self.stamp.load_full()
    }
}
