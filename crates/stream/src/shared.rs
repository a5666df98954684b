//! What the tasks of one store share.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use tokio::sync::watch;
use tracer_registry_spool::Health;
use uuid::Uuid;

use crate::bindings::SharedBindings;
use crate::erase::Erased;
use crate::layout::names::Names;
use crate::options::StreamOptions;

/// What the tasks of one store share.
pub(crate) struct Shared {
    pub(crate) options: StreamOptions,
    pub(crate) names: Names,
    /// This process, from its start to its end.
    pub(crate) process: Uuid,
    /// Bytes of appended rows without an answer.
    pub(crate) waiting_bytes: AtomicU64,
    /// Items, rows and bytes that this process holds as a sender: rows, spans, events, bytes.
    pub(crate) held: [AtomicU64; 4],
    pub(crate) health: Mutex<Health>,
    pub(crate) link: Mutex<Link>,
    pub(crate) counts: Counts,
    pub(crate) erased: Mutex<Erased>,
    pub(crate) bindings: Arc<SharedBindings>,
    /// Whether the streams and servers passed their checks. Until then nothing may be published or
    /// pulled, as if the servers were away.
    pub(crate) ready: watch::Sender<bool>,
}

impl Shared {
    /// Locks what was erased.
    pub(crate) fn erased(&self) -> MutexGuard<'_, Erased> {
        self.erased.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks what is known of the servers.
    pub(crate) fn link(&self) -> MutexGuard<'_, Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the tasks of a store count.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) owned: AtomicU64,
    pub(crate) parked_selectors: AtomicU64,
    pub(crate) parked_items: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) withdrawn: AtomicU64,
}

/// Whether the servers can be used.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) away_since: Option<SystemTime>,
    pub(crate) error: Option<String>,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            away_since: Some(SystemTime::now()),
            error: None,
        }
    }
}

impl Link {
    /// Notes whether the servers can be used, if that has changed.
    pub(crate) fn note(&mut self, is_connected: bool) {
        if is_connected == self.away_since.is_some() {
            self.away_since = (!is_connected).then(SystemTime::now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_loss_stays_until_the_servers_answer_again() {
        let mut link = Link::default();
        let begun = link.away_since;
        link.note(false);
        assert_eq!(link.away_since, begun);
        link.note(true);
        assert_eq!(link.away_since, None);
        link.note(true);
        assert_eq!(link.away_since, None);
        link.note(false);
        assert!(link.away_since.is_some());
    }
}
