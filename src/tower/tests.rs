//! What of a request is read without serving it.

use http::{HeaderMap, HeaderValue, StatusCode};

use super::authority::Authority;
use super::{conventions, grpc};

#[test]
fn an_authority_is_a_host_and_perhaps_a_port() {
    for (text, host, port) in [
        ("example.com", "example.com", None),
        ("example.com:80", "example.com", Some(80)),
        ("user:word@example.com:80", "example.com", Some(80)),
        ("[::1]", "::1", None),
        ("[::1]:8080", "::1", Some(8080)),
        ("example.com:99999", "example.com", None),
        ("example.com:", "example.com", None),
        ("", "", None),
    ] {
        assert_eq!(Authority::new(text), Authority { host, port }, "{text}");
    }
}

#[test]
fn a_text_is_cut_between_characters() {
    let text = "ä".repeat(1_000);
    assert_eq!(conventions::cut(&text), "ä".repeat(512));
    assert_eq!(conventions::cut(&format!("a{text}")).len(), 1_023);
    assert_eq!(conventions::cut("short"), "short");
}

#[test]
fn a_call_is_told_by_its_content_type_and_its_method_by_the_path() {
    let of = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(text));
        grpc::is_call(&headers)
    };
    for (text, is_call) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;v=1", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(of(text), is_call, "{text}");
    }
    assert_eq!(grpc::method_of("/a.B/C"), Some(("a.B", "C")));
    assert_eq!(grpc::method_of("/nothing"), None);
}

#[test]
fn a_status_of_http_has_a_code_of_grpc() {
    let codes = [400, 401, 403, 404, 429, 500, 503, 418].map(|status| {
        let status = StatusCode::from_u16(status).expect("a status");
        grpc::name(grpc::nearest(status))
    });
    let expected = [
        "INVALID_ARGUMENT",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
        "NOT_FOUND",
        "RESOURCE_EXHAUSTED",
        "INTERNAL",
        "UNAVAILABLE",
        "UNKNOWN",
    ];
    assert_eq!(codes, expected);
}
