//! What the partitions of one sender share.

use std::collections::HashMap;
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};

use crate::connection::Connection;
use crate::shared::Shared;

/// What the partitions of one sender share.
pub(crate) struct Sending {
    pub(super) connection: Connection,
    pub(super) shared: Arc<Shared>,
    /// The partition of each queue that has something.
    pub(super) routes: Mutex<HashMap<Arc<str>, u16>>,
    /// How many partitions this process owns.
    pub(super) owned: AtomicUsize,
}
