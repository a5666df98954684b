//! Flush, shutdown, and dropping a registry that was not shut down.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handle::{Inner, TracerRegistry};
use crate::export::{EvictedLedgers, EvictedReport, Report, SelectorFlush, SelectorLedger, after};

/// Longest time after a shutdown for the last commit to disk.
#[cfg(feature = "spool")]
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

impl TracerRegistry {
    /// Sends all accepted data of all tracers concurrently, and waits up to `timeout`. The report
    /// includes earlier failures that no report contained yet.
    /// [`TracerHandle::force_flush`](crate::TracerHandle::force_flush) flushes one tracer.
    ///
    /// Does not wait for [paused](Self::pause) selectors: their data counts as pending.
    ///
    /// Blocks the thread. In async code:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use tracer_registry::TracerRegistry;
    /// # use tracer_registry::report::Report;
    /// # async fn demo(registry: &TracerRegistry) -> Result<Report, Box<dyn std::error::Error>> {
    /// let registry = registry.clone();
    /// let report = tokio::task::spawn_blocking(move || registry.force_flush(Duration::from_secs(5))).await?;
    /// # Ok(report)
    /// # }
    /// ```
    ///
    /// With `export.mode = "inline"` this thread sends; inside a tokio runtime a temporary thread
    /// sends. In a forked child of the registry's process it returns at once with
    /// [`Report::forked`] set.
    pub fn force_flush(&self, timeout: Duration) -> Report {
        self.0.flush(after(timeout))
    }

    /// Refuses new look-ups and drops and counts new spans, sends queued data, also of paused
    /// selectors, waits up to `timeout`, then drops the rest. Returns the result per tracer. Handles
    /// stay valid; spans started on them later are dropped and counted.
    ///
    /// With a spool, the rest is left on disk instead, in the last quarter of `timeout` (at most
    /// 2 s). The next registry with the same folder sends it. The disk may take a second longer.
    ///
    /// Blocks the thread like [`force_flush`](Self::force_flush) and does nothing in a forked
    /// child. A second call reports only what the first did not.
    ///
    /// # Without a shutdown
    /// Dropping the last clone of the registry delivers for up to `export.drop_timeout` and logs
    /// losses in one line. A process may end without that. Then all queued data is lost without a
    /// report:
    ///
    /// - a clone of the registry is in a `static`, was leaked, or is held by a thread or task that
    ///   does not end before `main` returns;
    /// - `std::process::exit`, `std::process::abort`, or a panic in a program built with `panic =
    ///   "abort"`;
    /// - a signal whose default action ends the process, such as SIGTERM, which systemd, Docker and
    ///   Kubernetes send to stop a service.
    ///
    /// So wait for SIGTERM and call this before `main` returns, with a timeout below the process's
    /// grace period:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tracer_registry::TracerRegistry;
    /// # #[cfg(unix)]
    /// # async fn demo(registry: TracerRegistry) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// signal(SignalKind::terminate())?.recv().await;
    /// // First wait for the requests in progress.
    /// let report = tokio::task::spawn_blocking(move || registry.shutdown(Duration::from_secs(8))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// See `examples/sigterm.rs` for a complete program.
    pub fn shutdown(&self, timeout: Duration) -> Report {
        self.0.shutdown(timeout)
    }
}

impl Inner {
    fn flush(&self, deadline: Instant) -> Report {
        if self.engine.is_forked() {
            return Report::of_fork();
        }
        let (ledgers, evicted) = self.accounting.all_sorted();
        let flushes = begin_flushes(&ledgers);
        self.engine.await_flushes(&flushes, deadline);
        self.report(&ledgers, &flushes, &evicted)
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        if self.engine.is_forked() {
            return Report::of_fork();
        }
        let deadline = after(timeout);
        self.state.closed.store(true, Ordering::SeqCst);
        self.engine.close();
        let (ledgers, evicted) = self.accounting.all_sorted();
        for ledger in &ledgers {
            ledger.resume();
        }
        let flushes = begin_flushes(&ledgers);
        #[cfg(feature = "spool")]
        {
            let until = after(timeout.saturating_sub(self.engine.time_to_hand_over(timeout)));
            self.engine.await_flushes(&flushes, until);
            self.engine.hand_over(&ledgers, deadline);
        }
        #[cfg(not(feature = "spool"))]
        self.engine.await_flushes(&flushes, deadline);
        self.engine.stop();
        // Before lanes drop what is not on disk: a commit in progress counts.
        #[cfg(feature = "spool")]
        if let Some(spool) = &self.spool {
            spool.close(deadline + CLOSE_TIMEOUT);
        }
        // Report after the stop: all data is now delivered, on disk, or dropped. Nothing is pending.
        for ledger in &ledgers {
            ledger.abandon();
        }
        self.report(&ledgers, &flushes, &evicted)
    }

    fn report(&self, ledgers: &[Arc<SelectorLedger>], flushes: &[SelectorFlush], evicted: &EvictedLedgers) -> Report {
        let reports = ledgers.iter().zip(flushes);
        Report {
            tracers: reports.map(|(ledger, flush)| ledger.report(flush)).collect(),
            evicted_totals: EvictedReport::new(&self.accounting.report_evicted(evicted)),
            forked: false,
        }
    }
}

/// Begins all flushes before waiting for any, so that they run concurrently.
fn begin_flushes(ledgers: &[Arc<SelectorLedger>]) -> Vec<SelectorFlush> {
    ledgers.iter().map(|ledger| ledger.begin_flush()).collect()
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.engine.is_forked() {
            // Leak the state: dropping it takes locks that threads of the parent may have held at
            // the fork.
            mem::forget(Arc::clone(&self.state));
            return;
        }
        if self.state.closed.load(Ordering::SeqCst) {
            return;
        }
        let report = self.shutdown(self.engine.settings().drop_timeout);
        if !report.is_complete() {
            tracing::warn!(
                lost = report.lost(),
                "tracer registry dropped without shutdown and with undelivered data: {}",
                report.to_string().trim_end().replace('\n', "; ")
            );
        }
    }
}
