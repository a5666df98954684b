//! Tracers and a receiver in simulated time: who is taken, and how long the others wait.

use std::cell::RefCell;
use std::rc::Rc;

use rand::Rng;
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

use super::*;

const BYTES: usize = 1000;
const ROUND_TRIP: Duration = Duration::from_millis(10);
const SECOND: Duration = Duration::from_secs(1);

/// Whether the receiver takes a request of this tracer, by the simulated time since the start and
/// the requests that it works on.
type Receiver = dyn FnMut(usize, Duration, usize) -> bool;

/// A tracer that always has something to send.
struct Tracer {
    weight: u32,
    /// Time between two of its batches.
    pause: Duration,
    /// Requests that it has at the same time.
    at_once: usize,
}

/// The tracers that are taken, in order, until this many requests are.
fn taken(tracers: &[Tracer], requests: usize, receiver: Box<Receiver>) -> Vec<(usize, Duration)> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    let log = Rc::new(RefCell::new(Vec::new()));
    let receiver = Rc::new(RefCell::new(receiver));
    let shortage: &'static Shortage = Box::leak(Box::default());
    let working = Rc::new(RefCell::new(0));
    let tasks = LocalSet::new();
    let begun = runtime.block_on(async { Instant::now() });
    for (number, tracer) in tracers.iter().enumerate() {
        let (of_all, pause) = (Rc::new(Share::new(tracer.weight)), tracer.pause);
        for _ in 0..tracer.at_once {
            let (log, receiver, working) = (Rc::clone(&log), Rc::clone(&receiver), Rc::clone(&working));
            let share = Rc::clone(&of_all);
            tasks.spawn_local(async move {
                loop {
                    sleep(pause).await;
                    shortage.give_way(&share).await;
                    let (mut turn, mut attempt, mut again) = (None::<Try<'_>>, 0, false);
                    loop {
                        let in_work = *working.borrow();
                        let takes = receiver.borrow_mut()(number, begun.elapsed(), in_work);
                        if takes {
                            *working.borrow_mut() += 1;
                        }
                        sleep(ROUND_TRIP).await;
                        if takes {
                            *working.borrow_mut() -= 1;
                            log.borrow_mut().push((number, begun.elapsed()));
                            shortage.note_delivered(&share, BYTES, again);
                            break;
                        }
                        let waiting = shortage.join(&share, again);
                        again = true;
                        drop(turn.take());
                        match waiting {
                            Some(waiting) => {
                                let own_wait = || async {
                                    let tries = shortage.tries();
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

/// As with the default settings.
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

/// Takes one request each period.
fn one_each(period: Duration) -> Box<Receiver> {
    let mut free = Duration::ZERO;
    Box::new(move |_, now, _| {
        let takes = now >= free;
        if takes {
            free = now + period;
        }
        takes
    })
}

/// Of these tracers none waits longer than for so many requests of others.
fn assert_gaps(taken: &[(usize, Duration)], tracers: impl Iterator<Item = usize>, most: usize) {
    for tracer in tracers {
        let gaps = taken.split(|(number, _)| *number == tracer).map(<[_]>::len);
        let longest = gaps.max().expect("there is a gap");
        let order: Vec<_> = taken.iter().map(|(number, _)| number).collect();
        assert!(
            longest <= most,
            "{longest} requests of others between two of tracer {tracer}: {order:?}"
        );
    }
}

#[test]
fn equal_tracers_take_turns_at_a_receiver_that_takes_one_request_each_second() {
    for count in [2, 3, 10, 100] {
        let taken = taken(&equal(count), 20 * count, one_each(SECOND));
        assert_gaps(&taken, 0..count, 4 * count);
    }
}

#[test]
fn equal_tracers_take_turns_at_a_receiver_that_works_on_so_many_requests_at_once() {
    for (count, at_once) in [(2, 1), (5, 1), (20, 3)] {
        let receiver = move |_, _, working| working < at_once;
        let taken = taken(&equal(count), 50 * count, Box::new(receiver));
        assert_gaps(&taken, 0..count, 8 * count);
        // Fairness leaves no more than two thirds of the capacity unused.
        let (_, last) = taken.last().expect("some are taken");
        let ideal = ROUND_TRIP * u32::try_from(taken.len() / at_once).expect("small");
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
    let taken = taken(&tracers, 200, one_each(SECOND));
    let heavy = taken.iter().filter(|(number, _)| *number == 0).count();
    assert!((140..=160).contains(&heavy), "{heavy} of {}", taken.len());
}

#[test]
fn a_tracer_that_is_refused_for_another_reason_holds_nothing_up() {
    let mut tracers = equal(5);
    for tracer in &mut tracers {
        tracer.pause = SECOND / 10;
    }
    let refused = Rc::new(RefCell::new(0));
    let count = Rc::clone(&refused);
    let taken = taken(
        &tracers,
        4000,
        Box::new(move |number, _, _| {
            *count.borrow_mut() += usize::from(number == 0);
            number != 0
        }),
    );
    // Four tracers with a request each 110 ms.
    let (_, last) = taken.last().expect("some are taken");
    assert!(*last < 120 * SECOND, "{last:?}");
    let refused = *refused.borrow();
    assert!(refused < 40, "it was tried {refused} times in {last:?}");
}

#[test]
fn with_a_tracer_that_is_refused_for_another_reason_the_others_still_take_turns() {
    let mut receiver = one_each(SECOND);
    let taken = taken(
        &equal(6),
        400,
        Box::new(move |number, now, working| number != 0 && receiver(number, now, working)),
    );
    // Until it is known that its refusals are its own, the others are tried now and then.
    assert_gaps(&taken[100..], 1..6, 20);
}

#[test]
fn a_tracer_with_many_requests_at_once_gets_no_more_than_one_with_one() {
    let mut tracers = equal(2);
    tracers[0].at_once = 1000;
    let taken = taken(&tracers, 200, one_each(SECOND));
    let busy = taken.iter().filter(|(number, _)| *number == 0).count();
    assert!((80..=120).contains(&busy), "{busy} of {}", taken.len());
}

#[test]
fn a_try_that_lasts_is_not_waited_for_by_each_request() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let shortage = Shortage::default();
        let (slow, quick) = (Share::new(1), Share::new(1));
        shortage.note_delivered(&quick, BYTES, false);
        let waiting = shortage.join(&slow, false).expect("it was refused once");
        let turn = waiting.turn(std::future::pending::<bool>, back_off);
        let _turn = turn.await.expect("something was taken");
        let begun = Instant::now();
        for _ in 0..100 {
            shortage.give_way(&quick).await;
            shortage.note_delivered(&quick, BYTES, false);
        }
        assert_eq!(begun.elapsed(), GIVES_WAY);
    });
}
