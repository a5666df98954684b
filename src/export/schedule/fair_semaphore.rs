//! A fair semaphore (start-time fair queueing): each tracer gets a share of the permits by its
//! weight.
//!
//! Each tracer has a [`VirtualTime`]: bytes sent divided by its weight. The waiter with the lowest
//! time gets the next permit. When an idle tracer has data again, its time is raised to that of the
//! last tracer that got a permit, so it cannot save up credit. Bytes are charged when a permit is
//! used, because the batch size is not known before. Deficit round robin would need a quantum.
//!
//! A tracer requests its next permit only after its last batch completes. So it does not send two
//! batches in a row while another tracer waits.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::util::fork::ForkLock;

/// A fair semaphore.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    state: ForkLock<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// Virtual time of the last tracer that got a permit.
    now: u64,
    /// Waiters by virtual time and arrival number. A dropped waiter is removed when its turn comes.
    waiting: BTreeMap<(u64, u64), oneshot::Sender<()>>,
    /// Number of waiters so far: the arrival number of the next one.
    numbers: u64,
}

/// Virtual time of one tracer: scaled bytes sent divided by weight.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    sent: AtomicU64,
    weight: u32,
}

/// A permit. Passes to the next waiter on drop.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a>(&'a FairSemaphore);

/// A waiter for a permit. If a permit was granted but not taken, the drop passes it to the next
/// waiter.
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

    /// Charges sent bytes.
    pub(crate) fn charge(&self, bytes: usize) {
        self.sent.fetch_add(scaled(bytes, self.weight), Ordering::Relaxed);
    }
}

/// Returns bytes divided by weight, scaled so that large weights keep precision.
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

    /// Advances an idle tracer to the current virtual time.
    pub(crate) fn wake(&self, time: &VirtualTime) {
        let now = self.state.lock().now;
        time.sent.fetch_max(now, Ordering::Relaxed);
    }

    /// Waits for a permit.
    ///
    /// # Cancel safety
    /// A permit that was granted but not taken passes to the next waiter.
    pub(crate) async fn acquire(&self, time: &VirtualTime) -> Permit<'_> {
        match self.enter(time) {
            Ok(permit) => permit,
            Err(waiter) => waiter.wait().await,
        }
    }

    /// Returns a permit if one is free, otherwise a waiter. While a permit is free, there are no
    /// waiters.
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

    /// Passes a permit to the next waiter, or frees it.
    fn release(&self) {
        let mut state = self.state.lock();
        while let Some(((at, _), grant)) = state.waiting.pop_first() {
            // Fails if the waiter was dropped.
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
        (&mut self.granted)
            .await
            .expect("the sender is kept until it grants a permit");
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
        // Close first, so that nothing is granted after the check.
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

    /// Sends `count` requests and returns the bytes that each tracer sent. A tracer is its weight
    /// and the size of its requests, and always has data to send.
    fn sent(tracers: &[(u32, usize)], count: usize) -> Vec<usize> {
        let semaphore = FairSemaphore::new(1);
        let times: Vec<VirtualTime> = tracers.iter().map(|(weight, _)| VirtualTime::new(*weight)).collect();
        let mut sent = vec![0; tracers.len()];
        let other = VirtualTime::new(1);
        let mut held = semaphore.enter(&other).ok();
        let acquire = |tracer: usize| Box::pin(semaphore.acquire(&times[tracer]));
        let mut waiting: Vec<_> = (0..tracers.len()).map(acquire).collect();
        for waiter in &mut waiting {
            assert!(waiter.now_or_never().is_none());
        }
        for _ in 0..count {
            drop(held.take());
            for (tracer, waiter) in waiting.iter_mut().enumerate() {
                if let Some(permit) = waiter.now_or_never() {
                    assert!(held.is_none(), "two permits granted, one exists");
                    times[tracer].charge(tracers[tracer].1);
                    sent[tracer] += tracers[tracer].1;
                    held = Some(permit);
                    *waiter = acquire(tracer);
                    assert!(waiter.now_or_never().is_none());
                }
            }
            assert!(held.is_some(), "the permit was granted to no waiter");
        }
        sent
    }

    #[test]
    fn equal_weights_send_equal_bytes_with_any_request_size() {
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
        let share = |tracer: usize, weight: usize| sent[tracer] / weight;
        assert!(share(0, 100).abs_diff(share(1, 300)) <= 10, "{sent:?}");
        assert!(share(0, 100).abs_diff(share(2, 50)) <= 10, "{sent:?}");
    }

    #[test]
    fn an_idle_tracer_saves_no_credit() {
        let semaphore = FairSemaphore::new(1);
        let (busy, late) = (VirtualTime::new(100), VirtualTime::new(100));
        for _ in 0..100 {
            drop(semaphore.enter(&busy));
            busy.charge(1000);
        }
        let next = || {
            let held = semaphore.enter(&busy).expect("a free permit");
            semaphore.wake(&late);
            let mut of_late = semaphore.enter(&late).expect_err("no free permit");
            let mut of_busy = semaphore.enter(&busy).expect_err("no free permit");
            drop(held);
            let granted = (of_late.granted.try_recv().is_ok(), of_busy.granted.try_recv().is_ok());
            // Release the granted permit.
            drop((of_late, of_busy, Permit(&semaphore)));
            granted
        };
        assert_eq!(next(), (true, false), "the late tracer is behind");
        late.charge(5000);
        assert_eq!(next(), (false, true), "the late tracer has no saved credit");
    }

    #[test]
    fn a_dropped_waiter_passes_its_permit_on() {
        let semaphore = FairSemaphore::new(1);
        let time = VirtualTime::new(1);
        let held = semaphore.enter(&time).expect("a free permit");
        let [mut granted, mut dropped, mut next] = [(); 3].map(|()| Box::pin(semaphore.acquire(&time)));
        for waiter in [&mut granted, &mut dropped, &mut next] {
            assert!(waiter.now_or_never().is_none());
        }
        drop(dropped);
        drop(held);
        // The permit is granted to this waiter, which is dropped without polling.
        drop(granted);
        let permit = next.now_or_never().expect("the permit is passed on");
        assert!(semaphore.enter(&time).is_err());
        drop(permit);
        assert!(semaphore.acquire(&time).now_or_never().is_some());
        assert_eq!(semaphore.state.lock().free, 1);
    }
}
