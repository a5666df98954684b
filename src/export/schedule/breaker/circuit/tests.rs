//! The table, cell by cell, with a made-up clock; and walks at random.

use proptest::prelude::*;

use super::*;

const PAUSE: Duration = Duration::from_secs(10);

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Closed after `failures` failures; open until `PAUSE` after `now` from the threshold on.
fn failed(now: Instant, failures: u32) -> Circuit {
    let mut circuit = Circuit::default();
    (0..failures).for_each(|_| circuit.fail(now, None, |_| PAUSE));
    circuit
}

fn half_open(now: Instant) -> (Circuit, u64) {
    let mut circuit = failed(now, THRESHOLD);
    match circuit.ask(now + PAUSE) {
        Answer::Probe(probe) => (circuit, probe),
        other => panic!("{other:?}"),
    }
}

#[test]
fn closed_lets_everything_through_until_the_threshold() {
    let now = Instant::now();
    for failures in 0..THRESHOLD {
        let mut circuit = failed(now, failures);
        assert_eq!((circuit.phase, circuit.failures), (Phase::Closed, failures));
        assert_eq!(circuit.ask(now), Answer::Enter);
        circuit.wake_retries();
        circuit.give_up(now, 0);
        assert_eq!(circuit, failed(now, failures), "neither is anything to it");
        circuit.succeed();
        assert_eq!(circuit, Circuit::default());
    }
    let until = now + PAUSE;
    assert_eq!(failed(now, THRESHOLD).phase, Phase::Open { since: now, until });
}

#[test]
fn open_lets_nothing_through_before_its_time_and_then_one() {
    let now = Instant::now();
    let until = now + PAUSE;
    let mut circuit = failed(now, THRESHOLD);
    let before = circuit;
    for moment in [now, after(now, 9_999)] {
        assert_eq!(circuit.ask(moment), Answer::Wait(Wait::Until(until)));
    }
    circuit.fail(now, None, |_| panic!("known already"));
    circuit.fail(now, Some(7), |_| panic!("known already"));
    circuit.give_up(now, 7);
    assert_eq!(circuit, before);
    assert_eq!(circuit.ask(until), Answer::Probe(1));
    assert_eq!(circuit.ask(until), Answer::Wait(Wait::ForTheProbe));
    let mut circuit = before;
    circuit.succeed();
    assert_eq!(circuit.ask(now), Answer::Enter, "of one that was let through earlier");
    assert_eq!(circuit.failures, 0);
}

#[test]
fn half_open_hears_of_its_probe_only_except_that_any_success_closes() {
    let start = Instant::now();
    let now = after(start, 20_000);
    let (half, probe) = half_open(start);
    let mut circuit = half;
    circuit.fail(now, None, |_| panic!("not the probe"));
    circuit.fail(now, Some(probe + 1), |_| panic!("not the probe"));
    circuit.give_up(now, probe + 1);
    assert_eq!(circuit, half);
    assert_eq!(circuit.ask(now), Answer::Wait(Wait::ForTheProbe));

    circuit.fail(now, Some(probe), |openings| PAUSE * (openings + 1));
    let until = now + 2 * PAUSE;
    assert_eq!(
        (circuit.phase, circuit.failures),
        (Phase::Open { since: now, until }, THRESHOLD + 1)
    );

    let mut circuit = half;
    circuit.give_up(now, probe);
    assert_eq!(circuit.failures, THRESHOLD, "nothing was learnt");
    assert_eq!(circuit.ask(now), Answer::Probe(probe + 1));
    circuit.fail(now, Some(probe), |_| panic!("of a probe that gave up"));

    let mut circuit = half;
    circuit.succeed();
    assert_eq!((circuit.phase, circuit.failures), (Phase::Closed, 0));
}

#[test]
fn a_hurry_lets_the_next_probe_go_soon_and_never_later() {
    let now = Instant::now();
    let soon = now + GAP;
    let mut circuit = failed(now, THRESHOLD);
    circuit.wake_retries();
    circuit.wake_retries();
    assert_eq!(
        circuit.phase,
        Phase::Open {
            since: now,
            until: soon
        }
    );
    assert_eq!(circuit.ask(soon), Answer::Probe(1));
    circuit.wake_retries();
    circuit.fail(soon, Some(1), |_| PAUSE);
    assert_eq!(circuit.ask(after(soon, 99)), Answer::Wait(Wait::Until(soon + GAP)));
    assert_eq!(circuit.ask(soon + GAP), Answer::Probe(2));
    circuit.fail(soon + GAP, Some(2), |_| PAUSE);
    let next = soon + GAP + PAUSE;
    assert_eq!(circuit.ask(soon + GAP), Answer::Wait(Wait::Until(next)), "once");

    let mut short = Circuit::default();
    (0..THRESHOLD).for_each(|_| short.fail(now, None, |_| Duration::from_millis(1)));
    short.wake_retries();
    assert_eq!(short.ask(after(now, 1)), Answer::Probe(1));
}

#[test]
fn what_the_receiver_asks_for_is_waited_in_every_state_and_a_hurry_does_not_shorten_it() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    for failures in [0, 1, THRESHOLD] {
        let mut circuit = failed(now, failures);
        circuit.hold(now + hour);
        circuit.hold(after(now, 5));
        circuit.wake_retries();
        assert_eq!(circuit.ask(now), Answer::Wait(Wait::Until(now + hour)));
        circuit.succeed();
        circuit.wake_retries();
        assert_eq!(circuit.wait(now + hour / 2), Some(Wait::Until(now + hour)));
        assert_eq!(circuit.ask(now + hour), Answer::Enter);
        assert_eq!(circuit.asked_until(now + hour), None);
    }
    let (mut circuit, probe) = half_open(now);
    circuit.hold(now + hour);
    circuit.fail(now + PAUSE, Some(probe), |_| PAUSE);
    assert_eq!(circuit.ask(now + 3 * PAUSE), Answer::Wait(Wait::Until(now + hour)));
    assert_eq!(circuit.ask(now + hour), Answer::Probe(probe + 1));
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Succeed(usize),
    Fail(usize),
    GiveUp(usize),
    Wake,
    Hold(u64),
    Pass(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => Just(Step::Ask),
        1 => any::<usize>().prop_map(Step::Succeed),
        6 => any::<usize>().prop_map(Step::Fail),
        1 => any::<usize>().prop_map(Step::GiveUp),
        1 => Just(Step::Wake),
        1 => (0..20_000_u64).prop_map(Step::Hold),
        3 => (0..3000_u64).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..200)
}

proptest! {
    #[test]
    fn whatever_happens_there_is_one_probe_at_a_time_and_nobody_waits_for_ever(steps in steps()) {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        let mut held = now;
        let mut under_way: Vec<Option<u64>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask => match circuit.ask(now) {
                    Answer::Enter => {
                        prop_assert!(now >= held);
                        under_way.push(None);
                    }
                    Answer::Probe(probe) => {
                        prop_assert!(now >= held);
                        prop_assert!(!under_way.contains(&Some(probe)));
                        under_way.push(Some(probe));
                    }
                    Answer::Wait(Wait::Until(until)) => {
                        prop_assert!(now < until && until <= held.max(now + PAUSE));
                    }
                    Answer::Wait(Wait::ForTheProbe) => {
                        let Phase::HalfOpen { probe, .. } = circuit.phase else { panic!("{circuit:?}") };
                        prop_assert!(under_way.contains(&Some(probe)), "it waits for nothing");
                    }
                },
                Step::Succeed(which) if !under_way.is_empty() => {
                    under_way.swap_remove(which % under_way.len());
                    circuit.succeed();
                }
                Step::Fail(which) if !under_way.is_empty() => {
                    let probe = under_way.swap_remove(which % under_way.len());
                    circuit.fail(now, probe, |_| PAUSE);
                }
                Step::GiveUp(which) if !under_way.is_empty() => {
                    if let Some(probe) = under_way.swap_remove(which % under_way.len()) {
                        circuit.give_up(now, probe);
                    }
                }
                Step::Wake => circuit.wake_retries(),
                Step::Hold(millis) => {
                    circuit.hold(after(now, millis));
                    held = held.max(after(now, millis));
                }
                Step::Pass(millis) => now += Duration::from_millis(millis),
                Step::Succeed(_) | Step::Fail(_) | Step::GiveUp(_) => {}
            }
            prop_assert_eq!(circuit.phase != Phase::Closed, circuit.failures >= THRESHOLD);
        }
    }
}
