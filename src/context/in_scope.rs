//! Futures and streams that run in a context.

use std::pin::Pin;
use std::task::{self, Poll};

use futures_util::Stream;
use opentelemetry::Context;
use pin_project_lite::pin_project;

use super::attach;

pin_project! {
    /// A future or stream that is polled and dropped in a context. OpenTelemetry's `WithContext`
    /// only polls in it and drops in the caller's scope.
    pub(crate) struct InScope<T> {
        // `None` once it is ready: it is dropped while its context is attached.
        #[pin]
        work: Option<T>,
        cx: Context,
    }

    impl<T> PinnedDrop for InScope<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.work.is_some() {
                let _entered = attach(this.cx);
                this.work.set(None);
            }
        }
    }
}

impl<T> InScope<T> {
    pub(crate) fn new(work: T, cx: Context) -> Self {
        Self { work: Some(work), cx }
    }

    /// Returns the context that it runs in.
    #[cfg(feature = "tower")]
    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let _entered = attach(this.cx);
        let work = this
            .work
            .as_mut()
            .as_pin_mut()
            .expect("a future that is ready is not polled again");
        let polled = work.poll(task);
        if polled.is_ready() {
            this.work.set(None);
        }
        polled
    }
}

impl<S: Stream> Stream for InScope<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let _entered = attach(this.cx);
        this.work
            .as_pin_mut()
            .expect("a stream is dropped with this")
            .poll_next(task)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, None), Stream::size_hint)
    }
}
