//! The thread that decodes bodies and writes pages sequentially, without blocking the server's
//! thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Sends work to the thread. The thread ends when the last clone is dropped.
#[derive(Clone)]
pub(crate) struct Worker(mpsc::Sender<Job>);

impl Worker {
    pub(crate) fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("local-collector-reader".to_owned())
            .spawn(move || {
                for job in jobs {
                    // A panic is printed and fails only its own request.
                    drop(catch_unwind(AssertUnwindSafe(job)));
                }
            })?;
        Ok((Self(sender), thread))
    }

    /// Runs `work` after all earlier work. `None` if it panics.
    ///
    /// # Cancel safety
    /// If the future is dropped before the work starts, the work never runs.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            if !done.is_closed() {
                let _ = done.send(work());
            }
        };
        self.0.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn abandoned_work_never_runs_and_a_panic_fails_only_its_own_call() {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let (worker, thread) = Worker::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let mut first = Box::pin(worker.run(move || gate.recv().is_ok()));
        // The first blocks the thread; the second is sent and abandoned.
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        {
            let second = std::pin::pin!(worker.run(|| STARTED.fetch_add(1, Ordering::SeqCst)));
            assert!(futures_util::poll!(second).is_pending());
        }
        open.send(()).unwrap();
        assert_eq!(first.as_mut().await, Some(true));
        drop(first);
        assert_eq!(worker.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(worker.run(|| 7).await, Some(7));
        assert_eq!(STARTED.load(Ordering::SeqCst), 0);
        drop(worker);
        thread.join().unwrap();
    }
}
