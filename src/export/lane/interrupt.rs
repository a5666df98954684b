//! What ends the requests of a lane before their outcome.

use std::sync::Arc;
use std::time::Duration;

#[cfg(feature = "spool")]
use tracer_registry_spool::Health;

use super::lane::Lane;
use crate::export::accounting::lane_status::RequestKind;

/// For how long data that goes to disk is retried in memory.
#[cfg(feature = "spool")]
const PATIENCE: Duration = Duration::from_secs(30);

/// After this time at a breaker, what waits in memory goes to disk.
#[cfg(feature = "spool")]
const SPILL_AFTER: Duration = Duration::from_secs(1);

impl Lane {
    /// Waits until the lane's requests must end: it is closed, or leaves its data on disk because of
    /// a shutdown. Cancel safe.
    pub(crate) async fn interrupted(&self) {
        loop {
            // Created before the check, so no notification is missed.
            let interrupted = self.shared.interrupts.notified();
            if self.is_closed() || self.is_handing_over() {
                return;
            }
            interrupted.await;
        }
    }

    /// Returns whether the lane leaves its data on disk, because of a shutdown.
    #[cfg(feature = "spool")]
    pub(crate) fn is_handing_over(&self) -> bool {
        let spool = self.spool.as_ref();
        spool.is_some_and(|spool| spool.is_handing_over() && spool.health() != Health::Failing)
    }

    #[cfg(not(feature = "spool"))]
    #[expect(clippy::unused_self, reason = "as with the feature spool")]
    fn is_handing_over(&self) -> bool {
        false
    }

    /// Returns for how long a request that the receiver does not accept is retried in memory.
    pub(crate) fn patience(&self, kind: RequestKind) -> Duration {
        let max_elapsed = self.shared.settings.retry.max_elapsed;
        #[cfg(feature = "spool")]
        if self.goes_to_disk(kind) {
            return max_elapsed.min(PATIENCE);
        }
        #[cfg(not(feature = "spool"))]
        let _ = kind;
        max_elapsed
    }

    /// Returns how long a request that was never sent waits at a breaker: at least
    /// `export.timeout`, the longest that a probe takes. Data that goes to disk waits there instead.
    pub(crate) fn patience_at_breaker(&self, kind: RequestKind) -> Duration {
        let (patience, timeout) = (self.patience(kind), self.shared.settings.timeout);
        #[cfg(feature = "spool")]
        if self.goes_to_disk(kind) {
            return patience.min(timeout).max(SPILL_AFTER);
        }
        patience.max(timeout)
    }

    /// Waits at a breaker until `ready` ends, or for `at_most`. Data that waits for longer goes to
    /// disk.
    pub(crate) async fn wait_at_breaker(
        self: &Arc<Self>,
        kind: RequestKind,
        ready: impl Future<Output = ()>,
        at_most: Duration,
    ) {
        #[cfg(feature = "spool")]
        let mut ready = std::pin::pin!(ready);
        #[cfg(feature = "spool")]
        let at_most = if self.spool.is_some() {
            if tokio::time::timeout(SPILL_AFTER.min(at_most), &mut ready).await.is_ok() {
                return;
            }
            self.spill(kind.of_rows());
            at_most.saturating_sub(SPILL_AFTER)
        } else {
            at_most
        };
        #[cfg(not(feature = "spool"))]
        let _ = kind;
        drop(tokio::time::timeout(at_most, ready).await);
    }

    #[cfg(feature = "spool")]
    fn goes_to_disk(&self, kind: RequestKind) -> bool {
        let Some(spool) = &self.spool else { return false };
        let state = self.state.lock();
        let of_lane = state.spool.as_deref();
        spool.health() != Health::Failing && of_lane.is_some_and(|of_lane| of_lane.is_durable(kind.of_rows()))
    }
}
