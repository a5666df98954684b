//! Functions that return streams or iterators.

use std::iter::FusedIterator;
use std::pin::Pin;

use futures_util::stream::{self, BoxStream};
use futures_util::{Stream, StreamExt as _};
use tracer_registry::{TracerRegistry, trace};

use super::{traced, traced_async};

type Items<'a> = Box<dyn Iterator<Item = &'a str> + 'a>;

#[trace]
fn made(_item: i32) {}

#[trace(capture = inputs)]
fn opaque(up_to: i32) -> impl Stream<Item = Result<i32, Box<dyn std::error::Error>>> {
    stream::iter(0..up_to).map(|item| {
        made(item);
        Ok(item)
    })
}

#[trace]
fn boxed(up_to: i32) -> Pin<Box<dyn Stream<Item = i32> + Send>> {
    Box::pin(stream::iter(0..up_to))
}

#[trace]
fn aliased(text: &str) -> BoxStream<'_, char> {
    stream::iter(text.chars()).boxed()
}

#[trace(capture = inputs)]
fn numbers(up_to: i32) -> impl DoubleEndedIterator<Item = i32> + ExactSizeIterator + FusedIterator {
    made(-1);
    (0..up_to).inspect(|item| made(*item))
}

#[trace]
fn words<'a>(text: &'a str, between: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(between)
}

#[trace]
fn boxed_words(text: &str) -> Box<dyn Iterator<Item = &str> + '_> {
    Box::new(text.split(' '))
}

#[trace(returns = iterator)]
fn overridden(text: &str) -> Items<'_> {
    Box::new(text.split(' '))
}

#[test]
fn the_span_of_a_stream_lasts_until_its_last_item() {
    let world = traced_async(async {
        let mut stream = Box::pin(opaque(2));
        while let Some(item) = stream.next().await {
            // The consumer of an item is outside the stream's scope.
            assert!(item.is_ok() && TracerRegistry::current().expect("in a").current_span().is_none());
        }
        made(99);
        assert_eq!(stream.size_hint(), (0, Some(0)));
        assert_eq!(boxed(3).collect::<Vec<_>>().await, [0, 1, 2]);
        assert_eq!(aliased("ab").take(1).collect::<String>().await, "a");
        drop(boxed(1));
    });
    assert_eq!(
        world.project("a").tree(),
        "opaque\n├─ made\n└─ made\nmade\nboxed\naliased\n"
    );
    assert_eq!(world.input("opaque", "up_to").as_deref(), Some("2"));
}

#[test]
fn the_span_of_an_iterator_lasts_from_the_call_to_its_last_item_or_its_drop() {
    let world = traced(|| {
        let mut three = numbers(3);
        assert_eq!((three.len(), three.next(), three.next_back()), (3, Some(0), Some(2)));
        made(99);
        assert_eq!((three.next(), three.next()), (Some(1), None));
        made(100);
        drop(three);
        assert_eq!(words("a-b", "-").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(boxed_words("a b").count(), 2);
        assert_eq!(overridden("a b").next(), Some("a"));
    });
    assert_eq!(
        world.project("a").tree(),
        "numbers\n├─ made\n├─ made\n├─ made\n└─ made\nmade\nmade\nwords\nboxed_words\noverridden\n"
    );
    let (numbers, after) = (
        world.traced("numbers"),
        world
            .project("a")
            .spans()
            .iter()
            .rfind(|span| span.name == "made")
            .cloned(),
    );
    assert!(numbers.end_unix_nanos <= after.expect("made").start_unix_nanos);
}
