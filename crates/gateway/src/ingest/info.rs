//! The question that a client asks first: is its credential valid?

use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method};
use serde_json::json;
use tracer_registry::Selector;

use crate::answer::{self, Answer, Refusal};
use crate::callers::Caller;
use crate::running::Running;

/// Answers a client that checks its credential. Looks no tenant up. `caller` is set once the
/// credential is known.
pub(super) fn info<'r>(
    running: &'r Running,
    head: &Parts,
    in_path: Option<&str>,
    caller: &mut Option<&'r Caller>,
) -> Result<Answer, Refusal> {
    if head.method != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let caller = caller.insert(running.callers.identify(&head.headers)?);
    let selector = caller.named_selector(in_path, &head.headers)?;
    let name = selector
        .as_ref()
        .map_or_else(|| caller.name().to_string(), Selector::to_string);
    Ok(answer::json(&json!({
        "project_name": name,
        "project_url": address(head, running.settings.tls.is_some()),
    })))
}

/// Returns the address that the client reaches the gateway by, or an empty text if it is unknown.
fn address(head: &Parts, has_tls: bool) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    let authority = head.uri.authority().cloned().or_else(|| host(&head.headers));
    authority.map_or_else(String::new, |authority| format!("{scheme}://{authority}"))
}

fn host(headers: &HeaderMap) -> Option<Authority> {
    Authority::try_from(headers.get(HOST)?.as_bytes()).ok()
}
