//! What all keys of a registry have in common: how they are read, in which order, by how many threads, and when they are renewed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::key_read_limits::KeyReadLimits;
use super::key_renewals::KeyRenewals;
use crate::config::RetrySettings;
use crate::export::log::budget::LineBudget;
use crate::secret::{Fingerprinter, KeyReader};
use crate::util::fork::ForkGuard;

/// How keys are read.
pub(crate) struct KeyServices {
    pub(super) reader: KeyReader,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) retry: RetrySettings,
    pub(super) lines: Arc<LineBudget>,
    pub(super) limits: KeyReadLimits,
    pub(super) renewals: Arc<KeyRenewals>,
    /// None in tests that are the engine themselves.
    pub(super) runtime: Option<Handle>,
    pub(super) fork_guard: ForkGuard,
    /// How many readings began.
    readings: AtomicU64,
}

impl KeyServices {
    pub(super) fn new(
        reader: KeyReader,
        fingerprinter: Fingerprinter,
        retry: RetrySettings,
        runtime: Option<Handle>,
    ) -> Arc<Self> {
        let renewals = Arc::new(KeyRenewals::default());
        if let Some(runtime) = &runtime {
            runtime.spawn(Arc::clone(&renewals).run());
        }
        Arc::new(Self {
            limits: KeyReadLimits::new(reader.sources()),
            reader,
            fingerprinter,
            retry,
            lines: Arc::default(),
            renewals,
            runtime,
            fork_guard: ForkGuard::default(),
            readings: AtomicU64::new(0),
        })
    }

    /// Begins a reading, and returns its number: one or more, because a key begins with a reading.
    pub(super) fn begin_reading(&self) -> u64 {
        self.readings.fetch_add(1, Ordering::Relaxed) + 1
    }
}
