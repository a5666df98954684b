//! Look-ups: a tracer is created once, found again, and never that of another selector.

mod threads;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::SelectorError;
use tracer_registry::{KeySource, LookupError, RegistryBuilder, Selector, TracerRegistry};

use crate::support::{self, binding, key_of};

/// No test here sends anything, so no server listens on this port.
const UNUSED_URL: &str = "http://127.0.0.1:9";

fn registry(tenants: &[&str]) -> RegistryBuilder {
    support::registry(UNUSED_URL, tenants, &Fingerprinter::new())
}

fn pool_debug(registry: &TracerRegistry) -> String {
    format!("{registry:?}")
}

#[test]
fn equal_selectors_share_a_tracer_and_a_name_of_another_kind_does_not() {
    let registry = registry(&["a"])
        .environment("a", binding("a"))
        .feature("a", binding("a"))
        .build()
        .expect("valid");
    let tenant = registry.tenant("a").expect("configured");
    for again in [
        registry.tenant("a"),
        registry.get(Selector::tenant("a")),
        registry.get(tenant.selector()),
        registry.get("tenant:a".parse::<Selector>().expect("a selector")),
    ] {
        assert!(tenant.same_tracer(&again.expect("configured")));
    }
    let others = [
        registry.environment("a"),
        registry.feature("a"),
        registry.get(Selector::tenant("a").feature("a")),
    ];
    for other in others {
        assert!(!tenant.same_tracer(&other.expect("configured")));
    }
    assert_eq!(pool_debug(&registry), "TracerRegistry { tracers: 4, .. }");
}

#[test]
#[expect(clippy::mutable_key_type, reason = "the hash is of the tracer's address")]
fn handles_are_equal_if_they_share_a_tracer_not_a_selector() {
    let registry = registry(&["a"]).build().expect("valid");
    let a = registry.tenant("a").expect("configured");
    let dedicated = registry.dedicated(Selector::tenant("a")).expect("configured");
    let handles = HashSet::from([a.clone(), registry.tenant("a").expect("configured"), dedicated.clone()]);
    assert_eq!(handles, HashSet::from([dedicated.clone(), a.clone()]));
    assert_eq!(handles.len(), 2);
    assert_ne!(a, dedicated);
}

#[test]
fn a_selector_of_several_parts_is_one_tracer_in_any_order_with_the_key_of_the_last_part_or_the_route() {
    let fingerprinter = Fingerprinter::new();
    let registry = support::registry(UNUSED_URL, &["a", "b"], &fingerprinter)
        .environment("e", binding("e"))
        .feature("f", binding("f"))
        .feature("keyless", Binding::new())
        .route(&Selector::tenant("a").feature("f"), binding("route"))
        .build()
        .expect("valid");
    let key = |selector| registry.get(selector).expect("configured").fingerprint();
    for (selector, name) in [
        (Selector::tenant("a").feature("f"), "route"),
        (Selector::feature("f").tenant("a").environment("e"), "route"),
        (Selector::tenant("b").feature("f"), "b"),
        (Selector::environment("e").feature("f"), "f"),
        (Selector::environment("e").feature("keyless"), "e"),
        (Selector::environment("e").tenant("a"), "a"),
    ] {
        assert_eq!(
            key(selector.clone()),
            fingerprinter.fingerprint(key_of(name).as_bytes()),
            "{selector:?}"
        );
    }
    let one = registry.get(Selector::tenant("a").feature("f")).expect("configured");
    let other = registry.get(Selector::feature("f").tenant("a")).expect("configured");
    assert!(one.same_tracer(&other));
    assert!(
        matches!(registry.feature("keyless"), Err(LookupError::Resolve(_))),
        "no other key may be used instead"
    );
    let unknown = registry
        .get(Selector::tenant("a").feature("g"))
        .expect_err("no such feature");
    assert_eq!(unknown.to_string(), "feature \"g\" is not configured");
}

#[test]
fn an_unknown_or_invalid_name_is_an_error_that_explains_itself() {
    let registry = registry(&["acme", "globex"]).build().expect("valid");
    for (name, expected) in [
        ("acmee", "tenant \"acmee\" is not configured; did you mean acme?"),
        ("xyz", "tenant \"xyz\" is not configured"),
    ] {
        assert_eq!(registry.tenant(name).expect_err("unknown").to_string(), expected);
    }
    let error = registry.tenant("ACME").expect_err("not allowed").to_string();
    assert!(
        error.starts_with("tenant: invalid name \"ACME\": contains 'A'; a name is 1 to 64 of"),
        "{error}"
    );
    let long = "a".repeat(100_000);
    for name in [
        "",
        "../acme",
        "acme/",
        "*",
        "{tenant}",
        "acme\n",
        "acme\0",
        "аcme",
        "acme..eu",
        ".",
        long.as_str(),
    ] {
        for error in [
            registry.tenant(name).expect_err(name),
            registry.environment(name).expect_err(name),
            registry.feature(name).expect_err(name),
            registry.get(Selector::tenant("acme").feature(name)).expect_err(name),
            registry.dedicated(Selector::tenant(name)).expect_err(name),
        ] {
            assert!(
                matches!(error, LookupError::Selector(SelectorError::Slug { .. })),
                "{error:?}"
            );
            assert!(error.to_string().len() < 400 && error.to_string().is_ascii(), "{error}");
        }
    }
    let empty = tracer_registry::selector::SelectorBuilder::default();
    assert_eq!(
        registry.get(empty).expect_err("the selector is empty"),
        LookupError::Selector(SelectorError::Empty)
    );
    assert_eq!(pool_debug(&registry), "TracerRegistry { tracers: 0, .. }");
}

#[test]
fn two_hundred_thousand_failed_look_ups_retain_no_memory() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let missing = Binding::new().api_key(KeySource::file(folder.path().join("{tenant}")));
    let without = registry(&["acme"]).build().expect("valid");
    let with = registry(&[])
        .tenant("*", missing)
        .feature("f", Binding::new())
        .build()
        .expect("valid");
    let ask = |from: usize, to: usize| {
        for n in from..to {
            let name = format!("wrong-{n}");
            // Most of them search the configuration, some read the disk.
            let failed = match n % 100 {
                0 => with.tenant(&name).is_err(),
                1 => with.get(Selector::tenant(&name).feature("f")).is_err(),
                2 => with.dedicated(Selector::tenant(&name)).is_err(),
                3 => without.get(Selector::tenant("acme").feature(&name)).is_err(),
                n if n < 20 => without.tenant(&name).is_err(),
                _ => without.feature(&format!("{name}/..")).is_err(),
            };
            assert!(failed, "{name}");
        }
    };
    // The first round allocates the memory of every shard of the pool, and of all failures that are
    // remembered.
    ask(0, 50_000);
    let used = allocation_counter::measure(|| ask(50_000, 200_000));
    assert!(used.bytes_current.abs() < 4096, "{used:?}");
    for registry in [&with, &without] {
        assert_eq!(pool_debug(registry), "TracerRegistry { tracers: 0, .. }");
        assert!(registry.status().tracers.is_empty());
    }
}

#[test]
fn finding_an_existing_tracer_allocates_nothing() {
    let registry = registry(&["acme"])
        .environment("production", binding("p"))
        .feature("f", binding("f"))
        .active_environment("production")
        .build()
        .expect("valid");
    let both = Selector::try_from(Selector::tenant("acme").feature("f")).expect("valid");
    let single = Selector::try_from(Selector::tenant("acme")).expect("valid");
    let ask = || {
        let found = [
            registry.tenant("acme"),
            registry.environment("production"),
            registry.feature("f"),
            registry.active(),
            registry.get(&both),
            registry.get(&single),
        ];
        assert!(found.iter().all(Result::is_ok));
    };
    ask();
    let used = allocation_counter::measure(|| (0..100).for_each(|_| ask()));
    assert_eq!(used.count_total, 0, "{used:?}");
}

#[test]
fn the_active_tracer_is_that_of_the_active_environment() {
    let registry = registry(&[])
        .environment("staging", binding("s"))
        .active_environment("staging")
        .build()
        .expect("valid");
    let active = registry.active().expect("configured");
    assert!(active.same_tracer(&registry.environment("staging").expect("configured")));
    let without = self::registry(&[])
        .environment("staging", binding("s"))
        .build()
        .expect("valid");
    assert_eq!(
        without.active().expect_err("no environment is active"),
        LookupError::NoActiveEnvironment
    );
}

#[test]
fn a_dedicated_tracer_is_separate_and_not_in_the_pool() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let registry = registry(&["a"])
        .secret_source("test", move |name: &str| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok(SecretString::from(key_of(name)))
        })
        .build()
        .expect("valid");
    let one = registry.dedicated(Selector::tenant("a")).expect("configured");
    let two = registry.dedicated(Selector::tenant("a")).expect("configured");
    assert_eq!(pool_debug(&registry), "TracerRegistry { tracers: 0, .. }");
    let shared = registry.tenant("a").expect("configured");
    assert!(!one.same_tracer(&two) && !one.same_tracer(&shared));
    assert_eq!(one.fingerprint(), shared.fingerprint());
    assert_eq!(calls.load(Ordering::Relaxed), 3, "each tracer reads its key");
    assert_eq!(registry.status().tracers.len(), 1, "the ledger belongs to the selector");
}

#[test]
fn after_shutdown_no_tracer_is_found_or_created() {
    let registry = registry(&["a", "b"])
        .environment("e", binding("e"))
        .active_environment("e")
        .build()
        .expect("valid");
    let held = registry.tenant("a").expect("configured");
    let clone = registry.clone();
    // `Duration::MAX` is a valid timeout.
    assert!(registry.force_flush(Duration::MAX).is_complete());
    assert!(registry.shutdown(Duration::MAX).is_complete());
    for refused in [
        clone.tenant("a"),
        clone.tenant("b"),
        clone.active(),
        clone.get(Selector::tenant("a").environment("e")),
        clone.dedicated(Selector::tenant("a")),
    ] {
        assert_eq!(refused.expect_err("shut down"), LookupError::Shutdown);
    }
    assert!(
        clone
            .tenant("ACME")
            .is_err_and(|error| matches!(error, LookupError::Selector(_)))
    );
    held.start_span("after").end();
    assert_eq!(pool_debug(&registry), "TracerRegistry { tracers: 1, .. }");
}
