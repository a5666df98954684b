//! Finding the tracers of targets: at first, after a reload, and in a full pool.

use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Export, ExportMode, IdleTimeout, Pool, WhenFull};
use tracer_registry::selector::Slug;
use tracer_registry::status::DropReason;
use tracer_registry::{LookupError, Selector};

use super::{OPERATIONS, ledger_of, operations, status_of, world};
use crate::reload::{Files, table};
use crate::support::{World, binding, quick, wait_for};

fn configuration(target: &str) -> String {
    format!("{}also = [\"environment:operations\"]\n{target}", table("a", "a"))
}

fn target(key: &str) -> String {
    format!("[environments.operations]\napi_key = {{ provider = \"test\", name = \"{key}\" }}\n")
}

#[test]
fn handles_from_before_a_reload_copy_to_the_new_tracer_of_the_target() {
    let files = Files::new(&["a", "ops", "new"], &configuration(&target("ops")));
    let a = files.tenant("a");
    a.start_span("before").end();
    files.rewrite(&configuration(&target("new")));
    let report = files.world.registry.reload().expect("valid");
    assert_eq!(report.changed, [operations()]);
    let copied = || {
        a.start_span("after").end();
        files.world.names("new")
    };
    wait_for("the new target", copied, |names| !names.is_empty());
    files.world.flush();
    // Each span has one copy: in the old project, until the new tracer is there.
    let [own, old, new] = ["a", "ops", "new"].map(|project| files.world.names(project));
    assert_eq!(old[0], "before");
    assert_eq!(own.len(), old.len() + new.len());
    assert_eq!(ledger_of(&files.world.registry, OPERATIONS).lost(), 0);
}

#[test]
fn a_reload_adds_and_removes_copies() {
    let plain = |also: &str| format!("{}{also}{}", table("a", "a"), target("ops"));
    let also = "also = [\"environment:operations\"]\n";
    let files = Files::new(&["a", "ops"], &plain(""));
    files.tenant("a").start_span("none").end();
    files.rewrite(&plain(also));
    files.world.registry.reload().expect("valid");
    files.tenant("a").start_span("copied").end();
    files.rewrite(&plain(""));
    files.world.registry.reload().expect("valid");
    files.tenant("a").start_span("none again").end();
    files.world.flush();
    assert_eq!(files.world.names("ops"), ["copied"]);
    assert_eq!(files.world.names("a").len(), 3);
}

#[test]
fn a_reload_with_an_invalid_target_changes_nothing() {
    let files = Files::new(&["a", "ops"], &configuration(&target("ops")));
    let a = files.tenant("a");
    for invalid in [
        "",
        "[environments.operations]\n",
        &(target("ops") + "also = [\"tenant:a\"]\n"),
        &(target("ops") + "also = [\"environment:operations\"]\n"),
    ] {
        files.rewrite(&configuration(invalid));
        let error = files.world.registry.reload().expect_err("invalid").to_string();
        assert!(error.contains("tenants.a.also: environment"), "{error}");
        a.start_span("copied").end();
    }
    files.world.flush();
    assert_eq!(files.world.names("ops").len(), 4);
    assert_eq!(files.tenant("a"), a);
}

#[test]
fn a_target_that_a_binding_source_gives_copies_of_its_own_gets_none() {
    // The configuration cannot tell: each of both tenants is copied to the other.
    let other = |slug: &Slug| Selector::tenant(if &**slug == "one" { "other" } else { "one" });
    let source = move |slug: &Slug| {
        let other = Selector::try_from(other(slug)).expect("valid");
        Ok(Some(binding("a").also(&other)))
    };
    let world = World::with(&["a"], |builder| builder.binding_source(source));
    for tenant in ["one", "other"] {
        world.tenant(tenant).start_span("span").end();
    }
    world.flush_all();
    assert_eq!(world.names("a"), ["span", "span"]);
    for tenant in ["tenant:one", "tenant:other"] {
        let ledger = ledger_of(&world.registry, tenant);
        assert_eq!(
            (ledger.delivered, ledger.dropped),
            (1, [(DropReason::NoTracer, 1)].into())
        );
    }
}

#[test]
fn removing_a_target_makes_it_anew() {
    let world = world(&["a"], |builder| builder);
    let a = world.tenant("a");
    let before = world.registry.environment("operations").expect("configured");
    assert!(world.registry.remove(operations()).expect("valid"));
    let same = || {
        world
            .registry
            .environment("operations")
            .expect("configured")
            .same_tracer(&before)
    };
    assert!(!same());
    drop(before);
    let sends_to_new = || status_of(&world.registry, OPERATIONS).tracers;
    wait_for("the old target is released", sends_to_new, |tracers| *tracers == 1);
    a.start_span("copied").end();
    world.flush();
    assert_eq!(world.names("ops"), ["copied"]);
}

fn small_pool(max_tracers: usize, when_full: WhenFull) -> Pool {
    Pool {
        max_tracers: Some(max_tracers),
        idle_timeout: Some(IdleTimeout::After(Duration::from_millis(20))),
        when_full: Some(when_full),
    }
}

#[test]
fn a_target_stays_while_a_source_lives_and_goes_after_it() {
    let world = world(&["a"], |builder| {
        let builder = builder.tenant("idle", binding("a"));
        builder.pool(small_pool(8, WhenFull::Reject))
    });
    let a = world.tenant("a");
    let evicted = || world.registry.status().pool.evicted;
    // The target was used before the tracer that is evicted now, and nothing but the source holds it.
    drop(world.registry.environment("operations"));
    drop(world.registry.tenant("idle"));
    wait_for("an idle tracer is evicted", evicted, |evicted| *evicted == 1);
    assert_eq!(status_of(&world.registry, OPERATIONS).tracers, 1);
    a.start_span("copied").end();
    world.flush();
    assert_eq!(world.names("ops"), ["copied"]);
    drop(a);
    wait_for("both are evicted", evicted, |evicted| *evicted == 3);
    wait_for(
        "its lane ends",
        || status_of(&world.registry, OPERATIONS).tracers,
        |tracers| *tracers == 0,
    );
}

#[test]
fn a_full_pool_refuses_the_target_and_not_the_source() {
    let world = World::with(&["a", "b", "ops"], |builder| {
        builder
            .tenant("a", binding("a").also(&operations()))
            .environment("operations", binding("ops"))
            .pool(Pool {
                idle_timeout: Some(IdleTimeout::Never),
                ..small_pool(2, WhenFull::Reject)
            })
    });
    let held = world.tenant("b");
    let a = world.tenant("a");
    // One of both had no slot.
    a.start_span("span").end();
    world.flush_all();
    assert_eq!(world.names("a"), ["span"]);
    drop(held);
    let works = || status_of(&world.registry, "tenant:a").copies[0].works;
    wait_for("a slot for the target", works, |works| *works);
    a.start_span("copied").end();
    world.flush_all();
    assert!(world.names("ops").contains(&"copied".to_owned()));
    assert!(matches!(world.registry.tenant("b"), Err(LookupError::PoolFull { .. })));
}

#[test]
fn a_target_is_found_without_threads_too() {
    let export = Export {
        mode: Some(ExportMode::Inline),
        ..quick()
    };
    let world = world(&["a"], |builder| builder.export(export));
    world.tenant("a").start_span("span").end();
    assert!(world.names("ops").is_empty());
    world.flush();
    assert_eq!(
        (world.names("a"), world.names("ops")),
        (vec!["span".to_owned()], vec!["span".to_owned()])
    );
}

#[test]
fn dedicated_tracers_are_copied_too() {
    let world = world(&["a"], |builder| builder);
    let dedicated = world.registry.dedicated(Selector::tenant("a")).expect("configured");
    dedicated.start_span("of a request").end();
    drop(dedicated);
    world.flush();
    assert_eq!(
        (world.names("a"), world.names("ops")),
        (vec!["of a request".to_owned()], vec!["of a request".to_owned()])
    );
}

#[tokio::test]
async fn an_async_look_up_finds_the_target_too() {
    let world = world(&["a"], |builder| builder);
    let a = world.registry.tenant_async("a").await.expect("configured");
    a.start_span("span").end();
    tokio::task::spawn_blocking(move || {
        world.flush();
        assert_eq!(world.names("ops"), ["span"]);
    })
    .await
    .expect("no panic");
}

#[test]
fn a_check_shows_a_target_that_only_a_look_up_knows_to_be_missing() {
    let text = format!("{}also = [\"tenant:missing\"]\n", table("a", "a"));
    let files = Files::new(&["a"], &text);
    let checked = files.world.registry.check(tracer_registry::check::CheckMode::Keys);
    let a = checked
        .iter()
        .find(|checked| checked.selector == "tenant:a")
        .expect("checked");
    assert!(!a.is_faulty());
    let shown: Vec<String> = a.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        ["its spans are not copied to tenant:missing: tenant \"missing\" is not configured"]
    );
    files.tenant("a").start_span("span").end();
    files.world.flush_all();
    assert_eq!(files.world.names("a"), ["span"]);
    assert_eq!(ledger_of(&files.world.registry, "tenant:missing").lost(), 1);
}
