//! The state table cell by cell, with a simulated clock, and random walks.

use proptest::prelude::*;

use super::*;

const PAUSE: Duration = Duration::from_secs(10);

fn after(start: Instant, millis: u64) -> Instant {
    start + Duration::from_millis(millis)
}

/// Returns a circuit after `failures` failures at `now`: closed below the threshold, otherwise open
/// for `PAUSE`.
fn failed(now: Instant, failures: u32) -> Circuit {
    let mut circuit = Circuit::default();
    (0..failures).for_each(|_| circuit.fail(now, None, |_| PAUSE));
    circuit
}

fn half_open(now: Instant) -> (Circuit, u64) {
    let mut circuit = failed(now, THRESHOLD);
    match circuit.try_enter(now + PAUSE) {
        Decision::Probe(probe) => (circuit, probe),
        other => panic!("{other:?}"),
    }
}

#[test]
fn closed_admits_everything_until_the_threshold() {
    let now = Instant::now();
    for failures in 0..THRESHOLD {
        let mut circuit = failed(now, failures);
        assert_eq!((circuit.phase, circuit.failures), (Phase::Closed, failures));
        assert_eq!(circuit.try_enter(now), Decision::Enter);
        circuit.wake_retries();
        circuit.give_up(now, 0);
        assert_eq!(
            circuit,
            failed(now, failures),
            "wake-ups and abandoned probes change nothing"
        );
        circuit.succeed();
        assert_eq!(circuit, Circuit::default());
    }
    let until = now + PAUSE;
    assert_eq!(failed(now, THRESHOLD).phase, Phase::Open { since: now, until });
}

#[test]
fn open_admits_nothing_during_its_pause_and_then_one_probe() {
    let now = Instant::now();
    let until = now + PAUSE;
    let mut circuit = failed(now, THRESHOLD);
    let before = circuit;
    for moment in [now, after(now, 9_999)] {
        assert_eq!(circuit.try_enter(moment), Decision::Wait(Wait::Until(until)));
    }
    circuit.fail(now, None, |_| panic!("already open"));
    circuit.fail(now, Some(7), |_| panic!("already open"));
    circuit.give_up(now, 7);
    assert_eq!(circuit, before);
    assert_eq!(circuit.try_enter(until), Decision::Probe(1));
    assert_eq!(circuit.try_enter(until), Decision::Wait(Wait::ForProbe));
    let mut circuit = before;
    circuit.succeed();
    assert_eq!(
        circuit.try_enter(now),
        Decision::Enter,
        "a late success closes the breaker"
    );
    assert_eq!(circuit.failures, 0);
}

#[test]
fn half_open_reacts_to_its_probe_and_to_any_success() {
    let start = Instant::now();
    let now = after(start, 20_000);
    let (half, probe) = half_open(start);
    let mut circuit = half;
    circuit.fail(now, None, |_| panic!("not the probe"));
    circuit.fail(now, Some(probe + 1), |_| panic!("not the probe"));
    circuit.give_up(now, probe + 1);
    assert_eq!(circuit, half);
    assert_eq!(circuit.try_enter(now), Decision::Wait(Wait::ForProbe));

    circuit.fail(now, Some(probe), |openings| PAUSE * (openings + 1));
    let until = now + 2 * PAUSE;
    assert_eq!(
        (circuit.phase, circuit.failures),
        (Phase::Open { since: now, until }, THRESHOLD + 1)
    );

    let mut circuit = half;
    circuit.give_up(now, probe);
    assert_eq!(circuit.failures, THRESHOLD, "an abandoned probe is no failure");
    assert_eq!(circuit.try_enter(now), Decision::Probe(probe + 1));
    circuit.fail(now, Some(probe), |_| panic!("the probe was abandoned"));

    let mut circuit = half;
    circuit.succeed();
    assert_eq!((circuit.phase, circuit.failures), (Phase::Closed, 0));
}

#[test]
fn a_wake_up_allows_a_probe_sooner_and_never_later() {
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
    assert_eq!(circuit.try_enter(soon), Decision::Probe(1));
    circuit.wake_retries();
    circuit.fail(soon, Some(1), |_| PAUSE);
    assert_eq!(
        circuit.try_enter(after(soon, 99)),
        Decision::Wait(Wait::Until(soon + GAP))
    );
    assert_eq!(circuit.try_enter(soon + GAP), Decision::Probe(2));
    circuit.fail(soon + GAP, Some(2), |_| PAUSE);
    let next = soon + GAP + PAUSE;
    assert_eq!(
        circuit.try_enter(soon + GAP),
        Decision::Wait(Wait::Until(next)),
        "a wake-up counts once"
    );

    let mut short = Circuit::default();
    (0..THRESHOLD).for_each(|_| short.fail(now, None, |_| Duration::from_millis(1)));
    short.wake_retries();
    assert_eq!(short.try_enter(after(now, 1)), Decision::Probe(1));
}

#[test]
fn a_requested_wait_applies_in_every_state_and_wake_ups_do_not_shorten_it() {
    let now = Instant::now();
    let hour = Duration::from_secs(3600);
    for failures in [0, 1, THRESHOLD] {
        let mut circuit = failed(now, failures);
        circuit.hold(now + hour);
        circuit.hold(after(now, 5));
        circuit.wake_retries();
        assert_eq!(circuit.try_enter(now), Decision::Wait(Wait::Until(now + hour)));
        circuit.succeed();
        circuit.wake_retries();
        assert_eq!(circuit.wait(now + hour / 2), Some(Wait::Until(now + hour)));
        assert_eq!(circuit.try_enter(now + hour), Decision::Enter);
        assert_eq!(circuit.asked_until(now + hour), None);
    }
    let (mut circuit, probe) = half_open(now);
    circuit.hold(now + hour);
    circuit.fail(now + PAUSE, Some(probe), |_| PAUSE);
    assert_eq!(
        circuit.try_enter(now + 3 * PAUSE),
        Decision::Wait(Wait::Until(now + hour))
    );
    assert_eq!(circuit.try_enter(now + hour), Decision::Probe(probe + 1));
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
    fn there_is_one_probe_at_a_time_and_no_request_waits_forever(steps in steps()) {
        let mut now = Instant::now();
        let mut circuit = Circuit::default();
        let mut held = now;
        let mut in_flight: Vec<Option<u64>> = Vec::new();
        for step in steps {
            match step {
                Step::Ask => match circuit.try_enter(now) {
                    Decision::Enter => {
                        prop_assert!(now >= held);
                        in_flight.push(None);
                    }
                    Decision::Probe(probe) => {
                        prop_assert!(now >= held);
                        prop_assert!(!in_flight.contains(&Some(probe)));
                        in_flight.push(Some(probe));
                    }
                    Decision::Wait(Wait::Until(until)) => {
                        prop_assert!(now < until && until <= held.max(now + PAUSE));
                    }
                    Decision::Wait(Wait::ForProbe) => {
                        let Phase::HalfOpen { probe, .. } = circuit.phase else { panic!("{circuit:?}") };
                        prop_assert!(in_flight.contains(&Some(probe)), "waits for a probe that is not in flight");
                    }
                },
                Step::Succeed(which) if !in_flight.is_empty() => {
                    in_flight.swap_remove(which % in_flight.len());
                    circuit.succeed();
                }
                Step::Fail(which) if !in_flight.is_empty() => {
                    let probe = in_flight.swap_remove(which % in_flight.len());
                    circuit.fail(now, probe, |_| PAUSE);
                }
                Step::GiveUp(which) if !in_flight.is_empty() => {
                    if let Some(probe) = in_flight.swap_remove(which % in_flight.len()) {
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
