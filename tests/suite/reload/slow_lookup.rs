//! A slow look-up that ends after a later removal or reload.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::secret::Fingerprint;
use tracer_registry::{KeySource, Selector};

use crate::support::{World, key_of, wait_for};

#[test]
fn a_look_up_that_started_before_a_removal_does_not_restore_the_removed_tracer() {
    let key = Arc::new(Mutex::new(key_of("first")));
    let reads = Arc::new(AtomicU64::new(0));
    let (release, gate) = mpsc::channel::<()>();
    let gate = Mutex::new(Some(gate));
    let world = World::with(&[], |builder| {
        let (key, reads) = (Arc::clone(&key), Arc::clone(&reads));
        let fetch = move |_: &str| {
            let read = key.lock().expect("not poisoned").clone();
            reads.fetch_add(1, Ordering::SeqCst);
            let gate = gate.lock().expect("not poisoned").take();
            // The first look-up has read the key, and waits.
            if let Some(gate) = gate {
                gate.recv().expect("the test releases the look-up");
            }
            Ok(SecretString::from(read))
        };
        let a = Binding::new().api_key(KeySource::provider("vault", "a"));
        builder.secret_source("vault", fetch).tenant("a", a)
    });
    let fingerprint = |name: &str| -> Fingerprint { crate::support::fingerprint(&world.collector, &key_of(name)) };
    thread::scope(|threads| {
        let slow = threads.spawn(|| world.tenant("a"));
        wait_for(
            "the first read of the key",
            || reads.load(Ordering::SeqCst),
            |reads| *reads == 1,
        );
        // The slow look-up started before this reload, so its result is not kept.
        assert!(world.registry.reload().expect("no file has a fault").is_empty());
        assert_eq!(world.tenant("a").fingerprint(), fingerprint("first"));
        *key.lock().expect("not poisoned") = key_of("second");
        assert!(world.registry.remove(Selector::tenant("a")).expect("a name"));
        release.send(()).expect("the look-up still waits");
        assert_eq!(slow.join().expect("no panic").fingerprint(), fingerprint("second"));
    });
    assert_eq!(world.tenant("a").fingerprint(), fingerprint("second"));
    assert_eq!(
        reads.load(Ordering::SeqCst),
        3,
        "the slow look-up read the key again after the removal"
    );
}
