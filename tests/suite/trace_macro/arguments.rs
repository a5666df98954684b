//! When arguments are dropped: in the order in which they would be, and in the span.

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

struct Noted(&'static str);

impl Drop for Noted {
    fn drop(&mut self) {
        dropped();
        DROPPED.with_borrow_mut(|all| all.push(self.0));
    }
}

type Pair = (Noted, Noted);

/// The same functions with an attribute and without one.
macro_rules! functions {
    ($module:ident, $(#[$trace:meta])?) => {
        mod $module {
            use super::*;

            $(#[$trace])?
            pub(super) fn plain(first: Noted, second: Noted, _: Noted, _unused: Noted, (third, fourth): Pair) {
                let _local = Noted("local");
                let _ = (&second, &first, &fourth, &third);
            }

            $(#[$trace])?
            pub(super) fn fallible(first: Noted, second: Noted, _: Noted, _unused: Noted, (third, fourth): Pair) -> Result<(), String> {
                let _local = Noted("local");
                let _ = (&second, &first, &fourth, &third);
                Ok(())
            }

            $(#[$trace])?
            pub(super) async fn later(first: Noted, second: Noted, _: Noted, _unused: Noted, (third, fourth): Pair) {
                let _local = Noted("local");
                let _ = (&first, &second, &fourth, &third);
                tokio::task::yield_now().await;
            }

            $(#[$trace])?
            pub(super) fn future(first: Noted, second: Noted, _: Noted, _unused: Noted, (third, fourth): Pair) -> impl Future<Output = ()> {
                let _ = (&first, &fourth, &third);
                async move { drop(second) }
            }

            pub(super) struct Owner(pub(super) Noted, pub(super) Noted);

            impl Owner {
                $(#[$trace])?
                pub(super) fn own(self, first: Noted, _: Noted) {
                    let _ = (&self.0, &first);
                }

                $(#[$trace])?
                pub(super) async fn own_later(self, first: Noted, _: Noted) {
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
        let pair = || (Noted(c), Noted(d));
        let owner = || Owner(Noted("self.0"), Noted("self.1"));
        [
            order(|| plain(Noted(a), Noted(b), Noted("_"), Noted("_unused"), pair())),
            order(|| fallible(Noted(a), Noted(b), Noted("_"), Noted("_unused"), pair()).expect("no error")),
            order(|| {
                let mut later = Box::pin(later(Noted(a), Noted(b), Noted("_"), Noted("_unused"), pair()));
                while later.as_mut().now_or_never().is_none() {}
            }),
            // Broken off.
            order(|| {
                assert!(
                    later(Noted(a), Noted(b), Noted("_"), Noted("_unused"), pair())
                        .now_or_never()
                        .is_none()
                )
            }),
            order(|| {
                future(Noted(a), Noted(b), Noted("_"), Noted("_unused"), pair()).now_or_never();
            }),
            order(|| owner().own(Noted(a), Noted("_"))),
            order(|| {
                owner().own_later(Noted(a), Noted("_")).now_or_never();
            }),
        ]
    }};
}

#[test]
fn arguments_are_dropped_in_their_order_and_in_the_span() {
    let expected = orders!(untraced);
    assert_eq!(expected[0][0], "local");
    let world = traced(|| assert_eq!(orders!(with_spans), expected));
    let tree = world.project("a").tree();
    let outside = tree.lines().filter(|line| *line == "dropped").count();
    // Those of a function that makes a future, but for the one that the future has: they go at the call, which is in no span.
    assert_eq!(outside, expected[4].len() - 1, "{tree}");
}
