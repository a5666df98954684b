//! A look-up that takes so long that other changes overtake it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::secret::Fingerprint;
use tracer_registry::{KeySource, Selector};

use crate::support::{World, key_of, wait_for};

#[test]
fn what_was_removed_does_not_come_back_by_a_look_up_that_began_before() {
    let key = Arc::new(Mutex::new(key_of("first")));
    let asked = Arc::new(AtomicU64::new(0));
    let (go_on, held) = mpsc::channel::<()>();
    let held = Mutex::new(Some(held));
    let world = World::with(&[], |builder| {
        let (key, asked) = (Arc::clone(&key), Arc::clone(&asked));
        let fetch = move |_: &str| {
            let read = key.lock().expect("not poisoned").clone();
            asked.fetch_add(1, Ordering::SeqCst);
            let held = held.lock().expect("not poisoned").take();
            // The first one has read the key, and takes its time.
            if let Some(held) = held {
                held.recv().expect("told to go on");
            }
            Ok(SecretString::from(read))
        };
        let a = Binding::new().api_key(KeySource::provider("vault", "a"));
        builder.secret_source("vault", fetch).tenant("a", a)
    });
    let fingerprint = |name: &str| -> Fingerprint { crate::support::fingerprint(&world.collector, &key_of(name)) };
    thread::scope(|threads| {
        let slow = threads.spawn(|| world.tenant("a"));
        wait_for("its reading", || asked.load(Ordering::SeqCst), |asked| *asked == 1);
        // What it makes is of before now, and is not kept.
        assert!(world.registry.reload().expect("no file has a fault").is_empty());
        assert_eq!(world.tenant("a").fingerprint(), fingerprint("first"));
        *key.lock().expect("not poisoned") = key_of("second");
        assert!(world.registry.remove(Selector::tenant("a")).expect("a name"));
        go_on.send(()).expect("it waits");
        assert_eq!(slow.join().expect("no panic").fingerprint(), fingerprint("second"));
    });
    assert_eq!(world.tenant("a").fingerprint(), fingerprint("second"));
    assert_eq!(
        asked.load(Ordering::SeqCst),
        3,
        "it read the key again after the removal"
    );
}
