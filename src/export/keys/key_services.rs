//! State that all keys of a registry share: reader, read limits, renewals.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::runtime::Handle;

use super::key_read_limits::KeyReadLimits;
use super::key_renewals::KeyRenewals;
use crate::config::RetrySettings;
use crate::export::log::budget::LineBudget;
use crate::export::log::changes::ChangeLog;
use crate::secret::{Fingerprinter, KeyReader};
use crate::util::fork::ForkGuard;

/// State that all keys of a registry share.
pub(crate) struct KeyServices {
    pub(super) reader: KeyReader,
    pub(super) fingerprinter: Fingerprinter,
    pub(super) retry: RetrySettings,
    pub(super) lines: Arc<LineBudget>,
    pub(super) changes: Arc<ChangeLog>,
    pub(super) limits: KeyReadLimits,
    pub(super) renewals: Arc<KeyRenewals>,
    /// `None` in tests that act as the engine.
    pub(super) runtime: Option<Handle>,
    pub(super) fork_guard: ForkGuard,
    /// Number of started reads.
    reads: AtomicU64,
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
            changes: Arc::default(),
            renewals,
            runtime,
            fork_guard: ForkGuard::default(),
            reads: AtomicU64::new(0),
        })
    }

    /// Starts a read and returns its number, from 1.
    pub(super) fn begin_read(&self) -> u64 {
        self.reads.fetch_add(1, Ordering::Relaxed) + 1
    }
}
