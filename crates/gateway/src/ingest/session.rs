//! Requests to the session API, and the question that a client asks first to check its credential.

use bytes::Bytes;
use http::header::HOST;
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, Method};
use http_body::Body;
use serde_json::json;
use tracer_registry::Selector;
use tracer_registry::ingest::{SessionCall, SessionRequest};

use super::encoding::Encoding;
use super::handler::{Export, Ingest};
use super::read::{self, MinRate, Shape};
use super::route::SessionPath;
use crate::answer::{self, Answer, Format, Refusal};
use crate::callers::Target;

impl Ingest {
    /// Takes a request to the session API. It is answered once it is queued.
    pub(super) async fn session<B>(&self, export: Export<'_, B>, path: SessionPath<'_>) -> Result<Answer, Refusal>
    where
        B: Body<Data = Bytes> + Unpin,
    {
        let Export {
            running,
            head,
            in_path,
            body,
            ..
        } = export;
        let call = path.call(&head.method)?;
        let caller = export.caller.insert(running.callers.identify(&head.headers)?);
        let Target::Selector(selector) = caller.target(in_path, &head.headers)? else {
            return Err(Refusal::no_resource());
        };
        if export.format != Some(Format::Json) {
            return Err(Refusal::unsupported("unsupported content type: use application/json"));
        }
        let encoding = Encoding::of(Format::Json, &head.headers)?;

        let limit = running.settings.max_request;
        let mut reserved = self.current.budget().reservation(&caller.counts().reserved);
        let body = read::read(body, Shape::Plain, limit, MinRate::of(&running.settings), &mut reserved).await?;
        let message = encoding.inflate(body, limit, &mut reserved).await?.message;
        let max_memory = SessionRequest::max_memory(message.len());
        if !reserved.grow(max_memory) {
            return Err(Refusal::no_memory());
        }
        let is_start = matches!(call, SessionCall::Start | SessionCall::BareStart);
        let read = move || {
            let request = SessionRequest::from_json(&call, &message);
            request.map_err(|error| Refusal::malformed(error.to_string()))
        };
        let request = self.decode.run(max_memory, read).await?;
        reserved.shrink(max_memory - request.memory());

        let tracer = self.look_up(selector).await?;
        let id = request.id().to_string();
        let queued = self.registry.ingest_session(&tracer, request);
        queued.map_err(|error| self.not_queued(&error))?;
        caller.counts().accept_session_request();
        self.counters.session_requests.add(1);
        self.counters.succeeded.add(1);
        Ok(answer::json(&if is_start {
            // Clients require all five. Only the receiver knows the last three.
            let tenant = tracer.selector().to_string();
            json!({ "event_id": id, "session_id": id, "org_id": tenant, "workspace_id": tenant, "project_id": tenant })
        } else {
            json!({ "success": true, "event_id": id })
        }))
    }
}

/// Answers a client that checks its credential. Looks no tenant up.
pub(super) fn info<B>(export: Export<'_, B>) -> Result<Answer, Refusal> {
    let Export {
        running, head, in_path, ..
    } = export;
    if head.method != Method::GET {
        return Err(Refusal::method_not_allowed("GET"));
    }
    let caller = export.caller.insert(running.callers.identify(&head.headers)?);
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
