//! A stream with a span from the first poll until the last item or the drop.

use std::pin::Pin;
use std::task::{self, Poll, ready};

use futures_util::Stream;
use pin_project_lite::pin_project;

use super::call_span::CallSpan;

pin_project! {
    /// The stream of a traced function.
    pub struct TracedStream<S> {
        // `None` only during the drop.
        #[pin]
        work: Option<S>,
        span: CallSpan,
    }

    impl<S> PinnedDrop for TracedStream<S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.span.attach();
            this.work.set(None);
        }
    }
}

impl<S: Stream> Stream for TracedStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let work = this.work.as_pin_mut().expect("present until the drop");
        let item = ready!(this.span.run(|| work.poll_next(task)));
        if item.is_none() {
            this.span.end_span();
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, None), Stream::size_hint)
    }
}

/// Traces the stream that a function returns.
pub fn stream<T, S: Stream<Item = T>>(span: CallSpan, make: impl FnOnce() -> S) -> TracedStream<S> {
    let work = span.make(make);
    TracedStream { work: Some(work), span }
}
