//! Requests to the session API.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;
use serde_json::json;
use tokio::runtime::Handle;
use tracer_registry::ingest::{IngestError, SessionCall, SessionRequest};

use super::durable::counted;
use super::encoding::Encoding;
use super::handler::{Export, Ingest, LARGE_BYTES};
use super::read::{self, MinRate, Shape};
use super::route::SessionPath;
use super::turn::Turn;
use crate::answer::{self, Answer, Format, Refusal};
use crate::callers::Target;

impl Ingest {
    /// Takes a request to the session API. It is answered once it is safe.
    pub(super) async fn session<B>(&self, export: Export<'_, '_, B>, path: SessionPath<'_>) -> Result<Answer, Refusal>
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
        self.charge_request(caller)?;

        let limit = running.settings.max_request;
        let mut reserved = self.reserve(caller, head)?;
        let mut turn = Turn::new(&caller.counts().large_message);
        let body = read::read(body, Shape::Plain, limit, MinRate::of(&running.settings), &mut reserved).await?;
        let message = encoding.inflate(body, limit, &mut reserved, &mut turn).await?.message;
        let max_memory = SessionRequest::max_memory(&message);
        if !reserved.grow(max_memory) {
            return Err(Refusal::no_memory());
        }
        let bytes = message.len();
        let is_start = matches!(call, SessionCall::Start | SessionCall::BareStart);
        let read = move || {
            let request = SessionRequest::from_json(&call, &message);
            request.map_err(|error| Refusal::malformed(error.to_string()))
        };
        if bytes > LARGE_BYTES {
            turn.take().await;
        }
        let request = self.decode.run(Format::Json, bytes, read).await?;
        drop(turn);
        reserved.shrink(max_memory.saturating_sub(request.memory()));

        let charge = self.charge_data(caller, 0, bytes)?;
        let tracer = self.look_up(caller, selector).await?;
        let id = request.id().to_string();
        let accepted = if bytes > LARGE_BYTES {
            // Rules of redaction, and the conversion to a span, take long.
            let mut turn = Turn::new(&caller.counts().large_message);
            turn.take().await;
            let (registry, name, tracer) = (self.registry.clone(), caller.name().clone(), tracer.clone());
            let ingest = move || registry.ingest_session(Some(&name), &tracer, request);
            let accepted = self.decode.run_there(ingest).await;
            accepted.unwrap_or(Err(IngestError::SpoolUnavailable))
        } else {
            self.registry.ingest_session(Some(caller.name()), &tracer, request)
        };
        let (counts, counters) = (Arc::clone(caller.counts()), Arc::clone(&self.counters));
        let count = move |(): &()| {
            counts.accept_session_request();
            counters.session_requests.add(1);
            if let Some(charge) = charge {
                charge.keep();
            }
        };
        self.once_safe(counted(&Handle::current(), accepted, count)).await?;
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
