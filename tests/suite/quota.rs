//! Quotas of spans that the program ends.

use std::fs;
use std::thread;
use std::time::Instant;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Binding, Export, ExportMode, Quota};
use tracer_registry::status::{DropReason, LedgerSnapshot};
use tracer_registry::{Enrichment, Selector, TracerHandle};

use crate::reload::Files;
use crate::support::{LONG, World, binding, once};

fn inline() -> Export {
    Export {
        mode: Some(ExportMode::Inline),
        max_queue_size: Some(10_000),
        ..once()
    }
}

fn end_spans(tracer: &TracerHandle, count: usize) {
    for _ in 0..count {
        tracer.start_span("span").end();
    }
}

fn spans_of(world: &World, tenant: &str) -> LedgerSnapshot {
    world.status(tenant).spans
}

fn with_quota(tenants: &[&str], quota: Quota) -> World {
    World::with(tenants, |builder| {
        tenants.iter().fold(builder.export(inline()), |builder, tenant| {
            builder.tenant(*tenant, binding(tenant).quota(quota))
        })
    })
}

#[test]
fn spans_beyond_the_quota_are_dropped_as_the_newest_and_counted() {
    let quota = Quota {
        spans_per_day: Some(3),
        ..Quota::default()
    };
    let world = with_quota(&["a"], quota);
    let a = world.tenant("a");
    for name in ["first", "second", "third", "fourth", "fifth"] {
        a.start_span(name.to_owned()).end();
    }
    let held = world.status("a").queued_bytes;
    end_spans(&a, 100);
    let status = world.status("a");
    assert_eq!(status.queued_bytes, held, "what is dropped holds no memory");
    assert_eq!(status.spans.dropped, [(DropReason::Quota, 102)].into());
    drop(world.registry.force_flush(LONG));
    let spans = spans_of(&world, "a");
    assert_eq!((spans.accepted, spans.delivered, spans.lost()), (105, 3, 102));
    let project = world.collector.project("a").expect("delivered to");
    let mut names: Vec<&str> = project.spans().iter().map(|span| &*span.name).collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "second", "third"]);
}

#[test]
fn session_events_do_not_count() {
    let quota = Quota {
        spans_per_day: Some(1),
        bytes_per_day: Some(100_000),
        ..Quota::default()
    };
    let world = with_quota(&["a"], quota);
    let session = world.tenant("a").session("s").start();
    for n in 0..50 {
        session.enrich(Enrichment::new().metadata("n", n));
    }
    world.flush();
    let events = world.status("a").session_events;
    assert_eq!((events.lost(), events.accepted), (0, 51));
}

#[test]
fn the_bytes_of_a_span_are_what_it_takes_in_the_queue() {
    let world = with_quota(
        &["a"],
        Quota {
            bytes_per_day: Some(20_000),
            ..Quota::default()
        },
    );
    let a = world.tenant("a");
    let queued = || world.status("a").queued_bytes;
    end_spans(&a, 1);
    let one = queued();
    end_spans(&a, 1000);
    let all = queued();
    assert!(all <= 20_000 && all + one > 20_000, "{all} bytes of spans with {one}");
    assert_eq!(spans_of(&world, "a").queued, (all / one) as u64);
}

#[test]
fn what_a_tenant_has_used_outlives_its_tracer_and_is_shared_by_its_selectors() {
    let world = World::with(&["a"], |builder| {
        let quota = Quota {
            spans_per_month: Some(10),
            ..Quota::default()
        };
        builder
            .export(inline())
            .tenant("a", binding("a").quota(quota))
            .environment("eu", Binding::new())
    });
    end_spans(&world.tenant("a"), 4);
    world.flush();
    assert!(world.registry.remove(Selector::tenant("a")).expect("a name"));
    let in_eu = world.registry.get(Selector::tenant("a").environment("eu"));
    end_spans(&in_eu.expect("configured"), 4);
    end_spans(&world.tenant("a"), 4);
    let status = world
        .registry
        .tracer_status("tenant:a".parse::<Selector>().expect("a selector"));
    let spans = status.expect("valid").expect("it has a tracer").spans;
    assert_eq!(spans.dropped, [(DropReason::Quota, 2)].into());
}

#[test]
fn a_span_that_has_no_room_gets_its_quota_back() {
    let quota = Quota {
        spans_per_day: Some(20),
        ..Quota::default()
    };
    let world = World::with(&["a"], |builder| {
        let export = Export {
            max_queue_size: Some(5),
            ..inline()
        };
        builder.export(export).tenant("a", binding("a").quota(quota))
    });
    let a = world.tenant("a");
    for _ in 0..4 {
        end_spans(&a, 50);
        drop(world.registry.force_flush(LONG));
    }
    assert_eq!(spans_of(&world, "a").delivered, 20);
    end_spans(&a, 1);
    let dropped = spans_of(&world, "a").dropped;
    // In the last round, the quota is full as soon as the queue is.
    assert_eq!(dropped, [(DropReason::QueueFull, 135), (DropReason::Quota, 46)].into());
}

#[test]
fn threads_share_a_rate_exactly() {
    const THREADS: usize = 8;
    const RATE: u128 = 2000;
    let quota = Quota {
        spans_per_second: Some(2000),
        ..Quota::default()
    };
    let world = World::with(&["a", "b"], |builder| {
        let export = Export {
            max_queue_size: Some(1_000_000),
            max_queue_bytes: Some(1 << 30),
            ..inline()
        };
        builder.export(export).tenant("a", binding("a").quota(quota))
    });
    let (a, b) = (world.tenant("a"), world.tenant("b"));
    let begin = Instant::now();
    let start = std::sync::Barrier::new(THREADS);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                start.wait();
                for _ in 0..3000 {
                    a.start_span("a").end();
                    b.start_span("b").end();
                }
            });
        }
    });
    let most = RATE + RATE * begin.elapsed().as_nanos() / 1_000_000_000;
    let (of_a, of_b) = (spans_of(&world, "a"), spans_of(&world, "b"));
    let all = THREADS as u64 * 3000;
    assert_eq!((of_b.queued, of_b.lost()), (all, 0));
    assert_eq!((of_a.accepted, of_a.queued + of_a.lost()), (all, all));
    let accepted = u128::from(of_a.queued);
    assert!(accepted <= most && accepted >= RATE, "{accepted} of {most}");
}

#[test]
fn a_reload_applies_to_the_next_span_of_a_tracer_that_is_looked_up() {
    let text = |spans: &str| format!("[tenants.a]\napi_key = {{ provider = \"test\", name = \"a\" }}\n{spans}");
    let files = Files::new(&["a"], &text("quota.spans_per_day = 2"));
    let world = &files.world;
    let dropped = |world: &World| spans_of(world, "a").lost();
    end_spans(&world.tenant("a"), 3);
    assert_eq!(dropped(world), 1);
    files.rewrite(&text("quota.spans_per_day = 3"));
    world.registry.reload().expect("valid");
    end_spans(&world.tenant("a"), 2);
    assert_eq!(dropped(world), 2);
    files.rewrite(&text("quota.spans_per_day = 1"));
    world.registry.reload().expect("valid");
    end_spans(&world.tenant("a"), 1);
    assert_eq!(dropped(world), 3);
    files.rewrite(&text(""));
    world.registry.reload().expect("valid");
    end_spans(&world.tenant("a"), 10);
    assert_eq!(dropped(world), 3);
}

#[test]
fn a_file_of_the_tenant_only_tightens_its_quota() {
    let text = "tenants_dir = \"tenants.d\"\n\
        [tenants.\"*\"]\napi_key = { provider = \"test\", name = \"a\" }\n\
        quota = { spans_per_second = 100, bytes_per_second = \"1MiB\", bytes_burst = \"2MiB\", spans_per_day = 5 }";
    let files = Files::new(&["a"], text);
    let world = &files.world;
    let look_up = |quota: &str| {
        fs::write(files.path("tenants.d/a.toml"), format!("quota = {{ {quota} }}")).expect("written");
        world.registry.reload().expect("valid");
        world.registry.tenant("a").map_err(|error| error.to_string())
    };
    for (quota, refused) in [
        ("spans_per_second = 101", "quota.spans_per_second"),
        ("spans_per_day = 6", "quota.spans_per_day"),
        ("bytes_burst = \"3MiB\"", "quota.bytes_burst"),
        // The operator's burst is what its rate allows in a second.
        ("spans_burst = 101", "quota.spans_burst"),
        ("spans_per_second = 1, spans_burst = 101", "quota.spans_burst"),
    ] {
        let error = look_up(quota).expect_err(quota);
        assert!(
            error.contains(refused) && error.contains("only lower"),
            "{quota}: {error}"
        );
    }
    for quota in [
        "spans_per_second = 100, spans_burst = 100",
        "spans_per_second = 1, bytes_per_second = \"1MiB\"",
        // What the operator has not limited.
        "requests_per_second = 7, requests_burst = 9, bytes_per_month = \"1TiB\"",
    ] {
        look_up(quota).expect(quota);
    }
    let a = look_up("spans_per_day = 2").expect("lower");
    end_spans(&a, 5);
    assert_eq!(spans_of(world, "a").lost(), 3);
}
