//! A semaphore that divides its permits fairly: start-time fair queueing, so that each tracer gets
//! a share of the sending by its weight.
//!
//! Each tracer has a [`VirtualTime`]: the bytes that it sent, divided by its weight. The lowest
//! goes next. A tracer that had nothing to send is advanced to the time of the last one that got a
//! permit, so it cannot save up credit. A permit is paid when it is used, because only then is it
//! known what there is to send. So no quantum has to be guessed, as deficit round robin must.
//!
//! A tracer waits for its next batch once the last one is complete. So whatever its weight, others
//! come between two of its batches if they wait.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::util::fork::ForkLock;

/// Permits, and what waits for one.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    state: ForkLock<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The time of the last tracer that got a permit.
    now: u64,
    /// By virtual time, and by number among equal times. One that is gone stays until it is its
    /// turn.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    /// How many ever waited.
    numbers: u64,
}

/// What one tracer has sent.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    sent: AtomicU64,
    weight: u32,
}

/// The right to send. Dropped, it goes to the next that waits.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a>(&'a FairSemaphore);

/// Waits for a permit. Dropped, it passes on a permit that was granted meanwhile.
#[derive(Debug)]
struct Waiter<'a> {
    semaphore: &'a FairSemaphore,
    granted: oneshot::Receiver<()>,
}

impl VirtualTime {
    pub(crate) fn new(weight: u32) -> Self {
        Self {
            sent: AtomicU64::new(0),
            weight,
        }
    }

    /// Something is sent.
    pub(crate) fn pay(&self, bytes: usize) {
        self.sent.fetch_add(scaled(bytes, self.weight), Ordering::Relaxed);
    }
}

/// Bytes divided by weight, scaled so that the largest weight still has a few digits.
pub(crate) fn scaled(bytes: usize, weight: u32) -> u64 {
    (bytes as u64).saturating_mul(10_000) / u64::from(weight.max(1))
}

impl FairSemaphore {
    pub(crate) fn new(permits: usize) -> Self {
        Self {
            state: ForkLock::new(State {
                free: permits,
                now: 0,
                waiting: BTreeMap::new(),
                numbers: 0,
            }),
        }
    }

    /// A tracer has something to send again: it starts where the others are.
    pub(crate) fn wake(&self, time: &VirtualTime) {
        let now = self.state.lock().now;
        time.sent.fetch_max(now, Ordering::Relaxed);
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// A permit that was granted meanwhile goes to the next.
    pub(crate) async fn acquire(&self, time: &VirtualTime) -> Permit<'_> {
        match self.enter(time) {
            Ok(permit) => permit,
            Err(waiter) => waiter.wait().await,
        }
    }

    /// A permit if one is free, which means that nothing waits; else a waiter.
    fn enter(&self, time: &VirtualTime) -> Result<Permit<'_>, Waiter<'_>> {
        let mut state = self.state.lock();
        let at = time.sent.load(Ordering::Relaxed);
        if state.free > 0 {
            state.free -= 1;
            state.now = state.now.max(at);
            return Ok(Permit(self));
        }
        let (grant, granted) = oneshot::channel();
        let number = state.numbers;
        state.numbers += 1;
        state.waiting.insert((at, number), grant);
        let semaphore = self;
        Err(Waiter { semaphore, granted })
    }

    /// A permit is free again.
    fn release(&self) {
        let mut state = self.state.lock();
        while let Some(((at, _), grant)) = state.waiting.pop_first() {
            // A waiter that is gone does not take it.
            if grant.send(()).is_ok() {
                state.now = state.now.max(at);
                return;
            }
        }
        state.free += 1;
    }
}

impl<'a> Waiter<'a> {
    async fn wait(mut self) -> Permit<'a> {
        // A sender is not dropped before it granted.
        (&mut self.granted).await.expect("it is kept until it is its turn");
        Permit(self.semaphore)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.0.release();
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        // Closed first: from here on nothing is granted. What was granted before is passed on.
        self.granted.close();
        if self.granted.try_recv().is_ok() {
            self.semaphore.release();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    /// What everybody sent, where each always wants one more turn and sends so much in each.
    fn sent(of: &[(u32, usize)], count: usize) -> Vec<usize> {
        let semaphore = FairSemaphore::new(1);
        let clocks: Vec<VirtualTime> = of.iter().map(|(weight, _)| VirtualTime::new(*weight)).collect();
        let mut sent = vec![0; of.len()];
        let nobody = VirtualTime::new(1);
        let mut held = semaphore.enter(&nobody).ok();
        let line = |who: usize| Box::pin(semaphore.acquire(&clocks[who]));
        let mut waiting: Vec<_> = (0..of.len()).map(line).collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        for _ in 0..count {
            drop(held.take());
            for (who, one) in waiting.iter_mut().enumerate() {
                if let Some(turn) = one.now_or_never() {
                    assert!(held.is_none(), "one place, two turns");
                    clocks[who].pay(of[who].1);
                    sent[who] += of[who].1;
                    held = Some(turn);
                    *one = line(who);
                    assert!(one.now_or_never().is_none());
                }
            }
            assert!(held.is_some(), "nobody got it");
        }
        sent
    }

    #[test]
    fn all_send_the_same_whatever_the_size_of_their_requests() {
        let sent = sent(&[(100, 1000), (100, 50), (100, 300)], 3000);
        let (least, most) = (sent.iter().min(), sent.iter().max());
        assert!(
            most.zip(least).is_some_and(|(most, least)| most - least <= 1000),
            "{sent:?}"
        );
    }

    #[test]
    fn shares_are_by_weight() {
        let sent = sent(&[(100, 500), (300, 500), (50, 100)], 2000);
        let of = |who: usize, weight: usize| sent[who] / weight;
        assert!(of(0, 100).abs_diff(of(1, 300)) <= 10, "{sent:?}");
        assert!(of(0, 100).abs_diff(of(2, 50)) <= 10, "{sent:?}");
    }

    #[test]
    fn nobody_saves_turns_up() {
        let semaphore = FairSemaphore::new(1);
        let (busy, late) = (VirtualTime::new(100), VirtualTime::new(100));
        for _ in 0..100 {
            drop(semaphore.enter(&busy));
            busy.pay(1000);
        }
        let next = || {
            let held = semaphore.enter(&busy).expect("it is free");
            semaphore.wake(&late);
            let mut of_late = semaphore.enter(&late).expect_err("taken");
            let mut of_busy = semaphore.enter(&busy).expect_err("taken");
            drop(held);
            let called = (of_late.granted.try_recv().is_ok(), of_busy.granted.try_recv().is_ok());
            // Who was called goes.
            drop((of_late, of_busy, Permit(&semaphore)));
            called
        };
        assert_eq!(next(), (true, false), "he is behind");
        late.pay(5000);
        assert_eq!(next(), (false, true), "what he did not send before is forgotten");
    }

    #[test]
    fn who_leaves_the_line_leaves_his_place_to_the_next() {
        let semaphore = FairSemaphore::new(1);
        let time = VirtualTime::new(1);
        let held = semaphore.enter(&time).expect("it is free");
        let mut line = (0..3).map(|_| Box::pin(semaphore.acquire(&time)));
        let (mut called, mut gone, mut next) = (
            line.next().expect("3"),
            line.next().expect("3"),
            line.next().expect("3"),
        );
        for one in [&mut called, &mut gone, &mut next] {
            assert!(one.now_or_never().is_none());
        }
        drop(gone);
        drop(held);
        // It is his turn, and he does not look.
        drop(called);
        let turn = next.now_or_never().expect("it is his");
        assert!(semaphore.enter(&time).is_err());
        drop(turn);
        assert!(semaphore.acquire(&time).now_or_never().is_some());
        assert_eq!(semaphore.state.lock().free, 1);
    }
}
