//! Async functions, and functions that return futures.

use std::cell::Cell;
use std::future::{Future, pending, ready};
use std::pin::Pin;
use std::rc::Rc;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, LocalBoxFuture};
use tracer_registry::{TracerRegistry, trace};
use tracer_registry_collector::StatusCode;

use super::{traced, traced_async};
use crate::support::World;

type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

#[trace]
fn leaf() {}

#[trace(capture = both, err)]
async fn asynchronous(text: &str, mut times: usize) -> Result<usize, Box<dyn std::error::Error + Send + Sync>> {
    times += 1;
    tokio::task::yield_now().await;
    leaf();
    let number: usize = text.parse()?;
    if number == 7 {
        return Ok(70);
    }
    Ok(number * times)
}

#[trace(capture = both)]
fn opaque(text: String) -> impl Future<Output = Result<i32, Box<dyn std::error::Error>>> + Send {
    async move {
        leaf();
        let number = text.parse::<i32>().map_err(|_| "no number")?;
        Ok(number)
    }
}

#[trace(capture = inputs)]
fn boxed<'a>(text: &'a str) -> Pin<Box<dyn Future<Output = usize> + Send + 'a>> {
    if text.is_empty() {
        return Box::pin(ready(0));
    }
    Box::pin(async move {
        leaf();
        text.len()
    })
}

#[trace(capture = outputs)]
fn aliased(text: &str) -> BoxFuture<'_, usize> {
    ready(text.len()).boxed()
}

#[trace]
fn local(text: Rc<Cell<usize>>) -> LocalBoxFuture<'static, usize> {
    async move { text.get() }.boxed_local()
}

#[trace(returns = future, capture = both)]
fn overridden(text: &str) -> Later<'_, Result<usize, String>> {
    Box::pin(async move { Ok(text.len()) })
}

/// Traces only the call, not the future.
#[trace(returns = value)]
fn call_only() -> impl Future<Output = ()> {
    leaf();
    async { leaf() }
}

#[trace]
async fn never_ends() -> ! {
    loop {
        pending::<()>().await;
    }
}

#[trace]
async fn panics() {
    tokio::task::yield_now().await;
    panic!("in the future");
}

#[async_trait]
trait Model: Sync {
    async fn answer(&self, question: &str) -> Result<String, std::io::Error>;

    #[trace]
    async fn twice(&self, question: &str) -> Result<String, std::io::Error> {
        Ok(self.answer(question).await? + &self.answer(question).await?)
    }
}

struct Echo;

#[async_trait]
impl Model for Echo {
    #[trace(capture = both, event_type = model)]
    async fn answer(&self, question: &str) -> Result<String, std::io::Error> {
        tokio::task::yield_now().await;
        leaf();
        if question.is_empty() {
            return Err(std::io::Error::other("nothing was asked"));
        }
        Ok(question.to_owned())
    }
}

impl Echo {
    #[trace]
    async fn consumed(self) -> &'static str {
        "consumed"
    }
}

#[test]
fn traced_futures_return_the_same_values_and_their_spans_end_with_them() {
    let world = traced_async(async {
        assert_eq!(asynchronous("3", 1).await.expect("a number"), 6);
        assert_eq!(opaque("4".to_owned()).await.expect("a number"), 4);
        assert_eq!((boxed("").await, boxed("five").await), (0, 4));
        assert_eq!(aliased("six").await, 3);
        assert_eq!(local(Rc::new(Cell::new(7))).await, 7);
        assert_eq!(overridden("eight").await, Ok(5));
        call_only().await;
        assert_eq!(Echo.consumed().await, "consumed");
    });
    let tree = world.project("a").tree();
    for expected in [
        "asynchronous\n└─ leaf\n",
        "opaque\n└─ leaf\n",
        "boxed\nboxed\n└─ leaf\n",
        "call_only\n└─ leaf\nleaf\n",
    ] {
        assert!(tree.contains(expected), "{expected}\n{tree}");
    }
    assert_eq!(world.input("asynchronous", "times").as_deref(), Some("1"));
    assert_eq!(world.output("asynchronous", "result").as_deref(), Some("6"));
    assert_eq!(world.input("opaque", "text").as_deref(), Some(r#""4""#));
    assert_eq!(world.output("opaque", "result").as_deref(), Some("4"));
    assert_eq!(world.output("aliased", "result").as_deref(), Some("3"));
    assert_eq!(world.output("overridden", "result").as_deref(), Some("5"));
}

#[test]
fn methods_of_an_async_trait_are_traced_as_parent_and_child() {
    let world = traced_async(async {
        assert_eq!(Echo.twice("why?").await.expect("an answer"), "why?why?");
        assert!(Echo.twice("").await.is_err());
    });
    let tree = world.project("a").tree();
    assert!(
        tree.contains("twice\n├─ answer\n│  └─ leaf\n└─ answer\n   └─ leaf\n"),
        "{tree}"
    );
    assert_eq!(world.input("answer", "question").as_deref(), Some(r#""why?""#));
    assert_eq!(world.output("answer", "result").as_deref(), Some(r#""why?""#));
    let project = world.project("a");
    let spans = project.spans();
    let failed: Vec<_> = spans
        .iter()
        .filter(|span| span.status.code == StatusCode::Error)
        .map(|span| &*span.name)
        .collect();
    assert_eq!(failed.len(), 2, "{failed:?}");
    // Without `err`, no message is recorded.
    assert!(
        spans
            .iter()
            .all(|span| span.status.message.is_empty() && span.events.is_empty())
    );
}

#[test]
fn the_span_of_a_future_starts_at_the_first_poll() {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let unpolled = asynchronous("1", 1);
    let future = opaque("2".to_owned());
    let elsewhere = opaque("3".to_owned());
    drop(unpolled);
    // Called outside a scope, polled inside.
    a.in_span("inside", |_| future.now_or_never().expect("ready").expect("a number"));
    // Called inside, polled outside: like `in_span_async`, the scope of the call is used if none is
    // current.
    let called_inside = a.in_span("called inside", |_| opaque("4".to_owned()));
    called_inside.now_or_never().expect("ready").expect("a number");
    // An async function only sees its first poll.
    let late = a.in_span("late", |_| asynchronous("5", 1));
    late.now_or_never();
    elsewhere.now_or_never().expect("ready").expect("a number");
    world.flush();
    assert_eq!(
        world.project("a").tree(),
        "inside\n└─ opaque\n   └─ leaf\ncalled inside\n└─ opaque\n   └─ leaf\nlate\n"
    );
}

#[test]
fn a_dropped_future_is_cancelled_and_a_panicking_one_is_an_error() {
    let world = traced_async(async {
        tokio::select! {
            biased;
            () = async { never_ends().await } => {}
            () = tokio::task::yield_now() => {}
        }
        let scope = tracer_registry::Scope::current();
        assert!(tokio::spawn(scope.scope(panics())).await.is_err());
        drop(never_ends());
    });
    let (cancelled, panicked) = (world.traced("never_ends"), world.traced("panics"));
    assert_eq!(cancelled.status.code, StatusCode::Unset);
    assert_eq!(cancelled.attributes["tracer_registry.cancelled"], true);
    assert_eq!(
        (panicked.status.code, panicked.status.message.as_str()),
        (StatusCode::Error, "panicked")
    );
    assert!(!panicked.attributes.contains_key("tracer_registry.cancelled"));
    assert_eq!(world.names("a").len(), 2, "a future that is never polled has no span");
}

#[test]
fn traced_futures_are_send_if_the_untraced_ones_are() {
    fn assert_send<T: Send + 'static>(_: T) {}
    let world = traced(|| {
        assert_send(opaque(String::new()));
        assert_send(asynchronous("1", 1));
        assert_send(boxed("static"));
        assert_send(Echo.consumed());
    });
    assert!(world.names("a").is_empty());
    assert!(TracerRegistry::current().is_none());
}
