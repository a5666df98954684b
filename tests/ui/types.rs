//! Type errors are reported at the user's code.

use std::future::Future;
use std::pin::Pin;

use tracer_registry::{TracerHandle, trace};

#[trace(tracer = 5)]
fn no_tracer() {}

#[trace(name = 5)]
fn no_text() {}

#[trace(name = question)]
fn no_text_of_its_own(question: &str) {}

#[trace(name = title?)]
fn no_early_name(title: Option<String>) -> Option<()> {
    None
}

#[trace(name = title)]
fn moved_into_the_name(title: String) {
    drop(title);
}

#[trace(session = tracer)]
fn no_session(tracer: &TracerHandle) {}

#[trace(registry = tracer, tenant = "acme")]
fn no_name(tracer: &TracerHandle) {}

#[trace(tracer = tracer?)]
fn no_early_return(tracer: Option<TracerHandle>) -> Option<()> {
    None
}

#[trace(capture = both)]
fn in_the_body() -> Result<i32, String> {
    let number: i32 = "text";
    Ok(number)
}

#[trace]
fn at_the_end() -> i32 {
    "text"
}

#[trace]
async fn in_the_future(number: i32) -> Result<i32, String> {
    if number == 0 {
        return Ok("zero");
    }
    number
}

#[trace]
fn in_the_box() -> Pin<Box<dyn Future<Output = i32>>> {
    Box::pin(async { missing })
}

#[trace]
fn moved(text: String) -> usize {
    drop(text);
    text.len()
}

fn main() {}
