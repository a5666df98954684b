//! The thread that checks, converts and compresses large messages one after another, so that they do
//! not delay small requests.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

use crate::answer::{Format, Refusal};

/// Largest messages that a worker of the runtime checks itself: a fraction of a millisecond, even
/// if they consist of empty parts.
const INLINE_BYTES: usize = 256 * 1024;
/// The same for JSON, which is converted too.
const INLINE_JSON_BYTES: usize = 128 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Sends work to the thread, which ends when this is dropped.
#[derive(Debug)]
pub(crate) struct DecodeThread(mpsc::Sender<Job>);

impl DecodeThread {
    pub(crate) fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("gateway-decode".to_owned())
            .spawn(move || {
                for job in jobs {
                    // A panic is printed and fails only its own request.
                    drop(catch_unwind(AssertUnwindSafe(job)));
                }
            })?;
        Ok(Self(sender))
    }

    /// Runs `work` on a message of `bytes`: at once if it is small for its format, otherwise on the
    /// thread.
    ///
    /// # Errors
    /// The refusal that `work` returns.
    ///
    /// # Cancel safety
    /// If the future is dropped before the work starts, the work never runs.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        format: Format,
        bytes: usize,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let inline = if format == Format::Json {
            INLINE_JSON_BYTES
        } else {
            INLINE_BYTES
        };
        if bytes <= inline {
            return work();
        }
        let done = self.run_there(work).await;
        done.unwrap_or_else(|| Err(Refusal::malformed("the body cannot be read")))
    }

    /// Runs `work` on the thread. Returns `None` if it panicked.
    ///
    /// # Cancel safety
    /// As for [`run`](Self::run).
    pub(super) async fn run_there<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (done, result) = oneshot::channel();
        let job = move || {
            if !done.is_closed() {
                drop(done.send(work()));
            }
        };
        self.0.send(Box::new(job)).ok()?;
        result.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_large_messages_use_the_thread_and_a_panic_fails_only_its_own_request() {
        let decode = DecodeThread::start().unwrap();
        let name = || Ok(thread::current().name().map(str::to_owned));
        let here = thread::current().name().map(str::to_owned);
        for (format, inline) in [(Format::Json, INLINE_JSON_BYTES), (Format::Protobuf, INLINE_BYTES)] {
            assert_eq!(decode.run(format, inline, name).await.unwrap(), here);
            let there = decode.run(format, inline + 1, name).await.unwrap();
            assert_eq!(there.as_deref(), Some("gateway-decode"));
        }
        decode
            .run(Format::Json, usize::MAX, || -> Result<(), Refusal> {
                panic!("on purpose")
            })
            .await
            .unwrap_err();
        assert_eq!(decode.run(Format::Json, usize::MAX, || Ok(7)).await, Ok(7));
    }

    #[tokio::test]
    async fn abandoned_work_never_runs() {
        let decode = DecodeThread::start().unwrap();
        let (open, gate) = mpsc::channel::<()>();
        let (started, starts) = mpsc::channel();
        let mut first = Box::pin(decode.run(Format::Json, usize::MAX, move || Ok(gate.recv().is_ok())));
        // The first blocks the thread; the second is sent and abandoned.
        assert!(futures_util::poll!(first.as_mut()).is_pending());
        {
            let second = std::pin::pin!(decode.run(Format::Json, usize::MAX, move || Ok(started.send(()).is_ok())));
            assert!(futures_util::poll!(second).is_pending());
        }
        open.send(()).unwrap();
        assert_eq!(first.await, Ok(true));
        assert_eq!(decode.run(Format::Json, usize::MAX, || Ok(7)).await, Ok(7));
        assert!(starts.try_recv().is_err());
    }
}
