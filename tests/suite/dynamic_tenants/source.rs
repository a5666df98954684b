//! A blocking binding source.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::Duration;

use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::{BindingCacheOptions, BindingSource, SourceError};
use tracer_registry::{LookupError, Selector, TracerRegistry};

use crate::reload::{Files, table};
use crate::support::{World, binding, wait_for};

/// A binding source in memory that counts its calls.
#[derive(Clone, Default)]
pub(super) struct Tenants(Arc<State>);

#[derive(Default)]
struct State {
    bindings: Mutex<BTreeMap<String, Binding>>,
    calls: AtomicUsize,
    error: Mutex<Option<String>>,
}

impl Tenants {
    pub(super) fn set(&self, tenant: &str, binding: Option<Binding>) {
        let mut bindings = self.0.bindings.lock().expect("not poisoned");
        match binding {
            Some(binding) => bindings.insert(tenant.to_owned(), binding),
            None => bindings.remove(tenant),
        };
    }

    pub(super) fn calls(&self) -> usize {
        self.0.calls.load(Ordering::SeqCst)
    }

    pub(super) fn set_error(&self, message: Option<&str>) {
        *self.0.error.lock().expect("not poisoned") = message.map(str::to_owned);
    }
}

impl BindingSource for Tenants {
    fn binding(&self, tenant: &Slug) -> Result<Option<Binding>, SourceError> {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        match &*self.0.error.lock().expect("not poisoned") {
            Some(message) => Err(SourceError::new(message.clone())),
            None => Ok(self
                .0
                .bindings
                .lock()
                .expect("not poisoned")
                .get(tenant.as_str())
                .cloned()),
        }
    }
}

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(super) fn cache_options(ttl: Duration, negative_ttl: Duration) -> BindingCacheOptions {
    BindingCacheOptions {
        ttl,
        negative_ttl,
        ..BindingCacheOptions::default()
    }
}

fn world(tenants: &Tenants, options: BindingCacheOptions) -> World {
    let source = tenants.clone();
    World::with(&["acme", "globex"], move |builder| {
        builder.binding_source(source).binding_cache(options)
    })
}

#[test]
fn concurrent_look_ups_of_a_tenant_call_the_source_once() {
    let tenants = Tenants::default();
    tenants.set("initech", Some(binding("acme")));
    let world = world(&tenants, cache_options(HOUR, HOUR));
    for (calls, name, known) in [(1, "initech", true), (2, "hooli", false)] {
        let barrier = Barrier::new(200);
        std::thread::scope(|scope| {
            for _ in 0..200 {
                scope.spawn(|| {
                    barrier.wait();
                    assert_eq!(world.registry.tenant(name).is_ok(), known);
                });
            }
        });
        assert_eq!(tenants.calls(), calls);
    }
    let unknown = world.registry.tenant("hooli").expect_err("unknown");
    assert_eq!(unknown.to_string(), "tenant \"hooli\" is not configured");
    assert_eq!(tenants.calls(), 2);
    assert_eq!(world.registry.status().tracers.len(), 1);
}

#[test]
fn the_source_is_not_called_for_configured_tenants_or_invalid_names() {
    let tenants = Tenants::default();
    let world = world(&tenants, cache_options(HOUR, HOUR));
    assert!(world.registry.tenant("acme").is_ok());
    assert!(world.registry.tenant("../initech").is_err());
    assert!(world.registry.environment("initech").is_err());
    assert_eq!(tenants.calls(), 0);
}

#[test]
fn a_source_error_fails_that_look_up_and_is_not_cached() {
    let tenants = Tenants::default();
    tenants.set("initech", Some(binding("acme")));
    let world = world(&tenants, cache_options(HOUR, HOUR));
    tenants.set_error(Some("connection refused"));
    for _ in 0..2 {
        let error = world.registry.tenant("initech").expect_err("the source fails");
        assert_eq!(
            error.to_string(),
            "binding source failed for tenant \"initech\": connection refused"
        );
    }
    assert!(world.registry.tenant("acme").is_ok());
    tenants.set_error(None);
    assert!(world.registry.tenant("initech").is_ok());
    assert_eq!(tenants.calls(), 3);
}

#[test]
fn an_unknown_tenant_is_looked_up_again_after_the_negative_ttl() {
    let tenants = Tenants::default();
    let world = world(&tenants, cache_options(HOUR, Duration::from_millis(20)));
    assert!(world.registry.tenant("initech").is_err());
    tenants.set("initech", Some(binding("acme")));
    wait_for(
        "the tenant",
        || world.registry.tenant("initech").is_ok(),
        |known| *known,
    );
}

#[test]
fn an_unchanged_binding_keeps_the_tracer_and_a_changed_one_replaces_it() {
    let tenants = Tenants::default();
    tenants.set("initech", Some(binding("acme").source("eu")));
    let world = world(&tenants, cache_options(Duration::from_millis(20), HOUR));
    let first = world.tenant("initech");
    let refreshed = || {
        assert!(world.tenant("initech").same_tracer(&first));
        tenants.calls()
    };
    wait_for("a refresh", refreshed, |calls| *calls > 2);

    tenants.set("initech", Some(binding("globex")));
    let second = wait_for(
        "another tracer",
        || world.tenant("initech"),
        |now| !now.same_tracer(&first),
    );
    assert_ne!(second.fingerprint(), first.fingerprint());
    first.in_span("on the old one", |_| ());
    second.in_span("on the new one", |_| ());
    world.flush();
    assert_eq!(
        (world.names("acme"), world.names("globex")),
        (vec!["on the old one".to_owned()], vec!["on the new one".to_owned()])
    );

    tenants.set("initech", None);
    wait_for(
        "the removal of the tenant",
        || world.registry.tenant("initech").is_err(),
        |removed| *removed,
    );
}

#[test]
fn a_source_that_fails_later_keeps_existing_tracers() {
    let tenants = Tenants::default();
    tenants.set("initech", Some(binding("acme")));
    let world = world(&tenants, cache_options(Duration::from_millis(20), HOUR));
    let first = world.tenant("initech");
    tenants.set_error(Some("connection refused"));
    let calls = tenants.calls();
    let refreshed = || {
        assert!(world.tenant("initech").same_tracer(&first));
        tenants.calls() - calls
    };
    wait_for("two failed refreshes", refreshed, |failed| *failed > 1);
    tenants.set_error(None);
    tenants.set("initech", Some(binding("globex")));
    wait_for(
        "another tracer",
        || world.tenant("initech"),
        |now| !now.same_tracer(&first),
    );
}

#[test]
fn bindings_from_a_source_are_checked_like_tables() {
    let tenants = Tenants::default();
    tenants.set(
        "bad",
        Some(
            binding("acme")
                .endpoint("nowhere")
                .header("authorization", "Bearer hh_canary"),
        ),
    );
    tenants.set("keyless", Some(Binding::new()));
    let world = world(&tenants, cache_options(HOUR, HOUR));
    let error = world.registry.tenant("bad").expect_err("two faults").to_string();
    assert!(
        error.contains("the source of bindings: tenants.bad.endpoint: ") && error.contains("tenants.bad.headers"),
        "{error}"
    );
    assert!(!error.contains("canary"), "{error}");
    let error = world.registry.tenant("keyless").expect_err("no key");
    assert_eq!(
        error.to_string(),
        "no api_key is configured, and the key of another selector is never used"
    );
    let error = Binding::from_json(serde_json::json!({"api_key": "hh_canary", "endpoint": 7})).expect_err("two faults");
    assert_eq!(error.problems().len(), 2);
    assert!(!error.to_string().contains("canary"), "{error}");
}

#[test]
fn a_source_that_panics_or_looks_up_tracers_fails_that_look_up() {
    let inside = Arc::new(Mutex::new(None::<TracerRegistry>));
    let registry = Arc::clone(&inside);
    let world = World::with(&["acme"], move |builder| {
        builder.binding_source(move |tenant: &Slug| {
            assert_ne!(tenant.as_str(), "panics", "in the source");
            let registry = registry.lock().expect("not poisoned").clone().expect("set");
            let error = registry.tenant("another").expect_err("refused");
            assert!(matches!(error, LookupError::Recursive { .. }), "{error}");
            let found = registry.tenant("acme");
            found.map_err(|error| SourceError::new(error.to_string()))?;
            Ok(Some(binding("acme")))
        })
    });
    *inside.lock().expect("not poisoned") = Some(world.registry.clone());
    let error = world.registry.tenant("panics").expect_err("the source panics");
    assert!(matches!(error, LookupError::Panicked(_)), "{error}");
    // An existing tracer is found.
    assert!(world.registry.tenant("acme").is_ok());
    assert!(world.registry.tenant("looks-up").is_ok());
    inside.lock().expect("not poisoned").take();
}

/// A tracer of a table has no expiry. After the table is removed, the source decides and is called
/// again.
#[test]
fn a_tenant_whose_table_is_removed_is_refreshed_after_the_ttl() {
    let tenants = Tenants::default();
    tenants.set("acme", Some(binding("acme")));
    let source = tenants.clone();
    let files = Files::with(&["acme", "globex"], "", move |builder| {
        let options = cache_options(Duration::from_secs(2), HOUR);
        builder.binding_source(source).binding_cache(options)
    });
    let registry = &files.world.registry;
    let first = files.tenant("acme");
    files.rewrite(&table("acme", "acme"));
    registry.reload().expect("without a fault");
    assert!(registry.remove(Selector::tenant("acme")).expect("a name"));
    let from_table = files.tenant("acme");
    assert!(from_table != first && from_table.fingerprint() == first.fingerprint());
    files.rewrite("");
    registry.reload().expect("without a fault");
    assert_eq!(files.tenant("acme"), from_table, "its binding is the same");
    tenants.set("acme", Some(binding("globex")));
    wait_for(
        "the new binding",
        || files.tenant("acme"),
        |tracer| *tracer != from_table,
    );
}
