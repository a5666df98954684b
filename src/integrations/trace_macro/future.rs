//! Futures whose span starts with their first poll, and ends when they are done or dropped.

use std::pin::Pin;
use std::task::{self, Poll, ready};

use pin_project_lite::pin_project;

use super::life::Life;
use super::outcome::Recorder;

pin_project! {
    /// The future of a traced function.
    pub struct TracedFuture<F, D> {
        // Taken out to be dropped, and at no other time.
        #[pin]
        work: Option<F>,
        life: Life,
        done: Option<D>,
    }

    impl<F, D> PinnedDrop for TracedFuture<F, D> {
        fn drop(this: Pin<&mut Self>) {
            let mut this = this.project();
            if this.work.is_some() {
                this.life.note_cancelled();
            }
            let _entered = this.life.attach();
            this.work.set(None);
        }
    }
}

impl<F: Future, D: FnOnce(&F::Output, &mut Recorder<'_>)> Future for TracedFuture<F, D> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, task: &mut task::Context<'_>) -> Poll<F::Output> {
        let mut this = self.project();
        let (life, done, mut work) = (this.life, this.done, this.work.as_mut());
        let entered = life.enter();
        let output = ready!(life.watch(|| {
            work.as_mut()
                .as_pin_mut()
                .expect("not polled after it was done")
                .poll(task)
        }));
        if let Some(done) = done.take() {
            life.outcome(|outcome| done(&output, outcome));
        }
        // In the span's own time and scope, as what a future holds is dropped in it.
        life.watch(|| work.set(None));
        drop(entered);
        life.end();
        Poll::Ready(output)
    }
}

/// The future of an async function.
pub fn run<F, D>(life: Life, work: F, done: D) -> TracedFuture<F, D>
where
    F: Future,
    D: FnOnce(&F::Output, &mut Recorder<'_>),
{
    TracedFuture {
        work: Some(work),
        life,
        done: Some(done),
    }
}

/// The future that a function returns.
pub fn future<T, F, D>(life: Life, make: impl FnOnce() -> F, done: D) -> TracedFuture<F, D>
where
    F: Future<Output = T>,
    D: FnOnce(&F::Output, &mut Recorder<'_>),
{
    let work = life.make(make);
    run(life, work, done)
}
