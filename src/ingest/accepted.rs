//! Data that was accepted, and is on disk now or soon.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::future::BoxFuture;

use super::error::IngestError;

/// Data that the registry accepted.
#[must_use = "data may not be on disk yet"]
#[derive(Debug)]
pub enum Accepted<T> {
    /// Queued.
    Now(T),
    /// Safe once the future is ready.
    OnceDurable(Durable<T>),
}

/// Waits until accepted data is on disk. Returns an [`IngestError`] if the disk does not take it:
/// then nothing of it is queued or counted.
///
/// # Cancel safety
/// Dropping the future does not undo anything: the data is sent once it is on disk.
#[must_use = "data is not on disk yet"]
pub struct Durable<T> {
    accepted: Option<T>,
    committed: BoxFuture<'static, Result<(), IngestError>>,
}

impl<T> Durable<T> {
    #[cfg(feature = "spool")]
    pub(super) fn new(accepted: T, committed: impl Future<Output = Result<(), IngestError>> + Send + 'static) -> Self {
        Self {
            accepted: Some(accepted),
            committed: Box::pin(committed),
        }
    }
}

impl<T: Unpin> Future for Durable<T> {
    type Output = Result<T, IngestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        ready!(self.committed.as_mut().poll(context))?;
        Poll::Ready(Ok(self.accepted.take().expect("polled after it was ready")))
    }
}

impl<T: fmt::Debug> fmt::Debug for Durable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Durable")
            .field("accepted", &self.accepted)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, feature = "spool"))]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn accepted_data_is_returned_once_the_commit_is_known() {
        let (done, committed) = oneshot::channel();
        let mut durable = Durable::new(7, async { committed.await.expect("answered") });
        assert_eq!((&mut durable).now_or_never(), None);
        done.send(Ok(())).expect("waited for");
        assert_eq!(durable.now_or_never(), Some(Ok(7)));
    }

    #[test]
    fn a_commit_that_fails_is_an_error() {
        let durable = Durable::new(7, async { Err(IngestError::SpoolUnavailable) });
        assert_eq!(durable.now_or_never(), Some(Err(IngestError::SpoolUnavailable)));
    }
}
