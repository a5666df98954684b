//! A request with a known key, and its result.

use std::sync::Arc;

use axum::response::Response;
use http::request::Parts;

use super::body::ContentType;
use crate::model::{Endpoint, Fingerprint, Format, Received, Span};
use crate::server::serving::{Serving, Shared};
use crate::store::ProjectId;

/// Memory limit of a decoded body, as a multiple of the size limit.
const MEMORY_FACTOR: usize = 10;
/// Minimum of the memory limit.
const MIN_MEMORY_BYTES: usize = 16 * 1024 * 1024;

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
    /// Number of spans that a fault rejects.
    pub(super) reject_spans: u64,
}

/// Response to a request, with the stored data.
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

    /// Counts the response and calls the observers. Returns the response.
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

    /// Returns the memory limit of the decoded body in bytes.
    pub(super) fn max_memory(&self) -> usize {
        let memory = self.shared().max_body_bytes.saturating_mul(MEMORY_FACTOR);
        memory.max(MIN_MEMORY_BYTES)
    }

    /// Returns the format of the response: that of the request for exports, otherwise JSON.
    pub(super) fn answer_format(&self) -> Format {
        match self.endpoint {
            Endpoint::Traces => self.content_type.format().unwrap_or(Format::Json),
            Endpoint::Sessions | Endpoint::Events => Format::Json,
        }
    }
}
