//! Options that cannot be.

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
fn nothing_to_skip(password: &str) {}

#[trace(capture = inputs, skip(passwort))]
fn misspelt_argument(password: &str) {}

#[trace(capture = inputs, skip_all, redact(password))]
fn nothing_left(password: &str) {}

#[trace(registry = ())]
fn no_name() {}

#[trace(registry = (), tracer = ())]
fn two_ways() {}

#[trace(err)]
fn no_result() {}

#[trace(capture = outputs)]
fn items() -> impl Iterator<Item = i32> {
    0..1
}

#[trace(returns = future)]
async fn known() {}

#[trace(name = , err)]
fn no_text() {}

fn main() {
    // Each is still there: a wrong option is one error, and not one more for each caller.
    unknown();
    twice();
    unknown_word("");
    no_name();
}
