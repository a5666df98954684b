//! Limits on stored data, and the counts of evicted entries.

use serde_json::json;
use tracer_registry_collector::LocalCollector;

use super::client::{call, export, post, span};
use super::span_names;

#[test]
fn the_oldest_spans_of_all_projects_are_evicted_and_counted_per_project() {
    let builder = LocalCollector::builder()
        .project("acme", "key-a")
        .project("bolt", "key-b");
    let collector = builder.max_spans(3).start().unwrap();
    export("key-a", vec![span("a1", 1), span("a2", 2)]).status(&collector);
    export("key-b", vec![span("b1", 3), span("b2", 4)]).status(&collector);
    assert_eq!(span_names(&collector, "acme"), ["a2"]);
    assert_eq!(span_names(&collector, "bolt"), ["b1", "b2"]);
    export("key-b", vec![span("b3", 5), span("b4", 6)]).status(&collector);
    assert_eq!(span_names(&collector, "bolt"), ["b2", "b3", "b4"]);
    let dropped = |name: &str| collector.project(name).unwrap().summary().dropped.spans;
    assert_eq!((dropped("acme"), dropped("bolt")), (2, 1));
}

#[test]
fn the_byte_limit_evicts_the_oldest_entries_of_every_kind() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_bytes(100_000)
        .start()
        .unwrap();
    let session = json!({ "session": { "metadata": { "text": "x".repeat(1000) } } });
    post("/session/start").bearer("key-a").json(&session).status(&collector);
    post("/events")
        .bearer("key-a")
        .json(&json!({ "event": {} }))
        .status(&collector);
    let summary_now = || collector.project("acme").unwrap().summary().clone();
    assert_eq!((summary_now().sessions, summary_now().events), (1, 1));
    for number in 1..=100 {
        export("key-a", vec![span(&"y".repeat(1000), number)]).status(&collector);
    }
    let summary = summary_now();
    assert_eq!((summary.sessions, summary.dropped.sessions), (0, 1));
    assert_eq!((summary.events, summary.dropped.events), (0, 1));
    assert!(summary.spans > 10 && summary.spans < 100, "{summary:?}");
    assert_eq!(summary.spans as u64 + summary.dropped.spans, 100);
}

#[test]
fn a_session_that_grows_beyond_the_byte_limit_is_evicted() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_bytes(50_000)
        .start()
        .unwrap();
    let id = "8d2c7a52-9a4f-4a5e-8f6b-0a9a7e1d3c11";
    for number in 0..100 {
        let body = json!({ "event_id": id, "metadata": { number.to_string(): "z".repeat(500) } });
        assert_eq!(
            call("PUT", "/events").bearer("key-a").json(&body).status(&collector),
            200
        );
    }
    assert!(collector.project("acme").unwrap().summary().dropped.sessions > 0);
}

#[test]
fn the_session_limit_evicts_the_oldest_sessions() {
    let collector = LocalCollector::builder()
        .project("acme", "key-a")
        .max_sessions(2)
        .start()
        .unwrap();
    for name in ["one", "two", "three"] {
        let body = json!({ "session": { "session_name": name } });
        assert_eq!(
            post("/session/start").bearer("key-a").json(&body).status(&collector),
            200
        );
    }
    let project = collector.project("acme").unwrap();
    let names: Vec<_> = project
        .sessions()
        .iter()
        .filter_map(|session| session.name.as_deref())
        .collect();
    assert_eq!((names, project.summary().dropped.sessions), (vec!["two", "three"], 1));
}

#[test]
fn a_key_over_the_project_limit_is_refused_and_counted() {
    let collector = LocalCollector::builder().max_projects(1).start().unwrap();
    assert_eq!(export("key-1", vec![]).status(&collector), 200);
    assert_eq!(export("key-2", vec![]).status(&collector), 503);
    assert_eq!(export("key-1", vec![]).status(&collector), 200);
    assert_eq!((collector.projects().len(), collector.refused_projects()), (1, 1));
    collector.name_project("named", "key-3");
    assert_eq!(export("key-3", vec![]).status(&collector), 200);
}
