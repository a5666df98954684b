//! The faults of a collector, in order, with the number of requests that each applied to.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::watch;

use super::fault::{Action, Fault};
use crate::lock::lock;
use crate::model::{Endpoint, Fingerprint, Fingerprints};

/// Id of a fault of one collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(usize);

/// A fault that applies to a request.
pub(crate) struct Hit {
    pub(crate) id: FaultId,
    pub(crate) action: Action,
    pub(crate) delay: Duration,
}

/// A fault with its state. `fault.times` counts down.
struct Entry {
    fault: Fault,
    key: Option<Fingerprint>,
    is_cleared: bool,
    hits: u64,
}

/// All faults, including cleared ones, to keep their counts.
pub(crate) struct Faults {
    entries: Mutex<Vec<Entry>>,
    cleared: watch::Sender<()>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            entries: Mutex::default(),
            cleared: watch::Sender::new(()),
        }
    }

    pub(crate) fn add(&self, mut fault: Fault, fingerprints: &Fingerprints) -> FaultId {
        let key = fault.key.take().map(|key| fingerprints.of(key.as_bytes()));
        let mut entries = self.lock();
        entries.push(Entry {
            fault,
            key,
            is_cleared: false,
            hits: 0,
        });
        FaultId(entries.len() - 1)
    }

    /// Returns the first fault that matches the request, and counts the hit.
    pub(crate) fn hit(&self, key: Fingerprint, endpoint: Endpoint, body: &[u8]) -> Option<Hit> {
        let mut entries = self.lock();
        let mut entries = entries.iter_mut().enumerate();
        let (index, entry) = entries.find(|(_, entry)| entry.matches(key, endpoint, body))?;
        entry.hits += 1;
        entry.fault.times = entry.fault.times.map(|left| left - 1);
        Some(Hit {
            id: FaultId(index),
            action: entry.fault.action.clone(),
            delay: entry.fault.delay,
        })
    }

    pub(crate) fn hits(&self, id: FaultId) -> u64 {
        self.lock().get(id.0).map_or(0, |entry| entry.hits)
    }

    pub(crate) fn clear(&self, id: FaultId) {
        if let Some(entry) = self.lock().get_mut(id.0) {
            entry.is_cleared = true;
        }
        self.cleared.send_replace(());
    }

    pub(crate) fn clear_all(&self) {
        self.lock().iter_mut().for_each(|entry| entry.is_cleared = true);
        self.cleared.send_replace(());
    }

    /// Waits until the fault is cleared, even if its `times` are used up.
    pub(crate) async fn until_cleared(&self, id: FaultId) {
        let mut cleared = self.cleared.subscribe();
        while !self.is_cleared(id) {
            // Cannot fail: the sender lives in `self`.
            let _ = cleared.changed().await;
        }
    }

    fn is_cleared(&self, id: FaultId) -> bool {
        self.lock().get(id.0).is_none_or(|entry| entry.is_cleared)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        lock(&self.entries)
    }
}

impl Entry {
    fn matches(&self, key: Fingerprint, endpoint: Endpoint, body: &[u8]) -> bool {
        let text = self.fault.body_contains.as_ref();
        !self.is_cleared
            && self.fault.times != Some(0)
            && self.key.is_none_or(|only| only == key)
            && self.fault.endpoint.is_none_or(|only| only == endpoint)
            && text.is_none_or(|text| contains(body, text.as_bytes()))
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
