//! Flush, shutdown, and the end of a registry that was not shut down.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::handle::{Inner, TracerRegistry};
use crate::export::{EvictedLedgers, EvictedReport, Report, SelectorFlush, SelectorLedger, after};

impl TracerRegistry {
    /// Sends everything that was accepted so far, of all tracers at once, and waits for it, up to `timeout`. The report has what failed
    /// before, too, if no report had it. [`TracerHandle::force_flush`](crate::TracerHandle::force_flush) does it for one tracer.
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
    /// With `export.mode = "inline"` this thread sends or, in a tokio runtime, one that is started for as long as that takes. In a fork of
    /// the process that made the registry it returns at once, and says so ([`Report::forked`]).
    pub fn force_flush(&self, timeout: Duration) -> Report {
        self.0.flush(after(timeout))
    }

    /// Refuses new look-ups and new spans (which are counted), sends what is queued, waits for it up to `timeout`, gives up the rest, and
    /// reports per tracer what became of it. Handles stay valid; what is started on them afterwards is dropped and counted.
    ///
    /// Blocks the thread, as [`force_flush`](Self::force_flush) does, and like it does nothing in a fork. A second call reports what the
    /// first did not.
    ///
    /// # Without a shutdown
    /// When the last clone of the registry is dropped, it delivers for up to `export.drop_timeout`, and a loss is one line of the log. A process
    /// may end without that. Then everything that is queued is lost, and nothing reports it:
    ///
    /// - a clone of the registry is in a `static`, was leaked, or is kept by a thread or a task that does not end before `main` returns;
    /// - `std::process::exit`, `std::process::abort`, or a panic in a program that is built with `panic = "abort"`;
    /// - a signal whose default action ends the process, such as SIGTERM, by which systemd, Docker and Kubernetes end a service.
    ///
    /// So wait for SIGTERM, and call this before `main` returns, with less time than the process is given:
    ///
    /// ```no_run
    /// # use std::time::Duration;
    /// # use tracer_registry::TracerRegistry;
    /// # #[cfg(unix)]
    /// # async fn demo(registry: TracerRegistry) -> Result<(), Box<dyn std::error::Error>> {
    /// use tokio::signal::unix::{SignalKind, signal};
    ///
    /// signal(SignalKind::terminate())?.recv().await;
    /// // First let the requests end that are under way.
    /// let report = tokio::task::spawn_blocking(move || registry.shutdown(Duration::from_secs(8))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// `examples/sigterm.rs` is a whole program.
    pub fn shutdown(&self, timeout: Duration) -> Report {
        self.0.shutdown(timeout)
    }
}

impl Inner {
    fn flush(&self, deadline: Instant) -> Report {
        if self.engine.is_forked() {
            return Report::of_fork();
        }
        let (accounts, evicted) = self.books.all();
        let flushes = begin(&accounts);
        self.engine.await_flushes(&flushes, deadline);
        self.report(&accounts, &flushes, &evicted)
    }

    fn shutdown(&self, timeout: Duration) -> Report {
        if self.engine.is_forked() {
            return Report::of_fork();
        }
        let deadline = after(timeout);
        self.state.closed.store(true, Ordering::SeqCst);
        self.engine.close();
        let (accounts, evicted) = self.books.all();
        let flushes = begin(&accounts);
        self.engine.await_flushes(&flushes, deadline);
        self.engine.stop();
        // Reported after the end: nothing is pending any more, all of it is delivered or dropped.
        for account in &accounts {
            account.abandon();
        }
        self.report(&accounts, &flushes, &evicted)
    }

    fn report(&self, accounts: &[Arc<SelectorLedger>], flushes: &[SelectorFlush], evicted: &EvictedLedgers) -> Report {
        let told = accounts.iter().zip(flushes);
        Report {
            tracers: told.map(|(account, flush)| account.report(flush)).collect(),
            evicted_totals: EvictedReport::new(&self.books.report_evicted(evicted)),
            forked: false,
        }
    }
}

/// All are asked first, then waited for: they are sent at the same time.
fn begin(accounts: &[Arc<SelectorLedger>]) -> Vec<SelectorFlush> {
    accounts.iter().map(|account| account.begin_flush()).collect()
}

impl Drop for Inner {
    fn drop(&mut self) {
        if self.engine.is_forked() {
            // Its drop would take locks that threads of the parent may have held at the moment of the fork.
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
                "a tracer registry was dropped without shutdown, and not everything was delivered: {}",
                report.to_string().trim_end().replace('\n', "; ")
            );
        }
    }
}
