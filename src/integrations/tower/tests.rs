//! Reading of requests: tenant, authority and gRPC call.

use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode};

use super::authority::Authority;
use super::settings::{Decision, Settings, Step};
use super::{TenantSource, conventions, grpc};
use crate::config::Binding;
use crate::registry::TracerRegistry;
use crate::secret::KeySource;

#[test]
fn resolving_the_tracer_of_a_request_does_not_allocate() {
    let registry = TracerRegistry::builder()
        .secret_source("fixed", |_: &str| Ok("a key".into()))
        .defaults(Binding::new().endpoint("http://127.0.0.1:9"))
        .tenant("acme", Binding::new().api_key(KeySource::provider("fixed", "acme")))
        .build()
        .expect("a valid configuration");
    let acme = registry.tenant("acme").expect("configured");
    for source in [
        TenantSource::header(HeaderName::from_static("x-tenant")),
        TenantSource::first_host_label(),
        TenantSource::path_segment(0),
        TenantSource::extension(|slug: &String| slug.as_str()),
    ] {
        let settings = Settings::new(registry.clone(), source.clone());
        let request = Request::get("/acme/orders")
            .header("host", "acme.example.com:8080")
            .header("x-tenant", "acme")
            .extension("acme".to_owned());
        let (parts, ()) = request.body(()).expect("a request").into_parts();
        let spent = allocation_counter::measure(|| match settings.step(&parts) {
            Step::Decided(Decision::Serve(tracer)) => assert!(tracer.same_tracer(&acme)),
            _ => panic!("{source:?}"),
        });
        assert_eq!(spent.count_total, 0, "{source:?}");
    }
}

#[test]
fn an_authority_is_a_host_with_an_optional_port() {
    for (text, host, port) in [
        ("example.com", "example.com", None),
        ("example.com:80", "example.com", Some(80)),
        ("[::1]", "::1", None),
        ("[::1]:8080", "::1", Some(8080)),
        ("example.com:", "example.com", None),
        ("", "", None),
    ] {
        assert_eq!(Authority::parse(text), Some(Authority { host, port }), "{text}");
    }
    for text in [
        "acme.example.com:80@globex.example.com",
        "user@acme.example.com",
        "[acme.example.com]",
        "[127.0.0.1]",
        "[::1]junk",
        "[::1",
        "[::1]80",
        "[::1]:x",
        "acme.example.com:evil",
        "acme.example.com:+80",
        "acme.example.com:99999",
        "acme.example.com:80:81",
        "acme.example.com/globex",
        "acme.example.com, globex.example.com",
        "::1",
    ] {
        assert_eq!(Authority::parse(text), None, "{text}");
    }
}

#[test]
fn a_text_is_truncated_between_characters() {
    let text = "ä".repeat(1_000);
    assert_eq!(conventions::cut(&text), "ä".repeat(512));
    assert_eq!(conventions::cut(&format!("a{text}")).len(), 1_023);
    assert_eq!(conventions::cut("short"), "short");
}

#[test]
fn a_grpc_call_is_recognized_by_content_type_and_its_method_by_path() {
    let is_grpc = |text: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert("content-type", HeaderValue::from_static(text));
        grpc::is_grpc(&headers)
    };
    for (text, expected) in [
        ("application/grpc", true),
        ("application/grpc+proto", true),
        ("application/grpc;v=1", true),
        ("application/grpc-web", false),
        ("application/json", false),
    ] {
        assert_eq!(is_grpc(text), expected, "{text}");
    }
    assert_eq!(grpc::method_of("/a.B/C"), Some(("a.B", "C")));
    assert_eq!(grpc::method_of("/nothing"), None);
}

#[test]
fn an_http_status_maps_to_a_grpc_code() {
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
