//! The admin listener: what is refused before it does anything.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::limits::Raw;
use crate::support::{ACME, ADMIN, Reply, SCRAPER, Service, body};

/// The admin listener of a test, in the table `[gateway]`.
pub(crate) const TABLE: &str = "admin = { listen = \"127.0.0.1:0\", token = { file = \"tokens/admin\" }, \
                                metrics_token = { file = \"tokens/metrics\" }, hosts = [\"gateway.internal\"] }";

pub(crate) fn start() -> Service {
    Service::start(TABLE)
}

impl Service {
    /// Sends a request to the admin listener.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let address = self.gateway().admin().unwrap();
        let mut request = Request::builder().method(method).uri(format!("http://{address}{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.client.send(request.body(Bytes::from(body.to_owned())).unwrap())
    }

    /// Sends a request with the token of the admin, and returns the status and the JSON.
    pub(crate) fn admin(&self, method: &str, path: &str) -> (u16, Value) {
        let reply = self.ask(method, path, &[("authorization", &bearer(ADMIN))], "");
        assert_eq!(reply.header("content-type"), Some("application/json"), "{path}");
        assert!(reply.body.ends_with(b"\n"), "{path}");
        (reply.status, serde_json::from_slice(&reply.body).unwrap())
    }

    /// Returns the page of a path.
    pub(crate) fn page(&self, path: &str) -> Value {
        let (status, page) = self.admin("GET", path);
        assert_eq!(status, 200, "{path}: {page}");
        page
    }
}

pub(crate) fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

/// Returns the routes that the page of the admin listener documents, as method and path, with a
/// selector for its place.
pub(crate) fn routes() -> Vec<(String, String)> {
    let page = include_str!("../../../../docs/admin.md");
    let headings = page.lines().filter_map(|line| line.strip_prefix("### `"));
    let routes: Vec<_> = headings
        .filter_map(|heading| {
            let (method, path) = heading.trim_end_matches('`').split_once(' ')?;
            Some((method.to_owned(), path.replace("{selector}", "acme")))
        })
        .collect();
    assert!(routes.len() > 5, "{routes:?}");
    routes
}

/// What an action would change: the counts of reloads and of tracers.
fn state(service: &Service) -> (u64, usize) {
    let status = service.gateway().registry().status_without_tracers();
    (status.configuration.reloads, status.pool.tracers)
}

#[test]
fn every_route_needs_the_token_of_the_admin() {
    let service = start();
    assert_eq!(service.post(ACME, &[], body(&["span"])).status, 200);
    let before = state(&service);
    let basic = "Basic dG9rZW4tb2YtdGhlLWFkbWluOg==";
    let (admin, acme) = (bearer(ADMIN), bearer(ACME));
    let refused: [&[(&str, &str)]; 9] = [
        &[],
        &[("authorization", &acme)],
        &[("authorization", "Bearer token-of-the-admiM")],
        &[("authorization", ADMIN)],
        &[("authorization", basic)],
        &[("authorization", &admin), ("authorization", &admin)],
        &[("cookie", &format!("authorization={admin}; token={ADMIN}"))],
        &[("x-api-key", ADMIN)],
        &[("proxy-authorization", &admin)],
    ];
    for (method, path) in routes() {
        for headers in refused {
            let reply = service.ask(&method, &path, headers, "");
            assert_eq!(
                (reply.status, reply.header("www-authenticate")),
                (401, Some("Bearer")),
                "{method} {path} {headers:?}"
            );
            let answer: Value = serde_json::from_slice(&reply.body).unwrap();
            let expected = json!({"error": {"status": 401, "message": "missing or unknown credential"}});
            assert_eq!(answer, expected);
        }
        // Not a parameter either: its name is not looked at before.
        for parameter in ["token", "access_token", "authorization"] {
            let reply = service.ask(&method, &format!("{path}?{parameter}={ADMIN}"), &[], "");
            assert_eq!(reply.status, 401, "{method} {path}");
        }
    }
    assert_eq!(state(&service), before);
}

#[test]
fn the_token_of_the_scraper_may_only_read_metrics() {
    let service = start();
    let before = state(&service);
    for (method, path) in routes() {
        let reply = service.ask(&method, &path, &[("authorization", &bearer(SCRAPER))], "");
        let expected = if path == "/metrics" { 200 } else { 403 };
        assert_eq!(reply.status, expected, "{method} {path}");
    }
    assert_eq!(state(&service), before);
}

#[test]
fn tokens_of_the_admin_listener_open_no_other_listener_and_its_paths_are_on_no_other() {
    let service = start();
    for token in [ADMIN, SCRAPER] {
        assert_eq!(service.post(token, &[], body(&["span"])).status, 401);
        let reply = service
            .client
            .send(service.request("/api/reload", token).body(Bytes::new()).unwrap());
        assert_eq!(reply.status, 404);
    }
    for path in ["/v1/traces", "/healthz", "/readyz", "/v1/info"] {
        assert_eq!(service.admin("GET", path).0, 404, "{path}");
    }
}

#[test]
fn a_request_for_another_host_is_refused_before_its_token_counts() {
    let service = start();
    let send = |line: &str, hosts: &str| {
        let mut raw = Raw::connect(service.gateway().admin().unwrap());
        raw.write(format!(
            "{line}\r\n{hosts}authorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
        ));
        let answer = raw.read_to_end();
        answer.split(' ').nth(1).unwrap().to_owned()
    };
    let get = |hosts: &str| send("GET /api/config HTTP/1.1", hosts);
    for host in [
        "localhost",
        "127.0.0.1:4320",
        "[::1]",
        "gateway.internal",
        "GATEWAY.internal.:80",
    ] {
        assert_eq!(get(&format!("host: {host}\r\n")), "200", "{host}");
    }
    for hosts in [
        "",
        "host: \r\n",
        "host: evil.example\r\n",
        "host: localhost.evil.example\r\n",
        "host: localhost\r\nhost: localhost\r\n",
        "host: localhost\r\nhost: evil.example\r\n",
        "host: localhost, evil.example\r\n",
        "x-forwarded-host: localhost\r\nhost: evil.example\r\n",
    ] {
        assert_eq!(get(hosts), "421", "{hosts:?}");
    }
    for line in [
        "GET http://localhost/api/config HTTP/1.1",
        "GET http://evil.example/api/config HTTP/1.1",
        "OPTIONS * HTTP/1.1",
    ] {
        let status = send(line, "host: localhost\r\n");
        assert_eq!(
            status,
            if line.starts_with("OPTIONS") { "404" } else { "421" },
            "{line}"
        );
    }
    // The host counts first: an unknown path and a wrong method are not even looked at.
    assert_eq!(send("DELETE /unknown HTTP/1.1", "host: evil.example\r\n"), "421");
}

#[test]
fn a_path_has_only_its_methods_and_no_cors() {
    let service = start();
    let mut allowed: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (method, path) in routes() {
        allowed.entry(path).or_default().push(method);
    }
    let preflight = [
        ("origin", "https://evil.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization"),
    ];
    for (path, methods) in &allowed {
        for method in [
            "GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "get",
        ] {
            if methods.iter().any(|allowed| allowed == method) {
                continue;
            }
            let reply = service.ask(method, path, &preflight, "");
            assert_eq!(
                (reply.status, reply.header("allow")),
                (405, Some(methods.join(", ").as_str())),
                "{method} {path}"
            );
            let cors = reply
                .headers
                .keys()
                .find(|name| name.as_str().starts_with("access-control-"));
            assert_eq!(cors, None);
        }
    }
    for path in [
        "/api",
        "/api/",
        "/api/tenants/",
        "/api/tenants/acme/",
        "/api/Config",
        "/metrics/",
    ] {
        assert_eq!(service.admin("GET", path).0, 404, "{path}");
    }
}

#[test]
fn every_answer_forbids_caches_scripts_and_guesses_of_its_type() {
    let service = start();
    let admin = bearer(ADMIN);
    for (path, headers, status) in [
        ("/api/config", &[("authorization", &*admin)][..], 200),
        ("/api/config", &[], 401),
        ("/api/config?x=1", &[("authorization", &*admin)], 400),
        ("/nothing", &[], 404),
        ("/api/reload", &[], 405),
    ] {
        let reply = service.ask("GET", path, headers, "");
        assert_eq!(reply.status, status, "{path}");
        for (name, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("content-security-policy", "default-src 'none'"),
        ] {
            assert_eq!(reply.header(name), Some(value), "{path}");
        }
        assert_eq!(reply.header("set-cookie"), None);
    }
}

#[test]
fn a_body_is_refused_and_ends_the_connection() {
    let service = start();
    let before = state(&service);
    let address = service.gateway().admin().unwrap();
    let smuggled = "GET /api/config HTTP/1.1\r\nhost: localhost\r\n\r\n";
    for (line, head) in [
        ("POST /api/reload", format!("content-length: {}\r\n", smuggled.len())),
        ("POST /api/reload", "transfer-encoding: chunked\r\n".to_owned()),
        ("POST /api/reload", "transfer-encoding: identity\r\n".to_owned()),
        (
            "POST /api/reload",
            "transfer-encoding: chunked, identity\r\n".to_owned(),
        ),
        ("GET /api/config", format!("content-length: {}\r\n", smuggled.len())),
        (
            "POST /api/reload",
            format!("content-length: {}\r\ntransfer-encoding: chunked\r\n", smuggled.len()),
        ),
    ] {
        let mut raw = Raw::connect(address);
        raw.write(format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\n{head}\r\n{smuggled}"
        ));
        let answer = raw.read_to_end();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{line} {head}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    }
    assert_eq!(state(&service), before);
    // A length of zero is no body, as clients send it with `POST`.
    let mut raw = Raw::connect(address);
    raw.write(format!(
        "POST /api/reload HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\ncontent-length: 0\r\n\
         connection: close\r\n\r\n"
    ));
    assert!(raw.read_to_end().starts_with("HTTP/1.1 200 "));
}

#[test]
fn http_2_has_the_same_rules() {
    let service = start();
    let address = service.gateway().admin().unwrap();
    let send = |path: &str, host: Option<&str>, token: &str| {
        let mut request = Request::get(format!("http://{address}{path}")).header("authorization", bearer(token));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        service.client.send_http2(request.body(Bytes::new()).unwrap()).status
    };
    assert_eq!(send("/api/config", None, ADMIN), 200);
    assert_eq!(send("/api/config", Some("evil.example"), ADMIN), 421);
    assert_eq!(send("/api/config", None, ACME), 401);
    assert_eq!(send("/api/config", None, SCRAPER), 403);
    assert_eq!(send("/v1/traces", None, ADMIN), 404);
}

#[test]
fn parameters_are_known_once_and_bounded() {
    let service = start();
    for (path, message) in [
        (
            "/api/config?verbose=1",
            "unknown parameter \"verbose\"; the path has none",
        ),
        ("/api/tenants?limit=1&limit=2", "parameter limit is repeated"),
        (
            "/api/tenants?limit=0",
            "parameter limit: expected a number from 1 to 1000, found \"0\"",
        ),
        (
            "/api/tenants?after=ACME",
            "parameter after: expected the text of next of the page before, found \"ACME\"",
        ),
        (
            "/api/callers?after=..%2f",
            "parameter after: expected the name of a caller, found \"../\"",
        ),
        ("/api/callers?contains=%ff", "parameter contains is not UTF-8"),
    ] {
        let (status, answer) = service.admin("GET", path);
        assert_eq!(
            (status, answer["error"]["message"].as_str()),
            (400, Some(message)),
            "{path}"
        );
    }
    let long = "x".repeat(65);
    assert_eq!(service.admin("GET", &format!("/api/tenants?contains={long}")).0, 400);
    assert_eq!(service.admin("POST", "/api/reload?dry_run").0, 400);
}
