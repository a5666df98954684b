//! Injected faults of the collector.

use std::io::ErrorKind;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use serde_json::json;
use tracer_registry_collector::{Endpoint, Fault};

use super::client::{export, post, span};
use super::{PATIENCE, collector, span_names};

#[test]
fn a_fault_for_one_key_leaves_other_keys_served() {
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
    let responses = collector.project("acme").unwrap().summary().answers.clone();
    assert_eq!(responses.into_iter().collect::<Vec<_>>(), [(200, 1), (401, 2)]);
    assert_eq!(collector.fault_hits(fault), 2);
}

#[test]
fn a_status_fault_applies_a_number_of_times_and_stores_nothing() {
    let collector = collector();
    collector.fault(Fault::status(429).retry_after("1").times(2));
    collector.fault(Fault::status(503).body("go away").times(1));
    collector.fault(Fault::status(200).times(1));
    let call = export("key-a", vec![span("one", 1)]);
    for _ in 0..2 {
        let response = call.send(&collector).unwrap();
        assert_eq!((response.status, response.header("retry-after")), (429, Some("1")));
        assert_eq!(response.header("content-type"), Some("application/x-protobuf"));
    }
    let response = call.send(&collector).unwrap();
    assert_eq!(
        (response.status, response.header("retry-after"), &response.body[..]),
        (503, None, &b"go away"[..])
    );
    let response = call.send(&collector).unwrap();
    assert_eq!((response.status, response.body.len()), (200, 0));
    assert!(span_names(&collector, "acme").is_empty());
    assert_eq!(call.status(&collector), 200);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
}

#[test]
fn invalid_status_codes_are_sent_as_500() {
    let collector = collector();
    for (status, answered) in [(7, 500), (100, 500), (999, 500), (204, 204), (304, 304), (599, 599)] {
        collector.fault(Fault::status(status).times(1));
        assert_eq!(export("key-a", vec![]).status(&collector), answered, "{status}");
    }
}

#[test]
fn a_delay_fault_delays_the_response() {
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
fn a_hanging_request_waits_for_its_fault_to_clear_and_blocks_no_others() {
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
fn a_reset_fault_closes_the_connection_without_a_response() {
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
fn a_lost_answer_fault_resets_the_connection_after_storing_the_request() {
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
fn a_truncate_fault_cuts_the_response_body_after_storing_the_request() {
    let collector = collector();
    collector.fault(Fault::truncate().times(1));
    let call = export("key-a", vec![span("one", 1)]);
    assert_eq!(call.send(&collector).unwrap_err().kind(), ErrorKind::UnexpectedEof);
    assert_eq!(span_names(&collector, "acme"), ["one"]);
    assert_eq!(call.status(&collector), 200);
}

#[test]
fn a_garbage_fault_sends_an_undecodable_success_and_stores_nothing() {
    let collector = collector();
    collector.fault(Fault::garbage());
    let response = export("key-a", vec![span("one", 1)]).send(&collector).unwrap();
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("application/x-protobuf"))
    );
    assert!(<ExportTraceServiceResponse as prost::Message>::decode(&response.body[..]).is_err());
    let response = post("/v1/traces")
        .bearer("key-a")
        .json(&json!({}))
        .send(&collector)
        .unwrap();
    assert!(serde_json::from_slice::<serde_json::Value>(&response.body).is_err());
    assert!(span_names(&collector, "acme").is_empty());
}

#[test]
fn a_partial_success_fault_rejects_the_first_spans_and_stores_the_others() {
    let collector = collector();
    collector.fault(Fault::partial_success(2).times(1));
    let response = export("key-a", vec![span("a", 1), span("b", 2), span("c", 3)])
        .send(&collector)
        .unwrap();
    assert_eq!(response.status, 200);
    let partial = response
        .protobuf::<ExportTraceServiceResponse>()
        .partial_success
        .unwrap();
    assert_eq!(partial.rejected_spans, 2);
    assert!(!partial.error_message.is_empty());
    assert_eq!(span_names(&collector, "acme"), ["c"]);
    assert_eq!(collector.project("acme").unwrap().summary().rejected_spans, 2);
}

#[test]
fn a_redirect_fault_sends_307_with_the_location() {
    let collector = collector();
    collector.fault(Fault::redirect("http://127.0.0.1:1/v1/traces"));
    let response = export("key-a", vec![span("one", 1)]).send(&collector).unwrap();
    assert_eq!(
        (response.status, response.header("location")),
        (307, Some("http://127.0.0.1:1/v1/traces"))
    );
    assert!(span_names(&collector, "acme").is_empty());
}

#[test]
fn a_fault_can_be_limited_to_one_endpoint() {
    let collector = collector();
    collector.fault(Fault::status(500).on(Endpoint::Sessions));
    let start = post("/session/start").bearer("key-a").json(&json!({ "session": {} }));
    assert_eq!(start.status(&collector), 500);
    assert_eq!(export("key-a", vec![]).status(&collector), 200);
    let event = post("/events").bearer("key-a").json(&json!({ "event": {} }));
    assert_eq!(event.status(&collector), 200);
}
