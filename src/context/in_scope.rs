//! Futures and streams with a context of their own.

use std::pin::Pin;
use std::task::{self, Poll};

use futures_util::Stream;
use opentelemetry::Context;
use pin_project_lite::pin_project;

use super::attach;

pin_project! {
    /// Work that is polled and dropped in a context. OpenTelemetry's `WithContext` does only the first: there, what a future holds is dropped in
    /// the scope of the code that drops it.
    pub(crate) struct InScope<T> {
        // Taken out to be dropped, and at no other time.
        #[pin]
        work: Option<T>,
        cx: Context,
    }

    impl<T> PinnedDrop for InScope<T> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = attach(this.cx);
            this.work.set(None);
        }
    }
}

impl<T> InScope<T> {
    pub(crate) fn new(work: T, cx: Context) -> Self {
        Self { work: Some(work), cx }
    }

    /// The context that it runs in.
    #[cfg(feature = "tower")]
    pub(crate) fn context(&self) -> &Context {
        &self.cx
    }
}

impl<F: Future> Future for InScope<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let _entered = attach(this.cx);
        this.work.as_pin_mut().expect("it is there until the drop").poll(task)
    }
}

impl<S: Stream> Stream for InScope<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let _entered = attach(this.cx);
        this.work
            .as_pin_mut()
            .expect("it is there until the drop")
            .poll_next(task)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, None), Stream::size_hint)
    }
}
