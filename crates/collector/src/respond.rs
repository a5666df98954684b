//! Responses with received data: written on the worker's thread, and counted against the budget.

use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::Serialize;

use crate::model::Format;
use crate::request::answer::{self, Refusal};
use crate::server::budget::Held;
use crate::server::serving::ServingRef;

/// Body of a response, or an error.
pub(crate) type Page = Result<Vec<u8>, (StatusCode, String)>;

pub(crate) fn to_json(page: &impl Serialize) -> Page {
    serde_json::to_vec(page).map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))
}

/// Serializes a page on the worker's thread. Its bytes count against the budget until it is sent.
pub(crate) async fn respond(serving: &ServingRef, page: impl FnOnce() -> Page + Send + 'static) -> Response {
    let page = match serving.worker.run(page).await {
        Some(Ok(page)) => page,
        Some(Err((status, message))) => return answer::error(status, &message),
        None => {
            return answer::error(
                StatusCode::INTERNAL_SERVER_ERROR,
                "internal error while writing the page",
            );
        }
    };
    match serving.budget.hold_at_most_all(page.len()) {
        Some(held) => {
            let page = Bytes::from_owner(HeldPage { page, _held: held });
            answer::with_type(StatusCode::OK, "application/json", page)
        }
        None => Refusal::busy().to_response(Format::Json),
    }
}

/// A page that counts against the budget while it lives.
struct HeldPage {
    page: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for HeldPage {
    fn as_ref(&self) -> &[u8] {
        &self.page
    }
}
