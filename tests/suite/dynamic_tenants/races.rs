//! Changes and removals during look-ups.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tracer_registry::config::Binding;
use tracer_registry::secret::SecretError;
use tracer_registry::selector::Slug;
use tracer_registry::source::BindingCacheOptions;
use tracer_registry::{KeySource, Selector, TracerHandle};

use super::source::HOUR;
use crate::reload::Files;
use crate::support::{LONG, World, key_of, wait_for};

/// A point where a look-up waits until the test releases it with a text.
#[derive(Clone)]
struct Gate(Arc<Mutex<Sender<Sender<String>>>>);

impl Gate {
    fn new() -> (Self, Receiver<Sender<String>>) {
        let (arrived, arrivals) = channel();
        (Self(Arc::new(Mutex::new(arrived))), arrivals)
    }

    fn wait(&self) -> String {
        let (release, released) = channel();
        let arrived = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        arrived.send(release).expect("the test still receives");
        drop(arrived);
        released.recv().expect("the test releases it")
    }

    /// A secret source that waits for the test to send the key of one name.
    fn keys_of(
        self,
        gated: &'static str,
    ) -> impl Fn(&str) -> Result<SecretString, SecretError> + Send + Sync + 'static {
        move |name: &str| {
            let key = if name == gated { self.wait() } else { key_of(name) };
            Ok(SecretString::from(key))
        }
    }
}

fn key(name: &str, source: &str) -> String {
    format!("api_key = {{ provider = \"test\", name = \"{name}\" }}\nsource = \"{source}\"\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_up_after_a_removal_does_not_get_the_key_of_an_earlier_look_up() {
    let (gate, arrivals) = Gate::new();
    let world = World::with(&["acme"], |builder| builder.secret_source("test", gate.keys_of("acme")));
    let look_up = || tokio::spawn(world.registry.tenant_async("acme"));
    let before = look_up();
    let old = arrivals.recv_timeout(LONG).expect("the look-up reads the key");
    assert!(world.registry.remove(Selector::tenant("acme")).expect("a selector"));
    let after = look_up();
    let new = arrivals.recv_timeout(LONG).expect("the second look-up reads the key");
    new.send(key_of("new")).expect("the source waits");
    let after = after.await.expect("no panic").expect("configured");
    old.send(key_of("acme")).expect("the source waits");
    let before = before.await.expect("no panic").expect("configured");
    assert_eq!(
        after.fingerprint(),
        crate::support::fingerprint(&world.collector, &key_of("new"))
    );
    assert!(before.same_tracer(&after), "a removed tracer is never returned");
}

#[test]
fn a_reload_during_a_binding_refresh_takes_effect() {
    let (gate, arrivals) = Gate::new();
    let calls = AtomicUsize::new(0);
    let source = move |_: &Slug| {
        if calls.fetch_add(1, Ordering::SeqCst) == 2 {
            gate.wait();
        }
        Ok(Some(Binding::new().api_key(KeySource::provider("test", "acme"))))
    };
    let cache_options = BindingCacheOptions {
        ttl: Duration::from_millis(20),
        negative_ttl: HOUR,
        // Other look-ups evict the entry, so the reload finds no cached binding.
        max_entries: 1,
    };
    let files = Files::with(&["acme"], "", |builder| {
        builder.binding_source(source).binding_cache(cache_options)
    });
    let first = files.tenant("initech");
    files.tenant("hooli");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let look_ups = scope.spawn(|| {
            loop {
                let found = files.tenant("initech");
                if stop.load(Ordering::SeqCst) {
                    return found;
                }
            }
        });
        let release = arrivals.recv_timeout(LONG).expect("the binding is refreshed");
        stop.store(true, Ordering::SeqCst);
        files.write(
            "default.toml",
            &files.text("").replace("source = \"test\"", "source = \"eu\""),
        );
        files.world.registry.reload().expect("without a fault");
        release.send(String::new()).expect("the source waits");
        assert!(!look_ups.join().expect("no panic").same_tracer(&first));
    });
    files.tenant("initech").in_span("after the reload", |_| ());
    files.world.flush();
    let span = files.world.span("acme", "after the reload");
    assert_eq!(span.attributes["honeyhive.source"], "eu", "{span:?}");
}

#[test]
fn a_change_of_one_tenants_file_does_not_block_a_look_up_of_another() {
    let (gate, arrivals) = Gate::new();
    let text = "tenants_dir = \"tenants.d\"\n[untrusted]\nkeys = [\"provider:test/*\"]\n[reload]\nwatch = true\n";
    let files = Files::with(&["busy", "slow"], text, |builder| {
        builder.secret_source("test", gate.keys_of("slow"))
    });
    let change = |before: &TracerHandle, source: &str| {
        files.write("tenants.d/busy.toml", &key("busy", source));
        let now = || files.tenant("busy");
        wait_for("another tracer", now, |now| !now.same_tracer(before))
    };
    files.write("tenants.d/slow.toml", &key("slow", "one"));
    files.write("tenants.d/busy.toml", &key("busy", "one"));
    let one = files.tenant("busy");
    // This change comes after all that the watcher has seen.
    let two = change(&one, "two");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| files.tenant("slow"));
        let release = arrivals.recv_timeout(LONG).expect("the look-up reads the key");
        change(&two, "three");
        release.send(key_of("slow")).expect("the source waits");
        let slow = slow.join().expect("no panic");
        assert!(
            slow.same_tracer(&files.tenant("slow")),
            "the tracer is created once and kept"
        );
    });
}

#[test]
fn with_a_binding_source_a_tenants_file_is_not_read_at_each_look_up() {
    let files = Files::with(
        &["acme"],
        "tenants_dir = \"tenants.d\"\n[untrusted]\nkeys = [\"provider:test/*\"]\n",
        |builder| builder.binding_source(|_: &Slug| Ok(None)),
    );
    files.write("tenants.d/acme.toml", &key("acme", "one"));
    let acme = files.tenant("acme");
    files.write("tenants.d/acme.toml", &key("acme", "two"));
    assert!(files.tenant("acme").same_tracer(&acme), "no reload has read the file");
    assert_eq!(
        files.world.registry.reload().expect("no fault").changed,
        [acme.selector().clone()]
    );
    assert!(!files.tenant("acme").same_tracer(&acme));
}
