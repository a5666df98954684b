//! Changes and removals in the middle of look-ups.

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

/// Where something waits until a test lets it go on with a text.
#[derive(Clone)]
struct Gate(Arc<Mutex<Sender<Sender<String>>>>);

impl Gate {
    fn new() -> (Self, Receiver<Sender<String>>) {
        let (came, comes) = channel();
        (Self(Arc::new(Mutex::new(came))), comes)
    }

    fn wait(&self) -> String {
        let (go, goes) = channel();
        let came = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        came.send(go).expect("the test is there");
        drop(came);
        goes.recv().expect("the test lets it go on")
    }

    /// A secret source that asks the test for the key of one name.
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
async fn who_asks_after_a_removal_does_not_get_the_key_of_who_asked_before() {
    let (gate, comes) = Gate::new();
    let world = World::with(&["acme"], |builder| builder.secret_source("test", gate.keys_of("acme")));
    let look_up = || tokio::spawn(world.registry.tenant_async("acme"));
    let before = look_up();
    let old = comes.recv_timeout(LONG).expect("it reads the key");
    assert!(world.registry.remove(Selector::tenant("acme")).expect("a selector"));
    let after = look_up();
    let new = comes.recv_timeout(LONG).expect("it reads the key anew");
    new.send(key_of("new")).expect("it waits");
    let after = after.await.expect("no panic").expect("configured");
    old.send(key_of("acme")).expect("it waits");
    let before = before.await.expect("no panic").expect("configured");
    assert_eq!(
        after.fingerprint(),
        crate::support::fingerprint(&world.collector, &key_of("new"))
    );
    assert!(before.same_tracer(&after), "one that was removed is given to nobody");
}

#[test]
fn a_reload_while_the_source_is_asked_again_is_not_overlooked() {
    let (gate, comes) = Gate::new();
    let asked = AtomicUsize::new(0);
    let source = move |_: &Slug| {
        if asked.fetch_add(1, Ordering::SeqCst) == 2 {
            gate.wait();
        }
        Ok(Some(Binding::new().api_key(KeySource::provider("test", "acme"))))
    };
    let keep = BindingCacheOptions {
        ttl: Duration::from_millis(20),
        negative_ttl: HOUR,
        // What is asked for crowds the last one out: the reload finds no answer in the cache.
        max_entries: 1,
    };
    let files = Files::with(&["acme"], "", |builder| {
        builder.binding_source(source).binding_cache(keep)
    });
    let first = files.tenant("initech");
    files.tenant("hooli");
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let asks = scope.spawn(|| {
            loop {
                let found = files.tenant("initech");
                if stop.load(Ordering::SeqCst) {
                    return found;
                }
            }
        });
        let go = comes.recv_timeout(LONG).expect("it is asked for again");
        stop.store(true, Ordering::SeqCst);
        files.write(
            "default.toml",
            &files.text("").replace("source = \"test\"", "source = \"eu\""),
        );
        files.world.registry.reload().expect("without a fault");
        go.send(String::new()).expect("it waits");
        assert!(!asks.join().expect("no panic").same_tracer(&first));
    });
    files.tenant("initech").in_span("after the reload", |_| ());
    files.world.flush();
    let span = files.world.span("acme", "after the reload");
    assert_eq!(span.attributes["honeyhive.source"], "eu", "{span:?}");
}

#[test]
fn a_change_of_one_tenants_file_keeps_no_look_up_of_another() {
    let (gate, comes) = Gate::new();
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
    // What comes now was written after all that was seen by then.
    let two = change(&one, "two");
    std::thread::scope(|scope| {
        let slow = scope.spawn(|| files.tenant("slow"));
        let go = comes.recv_timeout(LONG).expect("it reads the key");
        change(&two, "three");
        go.send(key_of("slow")).expect("it waits");
        let slow = slow.join().expect("no panic");
        assert!(slow.same_tracer(&files.tenant("slow")), "it was made once, and is kept");
    });
}

#[test]
fn where_there_is_a_source_a_file_is_not_read_with_each_look_up() {
    let files = Files::with(
        &["acme"],
        "tenants_dir = \"tenants.d\"\n[untrusted]\nkeys = [\"provider:test/*\"]\n",
        |builder| builder.binding_source(|_: &Slug| Ok(None)),
    );
    files.write("tenants.d/acme.toml", &key("acme", "one"));
    let acme = files.tenant("acme");
    files.write("tenants.d/acme.toml", &key("acme", "two"));
    assert!(files.tenant("acme").same_tracer(&acme), "nobody said that it changed");
    assert_eq!(
        files.world.registry.reload().expect("no fault").changed,
        [acme.selector().clone()]
    );
    assert!(!files.tenant("acme").same_tracer(&acme));
}
