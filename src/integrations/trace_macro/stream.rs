//! Streams whose span starts with their first poll, and ends with their last item or when they are dropped.

use std::pin::Pin;
use std::task::{self, Poll, ready};

use futures_util::Stream;
use pin_project_lite::pin_project;

use super::life::Life;

pin_project! {
    /// The stream of a traced function.
    pub struct TracedStream<S> {
        // Taken out to be dropped, and at no other time.
        #[pin]
        work: Option<S>,
        life: Life,
    }

    impl<S> PinnedDrop for TracedStream<S> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            let _entered = this.life.attach();
            this.work.set(None);
        }
    }
}

impl<S: Stream> Stream for TracedStream<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let work = this.work.as_pin_mut().expect("it is there until the drop");
        let item = ready!(this.life.run(|| work.poll_next(task)));
        if item.is_none() {
            this.life.end_span();
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.work.as_ref().map_or((0, None), Stream::size_hint)
    }
}

/// The stream that a function returns.
pub fn stream<T, S: Stream<Item = T>>(life: Life, make: impl FnOnce() -> S) -> TracedStream<S> {
    let work = life.make(make);
    TracedStream { work: Some(work), life }
}
