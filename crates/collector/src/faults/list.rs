//! The faults that are told, in order, and how often each was met.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::fault::{Action, Fault};
use crate::model::{Endpoint, Fingerprint, Fingerprints};

/// Names a fault that was told to a collector; of no meaning to another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FaultId(usize);

/// What a request has to suffer.
pub(crate) struct Met {
    pub(crate) id: FaultId,
    pub(crate) action: Action,
    pub(crate) delay: Duration,
}

struct Told {
    action: Action,
    delay: Duration,
    key: Option<Fingerprint>,
    endpoint: Option<Endpoint>,
    body_contains: Option<String>,
    /// How many requests it still holds for; `None` is all.
    left: Option<u32>,
    cleared: bool,
    hits: u64,
}

/// Every fault ever told: cleared ones stay, for their counts.
pub(crate) struct Faults {
    told: Mutex<Vec<Told>>,
    cleared: watch::Sender<()>,
}

impl Faults {
    pub(crate) fn new() -> Self {
        Self {
            told: Mutex::default(),
            cleared: watch::Sender::new(()),
        }
    }

    pub(crate) fn tell(&self, fault: Fault, fingerprints: &Fingerprints) -> FaultId {
        let key = fault.key.map(|key| fingerprints.of(key.as_bytes()));
        let Fault {
            action,
            delay,
            endpoint,
            body_contains,
            times: left,
            ..
        } = fault;
        let mut told = self.lock();
        told.push(Told {
            action,
            delay,
            key,
            endpoint,
            body_contains,
            left,
            cleared: false,
            hits: 0,
        });
        FaultId(told.len() - 1)
    }

    /// The first fault in the order told that fits the request; counts the hit.
    pub(crate) fn meet(&self, key: Fingerprint, endpoint: Endpoint, body: &[u8]) -> Option<Met> {
        let mut told = self.lock();
        let (index, fault) = told
            .iter_mut()
            .enumerate()
            .find(|(_, fault)| fault.fits(key, endpoint, body))?;
        fault.hits += 1;
        fault.left = fault.left.map(|left| left - 1);
        Some(Met {
            id: FaultId(index),
            action: fault.action.clone(),
            delay: fault.delay,
        })
    }

    pub(crate) fn hits(&self, id: FaultId) -> u64 {
        self.lock().get(id.0).map_or(0, |fault| fault.hits)
    }

    pub(crate) fn clear(&self, id: FaultId) {
        if let Some(fault) = self.lock().get_mut(id.0) {
            fault.cleared = true;
        }
        self.cleared.send_replace(());
    }

    pub(crate) fn clear_all(&self) {
        self.lock().iter_mut().for_each(|fault| fault.cleared = true);
        self.cleared.send_replace(());
    }

    /// Waits until the fault is cleared, also where it holds for no further request.
    pub(crate) async fn until_cleared(&self, id: FaultId) {
        let mut cleared = self.cleared.subscribe();
        while !self.is_cleared(id) {
            // The sender lives in `self`, so this fails only if that were dropped during the borrow.
            let _ = cleared.changed().await;
        }
    }

    fn is_cleared(&self, id: FaultId) -> bool {
        self.lock().get(id.0).is_none_or(|fault| fault.cleared)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Told>> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Told {
    fn fits(&self, key: Fingerprint, endpoint: Endpoint, body: &[u8]) -> bool {
        !self.cleared
            && self.left != Some(0)
            && self.key.is_none_or(|only| only == key)
            && self.endpoint.is_none_or(|only| only == endpoint)
            && self
                .body_contains
                .as_ref()
                .is_none_or(|text| contains(body, text.as_bytes()))
    }
}

fn contains(body: &[u8], text: &[u8]) -> bool {
    text.is_empty() || body.windows(text.len()).any(|window| window == text)
}
