//! Requests of an HTTP/2 connection: they run in its task, a few in a turn.
//!
//! A client can make a hundred requests of a connection ready at once, for example by closing it. As
//! tasks of their own, they would all come before what becomes ready next.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::{future, mem};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use hyper::rt::Executor;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// Requests that a connection polls in a turn.
const POLLS_IN_TURN: usize = 4;

type Stream = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Takes the requests that hyper starts.
#[derive(Clone, Default)]
pub(super) struct Started(Arc<Shared>);

#[derive(Default)]
struct Shared {
    streams: Mutex<Vec<Stream>>,
    /// Whether requests wait for the next turn.
    wait: AtomicBool,
}

/// The requests of a connection.
#[derive(Default)]
pub(super) struct Streams {
    started: Started,
    running: FuturesUnordered<InTurn>,
    /// Polls that are left in the turn.
    left: Arc<AtomicUsize>,
}

/// A request that is polled only while polls are left in the turn of its connection.
struct InTurn {
    stream: Stream,
    left: Arc<AtomicUsize>,
}

impl Started {
    fn streams(&self) -> MutexGuard<'_, Vec<Stream>> {
        self.0.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether requests wait for the next turn. The connection reads nothing meanwhile:
    /// requests that have not run yet have reserved no memory.
    pub(super) fn wait(&self) -> bool {
        self.0.wait.load(Ordering::Relaxed)
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Started {
    fn execute(&self, stream: F) {
        self.streams().push(Box::pin(stream));
    }
}

impl Streams {
    pub(super) fn started(&self) -> Started {
        self.started.clone()
    }

    /// Runs the requests until all have ended, or for ever if more may start.
    ///
    /// A connection that needs a further turn waits for the others that do. The first turn is free,
    /// so a connection with few requests waits for none.
    pub(super) async fn run(&mut self, turns: &Semaphore, more_may_start: bool) {
        let mut turn = None;
        loop {
            let all_ended = future::poll_fn(|cx| {
                let is_spent = self.poll_turn(cx);
                turn = None;
                if self.running.is_empty() && !more_may_start {
                    Poll::Ready(true)
                } else if is_spent {
                    Poll::Ready(false)
                } else {
                    Poll::Pending
                }
            });
            if all_ended.await {
                return;
            }
            turn = Some(turns.acquire().await.expect("is never closed"));
            // What became ready meanwhile goes first.
            yield_now().await;
        }
    }

    /// Polls the requests that can go on. Returns whether the turn was too short for all of them.
    fn poll_turn(&mut self, cx: &mut Context<'_>) -> bool {
        let started = mem::take(&mut *self.started.streams());
        let left = &self.left;
        self.running.extend(started.into_iter().map(|stream| InTurn {
            stream,
            left: Arc::clone(left),
        }));
        left.store(POLLS_IN_TURN, Ordering::Relaxed);
        while let Poll::Ready(Some(())) = self.running.poll_next_unpin(cx) {}
        let is_spent = left.load(Ordering::Relaxed) == 0;
        if self.started.0.wait.swap(is_spent, Ordering::Relaxed) && !is_spent {
            // The connection reads again.
            cx.waker().wake_by_ref();
        }
        is_spent
    }
}

impl Future for InTurn {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.left.load(Ordering::Relaxed) {
            // After two of these, the others wait too.
            0 => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            left => {
                self.left.store(left - 1, Ordering::Relaxed);
                self.stream.as_mut().poll(cx)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Requests for three turns.
    const MANY: usize = 3 * POLLS_IN_TURN - 1;

    /// Starts requests, each of which counts its poll and ends.
    fn start(streams: &Streams, requests: usize) -> Arc<AtomicUsize> {
        let ended = Arc::<AtomicUsize>::default();
        for _ in 0..requests {
            let ended = Arc::clone(&ended);
            streams.started().execute(async move {
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
        ended
    }

    #[tokio::test]
    async fn a_connection_with_many_requests_waits_for_another_and_one_with_few_does_not() {
        let turns = Semaphore::new(1);
        let of_another = turns.acquire().await.unwrap();
        let (mut many, mut few) = (Streams::default(), Streams::default());
        let (of_many, of_few) = (start(&many, MANY), start(&few, POLLS_IN_TURN - 1));
        let reads = many.started();
        let mut many = Box::pin(many.run(&turns, false));
        for _ in 0..3 {
            assert!(futures_util::poll!(many.as_mut()).is_pending());
            assert_eq!(of_many.load(Ordering::Relaxed), POLLS_IN_TURN);
            assert!(reads.wait());
        }
        few.run(&turns, false).await;
        assert_eq!(of_few.load(Ordering::Relaxed), POLLS_IN_TURN - 1);
        drop(of_another);
        many.await;
        assert_eq!(of_many.load(Ordering::Relaxed), MANY);
        assert!(!reads.wait());
        assert_eq!(turns.available_permits(), 1);
    }

    #[tokio::test]
    async fn a_further_turn_is_no_longer_than_the_first() {
        let turns = Semaphore::new(1);
        let mut streams = Streams::default();
        let ended = start(&streams, MANY);
        let mut running = Box::pin(streams.run(&turns, true));
        let mut before = 0;
        while ended.load(Ordering::Relaxed) < MANY {
            assert!(futures_util::poll!(running.as_mut()).is_pending());
            let after = ended.load(Ordering::Relaxed);
            assert!(after - before <= POLLS_IN_TURN);
            before = after;
            tokio::task::yield_now().await;
        }
    }
}
