//! One request to the admin listener, from its head to its answer.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{HeaderValue, Request, Response, StatusCode};
use http_body::Body;

use super::call::{self, Call};
use super::events;
use super::host;
use super::query::Query;
use super::refusal::Refusal;
use super::route::{self, Found, Route, Work};
use super::state::Admin;
use super::static_page;
use crate::answer::{Answer, AnswerBody};
use crate::callers::Role;
use crate::ingest::check_head;
use crate::metrics::Format;

impl Admin {
    /// Answers a request.
    ///
    /// # Cancel safety
    /// Work that has started runs to its end.
    pub(crate) async fn answer<B>(self: &Arc<Self>, request: Request<B>, peer: IpAddr) -> Answer
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
    {
        let (head, body) = request.into_parts();
        if let Some(file) = self.file(&head) {
            return file;
        }
        let admitted = self.admit(&head, &body);
        let is_admitted = admitted.is_ok();
        let outcome = match admitted {
            Ok((route, selector)) => self.run(route, selector, &head, body, peer).await,
            Err(refusal) => Err(refusal),
        };
        let mut answer = outcome.unwrap_or_else(|refusal| {
            self.log.admin_refused(peer, refusal.status, refusal.logged);
            refusal.answer()
        });
        let headers = answer.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'"));
        if !is_admitted {
            // Frees the connection for those with a token, and ignores what follows.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        answer
    }

    /// Returns a file of the page. It has no data, so only the host and the head count.
    fn file(&self, head: &Parts) -> Option<Answer> {
        let running = self.current.running();
        host::check(head, running.settings.admin.as_ref()).ok()?;
        check_head(head).ok()?;
        static_page::find(head)
    }

    /// Returns what a request asks for, and the selector as its path writes it, if the request may
    /// have it. Until the token is known, only the host, the path and the method count.
    fn admit<'h>(&self, head: &'h Parts, body: &impl Body) -> Result<(&'static Route, Option<&'h str>), Refusal> {
        let running = self.current.running();
        host::check(head, running.settings.admin.as_ref())?;
        check_head(head).map_err(|refusal| Refusal::bad_request(refusal.message))?;
        let (route, selector) = match route::find(head.uri.path(), &head.method) {
            Found::Route(route, selector) => (route, selector),
            Found::OtherMethod(methods) => return Err(Refusal::method_not_allowed(&methods)),
            Found::Nothing => return Err(Refusal::new(StatusCode::NOT_FOUND, "the path is unknown")),
        };
        let role = running.callers.role(&head.headers);
        let role = role.map_err(|refusal| Refusal::new(StatusCode::UNAUTHORIZED, refusal.to_string()))?;
        if role != Role::Admin && role != route.role {
            let message = "this token may only read /metrics";
            return Err(Refusal::new(StatusCode::FORBIDDEN, message));
        }
        if !body.is_end_stream() {
            return Err(Refusal::bad_request(
                "the body must be empty; parameters are in the path",
            ));
        }
        Ok((route, selector))
    }

    /// Answers with the metrics, in the format that the client prefers.
    async fn metrics(&self, head: &Parts) -> Result<Answer, Refusal> {
        let format = Format::of(&head.headers);
        let (place, _permit) = self.metrics.enter().await?;
        let text = self.scrape.text(format).await;
        let text = text.ok_or_else(|| Refusal::unavailable("the metrics cannot be collected"))?;
        let mut answer = Response::new(AnswerBody::new(place.with(text), None));
        let content_type = HeaderValue::from_static(format.content_type());
        answer.headers_mut().insert(CONTENT_TYPE, content_type);
        Ok(answer)
    }

    async fn run<B: Send + 'static>(
        self: &Arc<Self>,
        route: &'static Route,
        selector: Option<&str>,
        head: &Parts,
        request: B,
        peer: IpAddr,
    ) -> Result<Answer, Refusal> {
        let call = Call {
            admin: Arc::clone(self),
            selector: selector.map(call::selector).transpose()?,
            query: Query::parse(head.uri.query(), route.parameters)?,
            peer,
        };
        let body = match route.work {
            Work::Quick(run) => run(&call)?.into(),
            Work::Pass(run) => self.pass.run(move || run(&call)).await?,
            Work::Slow(run) => self.slow.run(move || run(&call)).await?,
            Work::Flush(run) => self.flush.run(move || run(&call)).await?,
            Work::Metrics => return self.metrics(head).await,
            Work::Events => return events::events(&call, request),
        };
        let mut answer = Response::new(AnswerBody::new(body, None));
        let json = HeaderValue::from_static("application/json");
        answer.headers_mut().insert(CONTENT_TYPE, json);
        Ok(answer)
    }
}
