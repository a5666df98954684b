//! Invalid options.

use tracer_registry::trace;

#[trace(nmae = "misspelt")]
fn unknown() {}

#[trace(name = "one", name = "two")]
fn twice() {}

#[trace(capture = all)]
fn unknown_word(text: &str) {}

#[trace(event_type = session)]
fn unknown_event_type() {}

#[trace(skip(password))]
fn skip_without_capture(password: &str) {}

#[trace(capture = inputs, skip(passwort))]
fn misspelt_argument(password: &str) {}

#[trace(capture = inputs, skip_all, redact(password))]
fn redact_with_skip_all(password: &str) {}

#[trace(registry = ())]
fn registry_without_selector() {}

#[trace(registry = (), tracer = ())]
fn registry_and_tracer() {}

#[trace(err)]
fn no_result() {}

#[trace(capture = outputs)]
fn items() -> impl Iterator<Item = i32> {
    0..1
}

#[trace(returns = future)]
async fn returns_on_async() {}

#[trace(name = , err)]
fn name_without_value() {}

fn main() {
    // The functions still exist, so a wrong option causes no further errors at their callers.
    unknown();
    twice();
    unknown_word("");
    registry_without_selector();
}
