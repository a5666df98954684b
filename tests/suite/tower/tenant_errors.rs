//! Requests with a missing, invalid or unknown tenant.

use axum::Router;
use http::{HeaderName, Request, StatusCode};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower::ServiceExt;
use tower_layer::Layer;
use tracer_registry::Selector;
use tracer_registry::tower::{TenantError, TenantLayer, TenantSource};

use super::client::{Server, header_source};
use super::current;
use crate::support::World;

fn service() -> Router {
    Router::new().fallback(async || current())
}

/// Sends the bytes of a request unchanged and returns the response as text.
async fn raw(server: &Server, request: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.address).await.expect("the server listens");
    stream.write_all(request).await.expect("the server reads");
    let mut answer = Vec::new();
    stream
        .read_to_end(&mut answer)
        .await
        .expect("the server responds and closes");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_invalid_header_is_refused_and_counted_by_reason_without_echoing_it() {
    let world = World::new(&["acme"]);
    let layer = header_source(&world);
    let server = Server::start(service().layer(layer.clone())).await;
    let long = "canary".repeat(1_700);
    let name = "x-tenant: ";
    for (headers, status, reason) in [
        (String::new(), 400, "missing"),
        (format!("{name}acme\r\n{name}acme\r\n"), 400, "repeated"),
        (format!("{name}\r\n"), 400, "empty"),
        (format!("{name}{long}\r\n"), 400, "too_long"),
        (format!("{name}acme, canary\r\n"), 400, "not_a_name"),
        (format!("{name}../canary\r\n"), 400, "not_a_name"),
        (format!("{name}ACME\r\n"), 400, "not_a_name"),
        (format!("{name}аcme\r\n"), 400, "not_a_name"),
        (format!("{name}canary\r\n"), 404, "unknown"),
    ] {
        let before = counted(&layer, reason);
        let answer = raw(
            &server,
            format!("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{headers}\r\n").as_bytes(),
        )
        .await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{reason}: {answer}");
        assert!(
            answer.contains("content-length: 0") && answer.ends_with("\r\n\r\n"),
            "{answer}"
        );
        assert!(!answer.contains("canary"), "{answer}");
        assert_eq!(counted(&layer, reason), before + 1, "{reason}: {:?}", layer.errors());
    }
    let answer = raw(
        &server,
        b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-tenant: ac\xffme\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(counted(&layer, "not_text"), 1);
    let all = serde_json::to_value(layer.errors()).expect("numbers");
    let sum: u64 = all
        .as_object()
        .expect("a table")
        .values()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    assert_eq!(sum, 10, "{all}");
    world.flush();
    assert!(world.registry.status().tracers.is_empty(), "no tracer may be created");
}

fn counted(layer: &TenantLayer, reason: &str) -> u64 {
    let all = serde_json::to_value(layer.errors()).expect("numbers");
    all[reason].as_u64().expect("a reason")
}

/// Returns the tenant that a source finds in a request, or the counted reason.
async fn found(world: &World, source: TenantSource, request: Request<Full<&'static [u8]>>) -> String {
    let layer = TenantLayer::new(world.registry.clone(), source);
    let service = layer.layer(tower::service_fn(async |_| {
        Ok::<_, TenantError>(http::Response::new(current()))
    }));
    let (head, body) = service.oneshot(request).await.expect("no error").into_parts();
    if head.status == StatusCode::OK {
        let body = http_body_util::BodyExt::collect(body).await.expect("a text").to_bytes();
        return String::from_utf8(body.to_vec()).expect("text");
    }
    let all = serde_json::to_value(layer.errors()).expect("numbers");
    let reasons = all
        .as_object()
        .expect("a table")
        .iter()
        .filter(|(_, count)| **count != json!(0));
    reasons.map(|(reason, _)| reason.as_str()).collect::<Vec<_>>().join(" ")
}

fn request(uri: &str, headers: &[(&str, &str)]) -> Request<Full<&'static [u8]>> {
    let builder = headers.iter().fold(Request::get(uri), |builder, (name, value)| {
        builder.header(*name, *value)
    });
    builder.body(Full::default()).expect("a request")
}

#[tokio::test]
async fn a_host_is_used_in_lower_case_without_its_port_and_only_if_it_is_unambiguous() {
    let world = World::new(&["acme", "acme.example.com"]);
    for (uri, hosts, whole, label) in [
        ("/", vec!["acme.example.com"], "tenant:acme.example.com", "tenant:acme"),
        (
            "/",
            vec!["ACME.Example.com:8080"],
            "tenant:acme.example.com",
            "tenant:acme",
        ),
        (
            "/",
            vec!["acme.example.com.:80"],
            "tenant:acme.example.com",
            "tenant:acme",
        ),
        (
            "http://acme.example.com:1/",
            vec![],
            "tenant:acme.example.com",
            "tenant:acme",
        ),
        (
            "http://acme.example.com:1/",
            vec!["acme.example.com:2"],
            "tenant:acme.example.com",
            "tenant:acme",
        ),
        (
            "http://acme.example.com/",
            vec!["other.example.com"],
            "repeated",
            "repeated",
        ),
        (
            "/",
            vec!["acme.example.com", "acme.example.com"],
            "repeated",
            "repeated",
        ),
        ("/", vec!["[2001:db8::1]:8080"], "not_a_name", "missing"),
        ("/", vec!["127.0.0.1:8080"], "unknown", "missing"),
        ("/", vec!["acme"], "tenant:acme", "missing"),
        ("/", vec![".example.com"], "not_a_name", "empty"),
        ("/", vec![""], "empty", "missing"),
        (
            "/",
            vec!["other.example.com:80@acme.example.com"],
            "not_a_name",
            "not_a_name",
        ),
        (
            "http://user@acme.example.com/",
            vec!["acme.example.com"],
            "not_a_name",
            "not_a_name",
        ),
        ("/", vec!["[acme.example.com]"], "not_a_name", "not_a_name"),
        ("/", vec!["acme.example.com:evil"], "not_a_name", "not_a_name"),
        ("/", vec![], "missing", "missing"),
    ] {
        let headers: Vec<_> = hosts.iter().map(|host| ("host", *host)).collect();
        let by_host = found(&world, TenantSource::host(), request(uri, &headers)).await;
        assert_eq!(by_host, whole, "{uri} {hosts:?}");
        let by_label = found(&world, TenantSource::first_host_label(), request(uri, &headers)).await;
        assert_eq!(by_label, label, "{uri} {hosts:?}");
    }
}

#[tokio::test]
async fn a_tenant_is_read_from_the_path_the_extensions_or_by_a_function() {
    #[derive(Clone)]
    struct User(&'static str);

    let world = World::with(&["acme"], |builder| {
        builder.feature("search", crate::support::binding("acme"))
    });
    for (path, expected) in [
        ("/tenants/acme/orders", "tenant:acme"),
        ("/tenants/acme?tenant=other", "tenant:acme"),
        ("/tenants/%61cme", "not_a_name"),
        ("/tenants//orders", "empty"),
        ("/tenants", "missing"),
        ("/", "missing"),
    ] {
        let by_path = found(&world, TenantSource::path_segment(1), request(path, &[])).await;
        assert_eq!(by_path, expected, "{path}");
    }
    let by_first = found(&world, TenantSource::path_segment(0), request("/", &[])).await;
    assert_eq!(by_first, "empty", "the first segment exists and is empty");
    let by_user = || TenantSource::extension(|user: &User| user.0);
    let mut request_of_user = request("/", &[("x-tenant", "other")]);
    assert_eq!(found(&world, by_user(), request_of_user.clone()).await, "missing");
    request_of_user.extensions_mut().insert(User("acme"));
    assert_eq!(found(&world, by_user(), request_of_user).await, "tenant:acme");

    let both = || {
        TenantSource::from_fn(|request| {
            let slug = request.headers.get(HeaderName::from_static("x-tenant"));
            let slug = slug.map(|slug| slug.to_str().map_err(|_| TenantError::NotText));
            let selector = slug
                .transpose()?
                .map(|slug| Selector::tenant(slug).feature("search").try_into());
            Ok(selector.transpose()?)
        })
    };
    let with_tenant = |tenant| request("/", &[("x-tenant", tenant)]);
    assert_eq!(
        found(&world, both(), with_tenant("acme")).await,
        "feature:search,tenant:acme"
    );
    assert_eq!(
        found(&world, both(), with_tenant("acme")).await,
        "feature:search,tenant:acme"
    );
    assert_eq!(found(&world, both(), with_tenant("")).await, "empty");
    assert_eq!(found(&world, both(), request("/", &[])).await, "missing");
}
