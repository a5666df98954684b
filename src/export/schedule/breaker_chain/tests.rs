//! What an attempt tells which breaker, and who is let through.

use std::time::Duration;

use super::*;
use crate::config::ServerErrors;
use crate::export::error::ExportError;
use crate::export::schedule::breaker_status::{BreakerState, BreakerStatus};
use crate::export::send::verdict::Verdict;

/// Pauses that no test waits for, or none at all.
fn pauses(longest: Duration) -> RetrySettings {
    RetrySettings {
        initial_backoff: longest,
        max_backoff: longest,
        max_elapsed: longest * 4,
        max_retry_after: longest,
        server_errors: ServerErrors::default(),
    }
}

fn long() -> RetrySettings {
    pauses(Duration::from_secs(600))
}

fn fail(gate: BreakerChain<'_>, signal: AttemptSignal, times: u32, retry: &RetrySettings) {
    for _ in 0..times {
        gate.enter().expect("let through").end(signal, retry);
    }
}

fn is_open(status: BreakerStatus) -> bool {
    matches!(status.state, BreakerState::Open { .. })
}

#[test]
fn each_outcome_tells_what_the_table_says() {
    let error = || ExportError::Connection {
        url: "http://collector.test".into(),
        reason: "broken".into(),
    };
    let status = |status| ExportError::Status {
        url: "http://collector.test".into(),
        status,
        message: None,
        retry_after: None,
    };
    let repeat = |error, after| Verdict::Retry { after, error };
    let drop = |reason, code| Verdict::Drop {
        reason,
        error: status(code),
    };
    let refuse = |reason, code| Verdict::Refuse {
        reason,
        error: status(code),
    };
    let now = Some(Duration::ZERO);
    for (verdict, connected, expected) in [
        (repeat(error(), None), false, AttemptSignal::Unreachable),
        (repeat(error(), None), true, AttemptSignal::Failing),
        (repeat(status(408), None), true, AttemptSignal::Failing),
        (repeat(status(500), None), true, AttemptSignal::Failing),
        (repeat(status(503), None), true, AttemptSignal::Failing),
        (repeat(status(503), now), true, AttemptSignal::AtWork),
        (repeat(status(429), now), true, AttemptSignal::AtWork),
        (repeat(status(429), None), true, AttemptSignal::AtWork),
        (Verdict::Deny { error: status(401) }, true, AttemptSignal::Denying),
        (drop(DropReason::Refused, 301), true, AttemptSignal::AtWork),
        (refuse(DropReason::TooLarge, 413), true, AttemptSignal::AtWork),
        (
            Verdict::Delivered {
                rejected: 1,
                warning: None,
            },
            true,
            AttemptSignal::AtWork,
        ),
    ] {
        assert_eq!(verdict.signal(connected), expected, "{verdict:?}");
    }
}

#[test]
fn an_endpoint_that_cannot_be_reached_stops_all_its_tracers_and_nobody_treated_badly_stops_another() {
    let endpoint = Arc::new(Breaker::default());
    let [one, other] = [LaneBreakers::new(Arc::clone(&endpoint)), LaneBreakers::new(endpoint)];
    fail(one.chain(RequestKind::Spans), AttemptSignal::Failing, 5, &long());
    assert!(is_open(one.status().spans) && one.chain(RequestKind::Spans).enter().is_none());
    assert!(one.chain(RequestKind::SessionEvents).is_ready() && other.chain(RequestKind::Spans).is_ready());
    assert_eq!(other.status(), Breakers::default());
    fail(other.chain(RequestKind::Spans), AttemptSignal::Unreachable, 5, &long());
    assert!(is_open(one.status().endpoint));
    assert_eq!(
        other.status().spans,
        BreakerStatus::default(),
        "nothing was learnt of it"
    );
    for gate in [
        one.chain(RequestKind::SessionEvents),
        other.chain(RequestKind::Spans),
        other.chain(RequestKind::SessionEvents),
    ] {
        assert!(!gate.is_ready() && gate.enter().is_none());
    }
}

#[test]
fn a_tracers_probe_that_the_endpoint_stops_is_given_back() {
    let gates = LaneBreakers::new(Arc::default());
    fail(
        gates.chain(RequestKind::SessionEvents),
        AttemptSignal::Unreachable,
        4,
        &long(),
    );
    // It goes on at once where there are no pauses.
    fail(
        gates.chain(RequestKind::Spans),
        AttemptSignal::Failing,
        3,
        &pauses(Duration::ZERO),
    );
    assert_eq!(gates.status().endpoint.failures, 0, "it was reached");
    fail(
        gates.chain(RequestKind::Spans),
        AttemptSignal::Failing,
        2,
        &pauses(Duration::ZERO),
    );
    fail(
        gates.chain(RequestKind::SessionEvents),
        AttemptSignal::Unreachable,
        5,
        &long(),
    );
    assert!(
        gates.chain(RequestKind::Spans).enter().is_none(),
        "the endpoint is open"
    );
    assert!(
        is_open(gates.status().spans),
        "and no probe is under way that nobody made"
    );
}

#[test]
fn there_is_one_probe_and_what_becomes_of_it_is_for_all() {
    let none = pauses(Duration::ZERO);
    let gates = LaneBreakers::new(Arc::default());
    let gate = gates.chain(RequestKind::Spans);
    fail(gate, AttemptSignal::Unreachable, 5, &none);
    let probe = gate.enter().expect("its pause is over");
    assert!(gate.enter().is_none() && gates.chain(RequestKind::SessionEvents).enter().is_none());
    assert_eq!(gates.status().endpoint.state, BreakerState::HalfOpen);
    drop(probe);
    let probe = gate.enter().expect("that one ended without an outcome");
    probe.end(AttemptSignal::AtWork, &none);
    assert_eq!(gates.status(), Breakers::default());
    let [_one, _other] = [gate.enter(), gate.enter()].map(|entry| entry.expect("closed"));
}

#[test]
fn who_waits_hears_of_a_success_and_of_a_hurry() {
    use futures_util::FutureExt;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let gates = LaneBreakers::new(Arc::default());
    let gate = gates.chain(RequestKind::Spans);
    let earlier = gate.enter().expect("closed");
    fail(gate, AttemptSignal::Unreachable, 5, &long());
    let mut waiting = std::pin::pin!(gate.ready());
    assert!(waiting.as_mut().now_or_never().is_none());
    earlier.end(AttemptSignal::Failing, &long());
    assert!(waiting.as_mut().now_or_never().is_some(), "it was reached");

    fail(gate, AttemptSignal::Unreachable, 5, &long());
    gates.wake_retries();
    let soon = std::time::Instant::now();
    runtime.block_on(gate.ready());
    assert!(soon.elapsed() < Duration::from_secs(60));
}

#[test]
fn an_answer_frees_the_endpoint_before_it_is_known_what_it_means_for_the_tracer() {
    let endpoint = Arc::new(Breaker::default());
    let [one, other] = [LaneBreakers::new(Arc::clone(&endpoint)), LaneBreakers::new(endpoint)];
    let none = pauses(Duration::ZERO);
    while !is_open(one.status().endpoint) && one.status().endpoint.state != BreakerState::HalfOpen {
        one.chain(RequestKind::Spans)
            .enter()
            .expect("let through")
            .end(AttemptSignal::Unreachable, &none);
        if one.status().endpoint.failures > 20 {
            break;
        }
    }
    // The probe is answered, with 401, and its tracer's source takes its time.
    let mut probe = one.chain(RequestKind::Spans).enter().expect("its pause is over");
    assert!(other.chain(RequestKind::Spans).enter().is_none(), "there is one probe");
    probe.reached();
    assert!(
        other.chain(RequestKind::Spans).enter().is_some(),
        "the receiver answered"
    );
    probe.end(AttemptSignal::Denying, &none);
    assert_eq!(one.status().endpoint.state, BreakerState::Closed);
}
