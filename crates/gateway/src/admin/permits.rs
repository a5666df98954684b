//! How much work of the admin listener runs at once.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::Refusal;

const TOO_MANY: &str = "too many requests to the admin listener wait";

/// The place of a request.
#[derive(Debug)]
pub(super) struct Place(#[expect(dead_code, reason = "dropping it frees the place")] OwnedSemaphorePermit);

/// An answer and its place.
struct Answer<A> {
    answer: A,
    _place: Place,
}

/// Work of one kind. It runs on the threads that read keys for requests with data, so there is
/// little of it at once.
#[derive(Debug)]
pub(super) struct Permits {
    /// Of running and waiting requests, and of answers that are not yet sent.
    places: Arc<Semaphore>,
    running: Arc<Semaphore>,
}

impl Permits {
    /// `running` pieces of work run at once, each on a blocking thread, and `waiting` requests may
    /// wait for them.
    pub(super) fn new(running: usize, waiting: usize) -> Self {
        Self {
            places: Arc::new(Semaphore::new(running + waiting)),
            running: Arc::new(Semaphore::new(running)),
        }
    }

    /// Waits until a piece of work may run. Keep the place as long as its answer.
    ///
    /// # Errors
    /// If too many wait.
    pub(super) async fn enter(&self) -> Result<(Place, OwnedSemaphorePermit), Refusal> {
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Refusal::unavailable(TOO_MANY))?;
        let permit = Arc::clone(&self.running).acquire_owned().await;
        let permit = permit.map_err(|_| Refusal::unavailable(TOO_MANY))?;
        Ok((Place(place), permit))
    }

    /// Runs a piece of work on a blocking thread. It runs to its end, also if this future is
    /// dropped.
    ///
    /// # Errors
    /// If too many wait, or if the work panics.
    pub(super) async fn run(
        &self,
        work: impl FnOnce() -> Result<Vec<u8>, Refusal> + Send + 'static,
    ) -> Result<Bytes, Refusal> {
        let (place, permit) = self.enter().await?;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        let answer = work.await;
        let answer = answer.unwrap_or_else(|_| Err(Refusal::unavailable("the work ended without an answer")))?;
        Ok(place.with(answer))
    }
}

impl Place {
    /// Keeps the place until the last part of an answer is sent, so that clients that read slowly do
    /// not fill the memory.
    pub(super) fn with(self, answer: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Answer { answer, _place: self })
    }
}

impl<A: AsRef<[u8]>> AsRef<[u8]> for Answer<A> {
    fn as_ref(&self) -> &[u8] {
        self.answer.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const RUNNING: usize = 2;
    const WAITING: usize = 16;

    #[tokio::test]
    async fn two_run_sixteen_wait_and_the_next_is_refused() {
        let permits = Arc::new(Permits::new(RUNNING, WAITING));
        let (started, starts) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let finished = Arc::new(std::sync::Mutex::new(finished));
        let run = || {
            let (permits, started, finished) = (Arc::clone(&permits), started.clone(), Arc::clone(&finished));
            tokio::spawn(async move {
                let work = move || {
                    started.send(()).expect("awaited");
                    finished.lock().expect("not poisoned").recv().expect("sent");
                    Ok(Vec::new())
                };
                permits.run(work).await
            })
        };
        let accepted: Vec<_> = (0..RUNNING + WAITING).map(|_| run()).collect();
        while permits.places.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let refusal = run().await.expect("no panic").expect_err("too many");
        assert_eq!(
            (refusal.status.as_u16(), starts.try_iter().count() <= RUNNING),
            (503, true)
        );
        for _ in 0..accepted.len() {
            finish.send(()).expect("awaited");
        }
        for accepted in accepted {
            accepted.await.expect("no panic").expect("accepted");
        }
        permits.run(|| Ok(Vec::new())).await.expect("a place is free again");
    }

    #[tokio::test]
    async fn work_that_panics_is_a_refusal_and_frees_its_permit() {
        let permits = Permits::new(RUNNING, WAITING);
        for _ in 0..=RUNNING {
            let refusal = permits.run(|| panic!("planted")).await;
            assert_eq!(refusal.expect_err("a refusal").status, 503);
        }
        permits.run(|| Ok(Vec::new())).await.expect("permits are free");
    }

    #[tokio::test]
    async fn an_answer_keeps_its_place_until_its_last_part_is_sent() {
        let permits = Permits::new(RUNNING, WAITING);
        let free = || permits.places.available_permits();
        let mut answer = permits.run(|| Ok(b"answer".to_vec())).await.expect("a place");
        let part = answer.split_off(3);
        assert_eq!(
            (&answer[..], &part[..], free()),
            (&b"ans"[..], &b"wer"[..], RUNNING + WAITING - 1)
        );
        drop(answer);
        assert_eq!(free(), RUNNING + WAITING - 1);
        drop(part);
        assert_eq!(free(), RUNNING + WAITING);
        assert_eq!(permits.running.available_permits(), RUNNING);
    }
}
