//! A collector that was told to misbehave.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use serde_json::json;
use tracer_registry_collector::{Endpoint, Fault};

use super::client::{export, post, span};
use super::{PATIENCE, collector, span_names};

#[test]
fn a_rejected_key_is_refused_and_others_are_served() {
    let collector = collector();
    let fault = collector.fault(Fault::reject_key().only("key-a"));
    collector.fault(Fault::status(403).only("key-c"));
    let one = export("key-a", vec![span("one", 1)]);
    assert_eq!((one.status(&collector), one.status(&collector)), (401, 401));
    assert_eq!(export("key-b", vec![span("two", 2)]).status(&collector), 200);
    assert_eq!(export("key-c", vec![span("three", 3)]).status(&collector), 403);
    assert_eq!(collector.fault_hits(fault), 2);
    assert!(span_names(&collector, "acme").is_empty());
    collector.clear_fault(fault);
    assert_eq!(one.status(&collector), 200);
    let answers = collector.project("acme").unwrap().summary().answers.clone();
    assert_eq!(answers.into_iter().collect::<Vec<_>>(), [(200, 1), (401, 2)]);
    assert_eq!(collector.fault_hits(fault), 2);
}

#[test]
fn a_status_is_answered_for_so_many_requests_with_its_header_and_body_and_stores_nothing() {
    let collector = collector();
    collector.fault(Fault::status(429).retry_after("1").times(2));
    collector.fault(Fault::status(503).body("go away").times(1));
    collector.fault(Fault::status(200).times(1));
    let call = export("key-a", vec![span("one", 1)]);
    for _ in 0..2 {
        let answer = call.send(&collector).unwrap();
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
    }
    let answer = call.send(&collector).unwrap();
    assert_eq!(
        (answer.status, answer.header("retry-after"), &answer.body[..]),
        (503, None, &b"go away"[..])
    );
    let answer = call.send(&collector).unwrap();
    assert_eq!((answer.status, answer.body.len()), (200, 0));
    assert!(span_names(&collector, "acme").is_empty());
    assert_eq!(call.status(&collector), 200);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn statuses_that_are_none_are_answered_as_a_fault_of_the_server() {
    let collector = collector();
    for (told, answered) in [(7, 500), (100, 500), (999, 500), (204, 204), (304, 304), (599, 599)] {
        collector.fault(Fault::status(told).times(1));
        assert_eq!(export("key-a", vec![]).status(&collector), answered, "{told}");
    }
}

#[test]
fn a_delay_holds_the_answer_back_and_then_serves() {
    let collector = collector();
    let delay = Duration::from_millis(150);
    collector.fault(Fault::delay(delay).times(1));
    collector.fault(Fault::status(500).after(delay).times(1));
    for status in [200, 500] {
        let begun = Instant::now();
        assert_eq!(export("key-a", vec![span("one", 1)]).status(&collector), status);
        assert!(begun.elapsed() >= delay);
    }
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn a_request_hangs_until_its_fault_is_cleared_while_others_are_served() {
    let collector = collector();
    let fault = collector.fault(Fault::hang().only("key-a").times(1));
    let hanging = export("key-a", vec![span("late", 1)]).begin(&collector).unwrap();
    assert!(collector.wait_until(PATIENCE, |collector| collector.fault_hits(fault) == 1));
    assert_eq!(export("key-a", vec![span("early", 2)]).status(&collector), 200);
    assert_eq!(export("key-b", vec![]).status(&collector), 200);
    assert_eq!(span_names(&collector, "acme"), ["early"]);
    collector.clear_faults();
    assert_eq!(hanging.finish().unwrap().status, 200);
    assert_eq!(span_names(&collector, "acme"), ["early", "late"]);
}

#[test]
fn a_reset_breaks_the_connection_without_an_answer() {
    let collector = collector();
    let fault = collector.fault(Fault::reset().times(1));
    let call = export("key-a", vec![span("one", 1)]);
    assert_eq!(call.send(&collector).unwrap_err().kind(), ErrorKind::ConnectionReset);
    assert_eq!(collector.fault_hits(fault), 1);
    let summary = collector.project("acme").unwrap().summary().clone();
    assert_eq!((summary.requests, summary.answers.len(), summary.spans), (1, 0, 0));
    assert_eq!(call.status(&collector), 200);
}

#[test]
fn a_lost_answer_is_a_reset_after_the_request_was_stored() {
    let collector = collector();
    for delay in [Duration::ZERO, Duration::from_millis(150)] {
        collector.fault(Fault::lose_answer().after(delay).times(1));
        let begun = Instant::now();
        let call = export("key-a", vec![span("one", 1)]).begin(&collector).unwrap();
        assert!(collector.wait_until(PATIENCE, |collector| span_names(collector, "acme") == ["one"]));
        assert_eq!(call.finish().unwrap_err().kind(), ErrorKind::ConnectionReset);
        assert!(begun.elapsed() >= delay);
        assert_eq!(collector.project("acme").unwrap().summary().answers[&200], 1);
        collector.clear();
    }
}

#[test]
fn a_truncated_answer_ends_in_the_middle_of_its_body_after_the_request_was_stored() {
    let collector = collector();
    collector.fault(Fault::truncate().times(1));
    let call = export("key-a", vec![span("one", 1)]);
    assert_eq!(call.send(&collector).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
    assert_eq!(call.status(&collector), 200);
}

#[test]
fn garbage_is_a_success_that_cannot_be_read() {
    let collector = collector();
    collector.fault(Fault::garbage());
    let answer = export("key-a", vec![span("one", 1)]).send(&collector).unwrap();
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/x-protobuf"))
    );
    assert!(<ExportTraceServiceResponse as prost::Message>::decode(&answer.body[..]).is_err());
    let answer = post("/v1/traces")
        .bearer("key-a")
        .json(&json!({}))
        .send(&collector)
        .unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&answer.body).is_err());
    assert!(span_names(&collector, "acme").is_empty());
}

#[test]
fn a_partial_success_refuses_the_first_spans_and_stores_the_others() {
    let collector = collector();
    collector.fault(Fault::partial_success(2).times(1));
    let answer = export("key-a", vec![span("a", 1), span("b", 2), span("c", 3)])
        .send(&collector)
        .unwrap();
    assert_eq!(answer.status, 200);
    let partial = answer.protobuf::<ExportTraceServiceResponse>().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert!(!partial.error_message.is_empty());
    assert_eq!(span_names(&collector, "acme"), ["c"]);
    assert_eq!(collector.project("acme").unwrap().summary().rejected_spans, 2);
}

#[test]
fn a_redirect_says_where_to() {
    let collector = collector();
    collector.fault(Fault::redirect("http://127.0.0.1:1/v1/traces"));
    let answer = export("key-a", vec![span("one", 1)]).send(&collector).unwrap();
    assert_eq!(
        (answer.status, answer.header("location")),
        (307, Some("http://127.0.0.1:1/v1/traces"))
    );
    assert!(span_names(&collector, "acme").is_empty());
}

#[test]
fn a_fault_can_be_kept_to_one_kind_of_call() {
    let collector = collector();
    collector.fault(Fault::status(500).on(Endpoint::Sessions));
    let start = post("/session/start").bearer("key-a").json(&json!({ "session": {} }));
    assert_eq!(start.status(&collector), 500);
    assert_eq!(export("key-a", vec![]).status(&collector), 200);
    let event = post("/events").bearer("key-a").json(&json!({ "event": {} }));
    assert_eq!(event.status(&collector), 200);
}
