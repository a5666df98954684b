//! The HTTP API that returns received data.

use serde_json::{Value, json};
use tracer_registry_collector::LocalCollector;

use super::client::{attribute, export, get, post, span, text};
use super::collector;

const ID: &str = "8d2c7a52-9a4f-4a5e-8f6b-0a9a7e1d3c11";

fn read(collector: &LocalCollector, path: &str) -> Value {
    let response = get(path).send(collector).expect("a response");
    assert_eq!(response.status, 200, "{path}");
    response.json()
}

fn filled() -> LocalCollector {
    let collector = collector();
    let mut linked = span("linked", 2);
    linked.attributes = vec![attribute("honeyhive.session_id", text(ID))];
    linked.parent_span_id = vec![1; 8];
    let mut apart = span("apart", 3);
    apart.trace_id = vec![0xcd; 16];
    export("key-a", vec![span("root", 1), linked, apart]).status(&collector);
    let session = json!({ "session": { "session_id": ID, "session_name": "chat" } });
    post("/session/start").bearer("key-a").json(&session).status(&collector);
    post("/events")
        .bearer("key-a")
        .json(&json!({ "event": { "event_name": "e" } }))
        .status(&collector);
    collector
}

#[test]
fn projects_are_listed_with_counts() {
    let collector = filled();
    assert_eq!(read(&collector, "/api/health"), json!({ "status": "ok" }));
    let list = read(&collector, "/api/projects");
    assert_eq!(
        (list["requests_without_key"].as_u64(), list["refused_projects"].as_u64()),
        (Some(0), Some(0))
    );
    let fingerprint = collector.fingerprint("key-a").to_string();
    let acme = json!({
        "name": "acme", "fingerprint": fingerprint, "keys": [fingerprint], "spans": 3, "traces": 2, "sessions": 1,
        "events": 1, "requests": 3, "answers": { "200": 3 }, "rejected_spans": 0, "foreign": 0,
        "duplicate_attributes": 0, "dropped": { "spans": 0, "sessions": 0, "events": 0 },
    });
    assert_eq!(list["projects"][0], acme);
    assert_eq!(read(&collector, "/api/projects/acme"), acme);
    assert_eq!(read(&collector, &format!("/api/projects/{fingerprint}")), acme);
}

#[test]
fn spans_are_returned_in_full_and_can_be_filtered() {
    let collector = filled();
    let names = |query: &str| {
        let response = read(&collector, &format!("/api/projects/acme/spans{query}"));
        let spans = response["spans"].as_array().unwrap().iter();
        spans
            .map(|span| span["name"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(""), ["root", "linked", "apart"]);
    assert_eq!(names("?limit=2"), ["linked", "apart"]);
    assert_eq!(names("?limit=0"), [""; 0]);
    assert_eq!(names(&format!("?session={ID}")), ["linked"]);
    assert_eq!(names(&format!("?trace={}&limit=1", "AB".repeat(16))), ["linked"]);
    let spans = read(&collector, "/api/projects/acme/spans?limit=1");
    assert_eq!(spans["found"], 3);
    let span = &spans["spans"][0];
    assert_eq!(
        (&span["kind"], &span["status"]["code"]),
        (&json!("internal"), &json!("unset"))
    );
    assert_eq!(span["resource"]["attributes"]["service.name"], "shop");
    assert_eq!(
        (&span["scope"]["name"], &span["parent_span_id"]),
        (&json!("scope"), &Value::Null)
    );
}

#[test]
fn sessions_events_and_traces_are_returned() {
    let collector = filled();
    let session = &read(&collector, "/api/projects/acme/sessions")["sessions"][0];
    assert_eq!(
        (&session["id"], &session["origin"], &session["spans"]),
        (&json!(ID), &json!("started"), &json!(1))
    );
    assert_eq!(session["operations"][0]["kind"], "start");
    assert_eq!(read(&collector, "/api/projects/acme/events")["events"][0]["name"], "e");
    let traces = read(&collector, "/api/projects/acme/traces");
    let first = json!({ "trace_id": "ab".repeat(16), "spans": 2, "tree": "root\n└─ linked\n" });
    assert_eq!(traces["traces"][0], first);
    assert_eq!(traces["traces"][1]["tree"], "apart\n");
}

#[test]
fn errors_are_json() {
    let collector = filled();
    for (path, status, what) in [
        ("/api/projects/missing", 404, "missing"),
        ("/api/projects/missing/spans", 404, "missing"),
        ("/api/projects/acme/spans?limit=many", 400, "limit"),
        ("/api/projects/acme/spans?colour=red", 400, "colour"),
        ("/api/projects/acme/other", 404, "other"),
    ] {
        let response = get(path).send(&collector).unwrap();
        assert_eq!(response.status, status, "{path}");
        assert!(response.json()["error"].as_str().unwrap().contains(what), "{path}");
    }
    let response = post("/api/projects").send(&collector).unwrap();
    assert_eq!((response.status, response.header("allow")), (405, Some("GET")));
    assert_eq!(response.json()["error"], "method not allowed: use GET");
}

#[test]
fn the_index_page_describes_the_collector_and_lists_its_paths() {
    let response = get("/").send(&collector()).unwrap();
    assert_eq!(
        (response.status, response.header("content-type")),
        (200, Some("text/plain; charset=utf-8"))
    );
    let text = String::from_utf8(response.body).unwrap();
    for path in ["/v1/traces", "/session/start", "/events", "/api/projects"] {
        assert!(text.contains(path), "{path}");
    }
}
