//! Blocking work, each job on its own thread.
//!
//! Does not use tokio's blocking pool: if the system refuses a thread, tokio panics or queues the
//! job forever. Here the job returns an error.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::context;

/// Name of the engine's threads.
pub(crate) const THREAD_NAME: &str = "tracer-registry";

/// Most concurrent jobs. A hanging name look-up cannot be cancelled, so a few must not use up all.
const MAX_JOBS: usize = 16;

/// Threads for blocking work of connections: name look-ups, reading certificates.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    permits: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Self {
            permits: Arc::new(Semaphore::new(MAX_JOBS)),
        }
    }

    /// Like [`run`], after waiting for a permit. The job holds the permit until it ends, even if
    /// the future is dropped.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let permit = Arc::clone(&self.permits).acquire_owned().await;
        let permit = permit.expect("the semaphore is never closed");
        run(move || {
            let result = work();
            drop(permit);
            result
        })
        .await
    }
}

/// Runs work on a new thread, inside the runtime that polls this future.
///
/// # Errors
/// If the thread cannot be started, or the work panics.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (result_tx, result_rx) = oneshot::channel();
    let runtime = Handle::current();
    let on_thread = move || {
        context::suppress_on_this_thread();
        let _in_runtime = runtime.enter();
        drop(result_tx.send(work()));
    };
    thread::Builder::new().name(THREAD_NAME.to_owned()).spawn(on_thread)?;
    result_rx.await.map_err(|_| io::Error::other("the work panicked"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn concurrent_jobs_are_limited_even_if_their_futures_are_dropped() {
        let blocking = Blocking::new();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        for _ in 0..MAX_JOBS {
            let ended = Arc::clone(&ended);
            let job = blocking.run(move || ended.lock().expect("not poisoned").recv().is_err());
            // Start the job, then drop its future.
            assert!(futures_util::FutureExt::now_or_never(job).is_none());
        }
        assert!(
            futures_util::FutureExt::now_or_never(blocking.run(|| ())).is_none(),
            "no free permit"
        );
        drop(end);
        assert_eq!(blocking.run(|| 42).await.expect("a thread"), 42);
        let error = blocking
            .run(|| panic!("intentional panic"))
            .await
            .expect_err("the work panicked");
        assert_eq!(error.to_string(), "the work panicked");
    }
}
