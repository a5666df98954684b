//! The scope of code outside the body: the code that creates a future, captures arguments, or drops
//! what is left.

use std::cell::Cell;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, Stream, StreamExt as _};
use serde::{Serialize, Serializer};
use tracer_registry::{TracerHandle, TracerRegistry, trace};

use crate::support::World;

#[trace]
fn inner(_place: &'static str) {}

#[trace(registry = registry, tenant = "unknown")]
fn future(registry: &TracerRegistry) -> BoxFuture<'static, ()> {
    inner("at the call");
    Box::pin(async { inner("in the future") })
}

#[trace(registry = registry, tenant = "unknown")]
fn opaque(registry: &TracerRegistry) -> impl Future<Output = ()> + use<> {
    inner("at the call");
    async { inner("in the future") }
}

#[trace(registry = registry, tenant = "unknown")]
fn stream(registry: &TracerRegistry) -> BoxStream<'static, ()> {
    inner("at the call");
    futures_util::stream::once(async { inner("in the stream") }).boxed()
}

#[test]
fn spans_of_the_call_of_a_function_without_its_tracer_land_in_no_project() {
    let world = World::new(&["b"]);
    world.tenant("b").in_span("of b", |_| {
        future(&world.registry).now_or_never().expect("ready");
        opaque(&world.registry).now_or_never().expect("ready");
        stream(&world.registry)
            .collect::<Vec<_>>()
            .now_or_never()
            .expect("ready");
        drop(future(&world.registry));
    });
    world.flush();
    assert_eq!(world.project("b").tree(), "of b\n");
}

/// Yields one item. Calls a traced function on each poll and when dropped.
struct OneItem(bool);

impl OneItem {
    fn poll_item(&mut self) -> Option<()> {
        inner("asked");
        self.0.then(|| self.0 = false)
    }
}

impl Iterator for OneItem {
    type Item = ();

    fn next(&mut self) -> Option<()> {
        self.poll_item()
    }
}

impl Stream for OneItem {
    type Item = ();

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<()>> {
        Poll::Ready(self.poll_item())
    }
}

impl Drop for OneItem {
    fn drop(&mut self) {
        inner("dropped");
    }
}

#[trace(tracer = tracer)]
fn iterator_of(tracer: Option<&TracerHandle>) -> impl Iterator<Item = ()> + use<> {
    OneItem(true)
}

#[trace(tracer = tracer)]
fn stream_of(tracer: Option<&TracerHandle>) -> impl Stream<Item = ()> + Unpin + use<> {
    OneItem(true)
}

#[test]
fn polls_after_the_last_item_and_the_drop_run_in_the_scope_of_the_call() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    world.tenant("b").in_span("of b", |_| {
        for tracer in [Some(&a), None] {
            let mut iterator = iterator_of(tracer);
            assert_eq!(
                [iterator.next(), iterator.next(), iterator.next()],
                [Some(()), None, None]
            );
            drop(iterator);
            let mut stream = stream_of(tracer);
            let mut next = || stream.next().now_or_never().expect("ready");
            assert_eq!([next(), next(), next()], [Some(()), None, None]);
            drop(stream);
        }
    });
    world.flush();
    assert_eq!(world.project("b").tree(), "of b\n");
    let calls = "├─ inner\n├─ inner\n├─ inner\n└─ inner\n";
    assert_eq!(
        world.project("a").tree(),
        format!("iterator_of\n{calls}stream_of\n{calls}")
    );
}

/// Calls a traced function when serialized or displayed.
struct TracedOutput;

impl Serialize for TracedOutput {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        inner("serialized");
        serializer.serialize_str("text")
    }
}

impl fmt::Display for TracedOutput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        inner("displayed");
        f.write_str("text")
    }
}

#[trace(tracer = tracer, capture = both, skip(tracer, fails), fields(field = TracedOutput), err)]
async fn later(tracer: &TracerHandle, input: TracedOutput, fails: bool) -> Result<TracedOutput, TracedOutput> {
    let TracedOutput = input;
    if fails { Err(TracedOutput) } else { Ok(TracedOutput) }
}

#[trace(tracer = tracer, capture = inputs, skip(tracer), fields(field = TracedOutput))]
fn items(tracer: &TracerHandle, input: TracedOutput) -> impl Iterator<Item = ()> + use<> {
    let TracedOutput = input;
    std::iter::empty()
}

#[test]
fn serialize_and_display_run_in_the_scope_of_the_call() {
    let world = World::new(&["a", "b"]);
    let a = world.tenant("a");
    let matching = Cell::new(0);
    world.tenant("b").in_span("of b", |_| {
        for fails in [false, true] {
            let result = later(&a, TracedOutput, fails).now_or_never().expect("ready");
            matching.set(matching.get() + u32::from(result.is_err() == fails));
        }
        assert_eq!(items(&a, TracedOutput).count(), 0);
    });
    world.flush();
    assert_eq!(matching.get(), 2);
    assert_eq!(world.project("b").tree(), "of b\n");
    let three = "├─ inner\n├─ inner\n└─ inner\n";
    assert_eq!(
        world.project("a").tree(),
        format!("later\n{three}later\n{three}items\n├─ inner\n└─ inner\n")
    );
}
