//! An asynchronous binding source.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore};
use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
use tracer_registry::{LookupError, Selector};

use super::source::{HOUR, Tenants, cache_options};
use crate::support::{LONG, World, binding};

/// A source that answers as many calls as it has permits.
#[derive(Clone)]
struct Slow {
    tenants: Tenants,
    permits: Arc<Semaphore>,
    started_calls: Arc<AtomicUsize>,
    started: Arc<Notify>,
}

impl Slow {
    fn new() -> Self {
        let tenants = Tenants::default();
        tenants.set("initech", Some(binding("acme")));
        Self {
            tenants,
            permits: Arc::new(Semaphore::new(0)),
            started_calls: Arc::default(),
            started: Arc::default(),
        }
    }

    fn world(&self, options: BindingCacheOptions) -> World {
        let source = self.clone();
        World::with(&["acme", "globex"], move |builder| {
            builder.async_binding_source(source).binding_cache(options)
        })
    }
}

impl AsyncBindingSource for Slow {
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a> {
        Box::pin(async move {
            self.started_calls.fetch_add(1, Ordering::SeqCst);
            self.started.notify_one();
            self.permits
                .acquire()
                .await
                .map_err(|_| SourceError::new("closed"))?
                .forget();
            assert_ne!(tenant.as_str(), "panics", "in the source");
            self.tenants.binding(tenant)
        })
    }
}

#[tokio::test]
async fn a_thousand_concurrent_look_ups_make_one_call_and_block_no_thread() {
    let slow = Slow::new();
    let world = slow.world(cache_options(HOUR, HOUR));
    for (calls, name, known) in [(1, "initech", true), (2, "hooli", false)] {
        // This runtime has one thread, so a blocked thread would never add the permit.
        let permit = async {
            slow.started.notified().await;
            slow.permits.add_permits(1);
        };
        let all = join_all((0..1000).map(|_| tokio::spawn(world.registry.tenant_async(name))));
        let (found, ()) = tokio::time::timeout(LONG, async { tokio::join!(all, permit) })
            .await
            .expect("in time");
        let mut tracers = Vec::new();
        for result in found {
            let result = result.expect("no panic");
            assert_eq!(result.is_ok(), known, "{result:?}");
            tracers.extend(result);
        }
        assert!(tracers.iter().all(|tracer| tracer.same_tracer(&tracers[0])));
        assert_eq!(
            (slow.tenants.calls(), slow.started_calls.load(Ordering::SeqCst)),
            (calls, calls)
        );
    }
}

#[tokio::test]
async fn a_sync_look_up_with_an_async_source_is_an_error_until_the_tracer_exists() {
    let slow = Slow::new();
    let world = slow.world(cache_options(HOUR, HOUR));
    let error = world.registry.tenant("initech").expect_err("the source is async");
    assert!(
        matches!(&error, LookupError::OnlyAsync(name) if name.as_str() == "initech"),
        "{error}"
    );
    assert_eq!(slow.started_calls.load(Ordering::SeqCst), 0);
    slow.permits.add_permits(1);
    let initech = world.registry.tenant_async("initech").await.expect("known");
    assert!(world.tenant("initech").same_tracer(&initech));
    // Tenants with a table need no source, in sync and async look-ups.
    assert!(
        world.tenant("acme").same_tracer(
            &world
                .registry
                .get_async(Selector::tenant("acme"))
                .await
                .expect("a table")
        )
    );
}

#[tokio::test]
async fn a_cancelled_look_up_does_not_cancel_others_and_retains_nothing() {
    let slow = Slow::new();
    let world = slow.world(cache_options(HOUR, HOUR));
    let first = tokio::spawn(world.registry.tenant_async("initech"));
    slow.started.notified().await;
    let second = tokio::spawn(world.registry.tenant_async("initech"));
    tokio::task::yield_now().await;
    first.abort();
    drop(first.await);
    slow.permits.add_permits(1);
    assert!(
        tokio::time::timeout(LONG, second)
            .await
            .expect("in time")
            .expect("no panic")
            .is_ok()
    );
    assert_eq!(
        slow.started_calls.load(Ordering::SeqCst),
        1,
        "the second look-up continued the same call"
    );

    let alone = tokio::spawn(world.registry.tenant_async("hooli"));
    slow.started.notified().await;
    alone.abort();
    drop(alone.await);
    slow.permits.add_permits(1);
    let hooli = tokio::time::timeout(LONG, world.registry.tenant_async("hooli")).await;
    assert!(hooli.expect("a new call was made").is_err());
    assert_eq!(slow.started_calls.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn errors_and_panics_of_an_async_source_fail_that_look_up() {
    let slow = Slow::new();
    let world = slow.world(cache_options(HOUR, HOUR));
    slow.permits.add_permits(10);
    slow.tenants.set_error(Some("connection refused"));
    let error = world
        .registry
        .tenant_async("initech")
        .await
        .expect_err("the source fails");
    assert!(matches!(error, LookupError::Source { .. }), "{error}");
    let error = world
        .registry
        .tenant_async("panics")
        .await
        .expect_err("the source panics");
    assert!(matches!(error, LookupError::Panicked(_)), "{error}");
    slow.tenants.set_error(None);
    assert!(world.registry.tenant_async("initech").await.is_ok());
}

#[tokio::test]
async fn an_expired_binding_is_refreshed_by_async_look_ups_and_sync_ones_keep_the_tracer() {
    let slow = Slow::new();
    let world = slow.world(cache_options(Duration::from_millis(20), HOUR));
    slow.permits.add_permits(1_000_000);
    let first = world.registry.tenant_async("initech").await.expect("known");
    slow.tenants.set("initech", Some(binding("globex")));
    let other = async {
        loop {
            assert!(
                world.tenant("initech").same_tracer(&first),
                "a sync look-up keeps the tracer"
            );
            let now = world.registry.tenant_async("initech").await.expect("known");
            if !now.same_tracer(&first) {
                return now;
            }
            tokio::task::yield_now().await;
        }
    };
    let second = tokio::time::timeout(LONG, other).await.expect("in time");
    assert!(world.tenant("initech").same_tracer(&second));
    slow.tenants.set_error(Some("connection refused"));
    let calls = slow.tenants.calls();
    let keeps_tracer = async {
        while slow.tenants.calls() < calls + 2 {
            assert!(
                world
                    .registry
                    .tenant_async("initech")
                    .await
                    .expect("kept")
                    .same_tracer(&second)
            );
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, keeps_tracer).await.expect("in time");
}

#[tokio::test]
async fn an_async_look_up_with_a_blocking_source_does_not_block_the_runtime() {
    let (ask, calls) = std::sync::mpsc::channel::<()>();
    let calls = std::sync::Mutex::new(calls);
    let world = World::with(&["acme"], move |builder| {
        builder.binding_source(move |_: &Slug| {
            calls
                .lock()
                .expect("not poisoned")
                .recv()
                .map_err(|_| SourceError::new("closed"))?;
            Ok::<_, SourceError>(Some::<Binding>(binding("acme")))
        })
    });
    let look_up = tokio::spawn(world.registry.tenant_async("initech"));
    tokio::task::yield_now().await;
    // This task runs on the only thread of the runtime. The blocking source has its own thread.
    ask.send(()).expect("the source waits");
    assert!(
        tokio::time::timeout(LONG, look_up)
            .await
            .expect("in time")
            .expect("no panic")
            .is_ok()
    );
}

#[test]
fn an_async_look_up_works_outside_tokio() {
    let slow = Slow::new();
    let world = slow.world(cache_options(HOUR, HOUR));
    slow.permits.add_permits(1);
    let found = futures_util::FutureExt::now_or_never(world.registry.tenant_async("initech"));
    assert!(found.expect("nothing to wait for").is_ok());
}
