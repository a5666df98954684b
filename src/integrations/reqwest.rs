//! A middleware for `reqwest`: outgoing requests carry the trace of their scope.
//!
//! ```
//! use reqwest_middleware::{ClientBuilder, ClientWithMiddleware};
//! use tracer_registry::TracerHandle;
//! use tracer_registry::reqwest::PropagationMiddleware;
//!
//! fn client() -> ClientWithMiddleware {
//!     ClientBuilder::new(reqwest_middleware::reqwest::Client::new()).with(PropagationMiddleware::new()).build()
//! }
//!
//! async fn ask(client: &ClientWithMiddleware, acme: &TracerHandle) -> Result<String, reqwest_middleware::Error> {
//!     acme.in_span_async("ask", async |_| {
//!         let answer = client.get("http://127.0.0.1:8080/orders").send().await?; // carries the trace of `ask`
//!         Ok(answer.text().await?)
//!     })
//!     .await
//! }
//! ```

use http::Extensions;
use reqwest_middleware::reqwest::{Request, Response};
use reqwest_middleware::{Middleware, Next, Result};

use crate::context::{self, InScope};
use crate::registry::TracerRegistry;

/// Has the requests of a `reqwest` client carry the trace of the scope that they are sent in.
///
/// In a tracer's scope `traceparent`, `tracestate` and `baggage` of the request are removed, whatever wrote them, and written anew by that
/// tracer ([`TracerHandle::inject_headers`](crate::TracerHandle::inject_headers)). Outside any scope the request stays as it is, with
/// whatever headers it has. No span is made: the server's span is a child of the current one.
///
/// The scope is the one that is current when the future of `send` is polled first. What runs after this middleware runs in it, whatever polls
/// it. A redirect is followed below the middleware, with the same headers, to another host too; `reqwest`'s redirect policy prevents it.
/// Add the middleware last, so that others that retry a request have it send the headers each time.
#[derive(Clone, Copy, Debug, Default)]
pub struct PropagationMiddleware(());

impl PropagationMiddleware {
    /// Returns a middleware that writes headers.
    pub fn new() -> Self {
        Self::default()
    }
}

#[async_trait::async_trait]
impl Middleware for PropagationMiddleware {
    async fn handle(&self, mut request: Request, extensions: &mut Extensions, next: Next<'_>) -> Result<Response> {
        if let Some(tracer) = TracerRegistry::current() {
            tracer.inject_headers(request.headers_mut());
        }
        InScope::new(next.run(request, extensions), context::current()).await
    }
}
