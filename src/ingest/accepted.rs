//! Data that was accepted, and is on disk now or soon.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::sync::oneshot;

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
#[derive(Debug)]
pub struct Durable<T> {
    accepted: Option<T>,
    committed: oneshot::Receiver<Result<(), IngestError>>,
}

impl<T> Durable<T> {
    #[cfg(feature = "spool")]
    #[cfg_attr(not(test), expect(dead_code, reason = "the first durable lanes make them"))]
    pub(super) fn new(accepted: T, committed: oneshot::Receiver<Result<(), IngestError>>) -> Self {
        let accepted = Some(accepted);
        Self { accepted, committed }
    }
}

impl<T: Unpin> Future for Durable<T> {
    type Output = Result<T, IngestError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The store answers each append, unless it panics.
        let committed = ready!(Pin::new(&mut self.committed).poll(context));
        let committed = committed.unwrap_or(Err(IngestError::SpoolUnavailable));
        Poll::Ready(committed.map(|()| self.accepted.take().expect("polled after it was ready")))
    }
}

#[cfg(all(test, feature = "spool"))]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn accepted_data_is_returned_once_the_commit_is_known() {
        let (done, committed) = oneshot::channel();
        let mut durable = Durable::new(7, committed);
        assert_eq!((&mut durable).now_or_never(), None);
        done.send(Ok(())).expect("waited for");
        assert_eq!(durable.now_or_never(), Some(Ok(7)));
    }

    #[test]
    fn a_commit_that_fails_or_is_never_answered_is_an_error() {
        let (done, committed) = oneshot::channel();
        done.send(Err(IngestError::Closed)).expect("waited for");
        assert_eq!(
            Durable::new(7, committed).now_or_never(),
            Some(Err(IngestError::Closed))
        );
        let (done, committed) = oneshot::channel();
        drop(done);
        assert_eq!(
            Durable::new(7, committed).now_or_never(),
            Some(Err(IngestError::SpoolUnavailable))
        );
    }
}
