//! Work that may block, each piece on a thread of its own.
//!
//! Not on a runtime's threads for it: if the system refuses a thread, tokio panics, or leaves the
//! work to a thread that never comes. Here it is an error of that piece of work.

use std::io;
use std::sync::Arc;
use std::thread;

use tokio::runtime::Handle;
use tokio::sync::{Semaphore, oneshot};

use crate::context;

/// What the engine's threads are called.
pub(crate) const THREADS: &str = "tracer-registry";

/// Pieces of work at a time. More than a few names whose servers do not answer may hold, since
/// nothing can end such a look-up.
const PLACES: usize = 16;

/// Threads for what connections need: addresses of names, certificates.
#[derive(Clone, Debug)]
pub(crate) struct Blocking {
    places: Arc<Semaphore>,
}

impl Blocking {
    pub(crate) fn new() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }

    /// As [`run`], after waiting for a place. The place is taken until the work is done, also where
    /// nobody waits for that any more.
    pub(crate) async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("nobody closes this semaphore");
        run(move || {
            let done = work();
            drop(place);
            done
        })
        .await
    }
}

/// Runs work on a thread of its own, which is in the runtime that this is polled in.
///
/// # Errors
/// The system's, where there can be no thread; and that the work panicked.
pub(crate) async fn run<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let (tell, told) = oneshot::channel();
    let runtime = Handle::current();
    let on_thread = move || {
        context::suppress_on_this_thread();
        let _in_runtime = runtime.enter();
        drop(tell.send(work()));
    };
    thread::Builder::new().name(THREADS.to_owned()).spawn(on_thread)?;
    told.await.map_err(|_| io::Error::other("the work panicked"))
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn so_many_pieces_of_work_run_at_a_time_also_if_nobody_waits_for_them() {
        let blocking = Blocking::new();
        let (end, ended) = mpsc::channel::<()>();
        let ended = Arc::new(std::sync::Mutex::new(ended));
        for _ in 0..PLACES {
            let ended = Arc::clone(&ended);
            let waits = blocking.run(move || ended.lock().expect("whole").recv().is_err());
            // Begun, and forgotten.
            assert!(futures_util::FutureExt::now_or_never(waits).is_none());
        }
        assert!(
            futures_util::FutureExt::now_or_never(blocking.run(|| ())).is_none(),
            "no place"
        );
        drop(end);
        assert_eq!(blocking.run(|| 42).await.expect("a thread"), 42);
        let error = blocking
            .run(|| panic!("as a resolver would not"))
            .await
            .expect_err("it panicked");
        assert_eq!(error.to_string(), "the work panicked");
    }
}
