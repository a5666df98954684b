//! What a connection does: it runs requests, receives the head of one, or is idle.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// No head has begun.
const NEVER: u64 = u64::MAX;

/// State of a connection.
#[derive(Clone, Debug)]
pub(super) struct Activity(Arc<State>);

#[derive(Debug)]
struct State {
    began: Instant,
    running: AtomicUsize,
    /// When the last request ended, in milliseconds after `began`.
    idle_since: AtomicU64,
    /// When the first byte of a head arrived that is not yet complete.
    head_since: AtomicU64,
    /// Bytes that arrived outside a request, since the last one began.
    unserved: AtomicUsize,
    /// Whether heads have a time limit of their own. In HTTP/2, bytes may arrive without a request.
    times_heads: bool,
    changed: Notify,
}

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    Idle,
    SlowHead,
}

/// A request in progress: its body is not read, or it has no answer. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Running(Activity);

impl Activity {
    /// `began` is when the connection was accepted: its first head begins then.
    pub(super) fn new(began: Instant, times_heads: bool) -> Self {
        Self(Arc::new(State {
            began,
            running: AtomicUsize::new(0),
            idle_since: AtomicU64::new(0),
            head_since: AtomicU64::new(if times_heads { 0 } else { NEVER }),
            unserved: AtomicUsize::new(0),
            times_heads,
            changed: Notify::new(),
        }))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.0.began.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    /// Records that bytes arrived. Outside a request they begin a head.
    pub(super) fn note_read(&self, bytes: usize) {
        let state = &*self.0;
        if bytes == 0 || state.running.load(Ordering::SeqCst) > 0 {
            return;
        }
        state.unserved.fetch_add(bytes, Ordering::SeqCst);
        if state.times_heads && state.head_since.load(Ordering::SeqCst) == NEVER {
            state.head_since.store(self.now(), Ordering::SeqCst);
            state.changed.notify_one();
        }
    }

    /// Records a complete head.
    pub(super) fn start_request(&self) -> Running {
        self.0.running.fetch_add(1, Ordering::SeqCst);
        self.0.head_since.store(NEVER, Ordering::SeqCst);
        self.0.unserved.store(0, Ordering::SeqCst);
        Running(self.clone())
    }

    /// Returns how many bytes arrived outside a request, since the last one began: an incomplete
    /// head, or frames of HTTP/2 without a request.
    pub(super) fn unserved_bytes(&self) -> usize {
        self.0.unserved.load(Ordering::SeqCst)
    }

    /// Waits until no request has run for `timeout`.
    pub(super) async fn quiet_for(&self, timeout: Duration) {
        let since = Instant::now();
        loop {
            let idle_since = self.0.began + Duration::from_millis(self.0.idle_since.load(Ordering::SeqCst));
            let deadline = since.max(idle_since) + timeout;
            if self.0.running.load(Ordering::SeqCst) > 0 {
                self.0.changed.notified().await;
            } else if deadline <= Instant::now() {
                return;
            } else {
                sleep_until(deadline).await;
            }
        }
    }

    /// Waits until the connection was idle, or received a head, for too long.
    pub(super) async fn expired(&self, idle_timeout: Duration, head_timeout: Duration) -> Expired {
        let state = &*self.0;
        loop {
            if state.running.load(Ordering::SeqCst) > 0 {
                state.changed.notified().await;
                continue;
            }
            let at = |millis, timeout| state.began + Duration::from_millis(millis) + timeout;
            let (deadline, expired) = match state.head_since.load(Ordering::SeqCst) {
                NEVER => (at(state.idle_since.load(Ordering::SeqCst), idle_timeout), Expired::Idle),
                since => (at(since, head_timeout), Expired::SlowHead),
            };
            if deadline <= Instant::now() {
                return expired;
            }
            // A request may start meanwhile, so the end of the sleep decides nothing.
            tokio::select! {
                () = state.changed.notified() => {}
                () = sleep_until(deadline) => {}
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let state = &*self.0.0;
        state.idle_since.store(self.0.now(), Ordering::SeqCst);
        if state.running.fetch_sub(1, Ordering::SeqCst) == 1 {
            state.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Duration = Duration::from_secs(120);
    const HEAD: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn the_first_head_begins_with_the_connection() {
        let began = Instant::now();
        let activity = Activity::new(began, true);
        assert_eq!(activity.expired(IDLE, HEAD).await, Expired::SlowHead);
        assert_eq!(began.elapsed(), HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_idle_from_the_end_of_its_last_request() {
        let began = Instant::now();
        let activity = Activity::new(began, true);
        let (one, two) = (activity.start_request(), activity.start_request());
        let wait = tokio::spawn({
            let activity = activity.clone();
            async move { activity.expired(IDLE, HEAD).await }
        });
        tokio::time::sleep(2 * IDLE).await;
        assert!(!wait.is_finished());
        drop(one);
        tokio::time::sleep(IDLE).await;
        assert!(!wait.is_finished());
        drop(two);
        assert_eq!(wait.await.unwrap(), Expired::Idle);
        assert_eq!(began.elapsed(), 4 * IDLE);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_after_a_request_begin_a_head_which_more_bytes_do_not_prolong() {
        let activity = Activity::new(Instant::now(), true);
        drop(activity.start_request());
        tokio::time::sleep(IDLE / 2).await;
        let started = Instant::now();
        activity.note_read(1);
        let wait = tokio::spawn({
            let activity = activity.clone();
            async move { activity.expired(IDLE, HEAD).await }
        });
        tokio::time::sleep(HEAD / 2).await;
        activity.note_read(1);
        assert_eq!(wait.await.unwrap(), Expired::SlowHead);
        assert_eq!(started.elapsed(), HEAD);
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_without_a_request_do_not_keep_a_http2_connection_open() {
        let began = Instant::now();
        let activity = Activity::new(began, false);
        let wait = tokio::spawn({
            let activity = activity.clone();
            async move { activity.expired(IDLE, HEAD).await }
        });
        for _ in 0..10 {
            tokio::time::sleep(HEAD * 2).await;
            activity.note_read(1);
        }
        assert_eq!(wait.await.unwrap(), Expired::Idle);
        assert_eq!(began.elapsed(), IDLE);
    }
}
