//! Clients of vendors, for Python.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use tracer_registry_collector::{Project, SessionOrigin, Span, StatusCode};

use crate::clients::setup::{Ended, Running, TENANTS, World, token};

/// Variables of a client for the address of the gateway, a tenant and a token.
type Variables = fn(&str, &str, &str) -> Vec<(&'static str, String)>;

/// A program, its variables, the backend of its tenant, and lines for the table of its caller.
type Client = (&'static str, Variables, &'static str, &'static str);

const HONEYHIVE_JSON: Client = ("honeyhive_client.py", honeyhive, "honeyhive", "");

const HONEYHIVE_PROTOBUF: Client = (
    "honeyhive_client.py",
    |url, tenant, token| {
        let mut variables = honeyhive(url, tenant, token);
        variables.push(("HH_OTLP_PROTOCOL", "http/protobuf".to_owned()));
        variables
    },
    "honeyhive",
    "",
);

fn honeyhive(url: &str, _: &str, token: &str) -> Vec<(&'static str, String)> {
    vec![("HH_API_URL", url.to_owned()), ("HH_API_KEY", token.to_owned())]
}

const LANGFUSE: Client = (
    "langfuse_client.py",
    |url, tenant, token| {
        vec![
            ("LANGFUSE_BASE_URL", url.to_owned()),
            ("LANGFUSE_PUBLIC_KEY", format!("pk-lf-{tenant}")),
            ("LANGFUSE_SECRET_KEY", token.to_owned()),
        ]
    },
    "otlp",
    "basic = \"password\"",
);

const LOGFIRE: Client = (
    "logfire_client.py",
    |url, _, token| {
        vec![
            ("LOGFIRE_BASE_URL", url.to_owned()),
            ("LOGFIRE_TOKEN", token.to_owned()),
            ("LOGFIRE_CONSOLE", "false".to_owned()),
        ]
    },
    "otlp",
    "",
);

const TRACELOOP: Client = (
    "traceloop_client.py",
    |url, _, token| {
        vec![
            ("TRACELOOP_BASE_URL", url.to_owned()),
            ("TRACELOOP_API_KEY", token.to_owned()),
        ]
    },
    "otlp",
    "",
);

/// Starts a program with a token, and a path after the address of the gateway.
fn start(world: &World, (program, variables, ..): Client, path: &str, tenant: &str, token: &str) -> Running {
    let variables = variables(&format!("http://{}{path}", world.http), tenant, token);
    let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, &**value)).collect();
    world.run(&[program], tenant, &variables)
}

fn start_all(world: &World, client: Client) -> [Running; 2] {
    TENANTS.map(|tenant| start(world, client, "", tenant, &token(tenant)))
}

/// A name, the name of its parent, and how often both occur.
type Edge = (&'static str, &'static str, usize);

/// Asserts that the spans of a project are those of two traces with these names, and that all are
/// of the tenant.
fn check_tree(spans: &[&Span], tenant: &str, edges: &[Edge]) {
    let by_id: BTreeMap<&str, &Span> = spans.iter().map(|span| (&*span.span_id, *span)).collect();
    assert_eq!(by_id.len(), spans.len(), "a span arrived twice");
    let mut found = BTreeMap::new();
    let mut parents = BTreeSet::new();
    for span in spans {
        assert_eq!(span.resource.attributes["service.name"], tenant, "{span:?}");
        let parent = span.parent_span_id.as_deref().map(|id| by_id[id]);
        if let Some(parent) = parent {
            assert_eq!(span.trace_id, parent.trace_id, "{span:?}");
            assert!(parent.start_unix_nanos <= span.start_unix_nanos, "{span:?}");
        }
        if span.name.starts_with("step") {
            assert!(parents.insert(parent.map(|parent| &parent.span_id)), "{span:?}");
        }
        let names = (&*span.name, parent.map_or("", |parent| &*parent.name));
        *found.entry(names).or_insert(0) += 1;
    }
    let edges: BTreeMap<_, _> = edges
        .iter()
        .map(|&(name, parent, count)| ((name, parent), count))
        .collect();
    assert_eq!(found, edges);
    let traces: BTreeSet<&str> = spans.iter().map(|span| &*span.trace_id).collect();
    assert_eq!(traces.len(), 2);
}

/// Returns an attribute that a client wrote as JSON.
fn parsed(span: &Span, attribute: &str) -> Value {
    let text = span.attributes[attribute].as_str().expect("a text");
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn check_honeyhive(project: &Project, tenant: &str, printed: &str) {
    let spans: Vec<&Span> = project.spans().iter().map(|span| &**span).collect();
    let edges = [
        ("answer", "", 1),
        ("search", "answer", 1),
        ("rank", "search", 1),
        ("read", "answer", 1),
        // This client records a failure as a further span.
        ("read_error", "answer", 1),
        ("task", "answer", 24),
        ("step", "task", 24),
        ("report", "", 1),
    ];
    check_tree(&spans, tenant, &edges);
    let [session] = project.sessions() else {
        panic!("one session: {:?}", project.sessions())
    };
    assert_eq!(printed, format!("{}\n", session.id));
    assert_eq!(
        (session.origin, session.name.as_deref()),
        (SessionOrigin::Started, Some("chat"))
    );
    assert_eq!(session.source.as_deref(), Some("production"));
    assert_eq!(json!(session.metadata), json!({ "plan": "grüße" }));
    assert_eq!(json!(session.metrics), json!({ "score": 1.5 }));
    assert_eq!(json!(session.outputs), json!({ "answer": "done" }));
    assert_eq!(json!(session.user_properties), json!({ "user_id": "7" }));
    for span in &spans {
        assert_eq!(span.session_id.as_deref(), Some(&*session.id), "{span:?}");
        assert_eq!(span.attributes["honeyhive.source"], "production", "{span:?}");
    }
    let rank = project.span_named("rank").expect("it is in the tree");
    assert_eq!(rank.attributes["honeyhive_event_type"], "model");
    assert_eq!(rank.attributes["honeyhive_inputs.question"], "what? 🌍");
    assert_eq!(
        rank.attributes["honeyhive_outputs.result.whole"],
        9_007_199_254_740_993_i64
    );
    let search = project.span_named("search").expect("it is in the tree");
    assert_eq!(search.attributes["honeyhive_metadata.texts.1"], "ü");
    assert_eq!(search.attributes["honeyhive_metrics.score"], 0.1);
    let read = project.span_named("read").expect("it is in the tree");
    assert_eq!(
        (read.status.code, &*read.status.message),
        (StatusCode::Error, "ValueError: no such page: ☃")
    );
}

fn check_logfire(project: &Project, tenant: &str, printed: &str) {
    assert_eq!(printed, "");
    let pending = |span: &Span| span.attributes["logfire.span_type"] == "pending_span";
    let spans: Vec<&Span> = project
        .spans()
        .iter()
        .map(|span| &**span)
        .filter(|span| !pending(span))
        .collect();
    let edges = [
        ("answer", "", 1),
        ("search", "answer", 1),
        ("ranked {hits} pages", "search", 1),
        ("read", "search", 1),
        ("task", "answer", 24),
        ("step", "task", 24),
        ("report", "", 1),
    ];
    check_tree(&spans, tenant, &edges);
    // A span that takes longer than a batch is also sent when it starts.
    for span in project.spans().iter().filter(|span| pending(span)) {
        assert_eq!(span.resource.attributes["service.name"], tenant, "{span:?}");
        let parent = spans
            .iter()
            .find(|parent| Some(&parent.span_id) == span.parent_span_id.as_ref());
        assert_eq!(parent.map(|parent| &parent.name), Some(&span.name));
    }
    let one = |name| *spans.iter().find(|span| span.name == name).expect("it is in the tree");
    let answer = one("answer");
    assert_eq!(answer.attributes["logfire.msg"], "answer what? 🌍");
    assert_eq!(answer.attributes["logfire.tags"], json!(["ü"]));
    let search = one("search");
    assert_eq!(search.attributes["whole"], 9_007_199_254_740_993_i64);
    assert_eq!(
        (&search.attributes["fraction"], &search.attributes["yes"]),
        (&json!(0.1), &json!(true))
    );
    assert_eq!(parsed(search, "texts"), json!(["a", "ü"]));
    assert_eq!(one("ranked {hits} pages").attributes["logfire.msg"], "ranked 3 pages");
    let read = one("read");
    assert_eq!(
        (read.status.code, &*read.status.message),
        (StatusCode::Error, "ValueError: no such page: ☃")
    );
    assert_eq!(read.events[0].attributes["exception.message"], "no such page: ☃");
}

fn check_langfuse(project: &Project, tenant: &str, printed: &str) {
    assert_eq!(printed, "");
    let spans: Vec<&Span> = project.spans().iter().map(|span| &**span).collect();
    let edges = [
        ("answer", "", 1),
        ("search", "answer", 1),
        ("rank", "search", 1),
        ("read", "search", 1),
        ("task", "answer", 24),
        ("step", "task", 24),
        ("report", "", 1),
    ];
    check_tree(&spans, tenant, &edges);
    for span in spans.iter().filter(|span| span.name != "report") {
        assert_eq!(
            (&span.attributes["session.id"], &span.attributes["user.id"]),
            (&json!("chat"), &json!("7"))
        );
        assert_eq!(span.attributes["langfuse.trace.tags"], json!(["a", "ü"]));
        assert_eq!(parsed(span, "langfuse.trace.metadata.plan"), "grüße");
    }
    let rank = project.span_named("rank").expect("it is in the tree");
    assert_eq!(rank.attributes["langfuse.observation.type"], "generation");
    assert_eq!(rank.attributes["langfuse.observation.model.name"], "ranker");
    assert_eq!(rank.attributes["langfuse.observation.output"], "ü");
    let question = json!([{ "role": "user", "content": "what? 🌍" }]);
    assert_eq!(parsed(rank, "langfuse.observation.input"), question);
    assert_eq!(
        parsed(rank, "langfuse.observation.usage_details"),
        json!({ "input": 12, "output": 3 })
    );
    let read = project.span_named("read").expect("it is in the tree");
    assert_eq!(
        (read.status.code, &*read.status.message),
        (StatusCode::Error, "no such page: ☃")
    );
    assert_eq!(read.attributes["langfuse.observation.level"], "ERROR");
}

fn check_traceloop(project: &Project, tenant: &str, printed: &str) {
    assert!(printed.contains("Traceloop exporting traces to"), "{printed}");
    let spans: Vec<&Span> = project.spans().iter().map(|span| &**span).collect();
    let edges = [
        ("answer.workflow", "", 1),
        ("search.tool", "answer.workflow", 1),
        ("read.task", "search.tool", 1),
        ("think.agent", "answer.workflow", 24),
        ("step.task", "think.agent", 24),
        ("report.workflow", "", 1),
    ];
    check_tree(&spans, tenant, &edges);
    for span in spans.iter().filter(|span| span.name != "report.workflow") {
        assert_eq!(
            span.attributes["traceloop.association.properties.plan"], "grüße",
            "{span:?}"
        );
        assert_eq!(span.attributes["traceloop.workflow.name"], "answer", "{span:?}");
    }
    let search = project.span_named("search.tool").expect("it is in the tree");
    assert_eq!(search.attributes["traceloop.span.kind"], "tool");
    let found = json!({ "texts": ["a", "ü"], "whole": 9_007_199_254_740_993_i64 });
    assert_eq!(parsed(search, "traceloop.entity.output"), found);
    let read = project.span_named("read.task").expect("it is in the tree");
    assert_eq!(
        (read.status.code, &*read.status.message),
        (StatusCode::Error, "no such page: ☃")
    );
    assert_eq!(read.events[0].attributes["exception.type"], "ValueError");
}

/// Asserts what a client sent and printed for a tenant.
type Check = fn(&Project, &str, &str);

/// Runs a program for all tenants at once, and checks the project of each.
fn each_tenant_gets_its_traces(client: Client, check: Check) {
    let mut world = World::start(client.2, client.3);
    let printed = start_all(&world, client).map(Running::succeed);
    assert_eq!(world.stop(), "");
    for (tenant, printed) in TENANTS.into_iter().zip(printed) {
        check(&world.collector.project(tenant).expect("created"), tenant, &printed);
    }
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn honeyhive_in_json() {
    each_tenant_gets_its_traces(HONEYHIVE_JSON, check_honeyhive);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn honeyhive_in_protobuf() {
    each_tenant_gets_its_traces(HONEYHIVE_PROTOBUF, check_honeyhive);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn langfuse() {
    each_tenant_gets_its_traces(LANGFUSE, check_langfuse);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn logfire() {
    each_tenant_gets_its_traces(LOGFIRE, check_logfire);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn traceloop() {
    each_tenant_gets_its_traces(TRACELOOP, check_traceloop);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn the_address_that_a_client_knows_may_name_the_tenant() {
    let clients: [(Client, Check); 3] = [
        (HONEYHIVE_JSON, check_honeyhive),
        (LANGFUSE, check_langfuse),
        (TRACELOOP, check_traceloop),
    ];
    for (client, check) in clients {
        let mut world = World::start(client.2, client.3);
        let printed = start(&world, client, "/t/globex", "globex", &token("globex")).succeed();
        // The caller may not address another tenant.
        let refused = start(&world, client, "/t/acme", "globex", &token("globex")).end();
        assert_eq!(refused.code, Some(0), "{}", refused.stderr);
        assert!(world.stop().contains("refused with 403"));
        check(&world.collector.project("globex").expect("created"), "globex", &printed);
        assert!(world.collector.project("acme").expect("created").spans().is_empty());
    }
}

/// Runs a program for all tenants while the gateway answers 503 at first, and checks the project
/// of each.
fn spans_arrive_after_503(client: Client, check: Check) {
    let mut world = World::without_keys(client.2, client.3);
    let running = start_all(&world, client);
    world.wait_for_log("refused with 503");
    world.write_keys();
    let ended = running.map(Running::end);
    let log = world.stop();
    for (tenant, Ended { code, stdout, stderr }) in TENANTS.into_iter().zip(ended) {
        assert_eq!(code, Some(0), "{stderr}\n{log}");
        check(&world.collector.project(tenant).expect("created"), tenant, &stdout);
    }
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn clients_of_vendors_send_again_after_503() {
    spans_arrive_after_503(LANGFUSE, check_langfuse);
    spans_arrive_after_503(LOGFIRE, check_logfire);
    // HoneyHive's client sends sessions once, and spans in JSON too.
    spans_arrive_after_503(HONEYHIVE_PROTOBUF, |project, _, _| {
        assert_eq!(project.spans().len(), 54);
    });
    spans_arrive_after_503(TRACELOOP, check_traceloop);
}

#[test]
#[ignore = "needs Python and the clients of tests/clients: run tests/clients/run"]
fn clients_of_vendors_report_an_unknown_token() {
    let not_exported = "Failed to export spans batch code: 401, reason: Unauthorized";
    let no_session = "Session creation failed (401";
    for (client, messages) in [
        (
            HONEYHIVE_JSON,
            [no_session, "OTLP JSON export failed with status 401"].as_slice(),
        ),
        (HONEYHIVE_PROTOBUF, &[no_session, not_exported]),
        (LANGFUSE, &[not_exported]),
        (LOGFIRE, &["Logfire API returned status code 401", not_exported]),
        (TRACELOOP, &[not_exported]),
    ] {
        let mut world = World::start(client.2, client.3);
        let Ended { code, stdout, stderr } = start(&world, client, "", "acme", "hh_an-unknown-token").end();
        let printed = stdout + &stderr;
        assert_eq!(code, Some(0), "{printed}");
        for message in messages {
            assert!(printed.contains(message), "{message}: {printed}");
        }
        assert!(world.stop().contains("refused with 401"));
        let project = world.collector.project("acme").expect("created");
        assert!(project.spans().is_empty() && project.sessions().is_empty());
    }
}
