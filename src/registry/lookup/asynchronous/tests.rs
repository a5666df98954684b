//! Where an asynchronous look-up is polled.

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
fn a_tracer_that_cannot_be_asked_for_here_is_given_as_it_is() {
    let registry = builder().build().expect("valid");
    let acme = registry.tenant("acme").expect("configured");
    acme.freshness().mark_stale();
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

/// Answers when there is a permit.
struct Gate {
    asked: Arc<AtomicBool>,
    permits: Arc<Semaphore>,
}

impl AsyncBindingSource for Gate {
    fn binding<'a>(&'a self, _: &'a Slug) -> BindingFuture<'a> {
        Box::pin(async {
            self.asked.store(true, Ordering::SeqCst);
            self.permits.acquire().await.expect("nobody closes it").forget();
            Ok(Some(binding()))
        })
    }
}

#[test]
fn the_end_of_a_runtime_is_none_of_a_look_up_that_is_waited_for_in_another_one() {
    let (asked, permits) = (Arc::new(AtomicBool::new(false)), Arc::new(Semaphore::new(0)));
    let gate = Gate {
        asked: Arc::clone(&asked),
        permits: Arc::clone(&permits),
    };
    let registry = builder().async_binding_source(gate).build().expect("valid");
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
        // As a task that is polled while its runtime comes to its end.
        let _ended = ended.enter();
        assert!(first.as_mut().now_or_never().is_none(), "it is left to others");
    }
    drop(first);
    assert!(lives.block_on(second).is_ok());
}
