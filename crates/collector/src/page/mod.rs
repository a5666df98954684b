//! The page for browsers, and the lists and the stream that it reads.
//!
//! The page itself holds no data. Answers are bounded: lists in entries, texts in bytes, searches
//! in time, streams in number. What a client sent is a JSON string here, and text in the page.
//!
//! | file | owns |
//! |---|---|
//! | `cut.rs` | the size of texts |
//! | `query.rs` | parameters |
//! | `llm.rs` | model and tokens of a span |
//! | `search.rs` | words that a trace must contain |
//! | `trace_list.rs` | the newest traces of a project, or of all |
//! | `trace.rs` | one trace, and one of its spans |
//! | `sessions.rs` | sessions of a project |
//! | `live.rs` | counts of projects as they change |

mod cut;
mod live;
mod llm;
mod query;
mod search;
mod sessions;
mod trace;
mod trace_list;

use axum::Router;
use axum::response::Response;
use axum::routing::get;
use http::header::HeaderName;
use http::{HeaderValue, StatusCode};
use tracer_registry_page::{Asset, HEADERS, SHARED};

use crate::request::answer;
use crate::server::serving::ServingRef;

const INDEX: Asset = Asset::html("/", include_str!("assets/index.html"));

const OWN: [Asset; 4] = [
    Asset::css("/page/collector.css", include_str!("assets/collector.css")),
    Asset::javascript("/page/collector.js", include_str!("assets/collector.js")),
    Asset::javascript("/page/details.js", include_str!("assets/details.js")),
    Asset::javascript("/page/waterfall.js", include_str!("assets/waterfall.js")),
];

pub(crate) fn routes() -> Router<ServingRef> {
    let router = Router::new()
        .route("/api/live", get(live::live))
        .route("/api/traces", get(trace_list::traces))
        .route("/api/projects/{project}/traces/{trace}", get(trace::trace))
        .route(
            "/api/projects/{project}/traces/{trace}/spans/{sequence}",
            get(trace::span),
        )
        .route("/api/projects/{project}/session-list", get(sessions::sessions))
        .route("/api/projects/{project}/sessions/{session}", get(sessions::session));
    SHARED.into_iter().chain(OWN).fold(router, |router, asset| {
        router.route(asset.path, get(move || std::future::ready(file(asset))))
    })
}

pub(crate) fn index() -> Response {
    file(INDEX)
}

fn file(asset: Asset) -> Response {
    let mut response = answer::with_type(StatusCode::OK, asset.content_type, asset.body);
    for (name, value) in HEADERS {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_and_makes_no_markup_from_text() {
        for asset in OWN.into_iter().chain([INDEX]) {
            assert_eq!(asset.forbidden(), None, "{}", asset.path);
        }
        // Each file that the page names is served.
        let bodies = OWN.into_iter().chain([INDEX]).map(|asset| asset.body);
        for path in bodies
            .flat_map(|body| body.split('"'))
            .filter(|text| text.starts_with("/page/"))
        {
            assert!(SHARED.iter().chain(&OWN).any(|asset| asset.path == path), "{path}");
        }
    }
}
