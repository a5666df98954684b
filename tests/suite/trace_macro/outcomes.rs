//! Errors of traced functions.

use std::fmt;
use std::future::Future;

use tracer_registry::trace;
use tracer_registry_collector::{Span, StatusCode};

use super::{traced, traced_async};

type Fallible<T> = Result<T, String>;

#[derive(Debug)]
struct Declined;

impl fmt::Display for Declined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the card was declined")
    }
}

impl std::error::Error for Declined {}

#[derive(Debug)]
struct DebugOnly;

struct Neither;

#[trace]
fn unasked() -> Result<(), Declined> {
    Err(Declined)
}

#[trace(err)]
fn displayed() -> Result<(), Declined> {
    Err(Declined)
}

#[trace(err, capture = outputs)]
fn aliased(good: bool) -> Fallible<i32> {
    if good { Ok(1) } else { Err("a text".to_owned()) }
}

#[trace(err)]
fn debugged() -> Result<(), DebugOnly> {
    Err(DebugOnly)
}

#[trace(err)]
fn nameless() -> Result<(), Neither> {
    Err(Neither)
}

#[trace(err)]
async fn later() -> Result<(), Box<dyn std::error::Error>> {
    Err(Box::new(Declined))
}

#[trace(err)]
fn future() -> impl Future<Output = Fallible<()>> {
    std::future::ready(Err("not ready".to_owned()))
}

fn outcome(span: &Span) -> (StatusCode, &str, Option<&str>) {
    let error_type = span.attributes.get("error.type").and_then(|value| value.as_str());
    (span.status.code, &span.status.message, error_type)
}

#[test]
fn an_error_always_sets_the_status_and_a_message_only_with_err() {
    let world = traced(|| {
        assert!(
            unasked().is_err()
                && displayed().is_err()
                && aliased(false).is_err()
                && debugged().is_err()
                && nameless().is_err()
        );
    });
    assert_eq!(outcome(&world.traced("unasked")), (StatusCode::Error, "", None));
    let displayed = world.traced("displayed");
    let (code, message, error_type) = outcome(&displayed);
    assert_eq!((code, message), (StatusCode::Error, "the card was declined"));
    assert!(
        error_type.is_some_and(|name| name.ends_with("outcomes::Declined")),
        "{error_type:?}"
    );
    assert_eq!(displayed.events[0].name, "exception");
    assert_eq!(
        outcome(&world.traced("aliased")),
        (StatusCode::Error, "a text", Some("alloc::string::String"))
    );
    assert_eq!(outcome(&world.traced("debugged")).1, "DebugOnly");
    assert!(outcome(&world.traced("nameless")).1.contains("outcomes::Neither"));
    assert_eq!(world.output("aliased", "result"), None);
}

#[test]
fn a_success_has_no_error_status() {
    let world = traced(|| assert_eq!(aliased(true), Ok(1)));
    assert_eq!(outcome(&world.traced("aliased")), (StatusCode::Unset, "", None));
    assert_eq!(world.output("aliased", "result").as_deref(), Some("1"));
}

#[test]
fn errors_of_futures_are_recorded_at_completion() {
    let world = traced_async(async {
        assert!(later().await.is_err());
        assert!(future().await.is_err());
    });
    assert_eq!(outcome(&world.traced("later")).1, "the card was declined");
    assert_eq!(
        outcome(&world.traced("future")),
        (StatusCode::Error, "not ready", Some("alloc::string::String"))
    );
}
