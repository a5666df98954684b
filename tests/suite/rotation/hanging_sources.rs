//! Key sources that hang do not delay the keys of other sources.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::KeySource;
use tracer_registry::config::Binding;

use super::{Vault, endless_backoff, next_key};
use crate::support::{World, key_of, wait_for};

/// Limit of concurrent key reads.
const MAX_READS: usize = 16;

/// A source that returns each key once and then hangs until released.
#[derive(Default)]
struct HangingSource {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    returned: BTreeSet<String>,
    hanging: usize,
    max_hanging: usize,
    released: bool,
}

impl HangingSource {
    fn fetch(&self, name: &str) -> SecretString {
        let mut state = self.state.lock().expect("not poisoned");
        if state.returned.insert(name.to_owned()) {
            return SecretString::from(key_of(name));
        }
        state.hanging += 1;
        state.max_hanging = state.max_hanging.max(state.hanging);
        let mut state = self
            .changed
            .wait_while(state, |state| !state.released)
            .expect("not poisoned");
        state.hanging -= 1;
        SecretString::from(next_key(name))
    }

    fn release(&self) {
        self.state.lock().expect("not poisoned").released = true;
        self.changed.notify_all();
    }

    fn max_hanging(&self) -> usize {
        self.state.lock().expect("not poisoned").max_hanging
    }
}

#[test]
fn a_hanging_source_leaves_read_slots_for_other_sources() {
    let hanging_source = Arc::new(HangingSource::default());
    let vault = Vault::default();
    let names: Vec<String> = (0..2 * MAX_READS).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    vault.put("other", &key_of("other"));
    let world = World::with(&[], |builder| {
        let (hanging_source, vault) = (Arc::clone(&hanging_source), vault.clone());
        let builder = builder
            .export(endless_backoff())
            .secret_source("hanging", move |name: &str| Ok(hanging_source.fetch(name)))
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("other", Binding::new().api_key(KeySource::provider("vault", "other")));
        names.iter().fold(builder, |builder, name| {
            builder.tenant(*name, Binding::new().api_key(KeySource::provider("hanging", *name)))
        })
    })
    .with_projects(&names)
    .with_projects(&["other"]);
    let revoked: Vec<_> = names.iter().map(|name| world.revoke(&key_of(name))).collect();
    for name in &names {
        world.tenant(name).start_span("span").end();
    }
    let refused = || {
        revoked
            .iter()
            .map(|fault| world.collector.fault_hits(*fault))
            .sum::<u64>()
    };
    wait_for("refusals", refused, |hits| *hits >= names.len() as u64);
    wait_for(
        "look-ups that hang",
        || hanging_source.max_hanging(),
        |max_hanging| *max_hanging >= MAX_READS / 2,
    );
    let other = world.tenant("other");
    let mut keys = [key_of("other"), next_key("other")];
    for spans in 1..=4 {
        let [old, new] = &keys;
        vault.put("other", new);
        let fault = world.revoke(old);
        other.start_span("span").end();
        world.wait_for_spans("other", spans);
        assert!(
            world.collector.fault_hits(fault) > 0,
            "the span arrived after a refusal and a new key"
        );
        world.collector.clear_fault(fault);
        keys.reverse();
    }
    assert_eq!(hanging_source.max_hanging(), MAX_READS / 2);
    hanging_source.release();
    world.flush();
    for name in names.iter().chain(&["other"]) {
        world.assert_nothing_lost(name);
    }
}
