//! What the handle and the server's thread have in common.

use std::sync::Arc;

use crate::faults::list::Faults;
use crate::model::{Fingerprints, Received};
use crate::request::key_headers::KeyHeaders;
use crate::request::recorder::Recorder;
use crate::store::Store;

/// Is told of each answered request, on the server's thread.
pub(crate) type Observer = Box<dyn Fn(&Received) + Send + Sync>;

pub(crate) struct Shared {
    pub(crate) store: Store,
    pub(crate) faults: Faults,
    pub(crate) recorder: Option<Recorder>,
    pub(crate) observers: Vec<Observer>,
    pub(crate) fingerprints: Fingerprints,
    pub(crate) key_headers: KeyHeaders,
    pub(crate) max_body_bytes: usize,
}

pub(crate) type SharedRef = Arc<Shared>;
