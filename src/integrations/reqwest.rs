//! Middleware for `reqwest` that propagates the trace of the current scope.
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

/// Writes the trace of the current scope into the requests of a `reqwest` client.
///
/// In a tracer's scope it replaces `traceparent`, `tracestate` and `baggage` of the request by
/// those of that tracer ([`TracerHandle::inject_headers`](crate::TracerHandle::inject_headers)).
/// Outside any scope it leaves the request unchanged. It creates no span: the server's span is a
/// child of the current one.
///
/// The scope is the current one at the first poll of the future of `send`. Inner middleware runs in
/// that scope. `reqwest` follows redirects below the middleware, with the same headers, also to
/// other hosts; its redirect policy can prevent that. Add the middleware last, so that a retrying
/// middleware runs it for each attempt.
#[derive(Clone, Copy, Debug, Default)]
pub struct PropagationMiddleware(());

impl PropagationMiddleware {
    /// Creates the middleware.
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
