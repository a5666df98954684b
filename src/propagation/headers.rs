//! Propagation through the headers of the `http` crate.

use http::header::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::propagation::{Extractor, Injector};

use crate::scope::Scope;
use crate::tracer::TracerHandle;

/// Headers that [`TracerHandle::inject`] writes: W3C trace context and W3C baggage.
pub(crate) const PROPAGATED: [HeaderName; 3] = [
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("tracestate"),
    HeaderName::from_static("baggage"),
];

impl TracerHandle {
    /// Replaces `traceparent`, `tracestate` and `baggage` of a request with those of this tracer,
    /// like [`inject`](Self::inject).
    ///
    /// Removes these headers first, so that headers from another tracer or an incoming request are
    /// not forwarded.
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

    /// Reads the headers of an incoming request like [`extract`](Self::extract), and returns the
    /// scope for answering it.
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
