//! Spans that clients encoded: they share their tracer's queue, requests, key and ledger with the
//! spans of the program.

mod explain;
pub(crate) mod request;
mod sessions;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use flate2::write::GzEncoder;
use opentelemetry::trace::Span as _;
use prost::Message;
use secrecy::SecretString;
use tracer_registry::config::{BackendName, Binding, Compression, Export, Limits, Protocol, SessionMode};
use tracer_registry::ingest::{Accepted, IngestError, Ingested, Traces};
use tracer_registry::secret::{Fingerprinter, SecretError};
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry::{RegistryBuilder, Selector};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, binding, collector, key_of, quick, wait_for};
use request::{attribute, checked, request, spans, traces};

/// Exports only on a flush, so that all spans form one batch.
fn on_flush_only() -> Export {
    Export {
        scheduled_delay: Some(Duration::from_secs(600)),
        ..quick()
    }
}

/// Creates a world with tenants `a` and `b`, whose projects have the same names.
fn world(backend: BackendName, export: Export, adapt: impl FnOnce(RegistryBuilder) -> RegistryBuilder) -> World {
    let fingerprinter = Fingerprinter::new();
    let collector = collector(&["a", "b"], &fingerprinter).start().expect("a free port");
    let url = collector.url();
    let builder = crate::support::registry(&url, &["a", "b"], &fingerprinter)
        .defaults(Binding::new().backend(backend).endpoint(&url))
        .export(export);
    World {
        registry: adapt(builder).build().expect("valid"),
        collector,
    }
}

/// Returns what was accepted without a spool.
pub(crate) fn now<T>(accepted: Result<Accepted<T>, IngestError>) -> T {
    match accepted.expect("queued") {
        Accepted::Now(accepted) => accepted,
        Accepted::OnceDurable(_) => panic!("the registry has no spool"),
    }
}

impl World {
    fn ingest(&self, tenant: &str, traces: Traces) -> Ingested {
        let parts = vec![(self.tenant(tenant), traces)];
        now(self.registry.ingest(None, parts)).remove(0)
    }

    /// Returns the ledger of a tenant's spans. Asserts that it balances.
    fn ledger(&self, tenant: &str) -> LedgerSnapshot {
        let ledger = self.status(tenant).spans;
        let sum = ledger.delivered + ledger.pending() + ledger.lost();
        assert_eq!(ledger.accepted, sum, "{ledger:?}");
        ledger
    }
}

#[test]
fn encoded_spans_arrive_beside_spans_in_the_project_of_their_tracer() {
    let protocols: &[Protocol] = if cfg!(feature = "grpc") {
        &[Protocol::HttpProtobuf, Protocol::Grpc]
    } else {
        &[Protocol::HttpProtobuf]
    };
    for protocol in protocols {
        let export = Export {
            protocol: Some(*protocol),
            ..on_flush_only()
        };
        let world = world(BackendName::Otlp, export, |builder| builder);
        world.tenant("a").start_span("own").end();
        let parts = vec![
            (world.tenant("a"), traces(&["first", "second"])),
            (world.tenant("b"), compressed(&["of b"]).0),
        ];
        let ingested = now(world.registry.ingest(None, parts));
        assert_eq!(ingested.iter().map(|part| part.accepted).collect::<Vec<_>>(), [2, 1]);
        world.ingest("a", traces(&["third"]));
        world.flush();
        assert_eq!(world.names("a"), ["own", "first", "second", "third"]);
        assert_eq!(world.names("b"), ["of b"]);
        assert_eq!(world.collector.requests().len(), 2, "one request for each tenant");
        let (a, b) = (world.ledger("a"), world.ledger("b"));
        assert_eq!((a.accepted, a.delivered, b.accepted, b.delivered), (4, 4, 1, 1));
        assert_eq!(world.status("a").queued_bytes, 0);
    }
}

#[test]
fn a_large_request_is_sent_in_several_batches() {
    let export = Export {
        max_export_batch_size: Some(10),
        max_queue_size: Some(15),
        ..on_flush_only()
    };
    let world = world(BackendName::Otlp, export, |builder| builder);
    let names: Vec<String> = (0..25).map(|number| number.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    world.ingest("a", traces(&names));
    world.flush();
    assert_eq!(world.names("a"), names);
    assert_eq!(world.collector.requests().len(), 3);
}

#[test]
fn halving_isolates_a_bad_span_of_an_encoded_request() {
    for status in [400, 500] {
        let world = world(BackendName::Otlp, on_flush_only(), |builder| builder);
        world
            .collector
            .fault(Fault::status(status).when_body_contains("poison"));
        world.tenant("a").start_span("own").end();
        world.ingest("a", traces(&["1", "2", "the poison", "4", "5"]));
        world.tenant("a").start_span("own too").end();
        let report = world.registry.force_flush(LONG);
        assert_eq!(
            (report.tracers[0].delivered, report.tracers[0].lost()),
            (6, 1),
            "{status}"
        );
        let mut names = world.names("a");
        names.sort();
        assert_eq!(names, ["1", "2", "4", "5", "own", "own too"], "{status}");
        let refused = world.status("a").last_refused_span.expect("a refused span");
        assert_eq!(
            (refused.name.as_str(), refused.reason),
            ("the poison", DropReason::Refused)
        );
        assert_eq!(refused.span_id, "0000000000000003");
        let alone = request(&["the poison"]).encoded_len() as u64;
        assert_eq!(refused.bytes, alone, "{status}");
        assert_eq!(world.ledger("a").dropped, [(DropReason::Refused, 1)].into());
    }
}

/// Returns traces that arrived in a gzip body, and that body. Its level is not that of this crate.
pub(crate) fn compressed(names: &[&str]) -> (Traces, Bytes) {
    let body = request(names).encode_to_vec();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&body).expect("written to memory");
    let gzip = Bytes::from(gzip.finish().expect("written to memory"));
    let arrived = Traces::from_protobuf(body.into()).expect("valid");
    (arrived.with_gzip(gzip.clone()), gzip)
}

/// Accepts one request. Returns its URL, and a thread whose result is the request's head and body.
fn raw_receiver() -> (String, JoinHandle<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("a connection");
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "{head:?}");
        }
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.expect("a length").parse().expect("a number")];
        reader.read_exact(&mut body).expect("a body");
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: application/x-protobuf\r\n\r\n";
        reader.into_inner().write_all(answer).expect("the client reads");
        (head, body)
    });
    (url, server)
}

#[test]
fn a_gzip_body_is_sent_on_byte_for_byte() {
    for (source, is_same) in [(None, true), (Some("production"), false)] {
        let (url, received) = raw_receiver();
        let world = World::with(&[], |builder| {
            let mut binding = Binding::new().backend(BackendName::Otlp).endpoint(url);
            if let Some(source) = source {
                binding = binding.source(source);
            }
            builder.defaults(binding).tenant("a", crate::support::binding("a"))
        });
        let (arrived, gzip) = compressed(&["a", "b"]);
        world.ingest("a", arrived);
        world.flush();
        let (head, sent) = received.join().expect("received");
        assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
        assert_eq!(sent == gzip, is_same, "source {source:?}");
    }
}

#[test]
fn a_body_is_sent_on_byte_for_byte_without_compression() {
    let (url, received) = raw_receiver();
    let world = World::with(&[], |builder| {
        let defaults = Binding::new().backend(BackendName::Otlp).endpoint(url);
        let export = Export {
            compression: Some(Compression::None),
            ..quick()
        };
        builder.defaults(defaults).export(export).tenant("a", binding("a"))
    });
    let mut body = request(&["a", "b"]).encode_to_vec();
    // An unknown field of the request: number 2000, one byte.
    body.extend([0x82, 0x7d, 1, 7]);
    let arrived = Traces::from_protobuf(body.clone().into()).expect("valid");
    world.ingest("a", arrived.with_gzip(Bytes::from_static(b"not used")));
    world.flush();
    let (head, sent) = received.join().expect("received");
    assert!(!head.contains("content-encoding"), "{head}");
    assert_eq!(sent, body);
}

#[test]
fn parts_for_two_tracers_are_queued_together_or_not_at_all() {
    let export = Export {
        max_queue_size: Some(2),
        max_export_batch_size: Some(100),
        // Less than a full batch waits until a flush.
        ..on_flush_only()
    };
    let world = world(BackendName::Otlp, export, |builder| builder);
    world.collector.fault(Fault::hang());
    let b = world.tenant("b");
    // A batch that hangs, and a full queue.
    world.ingest("b", traces(&["1", "2"]));
    wait_for("a request", || world.ledger("b").in_flight, |in_flight| *in_flight == 2);
    world.ingest("b", traces(&["3", "4"]));
    let a = world.tenant("a");
    let parts = || vec![(a.clone(), traces(&["of a"])), (b.clone(), traces(&["5"]))];
    let error = world.registry.ingest(None, parts()).expect_err("b is full");
    let IngestError::Full { selector, reason } = &error else {
        panic!("{error:?}")
    };
    assert_eq!((selector, *reason), (b.selector(), DropReason::QueueFull));
    assert_eq!(
        error.to_string(),
        "cannot queue data of tenant:b: the tracer's queue was full"
    );
    assert_eq!(world.ledger("a"), LedgerSnapshot::default());
    assert_eq!(world.status("a").queued_bytes, 0);
    assert_eq!((world.ledger("b").accepted, world.ledger("b").lost()), (4, 0));
    drop(world.registry.shutdown(Duration::ZERO));
    let refused = world.registry.ingest(None, parts());
    assert_eq!(refused.expect_err("shut down"), IngestError::Closed);
}

#[test]
fn traces_are_sampled_as_the_sdk_samples_them() {
    let world = world(BackendName::Otlp, on_flush_only(), |builder| {
        builder.tenant("a", binding("a").sampling_ratio(0.3))
    });
    let a = world.tenant("a");
    let mut arrived = request(&["of a client"; 200]);
    let mut sampled = 0;
    for encoded in spans(&mut arrived) {
        let span = a.start_span("own");
        encoded.trace_id = span.span_context().trace_id().to_bytes().to_vec();
        if span.span_context().is_sampled() {
            sampled += 1;
            "sampled".clone_into(&mut encoded.name);
        }
    }
    assert!((20..120).contains(&sampled), "{sampled} of 200");
    let ingested = world.ingest("a", checked(&arrived));
    assert_eq!(
        (ingested.accepted, ingested.sampled_out, ingested.too_large),
        (sampled, 200 - sampled, 0)
    );
    world.flush();
    let names = world.names("a");
    assert_eq!(names.iter().filter(|name| *name == "sampled").count() as u64, sampled);
    assert!(!names.iter().any(|name| name == "of a client"));
    assert_eq!(world.ledger("a").accepted, 2 * sampled);
}

#[test]
fn requests_and_spans_beyond_the_limits_in_bytes_are_not_taken() {
    let body = request(&["small", &"large".repeat(50)]);
    let bytes = body.encoded_len();
    let world = world(BackendName::Otlp, on_flush_only(), |builder| {
        let limits = |span_bytes, request_bytes| Limits {
            span_bytes,
            request_bytes,
            ..Limits::default()
        };
        builder
            .tenant("a", binding("a").limits(limits(Some(200), Some(bytes))))
            .tenant("b", binding("b").limits(limits(None, Some(bytes - 1))))
    });
    let ingested = world.ingest("a", checked(&body));
    assert_eq!((ingested.accepted, ingested.sampled_out, ingested.too_large), (1, 0, 1));
    let parts = vec![(world.tenant("a"), checked(&body)), (world.tenant("b"), checked(&body))];
    let error = world.registry.ingest(None, parts).expect_err("too large");
    let expected = format!("data of tenant:b has {bytes} bytes, the limit is {}", bytes - 1);
    assert_eq!(error.to_string(), expected);
    world.flush();
    assert_eq!(world.names("a"), ["small"]);
    assert_eq!(world.ledger("a").accepted, 1);
}

#[test]
fn a_registry_that_sends_json_takes_no_encoded_spans() {
    let export = Export {
        protocol: Some(Protocol::HttpJson),
        ..quick()
    };
    let world = world(BackendName::Otlp, export, |builder| builder);
    let parts = vec![(world.tenant("a"), traces(&["a"]))];
    let refused = world.registry.ingest(None, parts);
    assert_eq!(refused.expect_err("JSON"), IngestError::Json);
    assert_eq!(world.ledger("a"), LedgerSnapshot::default());
}

#[test]
fn a_client_cannot_choose_the_project() {
    let all = ["openinference.project.name", "braintrust.parent", "wandb.project"];
    for (backend, names, bound) in [
        (
            BackendName::Otlp,
            &all[..],
            binding("a").resource("wandb.project", "bound"),
        ),
        (BackendName::Otlp, &all, binding("a")),
        (BackendName::Phoenix, &all[..1], binding("a").project("bound")),
        (
            BackendName::Braintrust,
            &all[1..2],
            binding("a").resource("braintrust.parent", "bound"),
        ),
    ] {
        let world = world(backend, quick(), |builder| builder.tenant("a", bound.clone()));
        let mut forged = request(&["span"]);
        let resource = forged.resource_spans[0].resource.get_or_insert_default();
        resource.attributes = names.iter().map(|name| attribute(name, "forged")).collect();
        resource.attributes.push(attribute("service.name", "shop"));
        spans(&mut forged)[0].attributes = names.iter().map(|name| attribute(name, "forged")).collect();
        world.ingest("a", checked(&forged));
        world.flush();
        world.assert_no_trace_of("forged", "a");
        let span = world.span("a", "span");
        assert!(span.attributes.is_empty(), "{:?}", span.attributes);
        let resource = &span.resource.attributes;
        assert_eq!(resource["service.name"], "shop");
        let projects: Vec<_> = names.iter().filter_map(|name| resource.get(*name)).collect();
        let is_bound = bound != binding("a");
        assert_eq!(projects.len(), usize::from(is_bound), "{backend} {resource:?}");
        assert!(projects.iter().all(|project| **project == "bound"), "{resource:?}");
    }
}

#[test]
fn honeyhive_gets_source_metadata_event_types_and_sessions_that_the_client_did_not_set() {
    let bound = binding("a")
        .source("production")
        .metadata("plan", "pro")
        .metadata("region", "eu")
        .resource("service.name", "bound")
        .resource("site", "eu")
        .sessions(SessionMode::PerTrace);
    let world = world(BackendName::Honeyhive, on_flush_only(), |builder| {
        builder.tenant("a", bound)
    });
    let mut arrived = request(&["model", "own", "model too"]);
    let resource = arrived.resource_spans[0].resource.get_or_insert_default();
    resource.attributes = vec![attribute("service.name", "shop")];
    let list = spans(&mut arrived);
    list[2].trace_id = list[0].trace_id.clone();
    list[0].attributes = vec![
        attribute("gen_ai.operation.name", "chat"),
        attribute("honeyhive_metadata.plan", "free"),
    ];
    list[1].attributes = vec![
        attribute("honeyhive_event_type", "chain"),
        attribute("honeyhive.session_id", "of the client"),
        attribute("honeyhive.source", "of the client"),
    ];
    world.ingest("a", checked(&arrived));
    world.flush();
    let session = "00000000-0000-4000-8000-000000000001";
    for (name, expected) in [
        ("model", ["model", session, "production", "free", "eu"]),
        ("own", ["chain", "of the client", "of the client", "pro", "eu"]),
        ("model too", ["tool", session, "production", "pro", "eu"]),
    ] {
        let span = world.span("a", name);
        let found = [
            "honeyhive_event_type",
            "honeyhive.session_id",
            "honeyhive.source",
            "honeyhive_metadata.plan",
            "honeyhive_metadata.region",
        ]
        .map(|key| &span.attributes[key]);
        assert_eq!(found, expected, "{name}");
        assert_eq!(span.duplicate_attributes, 0, "{name}");
        let resource = &span.resource.attributes;
        assert_eq!(
            (&resource["service.name"], &resource["site"]),
            (&"shop".into(), &"eu".into())
        );
        assert!(!resource.contains_key("telemetry.sdk.name"), "{resource:?}");
    }
}

#[test]
fn the_ledger_balances_through_removal_and_shutdown() {
    let world = world(BackendName::Otlp, on_flush_only(), |builder| builder);
    world.ingest("a", traces(&["before"]));
    assert!(
        world.registry.remove(Selector::tenant("a")).expect("a selector"),
        "a had a tracer"
    );
    wait_for(
        "the removed tracer's span",
        || world.names("a"),
        |names| names == &["before"],
    );
    wait_for(
        "its ledger",
        || world.ledger("a").delivered,
        |delivered| *delivered == 1,
    );
    world.collector.fault(Fault::hang());
    world.ingest("a", traces(&["lost", "lost too"]));
    let a = world.tenant("a");
    let report = world.registry.shutdown(Duration::from_millis(50));
    let of_a = report.tracers.iter().find(|tracer| tracer.selector == *a.selector());
    assert_eq!(of_a.expect("reported").dropped, [(DropReason::Shutdown, 2)].into());
    let ledger = world.ledger("a");
    assert_eq!((ledger.accepted, ledger.delivered, ledger.lost()), (3, 1, 2));
}

#[test]
fn encoded_spans_expire_with_the_outage_of_their_receiver() {
    let mut export = on_flush_only();
    export.max_export_batch_size = Some(10);
    export.retry.max_elapsed = Some(Duration::from_millis(300));
    let world = world(BackendName::Otlp, export, |builder| builder);
    world.collector.fault(Fault::status(503));
    world.ingest("a", traces(&["encoded"; 25]));
    world.tenant("a").start_span("own").end();
    let report = world.registry.force_flush(LONG);
    let dropped = [(DropReason::RetriesExhausted, 26)].into();
    assert_eq!((&report.tracers[0].dropped, report.tracers[0].pending), (&dropped, 0));
    assert_eq!(
        (world.ledger("a").dropped, world.status("a").queued_bytes),
        (dropped, 0)
    );
}

#[test]
fn a_refused_key_is_replaced_and_encoded_spans_are_sent_under_the_next_one() {
    let is_rotated = Arc::new(AtomicBool::new(false));
    let rotated = Arc::clone(&is_rotated);
    let source = move |name: &str| {
        let name = if rotated.load(Ordering::SeqCst) { "next" } else { name };
        Ok::<_, SecretError>(SecretString::from(key_of(name)))
    };
    let world = world(BackendName::Otlp, on_flush_only(), |builder| {
        builder.secret_source("test", source)
    });
    world.collector.name_project("a", &key_of("next"));
    world.ingest("a", traces(&["first"]));
    world.flush();
    world.collector.fault(Fault::reject_key().only(key_of("a")));
    is_rotated.store(true, Ordering::SeqCst);
    world.ingest("a", traces(&["second", "third"]));
    world.flush();
    assert_eq!(world.names("a"), ["first", "second", "third"]);
    assert_eq!(world.ledger("a").delivered, 3);
    assert_eq!(world.status("a").key.expect("a key").rotations, 1);
}

#[test]
fn a_request_is_split_by_a_resource_attribute_and_a_broken_body_is_refused() {
    let mut both = request(&["1"]);
    both.resource_spans.extend(request(&["2"]).resource_spans);
    let resource = both.resource_spans[1].resource.get_or_insert_default();
    resource.attributes = vec![attribute("tenant.id", "b")];
    let parts = checked(&both).split_by_resource("tenant.id").expect("one value each");
    let shown: Vec<_> = parts
        .iter()
        .map(|(value, part)| (value.as_deref(), part.spans()))
        .collect();
    assert_eq!(shown, [(None, 1), (Some("b"), 1)]);
    let error = Traces::from_protobuf(Bytes::from_static(&[0x0a, 5])).expect_err("truncated");
    assert!(!error.to_string().is_empty());
}
