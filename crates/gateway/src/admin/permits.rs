//! How much work of the admin listener runs at once.

use std::sync::Arc;

use tokio::sync::Semaphore;

use super::refusal::Refusal;

/// Pieces of work of a kind that run at once, each on a blocking thread.
const RUNNING: usize = 2;
/// Requests that may wait for them.
const WAITING: usize = 16;

/// Work of one kind. It runs on the threads that read keys for requests with data, so there is
/// little of it at once.
#[derive(Debug)]
pub(super) struct Permits {
    /// Of running and waiting requests.
    places: Semaphore,
    running: Arc<Semaphore>,
}

impl Permits {
    pub(super) fn new() -> Self {
        Self {
            places: Semaphore::new(RUNNING + WAITING),
            running: Arc::new(Semaphore::new(RUNNING)),
        }
    }

    /// Runs a piece of work on a blocking thread. It runs to its end, also if this future is
    /// dropped.
    ///
    /// # Errors
    /// If too many wait, or if the work panics.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let too_many = || Refusal::unavailable("too many requests to the admin listener wait");
        let _place = self.places.try_acquire().map_err(|_| too_many())?;
        let permit = Arc::clone(&self.running)
            .acquire_owned()
            .await
            .map_err(|_| too_many())?;
        let work = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work()
        });
        work.await
            .unwrap_or_else(|_| Err(Refusal::unavailable("the work ended without an answer")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[tokio::test]
    async fn two_run_sixteen_wait_and_the_next_is_refused() {
        let permits = Arc::new(Permits::new());
        let (started, starts) = mpsc::channel();
        let (finish, finished) = mpsc::channel::<()>();
        let finished = Arc::new(std::sync::Mutex::new(finished));
        let run = || {
            let (permits, started, finished) = (Arc::clone(&permits), started.clone(), Arc::clone(&finished));
            tokio::spawn(async move {
                let work = move || {
                    started.send(()).expect("awaited");
                    finished.lock().expect("not poisoned").recv().expect("sent");
                    Ok(())
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
        permits.run(|| Ok(())).await.expect("a place is free again");
    }

    #[tokio::test]
    async fn work_that_panics_is_a_refusal_and_frees_its_permit() {
        let permits = Permits::new();
        for _ in 0..=RUNNING {
            let refusal = permits.run(|| -> Result<(), _> { panic!("planted") }).await;
            assert_eq!(refusal.expect_err("a refusal").status, 503);
        }
        permits.run(|| Ok(())).await.expect("permits are free");
    }
}
