//! Sources of keys that hang: what others have to suffer by them, which is nothing.

use std::collections::BTreeSet;
use std::sync::{Arc, Condvar, Mutex};

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tracer_registry::KeySource;
use tracer_registry::config::Binding;

use super::{Vault, eternal_pauses, next};
use crate::support::{World, key_of, wait_for};

/// Keys that may be read at the same time.
const READERS: usize = 16;

/// A source that gives each key once, and then hangs until it is let go.
#[derive(Default)]
struct Stuck {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    given: BTreeSet<String>,
    hanging: usize,
    most: usize,
    free: bool,
}

impl Stuck {
    fn fetch(&self, name: &str) -> SecretString {
        let mut state = self.state.lock().expect("not poisoned");
        if state.given.insert(name.to_owned()) {
            return SecretString::from(key_of(name));
        }
        state.hanging += 1;
        state.most = state.most.max(state.hanging);
        let mut state = self
            .changed
            .wait_while(state, |state| !state.free)
            .expect("not poisoned");
        state.hanging -= 1;
        SecretString::from(next(name))
    }

    fn let_go(&self) {
        self.state.lock().expect("not poisoned").free = true;
        self.changed.notify_all();
    }

    fn most(&self) -> usize {
        self.state.lock().expect("not poisoned").most
    }
}

#[test]
fn a_source_that_hangs_for_everybody_leaves_room_for_the_other_sources() {
    let stuck = Arc::new(Stuck::default());
    let vault = Vault::default();
    let names: Vec<String> = (0..2 * READERS).map(|n| format!("s{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    vault.put("other", &key_of("other"));
    let world = World::with(&[], |builder| {
        let (stuck, vault) = (Arc::clone(&stuck), vault.clone());
        let builder = builder
            .export(eternal_pauses())
            .secret_source("stuck", move |name: &str| Ok(stuck.fetch(name)))
            .secret_source("vault", move |name: &str| vault.fetch(name))
            .tenant("other", Binding::new().api_key(KeySource::provider("vault", "other")));
        names.iter().fold(builder, |builder, name| {
            builder.tenant(*name, Binding::new().api_key(KeySource::provider("stuck", *name)))
        })
    })
    .naming(&names)
    .naming(&["other"]);
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
    wait_for("look-ups that hang", || stuck.most(), |most| *most >= READERS / 2);
    let other = world.tenant("other");
    let mut keys = [key_of("other"), next("other")];
    for turn in 1..=4 {
        let [old, new] = &keys;
        vault.put("other", new);
        let fault = world.revoke(old);
        other.start_span("span").end();
        world.wait_for_spans("other", turn);
        assert!(world.collector.fault_hits(fault) > 0, "its source was asked for that");
        world.collector.clear_fault(fault);
        keys.reverse();
    }
    assert_eq!(stuck.most(), READERS / 2);
    stuck.let_go();
    world.flush();
    for name in names.iter().chain(&["other"]) {
        world.assert_nothing_lost(name);
    }
}
