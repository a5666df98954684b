//! Who is next, where more want to send than may: start-time fair queueing, so that each gets a share of the sending by its weight.
//!
//! Everybody has a clock of what he has sent: bytes divided by his weight. The one whose clock is the farthest behind is next. The clock of
//! one who had nothing to send is put forward to that of the last one who got a turn, so nobody saves turns up. A turn is paid when it is used,
//! since only then is it known what there is to send; so no quantum has to be guessed, as deficit round robin must, and nobody is looked at
//! before it is his turn.
//!
//! A tracer is in the line for its next batch once the last one is settled. So whatever its weight, others come between two of its batches
//! where they wait.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::oneshot;

use crate::util::fork::ForkLock;

/// The places where requests may be under way, and who waits for one.
#[derive(Debug)]
pub(crate) struct FairSemaphore {
    state: ForkLock<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    /// The clock of the last one who got a turn.
    now: u64,
    line: BinaryHeap<Reverse<Waiting>>,
    /// Who ever came, for the order of those whose clocks are equal.
    came: u64,
}

#[derive(Debug)]
struct Waiting {
    time: u64,
    number: u64,
    call: oneshot::Sender<()>,
}

/// What one tracer has sent.
#[derive(Debug)]
pub(crate) struct VirtualTime {
    sent: AtomicU64,
    weight: u32,
}

/// A place. Dropped, it is the next one's.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a>(&'a FairSemaphore);

/// Somebody in the line. Dropped, he gives up his place in it, and his turn if it has just come.
#[derive(Debug)]
struct Waiter<'a> {
    semaphore: &'a FairSemaphore,
    called: oneshot::Receiver<()>,
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
    pub(crate) fn new(places: usize) -> Self {
        Self {
            state: ForkLock::new(State {
                free: places,
                now: 0,
                line: BinaryHeap::new(),
                came: 0,
            }),
        }
    }

    /// Somebody has something to send again: he starts where the others are.
    pub(crate) fn wake(&self, time: &VirtualTime) {
        let now = self.state.lock().now;
        time.sent.fetch_max(now, Ordering::Relaxed);
    }

    /// Waits for a place.
    ///
    /// # Cancel safety
    /// A place that came meanwhile is the next one's.
    pub(crate) async fn take(&self, time: &VirtualTime) -> Permit<'_> {
        match self.enter(time) {
            Ok(turn) => turn,
            Err(waiter) => waiter.turn().await,
        }
    }

    /// A place where one is free, which means that nobody waits; else the end of the line.
    fn enter(&self, time: &VirtualTime) -> Result<Permit<'_>, Waiter<'_>> {
        let mut state = self.state.lock();
        let at = time.sent.load(Ordering::Relaxed);
        if state.free > 0 {
            state.free -= 1;
            state.move_to(at);
            return Ok(Permit(self));
        }
        let (call, called) = oneshot::channel();
        let number = state.came;
        state.came += 1;
        state.line.push(Reverse(Waiting { time: at, number, call }));
        Err(Waiter {
            semaphore: self,
            called,
        })
    }

    /// A place is free: the next one's, or nobody's.
    fn release(&self) {
        let mut state = self.state.lock();
        while let Some(Reverse(next)) = state.line.pop() {
            let time = next.time;
            // Whoever left the line does not hear it.
            if next.call.send(()).is_ok() {
                state.move_to(time);
                return;
            }
        }
        state.free += 1;
    }
}

impl State {
    fn move_to(&mut self, time: u64) {
        self.now = self.now.max(time);
    }
}

impl<'a> Waiter<'a> {
    async fn turn(mut self) -> Permit<'a> {
        // Nobody drops a call: whoever is taken out of the line is called.
        (&mut self.called)
            .await
            .expect("the line is there as long as its places");
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
        // Closed first: from here on nobody calls. Who was called before has a place, and does not want it.
        self.called.close();
        if self.called.try_recv().is_ok() {
            self.semaphore.release();
        }
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.time, self.number).cmp(&(other.time, other.number))
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
        let line = |who: usize| Box::pin(semaphore.take(&clocks[who]));
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
            let called = (of_late.called.try_recv().is_ok(), of_busy.called.try_recv().is_ok());
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
        let mut line = (0..3).map(|_| Box::pin(semaphore.take(&time)));
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
        assert!(semaphore.take(&time).now_or_never().is_some());
        assert_eq!(semaphore.state.lock().free, 1);
    }
}
