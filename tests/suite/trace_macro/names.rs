//! Span names from expressions.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use tracer_registry::{TracerHandle, trace};

use super::{traced, traced_async};
use crate::support::World;

const CONSTANT: &str = "a constant";

#[trace(name = CONSTANT)]
fn constant() {}

#[trace(name = concat!("a ", "macro"))]
fn text_of_a_macro() {}

#[trace(name = format!("GET {route}"), capture = inputs)]
fn by_argument(route: &str) -> usize {
    route.len()
}

#[trace(name = if model.is_empty() { "no model".into() } else { format!("ask {model}") })]
async fn later(model: String) -> usize {
    model.len()
}

#[trace(name = format!("items {count}"))]
fn items(count: usize) -> impl Stream<Item = usize> {
    stream::iter(0..count)
}

struct Client {
    name: String,
    tracer: TracerHandle,
}

impl Client {
    #[trace(tracer = self.tracer, name = self.name.clone())]
    fn of_self(&self) {}
}

#[test]
fn a_span_name_can_be_any_string_expression() {
    let world = traced(|| {
        constant();
        text_of_a_macro();
        assert_eq!(by_argument("/orders"), 7);
    });
    assert_eq!(world.names("a"), ["a constant", "a macro", "GET /orders"]);
    assert_eq!(world.input("GET /orders", "route").as_deref(), Some("\"/orders\""));

    let world = traced_async(async {
        assert_eq!(later("small".to_owned()).await + later(String::new()).await, 5);
        assert_eq!(items(2).collect::<Vec<_>>().await, [0, 1]);
    });
    assert_eq!(world.names("a"), ["ask small", "no model", "items 2"]);

    let world = World::new(&["a"]);
    let client = Client {
        name: "of self".to_owned(),
        tracer: world.tenant("a"),
    };
    client.of_self();
    world.flush();
    assert_eq!(world.names("a"), [client.name]);
}

#[trace(name = named(calls, fails))]
fn counted(calls: &Cell<u32>, fails: bool) {
    assert_eq!(calls.get() % 10, 1, "the name is evaluated first");
    calls.set(calls.get() + 9);
}

#[trace(name = named(calls, fails))]
async fn counted_later(calls: &Cell<u32>, fails: bool) {
    assert_eq!(calls.get() % 10, 1, "the name is evaluated first");
    calls.set(calls.get() + 9);
}

fn named(calls: &Cell<u32>, fails: bool) -> String {
    calls.set(calls.get() + 1);
    assert!(!fails, "the name panics");
    "counted".to_owned()
}

#[test]
fn a_span_name_is_evaluated_once_per_call_before_the_body_and_its_panic_propagates() {
    let calls = Cell::new(0);
    // The expression is evaluated outside any scope too.
    counted(&calls, false);
    counted_later(&calls, false).now_or_never().expect("ready");
    assert_eq!(calls.get(), 20);
    let world = traced(|| {
        counted(&calls, false);
        counted_later(&calls, false).now_or_never().expect("ready");
        assert_eq!(calls.get(), 40);
        for fails in [&(|| counted(&calls, true)) as &dyn Fn(), &|| {
            counted_later(&calls, true).now_or_never().unwrap_or_default();
        }] {
            catch_unwind(AssertUnwindSafe(fails)).expect_err("the name panics");
        }
    });
    assert_eq!(calls.get(), 42, "no body may run after its name panicked");
    assert_eq!(world.names("a"), ["counted", "counted"]);
}
