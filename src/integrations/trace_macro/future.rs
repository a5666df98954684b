//! A future with a span from the first poll until completion or the drop.

use std::pin::Pin;
use std::task::{self, Poll, ready};

use pin_project_lite::pin_project;

use super::call_span::CallSpan;
use super::outcome::Recorder;

pin_project! {
    /// The future of a traced function.
    pub struct TracedFuture<F, D> {
        // `None` after completion and during the drop.
        #[pin]
        work: Option<F>,
        span: CallSpan,
        record: Option<D>,
    }

    impl<F, D> PinnedDrop for TracedFuture<F, D> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.work.is_some() {
                this.span.record_cancelled();
            }
            let _entered = this.span.attach();
            this.work.set(None);
        }
    }
}

impl<F: Future, D: FnOnce(&F::Output, &mut Recorder<'_>)> Future for TracedFuture<F, D> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let (span, record, mut work) = (this.span, this.record, this.work.as_mut());
        let entered = span.enter();
        let output = ready!(span.watch(|| {
            work.as_mut()
                .as_pin_mut()
                .expect("not polled after completion")
                .poll(task)
        }));
        if let Some(record) = record.take() {
            span.outcome(|recorder| record(&output, recorder));
        }
        // Values that the future holds drop within the span and its scope.
        span.watch(|| work.set(None));
        drop(entered);
        span.end();
        Poll::Ready(output)
    }
}

/// Traces the body of an async function.
pub fn run<F, D>(span: CallSpan, work: F, record: D) -> TracedFuture<F, D>
where
    F: Future,
    D: FnOnce(&F::Output, &mut Recorder<'_>),
{
    TracedFuture {
        work: Some(work),
        span,
        record: Some(record),
    }
}

/// Traces the future that a function returns.
pub fn future<T, F, D>(span: CallSpan, make: impl FnOnce() -> F, record: D) -> TracedFuture<F, D>
where
    F: Future<Output = T>,
    D: FnOnce(&F::Output, &mut Recorder<'_>),
{
    let work = span.make(make);
    run(span, work, record)
}
