//! Concurrent and recursive look-ups.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::sync::{Arc, Barrier, Mutex, OnceLock};
use std::thread;

use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::{LookupError, Selector, TracerHandle, TracerRegistry};

use super::registry;
use crate::support::{LONG, binding, key_of};

#[test]
fn concurrent_look_ups_create_a_tracer_once() {
    const THREADS: usize = 32;
    let calls: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
    let counted = Arc::clone(&calls);
    let registry = registry(&[])
        .tenant("*", binding("{tenant}"))
        .feature("f", Binding::new())
        .secret_source("test", move |name: &str| {
            *counted.lock().expect("no panic").entry(name.to_owned()).or_default() += 1;
            Ok(SecretString::from(key_of(name)))
        })
        .build()
        .expect("valid");
    for round in 0..20 {
        let (single, both) = (format!("single-{round}"), format!("both-{round}"));
        let start = Barrier::new(THREADS);
        let handles: Vec<TracerHandle> = thread::scope(|threads| {
            let ask = |n: usize| {
                start.wait();
                if n.is_multiple_of(2) {
                    registry.tenant(&single).expect("configured")
                } else {
                    registry.get(Selector::tenant(&both).feature("f")).expect("configured")
                }
            };
            let asking: Vec<_> = (0..THREADS).map(|n| threads.spawn(move || ask(n))).collect();
            asking
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .collect()
        });
        for (n, handle) in handles.iter().enumerate() {
            assert!(handle.same_tracer(&handles[n % 2]), "{n}");
        }
        let calls = calls.lock().expect("no panic");
        assert_eq!((calls[&single], calls[&both]), (1, 1));
    }
}

#[test]
fn a_slow_source_for_one_tenant_delays_no_other_tenant() {
    let (open, gate) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel::<()>();
    let gate = Mutex::new(gate);
    let registry = registry(&["slow"])
        .tenant("*", binding("{tenant}"))
        .secret_source("test", move |name: &str| {
            if name == "slow" {
                started.send(()).expect("the test still receives");
                gate.lock().expect("no panic").recv_timeout(LONG).expect("opened");
            }
            Ok(SecretString::from(key_of(name)))
        })
        .build()
        .expect("valid");
    thread::scope(|threads| {
        let slow = threads.spawn(|| registry.tenant("slow"));
        has_started.recv_timeout(LONG).expect("the look-up has started");
        // Enough names that some are in the same shard of the pool as the slow one.
        for n in 0..1_000 {
            registry.tenant(&format!("t{n}")).expect("its source is not slow");
            registry.tenant(&format!("t{n}")).expect("found");
        }
        registry.status();
        open.send(()).expect("the source still waits");
        slow.join().expect("no panic").expect("its source returned a key");
    });
}

/// Creates a registry whose secret source looks up its own tenants: `a` looks up `b`, and `b` looks
/// up `a`.
fn with_recursive_source(existing: &[&str]) -> (TracerRegistry, Arc<Mutex<Vec<LookupError>>>) {
    let slot: Arc<OnceLock<TracerRegistry>> = Arc::default();
    let refused: Arc<Mutex<Vec<LookupError>>> = Arc::default();
    let (inner, errors) = (Arc::clone(&slot), Arc::clone(&refused));
    let registry = registry(&["a", "b"])
        .tenant("existing", binding("existing"))
        .secret_source("test", move |name: &str| {
            let looked_up = match name {
                "a" => "b",
                "b" => "a",
                _ => return Ok(SecretString::from(key_of(name))),
            };
            let registry = inner.get().expect("made before the first look-up");
            registry.tenant("existing").expect("an existing tracer is found");
            let looked_up = [
                registry.tenant(looked_up),
                registry.tenant(name),
                registry.dedicated(Selector::tenant(looked_up)),
            ];
            let found = looked_up.into_iter().filter_map(Result::err);
            errors.lock().expect("no panic").extend(found);
            Ok(SecretString::from(key_of(name)))
        })
        .build()
        .expect("valid");
    for name in existing {
        registry.tenant(name).expect("configured");
    }
    slot.set(registry.clone()).expect("set once");
    (registry, refused)
}

#[test]
fn a_source_that_looks_up_tracers_of_its_own_registry_gets_an_error_and_never_deadlocks() {
    for _ in 0..20 {
        let (registry, refused) = with_recursive_source(&["existing"]);
        let start = Barrier::new(2);
        thread::scope(|threads| {
            for name in ["a", "b"] {
                let (registry, start) = (&registry, &start);
                threads.spawn(move || {
                    start.wait();
                    registry.tenant(name).expect("its own key can be read");
                });
            }
        });
        let refused = refused.lock().expect("no panic");
        let recursive = refused
            .iter()
            .all(|error| matches!(error, LookupError::Recursive { .. }));
        // One of the two may exist before the other source looks it up; one under construction is
        // refused.
        assert!(recursive && refused.len() >= 4, "{refused:?}");
    }
}

#[test]
fn a_source_can_look_up_tracers_of_another_registry() {
    let other = registry(&["tracing-the-source"]).build().expect("valid");
    let registry = registry(&["a"])
        .secret_source("test", move |name: &str| {
            other
                .tenant("tracing-the-source")
                .expect("another registry is independent");
            Ok(SecretString::from(key_of(name)))
        })
        .build()
        .expect("valid");
    registry.tenant("a").expect("configured");
}
