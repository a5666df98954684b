//! Effect of attempts on the breakers, and admission.

use std::time::Duration;

use super::*;
use crate::config::ServerErrors;
use crate::export::error::ExportError;
use crate::export::schedule::breaker_status::{BreakerState, BreakerStatus};
use crate::export::send::verdict::Verdict;

/// Returns settings with this pause for all retries.
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

fn fail(chain: BreakerChain<'_>, signal: AttemptSignal, times: u32, retry: &RetrySettings) {
    for _ in 0..times {
        chain.enter().expect("admitted").end(signal, retry);
    }
}

fn is_open(status: BreakerStatus) -> bool {
    matches!(status.state, BreakerState::Open { .. })
}

#[test]
fn each_verdict_maps_to_a_signal() {
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
fn an_unreachable_endpoint_blocks_all_tracers_and_a_failing_tracer_blocks_no_other() {
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
        "the tracer breaker is unchanged"
    );
    for chain in [
        one.chain(RequestKind::SessionEvents),
        other.chain(RequestKind::Spans),
        other.chain(RequestKind::SessionEvents),
    ] {
        assert!(!chain.is_ready() && chain.enter().is_none());
    }
}

#[test]
fn a_tracer_probe_refused_by_the_endpoint_breaker_is_released() {
    let breakers = LaneBreakers::new(Arc::default());
    fail(
        breakers.chain(RequestKind::SessionEvents),
        AttemptSignal::Unreachable,
        4,
        &long(),
    );
    // Without pauses, the breaker admits the next request at once.
    fail(
        breakers.chain(RequestKind::Spans),
        AttemptSignal::Failing,
        3,
        &pauses(Duration::ZERO),
    );
    assert_eq!(breakers.status().endpoint.failures, 0, "the endpoint was reached");
    fail(
        breakers.chain(RequestKind::Spans),
        AttemptSignal::Failing,
        2,
        &pauses(Duration::ZERO),
    );
    fail(
        breakers.chain(RequestKind::SessionEvents),
        AttemptSignal::Unreachable,
        5,
        &long(),
    );
    assert!(
        breakers.chain(RequestKind::Spans).enter().is_none(),
        "the endpoint is open"
    );
    assert!(
        is_open(breakers.status().spans),
        "the tracer breaker has no probe in flight"
    );
}

#[test]
fn there_is_one_probe_and_its_outcome_applies_to_all() {
    let none = pauses(Duration::ZERO);
    let breakers = LaneBreakers::new(Arc::default());
    let chain = breakers.chain(RequestKind::Spans);
    fail(chain, AttemptSignal::Unreachable, 5, &none);
    let probe = chain.enter().expect("the pause is over");
    assert!(chain.enter().is_none() && breakers.chain(RequestKind::SessionEvents).enter().is_none());
    assert_eq!(breakers.status().endpoint.state, BreakerState::HalfOpen);
    drop(probe);
    let probe = chain.enter().expect("the first probe ended without an outcome");
    probe.end(AttemptSignal::AtWork, &none);
    assert_eq!(breakers.status(), Breakers::default());
    let [_one, _other] = [chain.enter(), chain.enter()].map(|entry| entry.expect("closed"));
}

#[test]
fn a_success_and_a_wake_up_notify_waiting_requests() {
    use futures_util::FutureExt;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _inside = runtime.enter();
    let breakers = LaneBreakers::new(Arc::default());
    let chain = breakers.chain(RequestKind::Spans);
    let earlier = chain.enter().expect("closed");
    fail(chain, AttemptSignal::Unreachable, 5, &long());
    let mut waiting = std::pin::pin!(chain.ready());
    assert!(waiting.as_mut().now_or_never().is_none());
    earlier.end(AttemptSignal::Failing, &long());
    assert!(waiting.as_mut().now_or_never().is_some(), "the endpoint was reached");

    fail(chain, AttemptSignal::Unreachable, 5, &long());
    breakers.wake_retries();
    let soon = std::time::Instant::now();
    runtime.block_on(chain.ready());
    assert!(soon.elapsed() < Duration::from_secs(60));
}

#[test]
fn an_answer_closes_the_endpoint_breaker_before_the_verdict_is_known() {
    let endpoint = Arc::new(Breaker::default());
    let [one, other] = [LaneBreakers::new(Arc::clone(&endpoint)), LaneBreakers::new(endpoint)];
    let none = pauses(Duration::ZERO);
    while !is_open(one.status().endpoint) && one.status().endpoint.state != BreakerState::HalfOpen {
        one.chain(RequestKind::Spans)
            .enter()
            .expect("admitted")
            .end(AttemptSignal::Unreachable, &none);
        if one.status().endpoint.failures > 20 {
            break;
        }
    }
    // The probe is answered with 401, and the key source has not answered yet.
    let mut probe = one.chain(RequestKind::Spans).enter().expect("its pause is over");
    assert!(other.chain(RequestKind::Spans).enter().is_none(), "there is one probe");
    probe.note_reached();
    assert!(
        other.chain(RequestKind::Spans).enter().is_some(),
        "the receiver answered"
    );
    probe.end(AttemptSignal::Denying, &none);
    assert_eq!(one.status().endpoint.state, BreakerState::Closed);
}
