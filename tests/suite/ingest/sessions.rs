//! Requests of clients to the session API.

use std::time::Duration;

use serde_json::{Value, json};
use tracer_registry::Enrichment;
use tracer_registry::config::{BackendName, Export, Limits, Protocol};
use tracer_registry::ingest::{IngestError, SessionCall, SessionRequest};
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry_collector::{Fault, SessionOrigin};
use uuid::Uuid;

use super::{now, world};
use crate::support::{World, binding, quick};

const ID: Uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);

fn read(call: &SessionCall, body: &Value) -> SessionRequest {
    SessionRequest::from_json(call, body.to_string().as_bytes()).expect("valid")
}

fn start(session: &Value) -> SessionRequest {
    read(&SessionCall::BareStart, session)
}

fn enrich(delta: &Value) -> SessionRequest {
    read(
        &SessionCall::Enrich {
            id: Some(ID.to_string()),
        },
        delta,
    )
}

impl World {
    fn ingest_session(&self, tenant: &str, request: SessionRequest) {
        now(self.registry.ingest_session(None, &self.tenant(tenant), request));
    }

    fn session_ledger(&self, tenant: &str) -> LedgerSnapshot {
        self.status(tenant).session_events
    }
}

#[test]
fn requests_of_clients_and_of_the_program_for_one_session_keep_their_order() {
    let world = world(BackendName::Honeyhive, quick(), |builder| {
        builder.tenant(
            "a",
            binding("a")
                .source("production")
                .metadata("region", "eu")
                .metadata("plan", "basic"),
        )
    });
    let fault = world.collector.fault(Fault::status(503).times(2));
    world.ingest_session(
        "a",
        start(&json!({"session_id": ID.to_string(), "session_name": "chat", "metadata": {"plan": "pro"}})),
    );
    let session = world.tenant("a").session("chat").id(ID).start();
    for step in 0..10 {
        session.enrich(Enrichment::new().outputs(json!({"own": step})));
        world.ingest_session("a", enrich(&json!({"outputs": {"of_client": step}})));
    }
    world.flush();
    assert_eq!(world.collector.fault_hits(fault), 2);
    let project = world.collector.project("a").expect("it received something");
    let arrived = project.session(&ID.to_string()).expect("started");
    assert_eq!(arrived.operations[0].body["source"], json!("production"));
    assert_eq!(
        arrived.operations[0].body["metadata"],
        json!({"plan": "pro", "region": "eu"})
    );
    assert_eq!(
        arrived.operations[0].body["session_id"],
        arrived.operations[1].body["session_id"]
    );
    assert_eq!(
        (arrived.origin, &arrived.outputs["of_client"]),
        (SessionOrigin::Started, &json!(9))
    );
    let ledger = world.session_ledger("a");
    assert_eq!((ledger.accepted, ledger.delivered), (22, 22));
    assert!(world.collector.project("b").expect("configured").sessions().is_empty());
}

#[cfg(feature = "redact")]
#[test]
fn rules_of_redaction_also_apply_to_the_metadata_of_the_binding() {
    use tracer_registry::config::{Pattern, Redact, RedactRule};

    let world = world(BackendName::Honeyhive, quick(), |builder| {
        let rules = Redact::new()
            .rule("mail", RedactRule::new().pattern(Pattern::Email))
            .rule("secrets", RedactRule::new().attribute("password"));
        let binding = binding("a")
            .source("mail-of-bob@example.com")
            .metadata("owner", "alice@example.com")
            .metadata("password", "hunter2");
        builder.tenant("a", binding.redact(rules))
    });
    world.ingest_session(
        "a",
        start(&json!({"session_id": ID.to_string(), "metadata": {"plan": "pro of bob@example.com"}})),
    );
    let event = json!({"session_id": ID.to_string(), "event_name": "answer"});
    world.ingest_session("a", read(&SessionCall::BareEvent, &event));
    world.flush();
    let project = world.collector.project("a").expect("it received something");
    let arrived = &project.session(&ID.to_string()).expect("started").operations[0].body;
    let redacted = "[redacted]";
    assert_eq!(
        arrived["metadata"],
        json!({"owner": redacted, "password": redacted, "plan": "pro of [redacted]"})
    );
    // The source of the binding stays, as in requests of the program.
    assert_eq!(arrived["source"], json!("mail-of-bob@example.com"));
    let [event] = project.events() else {
        panic!("{:?}", project.events())
    };
    assert_eq!(event.body["metadata"], json!({"owner": redacted, "password": redacted}));
}

#[test]
fn one_id_in_two_tenants_is_two_sessions() {
    let world = world(BackendName::Honeyhive, quick(), |builder| builder);
    for tenant in ["a", "b"] {
        world.ingest_session(
            tenant,
            start(&json!({"session_id": ID.to_string(), "metadata": {tenant: true}})),
        );
        world.ingest_session(tenant, enrich(&json!({"feedback": {tenant: true}})));
    }
    world.flush();
    for tenant in ["a", "b"] {
        let project = world.collector.project(tenant).expect("it received something");
        let [session] = project.sessions() else {
            panic!("{:?}", project.sessions())
        };
        let keys: Vec<_> = session.metadata.keys().chain(session.feedback.keys()).collect();
        assert_eq!(keys, [tenant, tenant]);
    }
}

#[test]
fn a_request_without_room_is_in_no_ledger_and_none_is_taken_after_a_shutdown() {
    let export = Export {
        max_queue_bytes: Some(64 << 10),
        ..quick()
    };
    let limits = Limits {
        request_bytes: Some(100),
        ..Limits::default()
    };
    let world = world(BackendName::Honeyhive, export, |builder| {
        builder.tenant("b", binding("b").limits(limits))
    });
    world.collector.fault(Fault::hang());
    let tracer = world.tenant("a");
    let mut accepted = 0;
    let error = loop {
        match world
            .registry
            .ingest_session(None, &tracer, start(&json!({"session_name": "x".repeat(1000)})))
        {
            Err(error) => break error,
            queued => {
                now(queued);
                accepted += 1;
            }
        }
    };
    let full = IngestError::Full {
        selector: tracer.selector().clone(),
        reason: DropReason::QueueFull,
    };
    assert_eq!(error, full);
    let ledger = world.session_ledger("a");
    assert_eq!((ledger.accepted, ledger.lost()), (accepted, 0));
    let large = json!({"session_name": "x".repeat(100)});
    for (tenant, body) in [("a", json!({"session_name": "x".repeat(60_000)})), ("b", large)] {
        let error = world
            .registry
            .ingest_session(None, &world.tenant(tenant), start(&body))
            .expect_err("too large");
        assert!(matches!(error, IngestError::TooLarge { .. }), "{error}");
    }
    drop(world.registry.shutdown(Duration::ZERO));
    let refused = world.registry.ingest_session(None, &tracer, start(&json!({})));
    assert_eq!(refused.expect_err("shut down"), IngestError::Closed);
}

#[test]
fn a_registry_that_sends_json_takes_sessions_only_for_a_session_api() {
    let export = || Export {
        protocol: Some(Protocol::HttpJson),
        ..quick()
    };
    let with_api = world(BackendName::Honeyhive, export(), |builder| builder);
    with_api.ingest_session("a", start(&json!({"session_id": ID.to_string()})));
    with_api.flush();
    assert!(
        with_api
            .collector
            .project("a")
            .expect("started")
            .session(&ID.to_string())
            .is_some()
    );
    let without = world(BackendName::Otlp, export(), |builder| builder);
    let refused = without
        .registry
        .ingest_session(None, &without.tenant("a"), start(&json!({})));
    assert_eq!(refused.expect_err("JSON"), IngestError::Json);
}
