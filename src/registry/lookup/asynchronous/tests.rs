//! Runtimes in which an asynchronous look-up is polled.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::{FutureExt, poll};
use secrecy::SecretString;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::config::Binding;
use crate::registry::{AsyncBindingSource, BindingFuture, LookupError, RegistryBuilder, TracerRegistry};
use crate::secret::{KeySource, SecretError};
use crate::selector::{Selector, Slug};

fn binding() -> Binding {
    Binding::new()
        .endpoint("http://127.0.0.1:9")
        .api_key(KeySource::provider("test", "key"))
}

fn builder() -> RegistryBuilder {
    TracerRegistry::builder()
        .secret_source("test", |name: &str| Ok::<_, SecretError>(SecretString::from(name)))
        .tenant("acme", binding())
        .tenant("globex", binding())
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
fn a_re_entrant_look_up_keeps_a_stale_tracer() {
    let registry = builder().build().expect("valid");
    let acme = registry.tenant("acme").expect("configured");
    acme.freshness().mark_stale();
    let globex = Selector::try_from(Selector::tenant("globex")).expect("a selector");
    let building = registry.0.guard_reentrancy(&globex).expect("not building yet");
    let found = registry.tenant_async("acme").now_or_never().expect("at once");
    assert!(found.expect("it is there").same_tracer(&acme) && acme.is_stale());
    let other = registry.tenant_async("globex").now_or_never().expect("at once");
    assert!(matches!(other, Err(LookupError::Recursive { .. })), "{other:?}");
    drop(building);
    let found = registry.tenant_async("acme").now_or_never().expect("at once");
    assert!(found.expect("it is there").same_tracer(&acme) && !acme.is_stale());
}

/// Source that answers once it gets a permit.
struct GatedSource {
    asked: Arc<AtomicBool>,
    permits: Arc<Semaphore>,
}

impl AsyncBindingSource for GatedSource {
    fn binding<'a>(&'a self, _: &'a Slug) -> BindingFuture<'a> {
        Box::pin(async {
            self.asked.store(true, Ordering::SeqCst);
            self.permits.acquire().await.expect("never closed").forget();
            Ok(Some(binding()))
        })
    }
}

#[test]
fn a_runtime_shutdown_does_not_fail_a_look_up_that_another_runtime_polls() {
    let (asked, permits) = (Arc::new(AtomicBool::new(false)), Arc::new(Semaphore::new(0)));
    let source = GatedSource {
        asked: Arc::clone(&asked),
        permits: Arc::clone(&permits),
    };
    let registry = builder().async_binding_source(source).build().expect("valid");
    let (ends, lives) = (runtime(), runtime());
    let mut first = Box::pin(registry.tenant_async("initech"));
    let mut second = Box::pin(registry.tenant_async("initech"));
    let until_asked = async {
        while !asked.load(Ordering::SeqCst) {
            assert!(poll!(&mut first).is_pending());
            tokio::task::yield_now().await;
        }
    };
    ends.block_on(until_asked);
    assert!(lives.block_on(async { poll!(&mut second) }).is_pending());
    permits.add_permits(1);
    let ended = ends.handle().clone();
    ends.shutdown_background();
    {
        // Polled inside a runtime that is shutting down.
        let _ended = ended.enter();
        assert!(
            first.as_mut().now_or_never().is_none(),
            "the other runtime completes it"
        );
    }
    drop(first);
    assert!(lives.block_on(second).is_ok());
}
