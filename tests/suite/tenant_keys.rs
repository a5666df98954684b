//! API keys: each request carries its tenant's key, and no output shows a key.

use std::thread;

use opentelemetry::trace::{Span as _, TracerProvider};
use tracer_registry::Enrichment;
use tracer_registry::check::CheckMode;
use tracer_registry::config::{AuthScheme, BackendName};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, assert_shows_nothing_of, binding, key_of, once, spellings};

#[test]
fn three_hundred_concurrent_tenants_each_receive_only_their_own_data() {
    let names: Vec<String> = (0..300).map(|n| format!("tenant-{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    let world = World::new(&tenants);
    thread::scope(|threads| {
        for thread_index in 0..4_usize {
            let (world, tenants) = (&world, &tenants);
            threads.spawn(move || {
                for round in 0..2 {
                    // Each thread uses another order, so tracers are created and used at the same
                    // time.
                    for n in 0..tenants.len() {
                        let tenant = tenants[(n * 7 + thread_index * 75 + round) % tenants.len()];
                        let tracer = world.tenant(tenant);
                        let session = tracer.session(tenant).metadata("of", tenant).start();
                        let _inside = session.enter();
                        tracer.in_span(format!("{tenant} outer"), |_| {
                            tracer.start_span(format!("{tenant} inner")).end();
                        });
                        session.enrich(Enrichment::new().metadata("also-of", tenant));
                    }
                }
            });
        }
    });
    world.flush();
    for tenant in &tenants {
        let project = world.project(tenant);
        assert_eq!(project.spans().len(), 16, "{tenant}");
        assert_eq!(project.sessions().len(), 8, "{tenant}");
        for span in project.spans() {
            assert!(
                span.name == format!("{tenant} inner") || span.name == format!("{tenant} outer"),
                "{tenant}: {}",
                span.name
            );
            let session = span.session_id.as_deref().expect("in a session");
            let session = project.session(session).expect("of the same project");
            assert_eq!(session.name.as_deref(), Some(*tenant));
            assert_eq!(session.metadata["also-of"], *tenant);
        }
        assert_eq!(world.status(tenant).spans.delivered, 16);
        let keys = project.summary().keys.iter().map(ToString::to_string);
        assert_eq!(
            keys.collect::<Vec<_>>(),
            [world.tenant(tenant).fingerprint().to_string()]
        );
    }
    assert_eq!(world.collector.projects().len(), 300);
    assert_eq!(world.collector.requests_without_key(), 0);
}

#[test]
fn a_key_that_a_server_echoes_appears_in_no_output() {
    let receiver = World::new(&[]);
    let url = receiver.collector.url();
    let tenants = ["bearer", "basic", "raw"];
    let world = World::with(&[], |builder| {
        let to = |name| binding(name).endpoint(&url);
        builder
            .export(once())
            .tenant("bearer", to("bearer"))
            .tenant("basic", to("basic").auth("authorization", AuthScheme::Basic))
            .tenant("raw", to("raw").auth("x-api-key", AuthScheme::Raw))
    });
    let mut output = Vec::new();
    for tenant in tenants {
        let key = key_of(tenant);
        let tracer = world.tenant(tenant);
        for echo in spellings(&key) {
            for status in [400, 401, 404] {
                receiver
                    .collector
                    .fault(Fault::status(status).body(format!("no: {echo}")));
                let session = tracer.session("s").start();
                session.enrich(Enrichment::new().metadata("m", 1));
                tracer.in_span("span", |span| output.push(format!("{span:?}")));
                let report = world.registry.force_flush(LONG);
                assert_eq!(report.lost(), 3, "{report}");
                let status = world.registry.status();
                output.push(format!("{report:?} {report} {status:?}"));
                output.push(serde_json::to_string(&(report, status)).expect("serializable"));
                output.push(format!("{session:?} {:?}", tracer.session("x")));
                receiver.collector.clear_faults();
            }
        }
        output.push(format!(
            "{tracer:?} {:?} {}",
            tracer.fingerprint(),
            tracer.fingerprint()
        ));
        output.push(format!("{:?}", tracer.tracer("library")));
    }
    let checked = world.registry.check(CheckMode::Connect);
    output.push(format!(
        "{:?} {:?} {checked:?}",
        world.registry,
        world.registry.config()
    ));
    output.push(serde_json::to_string(&checked).expect("serializable"));
    let report = world.registry.shutdown(LONG);
    output.push(format!("{report:?} {:?}", world.registry.tenant("bearer")));
    let output = output.join(" ");
    assert!(output.contains("answered 401"), "a request was refused: {output}");
    assert!(output.contains("receiver message withheld: "), "{output}");
    for tenant in tenants {
        assert_shows_nothing_of(&key_of(tenant), &output);
    }
}

#[test]
fn the_key_is_sent_in_the_header_and_scheme_of_the_binding() {
    let receiver = World::new(&["bearer", "basic", "raw"]);
    let url = receiver.collector.url();
    let world = World::with(&["bearer"], |builder| {
        let plain = |name| binding(name).backend(BackendName::Otlp).endpoint(&url);
        builder
            .tenant("bearer", plain("bearer"))
            .tenant("raw", plain("raw").auth("x-api-key", AuthScheme::Raw))
    });
    for tenant in ["bearer", "raw"] {
        world.tenant(tenant).start_span(tenant).end();
    }
    world.flush();
    for tenant in ["bearer", "raw"] {
        assert_eq!(receiver.names(tenant), [tenant]);
    }
    let requests_with = |header: &str| {
        receiver
            .collector
            .requests()
            .iter()
            .filter(|request| request.header(header).is_some())
            .count()
    };
    assert_eq!((requests_with("authorization"), requests_with("x-api-key")), (1, 1));
}
