//! Propagation by the headers of a request or response of the crate `http`.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};

use crate::scope::Scope;
use crate::tracer::TracerHandle;

/// What [`TracerHandle::inject`] writes: W3C trace context, W3C baggage.
pub(crate) const PROPAGATED: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

impl TracerHandle {
    /// Replaces `traceparent`, `tracestate` and `baggage` of a request with what belongs to this tracer, as [`inject`](Self::inject) writes it.
    ///
    /// Removes these headers first, so none that another tracer wrote, or that came in with another request, goes out.
    ///
    /// ```
    /// # fn demo(acme: tracer_registry::TracerHandle) -> Result<(), http::Error> {
    /// let mut request = http::Request::get("http://127.0.0.1:8080/orders").body(())?;
    /// acme.inject_headers(request.headers_mut());
    /// # Ok(())
    /// # }
    /// ```
    pub fn inject_headers(&self, headers: &mut HeaderMap) {
        for name in PROPAGATED {
            headers.remove(name);
        }
        self.inject(&mut Outgoing(headers));
    }

    /// Reads the headers of a request that came in, as [`extract`](Self::extract), and returns the scope in which to answer it.
    pub fn extract_headers(&self, headers: &HeaderMap) -> Scope {
        self.extract(&Incoming(headers))
    }
}

struct Outgoing<'a>(&'a mut HeaderMap);

impl Injector for Outgoing<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}

struct Incoming<'a>(&'a HeaderMap);

impl Extractor for Incoming<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}
