//! The last refused batches of a tenant: what was sent, without the key, within bounds.

use opentelemetry::trace::Span as _;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;
use tracer_registry::Selector;
use tracer_registry::config::{Compression, DeadLetters, Export, ExportMode, Protocol};
use tracer_registry::status::{DropReason, RefusedBatch};
use tracer_registry_collector::Fault;

use crate::support::{LONG, World, assert_shows_nothing_of, key_of, once, quick};

/// Sends only on a flush, and keeps refused batches.
fn keeping(export: Export, max_batches: usize, max_bytes: Option<usize>) -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        dead_letters: DeadLetters {
            max_batches: Some(max_batches),
            max_bytes,
        },
        ..export
    }
}

fn world(export: Export) -> World {
    World::with(&["a", "b"], |builder| builder.export(export))
}

/// Ends spans with these names, and flushes.
fn send(world: &World, tenant: &str, names: &[&str]) {
    for name in names {
        world.tenant(tenant).start_span((*name).to_owned()).end();
    }
    drop(world.registry.force_flush(LONG));
}

fn refused(world: &World, tenant: &str) -> Vec<RefusedBatch> {
    world
        .registry
        .refused(Selector::tenant(tenant))
        .expect("a valid selector")
}

/// Returns the names of the spans in the body.
fn names(batch: &RefusedBatch) -> Vec<String> {
    let body = batch.body.clone().expect("kept");
    assert_eq!(body.len() as u64, batch.bytes);
    let request = ExportTraceServiceRequest::decode(body).expect("a valid request");
    let blocks = request.resource_spans.into_iter().flat_map(|block| block.scope_spans);
    let names: Vec<String> = blocks.flat_map(|scope| scope.spans).map(|span| span.name).collect();
    assert_eq!(names.len() as u64, batch.spans);
    names
}

#[test]
fn a_refused_span_is_kept_with_the_receivers_words() {
    for (status, reason) in [
        (400, DropReason::Refused),
        (413, DropReason::TooLarge),
        (500, DropReason::Refused),
    ] {
        let export = Export {
            compression: Some(Compression::Gzip),
            ..quick()
        };
        let world = world(keeping(export, 4, None));
        let fault = Fault::status(status).body("the span is bad");
        world.collector.fault(fault.when_body_contains("poison"));
        send(&world, "a", &["1", "poison", "3"]);
        let kept = refused(&world, "a");
        assert_eq!(kept.len(), 1, "{status}: {kept:?}");
        assert_eq!(names(&kept[0]), ["poison"]);
        assert_eq!((kept[0].reason, kept[0].protocol), (reason, Protocol::HttpProtobuf));
        let words = kept[0].error.as_ref().expect("an answer").to_string();
        assert!(words.contains("the span is bad"), "{words}");
        assert!(refused(&world, "b").is_empty());
    }
}

#[test]
fn a_batch_that_is_dropped_whole_is_kept_whole() {
    for fault in [Fault::redirect("http://127.0.0.1:9/elsewhere"), Fault::status(400)] {
        let world = world(keeping(once(), 4, None));
        // Of this tenant nothing is accepted, so its batch is not split to its end.
        world.collector.fault(fault.clone());
        send(&world, "a", &["1", "2", "3"]);
        let kept = refused(&world, "a");
        let mut all: Vec<String> = kept.iter().flat_map(names).collect();
        all.sort();
        assert_eq!(all, ["1", "2", "3"], "{fault:?}");
        assert_eq!(world.status("a").spans.dropped, [(DropReason::Refused, 3)].into());
        send(&world, "a", &["4", "5"]);
        assert_eq!(names(&refused(&world, "a")[0]), ["4", "5"], "the newest is first");
    }
}

#[test]
fn json_bodies_are_kept_as_json() {
    let export = Export {
        protocol: Some(Protocol::HttpJson),
        ..quick()
    };
    let world = world(keeping(export, 4, None));
    world.collector.fault(Fault::status(400));
    send(&world, "a", &["refused"]);
    let kept = refused(&world, "a");
    let body: serde_json::Value = serde_json::from_slice(kept[0].body.as_ref().expect("kept")).expect("JSON");
    assert_eq!(body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"], "refused");
    let shown = serde_json::to_value(&kept[0]).expect("serializable");
    assert_eq!(shown["protocol"], "http/json");
    assert!(
        shown["body"].is_string() && shown["at"].is_string() && shown["error"].is_string(),
        "{shown}"
    );
}

#[test]
fn the_newest_batches_are_kept_within_the_bounds() {
    let world = world(keeping(quick(), 3, None));
    world.collector.fault(Fault::status(400));
    for name in ["1", "2", "3", "4", "5"] {
        send(&world, "a", &[name]);
    }
    let kept = refused(&world, "a");
    let kept: Vec<String> = kept.iter().flat_map(names).collect();
    assert_eq!(kept, ["5", "4", "3"]);
    let large = "x".repeat(1 << 20);
    send(&world, "a", &[&large]);
    let kept = refused(&world, "a");
    assert_eq!((kept.len(), kept[0].body.as_ref()), (3, None));
    assert!(kept[0].bytes > 1 << 20);
    assert_eq!(names(&kept[1]), ["5"]);
}

#[test]
fn one_tenant_cannot_use_the_room_that_another_holds() {
    let world = world(keeping(quick(), 16, Some(10_000)));
    world.collector.fault(Fault::status(400));
    send(&world, "a", &["of a"]);
    for _ in 0..40 {
        send(&world, "b", &[&"y".repeat(2_000)]);
    }
    assert_eq!(names(&refused(&world, "a")[0]), ["of a"]);
    let of_b = refused(&world, "b");
    let bytes: usize = of_b.iter().filter_map(|batch| Some(batch.body.as_ref()?.len())).sum();
    assert!((2_000..10_000).contains(&bytes), "{bytes}");
}

#[test]
fn no_refused_batch_contains_the_key() {
    let world = world(keeping(quick(), 4, None));
    let key = key_of("a");
    world
        .collector
        .fault(Fault::status(400).body(format!("the key {key} is fine, the span is not")));
    send(&world, "a", &["refused"]);
    let kept = refused(&world, "a");
    let body = String::from_utf8_lossy(kept[0].body.as_ref().expect("kept")).into_owned();
    let json = serde_json::to_string(&kept).expect("serializable");
    for shown in [body, json, format!("{kept:?}")] {
        assert_shows_nothing_of(&key, &shown);
    }
}

#[test]
fn nothing_is_kept_unless_it_is_turned_on() {
    let export = Export {
        mode: Some(ExportMode::Inline),
        ..quick()
    };
    let world = world(export);
    world.collector.fault(Fault::status(400));
    send(&world, "a", &["refused"]);
    assert_eq!(world.status("a").spans.lost(), 1);
    assert_eq!(refused(&world, "a"), []);
}

#[test]
fn delivered_and_expired_batches_are_not_kept() {
    let world = world(keeping(once(), 4, None));
    send(&world, "a", &["delivered"]);
    for status in [503, 401] {
        let fault = world.collector.fault(Fault::status(status));
        send(&world, "a", &["expired"]);
        world.collector.clear_fault(fault);
    }
    assert_eq!(world.status("a").spans.lost(), 2);
    assert_eq!(refused(&world, "a"), []);
}

#[test]
fn an_invalid_selector_is_an_error_and_an_unknown_one_has_no_batches() {
    let world = world(keeping(quick(), 4, None));
    assert!(world.registry.refused(Selector::tenant("NOT VALID")).is_err());
    assert_eq!(refused(&world, "a"), []);
}
