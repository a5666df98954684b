//! What the handle and the server's thread have in common.

use std::sync::Arc;

use super::faults::Faults;
use super::key::KeyHeaders;
use super::received::Received;
use super::recorder::Recorder;
use super::store::Store;
use crate::fingerprint::Fingerprints;

/// Is told of each answered request, on the server's thread.
pub(super) type Observer = Box<dyn Fn(&Received) + Send + Sync>;

pub(super) struct Shared {
    pub(super) store: Store,
    pub(super) faults: Faults,
    pub(super) recorder: Option<Recorder>,
    pub(super) observers: Vec<Observer>,
    pub(super) fingerprints: Fingerprints,
    pub(super) key_headers: KeyHeaders,
    pub(super) max_body_bytes: usize,
}

pub(super) type SharedRef = Arc<Shared>;
