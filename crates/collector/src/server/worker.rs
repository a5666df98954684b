//! The thread that reads bodies and writes pages, one after another, so that the server's thread goes on meanwhile.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Gives work to the thread. The thread ends when the last of these is dropped.
#[derive(Clone)]
pub(crate) struct Worker(mpsc::Sender<Job>);

impl Worker {
    pub(crate) fn start() -> io::Result<(Self, JoinHandle<()>)> {
        let (sender, jobs) = mpsc::channel::<Job>();
        let thread = thread::Builder::new()
            .name("local-collector-reader".to_owned())
            .spawn(move || {
                for job in jobs {
                    // A panic is printed, and fails the request whose work it was; the next one has its turn.
                    drop(catch_unwind(AssertUnwindSafe(job)));
                }
            })?;
        Ok((Self(sender), thread))
    }

    /// Does `work` when what was given before it is done. `None` if it panics.
    ///
    /// # Cancel safety
    /// Work that is not begun when the future is dropped is never begun.
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
    async fn work_that_nobody_waits_for_is_not_begun_and_a_panic_costs_only_its_own() {
        static BEGUN: AtomicUsize = AtomicUsize::new(0);
        let (worker, thread) = Worker::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let mut first = Box::pin(worker.run(move || gate.recv().is_ok()));
        // The first holds the thread; the second is given and then abandoned.
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        {
            let second = std::pin::pin!(worker.run(|| BEGUN.fetch_add(1, Ordering::SeqCst)));
            assert!(futures_util::poll!(second).is_pending());
        }
        open.send(()).unwrap();
        assert_eq!(first.as_mut().await, Some(true));
        drop(first);
        assert_eq!(worker.run(|| panic!("on purpose")).await, None::<()>);
        assert_eq!(worker.run(|| 7).await, Some(7));
        assert_eq!(BEGUN.load(Ordering::SeqCst), 0);
        drop(worker);
        thread.join().unwrap();
    }
}
