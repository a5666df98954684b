//! Drop order of arguments: the same as without `#[trace]`, and inside the span.

use std::cell::RefCell;
use std::future::Future;

use futures_util::FutureExt as _;
use tracer_registry::trace;

use super::traced;

thread_local! {
    static DROPPED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
}

#[trace]
fn dropped() {}

struct RecordDrop(&'static str);

impl Drop for RecordDrop {
    fn drop(&mut self) {
        dropped();
        DROPPED.with_borrow_mut(|all| all.push(self.0));
    }
}

type Pair = (RecordDrop, RecordDrop);

/// The same functions with `#[trace]` and without.
macro_rules! functions {
    ($module:ident, $(#[$trace:meta])?) => {
        mod $module {
            use super::*;

            $(#[$trace])?
            pub(super) fn plain(first: RecordDrop, second: RecordDrop, _: RecordDrop, _unused: RecordDrop, (third, fourth): Pair) {
                let _local = RecordDrop("local");
                let _ = (&second, &first, &fourth, &third);
            }

            $(#[$trace])?
            pub(super) fn fallible(first: RecordDrop, second: RecordDrop, _: RecordDrop, _unused: RecordDrop, (third, fourth): Pair) -> Result<(), String> {
                let _local = RecordDrop("local");
                let _ = (&second, &first, &fourth, &third);
                Ok(())
            }

            $(#[$trace])?
            pub(super) async fn later(first: RecordDrop, second: RecordDrop, _: RecordDrop, _unused: RecordDrop, (third, fourth): Pair) {
                let _local = RecordDrop("local");
                let _ = (&first, &second, &fourth, &third);
                tokio::task::yield_now().await;
            }

            $(#[$trace])?
            pub(super) fn future(first: RecordDrop, second: RecordDrop, _: RecordDrop, _unused: RecordDrop, (third, fourth): Pair) -> impl Future<Output = ()> {
                let _ = (&first, &fourth, &third);
                async move { drop(second) }
            }

            pub(super) struct Owner(pub(super) RecordDrop, pub(super) RecordDrop);

            impl Owner {
                $(#[$trace])?
                pub(super) fn own(self, first: RecordDrop, _: RecordDrop) {
                    let _ = (&self.0, &first);
                }

                $(#[$trace])?
                pub(super) async fn own_later(self, first: RecordDrop, _: RecordDrop) {
                    let _ = (&self.1, &first);
                }
            }
        }
    };
}

functions!(untraced,);
functions!(with_spans, #[trace]);

fn order(work: impl FnOnce()) -> Vec<&'static str> {
    work();
    DROPPED.take()
}

macro_rules! orders {
    ($module:ident) => {{
        use $module::{Owner, fallible, future, later, plain};
        let [a, b, c, d] = ["first", "second", "third", "fourth"];
        let pair = || (RecordDrop(c), RecordDrop(d));
        let owner = || Owner(RecordDrop("self.0"), RecordDrop("self.1"));
        [
            order(|| {
                plain(
                    RecordDrop(a),
                    RecordDrop(b),
                    RecordDrop("_"),
                    RecordDrop("_unused"),
                    pair(),
                )
            }),
            order(|| {
                fallible(
                    RecordDrop(a),
                    RecordDrop(b),
                    RecordDrop("_"),
                    RecordDrop("_unused"),
                    pair(),
                )
                .expect("no error")
            }),
            order(|| {
                let mut later = Box::pin(later(
                    RecordDrop(a),
                    RecordDrop(b),
                    RecordDrop("_"),
                    RecordDrop("_unused"),
                    pair(),
                ));
                while later.as_mut().now_or_never().is_none() {}
            }),
            // Dropped before it is complete.
            order(|| {
                assert!(
                    later(
                        RecordDrop(a),
                        RecordDrop(b),
                        RecordDrop("_"),
                        RecordDrop("_unused"),
                        pair()
                    )
                    .now_or_never()
                    .is_none()
                )
            }),
            order(|| {
                future(
                    RecordDrop(a),
                    RecordDrop(b),
                    RecordDrop("_"),
                    RecordDrop("_unused"),
                    pair(),
                )
                .now_or_never();
            }),
            order(|| owner().own(RecordDrop(a), RecordDrop("_"))),
            order(|| {
                owner().own_later(RecordDrop(a), RecordDrop("_")).now_or_never();
            }),
        ]
    }};
}

#[test]
fn arguments_are_dropped_in_the_usual_order_and_inside_the_span() {
    let expected = orders!(untraced);
    assert_eq!(expected[0][0], "local");
    let world = traced(|| assert_eq!(orders!(with_spans), expected));
    let tree = world.project("a").tree();
    let outside = tree.lines().filter(|line| *line == "dropped").count();
    // A function that returns a future drops its arguments at the call, outside any span, except
    // the one that the future owns.
    assert_eq!(outside, expected[4].len() - 1, "{tree}");
}
