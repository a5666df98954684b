//! Functions of each form: each compiles, returns the same value, and has its span.

use std::fmt::Display;
use std::hint::black_box;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;

use tracer_registry::trace;
use tracer_registry_collector::StatusCode;

use super::{traced, traced_async};
use crate::support::World;

struct Point {
    x: i32,
    y: i32,
}

struct Counter<T> {
    seen: Vec<T>,
}

/// Documented, with other attributes.
#[trace]
#[inline]
#[must_use]
fn plain(number: i32) -> i32 {
    if number > 3 {
        return number;
    }
    number + 1
}

#[trace]
fn unit() {}

#[trace(capture = both)]
fn destructured(
    (first, [second, ..]): (i32, [i32; 3]),
    Point { x, y: renamed }: Point,
    _unused: i32,
    mut last: i32,
) -> i32 {
    last += 1;
    first + second + x + renamed + last
}

#[trace(capture = both)]
fn opaque(shown: impl Display + Clone, items: &[impl Display]) -> impl Display {
    format!("{shown}{}", items[0])
}

#[trace]
fn fallible(text: &str) -> Result<i32, std::num::ParseIntError> {
    let number: i32 = text.parse()?;
    if number == 7 {
        return Ok(70);
    }
    Ok(number)
}

#[trace(capture = outputs)]
fn coerced(boxed: bool) -> Box<dyn Display> {
    if boxed { Box::new(1) } else { Box::new("text") }
}

#[trace(err)]
fn converted(text: &str) -> Result<impl Display + use<>, Box<dyn std::error::Error>> {
    let number: i32 = text.parse()?;
    Ok(number)
}

#[trace(capture = inputs)]
fn with_inner_attributes(number: u32) -> u32 {
    #![expect(clippy::let_and_return, reason = "the attribute is what is tested")]
    let copy = number;
    copy
}

#[trace]
fn never(message: &str) -> ! {
    panic!("{message}")
}

#[trace(capture = outputs)]
fn lends<'a, 'b: 'a>(list: &'a mut Vec<&'b str>, more: &'b str) -> &'a mut &'b str {
    list.push(more);
    list.last_mut().expect("just pushed")
}

#[trace(capture = inputs)]
fn r#type<const N: usize>(r#match: [u8; N]) -> usize {
    r#match.len()
}

#[trace(capture = both)]
fn generic<T, U>(value: T, _ignored: &U) -> T
where
    T: Clone,
    U: ?Sized,
{
    value
}

impl<T: Clone + Display> Counter<T> {
    #[trace(capture = inputs)]
    fn new(first: T) -> Self {
        Self { seen: vec![first] }
    }

    #[trace(capture = both)]
    fn by_reference(&self, more: usize) -> usize {
        self.seen.len() + more
    }

    #[trace(capture = outputs)]
    fn by_mutable_reference(&mut self, more: T) -> Result<&mut T, String> {
        self.seen.push(more);
        self.seen.last_mut().ok_or_else(|| "empty".to_owned())
    }

    #[trace]
    fn by_value(mut self) -> Vec<T> {
        self.seen.pop();
        self.seen
    }

    #[trace]
    fn boxed(self: Box<Self>) -> usize {
        self.seen.len()
    }

    #[trace]
    fn shared(self: Arc<Self>) -> usize {
        self.seen.len()
    }

    #[trace]
    fn counted(self: &Rc<Self>) -> usize {
        Rc::strong_count(self)
    }
}

trait Greets {
    #[trace]
    fn greets(&self) -> String {
        format!("hello {}", self.name())
    }

    fn name(&self) -> String;

    async fn later(&self) -> String;
}

impl Greets for Point {
    #[trace(name = "point's name", event_type = tool)]
    fn name(&self) -> String {
        format!("{}:{}", self.x, self.y)
    }

    #[trace]
    async fn later(&self) -> String {
        tokio::task::yield_now().await;
        self.name()
    }
}

#[test]
fn traced_functions_return_the_same_values() {
    let world = traced(|| {
        assert_eq!((plain(1), plain(5)), (2, 5));
        unit();
        assert_eq!(with_inner_attributes(3), 3);
        assert_eq!(destructured((1, [2, 0, 0]), Point { x: 3, y: 4 }, 0, 5), 16);
        assert_eq!(opaque("a", &[1]).to_string(), "a1");
        assert_eq!((fallible("7").ok(), fallible("8").ok()), (Some(70), Some(8)));
        assert!(fallible("x").is_err());
        assert_eq!(coerced(true).to_string() + &coerced(false).to_string(), "1text");
        assert_eq!(
            converted("12").map(|shown| shown.to_string()).ok().as_deref(),
            Some("12")
        );
        assert!(converted("twelve").is_err());
        assert_eq!(r#type([0; 3]), 3);
        assert_eq!(generic(Some(4), "unsized"), Some(4));
        let mut list = vec!["one"];
        *lends(&mut list, "two") = "three";
        assert_eq!(list, ["one", "three"]);
    });
    let names = world.names("a");
    for (name, times) in [
        ("plain", 2),
        ("unit", 1),
        ("fallible", 3),
        ("coerced", 2),
        ("type", 1),
        ("lends", 1),
    ] {
        assert_eq!(names.iter().filter(|found| *found == name).count(), times, "{name}");
    }
    let inputs = |name: &str| world.input("destructured", name);
    assert_eq!(
        ["first", "second", "x", "renamed", "last"].map(|name| inputs(name).expect(name)),
        ["1", "2", "3", "4", "5"]
    );
    assert_eq!(inputs("_unused"), None);
    assert_eq!(world.output("destructured", "result").as_deref(), Some("16"));
    assert_eq!(world.input("type", "match").as_deref(), Some(r#""[0, 0, 0]""#));
    // A value without known traits is captured as its type name.
    assert_eq!(world.input("opaque", "shown").as_deref(), Some(r#""<&str>""#));
    assert_eq!(
        world.input("generic", "value").as_deref(),
        Some(r#""<core::option::Option<i32>>""#)
    );
    assert_eq!(world.output("lends", "result").as_deref(), Some(r#""two""#));
}

#[test]
fn methods_with_each_form_of_self_are_traced() {
    let world = traced(|| {
        let mut counter = Counter::new(1);
        assert_eq!(counter.by_reference(2), 3);
        *counter.by_mutable_reference(4).expect("pushed") += 1;
        assert_eq!(counter.seen, [1, 5]);
        assert_eq!(counter.by_value(), [1]);
        assert_eq!(Box::new(Counter::new(1)).boxed(), 1);
        assert_eq!(Arc::new(Counter::new(1)).shared(), 1);
        assert_eq!(Rc::new(Counter::new(1)).counted(), 1);
        let point = Point { x: 1, y: 2 };
        assert_eq!(point.greets(), "hello 1:2");
    });
    for name in [
        "new",
        "by_reference",
        "by_mutable_reference",
        "by_value",
        "boxed",
        "shared",
        "counted",
    ] {
        assert!(world.names("a").contains(&name.to_owned()), "{name}");
    }
    assert_eq!(world.input("by_reference", "more").as_deref(), Some("2"));
    assert_eq!(world.input("by_reference", "self"), None);
    assert_eq!(
        world.output("by_mutable_reference", "result").as_deref(),
        Some(r#""<&mut i32>""#)
    );
    let (greets, name) = (world.traced("greets"), world.traced("point's name"));
    assert_eq!(name.parent_span_id.as_ref(), Some(&greets.span_id));
    assert_eq!(name.attributes["honeyhive_event_type"], "tool");
    let world = traced_async(async { assert_eq!(Point { x: 1, y: 2 }.later().await, "1:2") });
    assert_eq!(world.project("a").tree(), "later\n└─ point's name\n");
}

/// Calls a traced function when dropped.
struct CallOnDrop;

impl Drop for CallOnDrop {
    fn drop(&mut self) {
        let _ = plain(1);
    }
}

#[test]
fn a_panic_propagates_unchanged_and_ends_the_span_with_an_error() {
    let world = traced(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| never("the payload")));
        let Err(payload) = caught;
        assert_eq!(
            payload.downcast_ref::<String>().map(String::as_str),
            Some("the payload")
        );
        // A call during another function's unwinding has not panicked itself.
        let caught = catch_unwind(|| {
            let _calls = CallOnDrop;
            panic!("in another function");
        });
        assert!(caught.is_err());
    });
    let span = world.traced("never");
    assert_eq!(
        (span.status.code, span.status.message.as_str()),
        (StatusCode::Error, "panicked")
    );
    assert_eq!(world.traced("plain").status.code, StatusCode::Unset);
}

#[trace]
fn deep(left: u32) -> u32 {
    if left == 0 { 0 } else { black_box(deep(left - 1)) + 1 }
}

#[trace]
fn deep_result(left: u32) -> Result<u32, String> {
    if left == 0 {
        Ok(0)
    } else {
        Ok(black_box(deep_result(left - 1)?) + 1)
    }
}

/// Runs work on a thread with the default stack size. Panics if it overflows.
fn run_on_default_stack(work: impl FnOnce() -> u32 + Send + 'static) -> u32 {
    let world = World::new(&["a"]);
    let a = world.tenant("a");
    let thread = std::thread::Builder::new().stack_size(2 << 20).spawn(move || {
        let _in_a = a.enter();
        work()
    });
    thread.expect("a thread").join().expect("no overflow")
}

#[test]
fn ten_thousand_nested_calls_fit_the_default_stack() {
    assert_eq!(run_on_default_stack(|| deep(10_000)), 10_000);
}

#[test]
fn five_thousand_nested_calls_with_results_fit_the_default_stack() {
    assert_eq!(run_on_default_stack(|| deep_result(5_000).expect("no error")), 5_000);
}
