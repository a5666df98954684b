//! What all connections share.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::counters::Counters;
use crate::ingest::Ingest;
use crate::log::Log;
use crate::running::{Current, Running};

pub(crate) struct Server {
    pub(crate) ingest: Arc<Ingest>,
    pub(crate) current: Arc<Current>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) log: Arc<Log>,
    /// Bytes of memory that incomplete heads have reserved. They share the budget as the requests
    /// of one caller do.
    pub(crate) of_heads: Arc<AtomicUsize>,
}

impl Server {
    pub(super) fn running(&self) -> Arc<Running> {
        self.ingest.running()
    }
}
