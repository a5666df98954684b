//! Tracers and a receiver in simulated time: order of delivery and waits.

use std::cell::RefCell;
use std::rc::Rc;

use rand::Rng;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;

const BYTES: usize = 1000;
const ROUND_TRIP: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// Returns whether the receiver accepts a request, by tracer, simulated time since the start, and
/// number of requests in progress.
type Receiver = dyn FnMut(usize, Duration, usize) -> bool;

/// A tracer that always has something to send.
struct Tracer {
    weight: u32,
    /// Time between two of its batches.
    pause: Duration,
    /// Concurrent requests.
    at_once: usize,
}

/// Returns the tracers of the first `requests` delivered requests, in order.
fn delivered_by(tracers: &[Tracer], requests: usize, receiver: Box<Receiver>) -> Vec<(usize, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let log = Rc::new(RefCell::new(Vec::new()));
    let receiver = Rc::new(RefCell::new(receiver));
    let queue: &'static CapacityQueue = Box::leak(Box::default());
    let working = Rc::new(RefCell::new(0));
    let tasks = LocalSet::new();
    let begun = runtime.block_on(async { Instant::now() });
    for (number, tracer) in tracers.iter().enumerate() {
        let (of_all, pause) = (Rc::new(CapacityShare::new(tracer.weight)), tracer.pause);
        for _ in 0..tracer.at_once {
            let (log, receiver, working) = (Rc::clone(&log), Rc::clone(&receiver), Rc::clone(&working));
            let share = Rc::clone(&of_all);
            tasks.spawn_local(async move {
                loop {
                    sleep(pause).await;
                    queue.yield_to_waiting(&share).await;
                    let (mut turn, mut attempt, mut again) = (None::<Turn<'_>>, 0, false);
                    loop {
                        let in_work = *working.borrow();
                        let accepts = receiver.borrow_mut()(number, begun.elapsed(), in_work);
                        if accepts {
                            *working.borrow_mut() += 1;
                        }
                        sleep(ROUND_TRIP).await;
                        if accepts {
                            *working.borrow_mut() -= 1;
                            log.borrow_mut().push((number, begun.elapsed()));
                            queue.note_delivered(&share, BYTES, again);
                            break;
                        }
                        let waiting = queue.join(&share, again);
                        again = true;
                        drop(turn.take());
                        match waiting {
                            Some(waiting) => {
                                let own_wait = || async {
                                    let tries = queue.is_trying();
                                    let half = 15 * SECOND;
                                    sleep(if tries {
                                        half + back_off(30) / 2
                                    } else {
                                        back_off(attempt)
                                    })
                                    .await;
                                    !tries
                                };
                                turn = waiting.turn(own_wait, back_off).await;
                            }
                            None => sleep(back_off(attempt)).await,
                        }
                        attempt += 1;
                    }
                }
            });
        }
    }
    tasks.block_on(&runtime, async {
        while log.borrow().len() < requests {
            sleep(SECOND).await;
        }
    });
    log.take()
}

/// Back-off with the default settings.
fn back_off(before: u32) -> Duration {
    let longest = SECOND.saturating_mul(2_u32.saturating_pow(before)).min(30 * SECOND);
    longest.mul_f64(rand::rng().random_range(0.0..=1.0))
}

fn equal(count: usize) -> Vec<Tracer> {
    (0..count)
        .map(|_| Tracer {
            weight: 1,
            pause: Duration::ZERO,
            at_once: 1,
        })
        .collect()
}

/// Accepts one request per period.
fn one_per(period: Duration) -> Box<Receiver> {
    let mut free = Duration::ZERO;
    Box::new(move |_, now, _| {
        let accepts = now >= free;
        if accepts {
            free = now + period;
        }
        accepts
    })
}

/// Asserts that between two requests of each tracer there are at most `most` of others.
fn assert_gaps(delivered: &[(usize, Duration)], tracers: impl Iterator<Item = usize>, most: usize) {
    for tracer in tracers {
        let gaps = delivered.split(|(number, _)| *number == tracer).map(<[_]>::len);
        let longest = gaps.max().expect("there is a gap");
        let order: Vec<_> = delivered.iter().map(|(number, _)| number).collect();
        assert!(
            longest <= most,
            "{longest} requests of others between two of tracer {tracer}: {order:?}"
        );
    }
}

#[test]
fn equal_tracers_take_turns_at_a_receiver_with_a_rate_limit() {
    for count in [2, 3, 10, 100] {
        let delivered = delivered_by(&equal(count), 20 * count, one_per(SECOND));
        assert_gaps(&delivered, 0..count, 4 * count);
    }
}

#[test]
fn equal_tracers_take_turns_at_a_receiver_with_a_concurrency_limit() {
    for (count, at_once) in [(2, 1), (5, 1), (20, 3)] {
        let receiver = move |_, _, working| working < at_once;
        let delivered = delivered_by(&equal(count), 50 * count, Box::new(receiver));
        assert_gaps(&delivered, 0..count, 8 * count);
        // Fairness wastes at most two thirds of the capacity.
        let (_, last) = delivered.last().expect("some are delivered");
        let ideal = ROUND_TRIP * u32::try_from(delivered.len() / at_once).expect("small");
        assert!(
            *last < 3 * ideal + SECOND,
            "{count} at a receiver of {at_once}: {last:?}, at best {ideal:?}"
        );
    }
}

#[test]
fn shares_are_by_weight() {
    let mut tracers = equal(2);
    tracers[0].weight = 3;
    let delivered = delivered_by(&tracers, 200, one_per(SECOND));
    let heavy = delivered.iter().filter(|(number, _)| *number == 0).count();
    assert!((140..=160).contains(&heavy), "{heavy} of {}", delivered.len());
}

#[test]
fn a_tracer_refused_for_another_reason_does_not_block_others() {
    let mut tracers = equal(5);
    for tracer in &mut tracers {
        tracer.pause = SECOND / 10;
    }
    let refused = Rc::new(RefCell::new(0));
    let count = Rc::clone(&refused);
    let delivered = delivered_by(
        &tracers,
        4000,
        Box::new(move |number, _, _| {
            *count.borrow_mut() += usize::from(number == 0);
            number != 0
        }),
    );
    // Four tracers with one request per 110 ms.
    let (_, last) = delivered.last().expect("some are delivered");
    assert!(*last < 120 * SECOND, "{last:?}");
    let refused = *refused.borrow();
    assert!(refused < 40, "it was tried {refused} times in {last:?}");
}

#[test]
fn tracers_take_turns_although_one_is_refused_for_another_reason() {
    let mut receiver = one_per(SECOND);
    let delivered = delivered_by(
        &equal(6),
        400,
        Box::new(move |number, now, working| number != 0 && receiver(number, now, working)),
    );
    // Skip the start, when the refusals of the one tracer still count as lack of capacity.
    assert_gaps(&delivered[100..], 1..6, 20);
}

#[test]
fn concurrent_requests_do_not_increase_a_tracers_share() {
    let mut tracers = equal(2);
    tracers[0].at_once = 1000;
    let delivered = delivered_by(&tracers, 200, one_per(SECOND));
    let busy = delivered.iter().filter(|(number, _)| *number == 0).count();
    assert!((80..=120).contains(&busy), "{busy} of {}", delivered.len());
}

#[test]
fn a_long_try_delays_new_requests_only_once() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let queue = CapacityQueue::default();
        let (slow, quick) = (CapacityShare::new(1), CapacityShare::new(1));
        queue.note_delivered(&quick, BYTES, false);
        let waiting = queue.join(&slow, false).expect("the request joins the queue");
        let turn = waiting.turn(std::future::pending::<bool>, back_off);
        let _turn = turn.await.expect("a delivery allows tries");
        let begun = Instant::now();
        for _ in 0..100 {
            queue.yield_to_waiting(&quick).await;
            queue.note_delivered(&quick, BYTES, false);
        }
        assert_eq!(begun.elapsed(), YIELD_LIMIT);
    });
}
