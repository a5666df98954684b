//! Where an asynchronous look-up is polled.

use std::sync::mpsc;
use std::time::Duration;

use futures_util::{FutureExt, poll};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};

use crate::config::Binding;
use crate::registry::{LookupError, TracerRegistry};
use crate::secret::{KeySource, SecretError};
use crate::selector::Selector;

fn registry() -> TracerRegistry {
    let binding = Binding::new()
        .endpoint("http://127.0.0.1:9")
        .api_key(KeySource::provider("test", "key"));
    TracerRegistry::builder()
        .secret_source("test", |name: &str| Ok::<_, SecretError>(SecretString::from(name)))
        .tenant("acme", binding.clone())
        .tenant("globex", binding)
        .build()
        .expect("valid")
}

fn runtime() -> Runtime {
    let mut runtime = Builder::new_current_thread();
    runtime
        .enable_time()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime")
}

#[test]
fn a_tracer_that_cannot_be_asked_for_here_is_given_as_it_is() {
    let registry = registry();
    let acme = registry.tenant("acme").expect("configured");
    acme.mark_stale();
    let globex = Selector::try_from(Selector::tenant("globex")).expect("a selector");
    let making = registry.0.begin_making(&globex).expect("nobody is at it");
    let found = registry.tenant_async("acme").now_or_never().expect("at once");
    assert!(found.expect("it is there").same_tracer(&acme) && acme.is_stale());
    let other = registry.tenant_async("globex").now_or_never().expect("at once");
    assert!(matches!(other, Err(LookupError::Recursive { .. })), "{other:?}");
    drop(making);
    let found = registry.tenant_async("acme").now_or_never().expect("at once");
    assert!(found.expect("it is there").same_tracer(&acme) && !acme.is_stale());
}

#[test]
fn the_end_of_a_runtime_is_none_of_a_look_up_that_is_waited_for_in_another_one() {
    let registry = registry();
    let (ends, lives) = (runtime(), runtime());
    // Its one thread for what blocks has something else to do.
    let (free, freed) = mpsc::channel::<()>();
    let occupied = ends.spawn_blocking(move || freed.recv());
    let mut first = Box::pin(registry.tenant_async("acme"));
    let mut second = Box::pin(registry.tenant_async("acme"));
    assert!(ends.block_on(async { poll!(&mut first) }).is_pending());
    assert!(lives.block_on(async { poll!(&mut second) }).is_pending());
    ends.shutdown_background();
    drop(free);
    drop(first);
    let second = async { tokio::time::timeout(Duration::from_secs(60), second).await };
    assert!(lives.block_on(second).expect("in time").is_ok());
    drop(occupied);
    assert_eq!(registry.status().pool.tracers, 1);
}
