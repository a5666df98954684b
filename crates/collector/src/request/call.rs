//! A request with a known key, and its outcome.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;

use super::body::ContentType;
use crate::model::{Endpoint, Fingerprint, Format, Received, Span};
use crate::server::serving::{Serving, Shared};
use crate::store::ProjectId;

/// How much memory the content of a body may take while it is read, as a multiple of the bound on its size.
const MEMORY_FACTOR: usize = 10;
/// What it may take in any case.
const LEAST_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// A request with a known key.
pub(super) struct Call<'a> {
    pub(super) serving: &'a Serving,
    pub(super) parts: &'a Parts,
    pub(super) endpoint: Endpoint,
    pub(super) key: Fingerprint,
    pub(super) project: ProjectId,
    pub(super) project_name: Option<&'a str>,
    pub(super) content_type: &'a ContentType,
    pub(super) wire_bytes: usize,
    pub(super) body_bytes: usize,
    /// How many spans a fault refuses.
    pub(super) reject_spans: u64,
}

/// An answer, and what came of the request.
pub(super) struct Outcome {
    pub(super) response: Response,
    pub(super) stored: Vec<Arc<Span>>,
    pub(super) rejected_spans: u64,
    pub(super) sessions: Vec<String>,
}

impl From<Response> for Outcome {
    fn from(response: Response) -> Self {
        Self {
            response,
            stored: Vec::new(),
            rejected_spans: 0,
            sessions: Vec::new(),
        }
    }
}

impl Call<'_> {
    pub(super) fn shared(&self) -> &Shared {
        &self.serving.shared
    }

    /// Counts an answered request and calls the observers. Returns the answer.
    pub(super) fn finish(&self, outcome: Outcome) -> Response {
        let status = outcome.response.status().as_u16();
        self.shared().store.count_answer(self.project, status);
        let received = Received {
            project: self.project_name.map(str::to_owned),
            key: self.key,
            endpoint: self.endpoint,
            path: self.parts.uri.path().to_owned(),
            format: self.content_type.format(),
            status,
            wire_bytes: self.wire_bytes,
            body_bytes: self.body_bytes,
            spans: outcome.stored.len(),
            stored: outcome.stored,
            rejected_spans: outcome.rejected_spans,
            sessions: outcome.sessions,
        };
        self.shared().observers.iter().for_each(|observer| observer(&received));
        outcome.response
    }

    /// How many bytes of memory the content of the body may take.
    pub(super) fn max_memory(&self) -> usize {
        let memory = self.shared().max_body_bytes.saturating_mul(MEMORY_FACTOR);
        memory.max(LEAST_MEMORY_BYTES)
    }

    /// Only exports are answered in protobuf, and only those that came in it.
    pub(super) fn answer_format(&self) -> Format {
        match self.endpoint {
            Endpoint::Traces => self.content_type.format().unwrap_or(Format::Json),
            Endpoint::Sessions | Endpoint::Events => Format::Json,
        }
    }
}
