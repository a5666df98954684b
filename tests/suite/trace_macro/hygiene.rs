//! Hygiene: names around a traced function do not change its expansion.

use super::traced;

#[expect(dead_code, reason = "shadow names of the prelude")]
mod shadowing {
    pub(super) struct Result;
    pub(super) struct Option;
    pub(super) struct String;
    pub(super) struct Box;
    pub(super) mod std {}
    pub(super) mod core {}
    pub(super) mod tracer_registry {}
    pub(super) struct Ok;
    pub(super) struct Err;
    pub(super) struct Some;
    pub(super) struct None;
}

mod surrounded {
    #[allow(unused_imports, reason = "shadow names of the prelude")]
    use super::shadowing::*;

    use ::tracer_registry::trace;

    #[trace(capture = both, err, fields(recorder = recorder, work = work), session = ::std::option::Option::<::tracer_registry::Session>::None)]
    pub(super) fn called_the_same(
        work: i32,
        recorder: i32,
        value: i32,
        returned: i32,
        private: i32,
        span: i32,
        error: i32,
    ) -> ::std::result::Result<i32, &'static str> {
        ::std::result::Result::Ok(work + recorder + value + returned + private + span + error)
    }

    #[trace(capture = both)]
    pub(super) async fn later(capture: i32, work: i32) -> ::std::result::Result<i32, &'static str> {
        ::std::result::Result::Ok(capture + work)
    }

    /// Returns a type that is named `Result` but is not `std::result::Result`.
    #[trace(capture = outputs)]
    pub(super) fn other_result() -> Result {
        Result
    }

    #[trace]
    pub(super) fn own_result_only() -> Result {
        Result
    }
}

/// Methods with the names of those that the expansion calls, without their prefix.
trait Shadowing {
    fn record(&self) -> i32 {
        1
    }

    fn split(&self) -> i32 {
        2
    }

    fn outcome(&self) -> i32 {
        3
    }
}

impl<T: ?Sized> Shadowing for &T {}

#[tracer_registry::trace(capture = both, fields(own = (&number).record()))]
fn meddled(number: i32) -> Result<i32, String> {
    Ok((&number).record() + (&number).split() + (&number).outcome())
}

mod renamed {
    pub(super) use tracer_registry as elsewhere;
}

#[tracer_registry::trace(crate = renamed::elsewhere, capture = inputs)]
fn by_another_path(number: i32) -> i32 {
    number
}

macro_rules! make_function {
    ($name:ident, $kind:ty, $value:expr) => {
        #[tracer_registry::trace(capture = both)]
        fn $name(number: $kind) -> $kind {
            let returned = $value;
            number + returned
        }
    };
}

make_function!(made_by_a_macro, i32, 4);

#[test]
fn names_around_a_traced_function_do_not_affect_it() {
    let world = traced(|| {
        assert_eq!(surrounded::called_the_same(1, 2, 3, 4, 5, 6, 7), Ok(28));
        assert_eq!(
            futures_util::FutureExt::now_or_never(surrounded::later(1, 2)),
            Some(Ok(3))
        );
        let _ = (surrounded::other_result(), surrounded::own_result_only());
        assert_eq!(meddled(1), Ok(6));
        assert_eq!(by_another_path(2), 2);
        assert_eq!(made_by_a_macro(3), 7);
    });
    let span = world.traced("called_the_same");
    assert_eq!(
        (&span.attributes["recorder"], &span.attributes["work"]),
        (&2.into(), &1.into())
    );
    let inputs = ["work", "recorder", "value", "returned", "private", "span", "error"];
    for (name, value) in inputs.into_iter().zip(1..) {
        assert_eq!(world.input("called_the_same", name), Some(value.to_string()), "{name}");
    }
    assert_eq!(world.input("later", "work").as_deref(), Some("2"));
    assert_eq!(world.traced("meddled").attributes["own"], 1);
    assert_eq!(world.output("meddled", "result").as_deref(), Some("6"));
    assert_eq!(world.input("by_another_path", "number").as_deref(), Some("2"));
    assert_eq!(world.output("made_by_a_macro", "result").as_deref(), Some("7"));
    let other = world.output("other_result", "result").expect("captured");
    assert!(other.contains("shadowing::Result"), "{other}");
}
