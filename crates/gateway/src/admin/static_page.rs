//! The page for browsers: static files without data, so they need no token.

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HeaderName};
use http::request::Parts;
use http::{HeaderValue, Method, Response};
use tracer_registry_page::{Asset, HEADERS, SHARED};

use crate::answer::{Answer, AnswerBody};

const OWN: [Asset; 3] = [
    Asset::html("/", include_str!("assets/index.html")),
    Asset::css("/page/gateway.css", include_str!("assets/gateway.css")),
    Asset::javascript("/page/gateway.js", include_str!("assets/gateway.js")),
];

/// Returns the file that a request asks for. The host of the request must be checked before.
pub(super) fn find(head: &Parts) -> Option<Answer> {
    let asset = OWN.iter().chain(&SHARED).find(|asset| asset.path == head.uri.path())?;
    if head.method != Method::GET {
        return None;
    }
    let body = Bytes::from_static(asset.body.as_bytes());
    let mut answer = Response::new(AnswerBody::new(body, None));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(asset.content_type));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    // As a refusal: a client without a token keeps no connection.
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    Some(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_loads_nothing_from_elsewhere_makes_no_markup_from_text_and_stores_no_token() {
        for asset in OWN {
            assert_eq!(asset.forbidden(), None, "{}", asset.path);
            for word in ["localStorage", "sessionStorage", "indexedDB", "cookie"] {
                assert!(!asset.body.contains(word), "{}: {word}", asset.path);
            }
        }
        for path in OWN[0].body.split(['"']).filter(|text| text.starts_with("/page/")) {
            assert!(SHARED.iter().chain(&OWN).any(|asset| asset.path == path), "{path}");
        }
    }
}
