//! A source that is asked asynchronously.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Notify, Semaphore};
use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::{AsyncBindingSource, BindingCacheOptions, BindingFuture, BindingSource, SourceError};
use tracer_registry::{LookupError, Selector};

use super::source::{HOUR, Tenants, kept};
use crate::support::{LONG, World, binding};

/// Answers as many questions as there are permits.
#[derive(Clone)]
struct Slow {
    tenants: Tenants,
    permits: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
    begun: Arc<Notify>,
}

impl Slow {
    fn new() -> Self {
        let tenants = Tenants::default();
        tenants.set("initech", Some(binding("acme")));
        Self {
            tenants,
            permits: Arc::new(Semaphore::new(0)),
            waiting: Arc::default(),
            begun: Arc::default(),
        }
    }

    fn world(&self, keep: BindingCacheOptions) -> World {
        let source = self.clone();
        World::with(&["acme", "globex"], move |builder| {
            builder.async_binding_source(source).binding_cache(keep)
        })
    }
}

impl AsyncBindingSource for Slow {
    fn binding<'a>(&'a self, tenant: &'a Slug) -> BindingFuture<'a> {
        Box::pin(async move {
            self.waiting.fetch_add(1, Ordering::SeqCst);
            self.begun.notify_one();
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
async fn a_thousand_that_ask_at_once_make_one_question_and_block_no_thread() {
    let slow = Slow::new();
    let world = slow.world(kept(HOUR, HOUR));
    for (asked, name, known) in [(1, "initech", true), (2, "hooli", false)] {
        // On the one thread of this runtime: the permit is only given because nobody blocks it.
        let permit = async {
            slow.begun.notified().await;
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
            (slow.tenants.asked(), slow.waiting.load(Ordering::SeqCst)),
            (asked, asked)
        );
    }
}

#[tokio::test]
async fn a_look_up_that_cannot_wait_says_so_and_finds_the_tracer_once_it_is_there() {
    let slow = Slow::new();
    let world = slow.world(kept(HOUR, HOUR));
    let error = world.registry.tenant("initech").expect_err("cannot wait");
    assert!(
        matches!(&error, LookupError::OnlyAsync(name) if name.as_str() == "initech"),
        "{error}"
    );
    assert_eq!(slow.waiting.load(Ordering::SeqCst), 0);
    slow.permits.add_permits(1);
    let initech = world.registry.tenant_async("initech").await.expect("known");
    assert!(world.tenant("initech").same_tracer(&initech));
    // Tables need no source, however they are asked for.
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
async fn one_that_stops_waiting_takes_nobody_with_it_and_leaves_nothing_behind() {
    let slow = Slow::new();
    let world = slow.world(kept(HOUR, HOUR));
    let first = tokio::spawn(world.registry.tenant_async("initech"));
    slow.begun.notified().await;
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
        slow.waiting.load(Ordering::SeqCst),
        1,
        "the one future was gone on with"
    );

    let alone = tokio::spawn(world.registry.tenant_async("hooli"));
    slow.begun.notified().await;
    alone.abort();
    drop(alone.await);
    slow.permits.add_permits(1);
    let hooli = tokio::time::timeout(LONG, world.registry.tenant_async("hooli")).await;
    assert!(hooli.expect("asked anew").is_err());
    assert_eq!(slow.waiting.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn errors_and_panics_are_those_of_that_look_up() {
    let slow = Slow::new();
    let world = slow.world(kept(HOUR, HOUR));
    slow.permits.add_permits(10);
    slow.tenants.set_away(Some("connection refused"));
    let error = world.registry.tenant_async("initech").await.expect_err("away");
    assert!(matches!(error, LookupError::Source { .. }), "{error}");
    let error = world.registry.tenant_async("panics").await.expect_err("it panics");
    assert!(matches!(error, LookupError::Panicked(_)), "{error}");
    slow.tenants.set_away(None);
    assert!(world.registry.tenant_async("initech").await.is_ok());
}

#[tokio::test]
async fn an_answer_that_is_too_old_is_asked_for_by_those_who_can_and_the_others_keep_the_tracer() {
    let slow = Slow::new();
    let world = slow.world(kept(Duration::from_millis(20), HOUR));
    slow.permits.add_permits(1_000_000);
    let first = world.registry.tenant_async("initech").await.expect("known");
    slow.tenants.set("initech", Some(binding("globex")));
    let other = async {
        loop {
            assert!(
                world.tenant("initech").same_tracer(&first),
                "a look-up that cannot ask changes nothing"
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
    slow.tenants.set_away(Some("connection refused"));
    let asked = slow.tenants.asked();
    let keeps = async {
        while slow.tenants.asked() < asked + 2 {
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
    tokio::time::timeout(LONG, keeps).await.expect("in time");
}

#[tokio::test]
async fn a_blocking_source_is_waited_for_without_blocking_the_runtime() {
    let (ask, asked) = std::sync::mpsc::channel::<()>();
    let asked = std::sync::Mutex::new(asked);
    let world = World::with(&["acme"], move |builder| {
        builder.binding_source(move |_: &Slug| {
            asked
                .lock()
                .expect("not poisoned")
                .recv()
                .map_err(|_| SourceError::new("closed"))?;
            Ok::<_, SourceError>(Some::<Binding>(binding("acme")))
        })
    });
    let waiting = tokio::spawn(world.registry.tenant_async("initech"));
    tokio::task::yield_now().await;
    // This task runs on the only thread of the runtime, while the source blocks one of its own.
    ask.send(()).expect("the source waits");
    assert!(
        tokio::time::timeout(LONG, waiting)
            .await
            .expect("in time")
            .expect("no panic")
            .is_ok()
    );
}

#[test]
fn outside_tokio_an_asynchronous_look_up_works_too() {
    let slow = Slow::new();
    let world = slow.world(kept(HOUR, HOUR));
    slow.permits.add_permits(1);
    let found = futures_util::FutureExt::now_or_never(world.registry.tenant_async("initech"));
    assert!(found.expect("nothing to wait for").is_ok());
}
