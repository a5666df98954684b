//! The admin listener: every route, and what is refused before it does anything.

use std::collections::BTreeMap;

use bytes::Bytes;
use http::Request;
use serde_json::{Value, json};

use crate::limits::Raw;
use crate::support::{ACME, ADMIN, KEYS, Reply, SCRAPER, SHARED, Service, body, until};

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
        // Not a parameter either, whose name is not looked at before.
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
    for path in ["/v1/traces", "/healthz", "/readyz", "/v1/info", "/"] {
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
        "/",
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

#[test]
fn tenants_are_listed_in_pages() {
    let service = start();
    for (token, headers, names) in [
        (ACME, &[][..], &["one", "two"][..]),
        (SHARED, &[("x-tenant", "globex")], &["three"]),
    ] {
        assert_eq!(service.post(token, headers, body(names)).status, 200);
    }
    service.flush();
    let page = service.page("/api/tenants?order=delivered&limit=1");
    let names = |page: &Value| -> Vec<String> {
        let tenants = page["tenants"].as_array().unwrap().iter();
        tenants
            .map(|tenant| tenant["selector"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (names(&page), &page["found"]),
        (vec!["tenant:acme".to_owned()], &2.into())
    );
    assert_eq!(page["tenants"][0]["spans"]["delivered"], 2);
    let next = page["next"].as_str().unwrap();
    let rest = service.page(&format!("/api/tenants?order=delivered&limit=1&after={next}"));
    assert_eq!(
        (names(&rest), &rest["next"]),
        (vec!["tenant:globex".to_owned()], &Value::Null)
    );
    assert_eq!(names(&service.page("/api/tenants?contains=lob")), ["tenant:globex"]);
    assert_eq!(service.page("/api/tenants?only=failing")["found"], 0);

    let one = service.page("/api/tenants/acme");
    assert_eq!(one, service.page("/api/tenants/tenant%3Aacme"));
    assert_eq!(
        (&one["selector"], &one["spans"]["delivered"]),
        (&"tenant:acme".into(), &2.into())
    );
    let (status, answer) = service.admin("GET", "/api/tenants/initech");
    assert_eq!(status, 404, "{answer}");
    let endpoints = service.page("/api/endpoints");
    assert_eq!(
        (&endpoints["found"], &endpoints["endpoints"][0]["tracers"]),
        (&1.into(), &2.into())
    );
    assert_eq!(endpoints["endpoints"][0]["endpoint"], service.collector.url());
}

#[test]
fn callers_are_listed_with_what_they_may_address() {
    let service = start();
    assert_eq!(
        service.post(SHARED, &[("x-tenant", "acme")], body(&["a", "b"])).status,
        200
    );
    assert_eq!(service.post(SHARED, &[], body(&["c"])).status, 400);
    assert_eq!(service.post("unknown-token-of-nobody", &[], body(&["d"])).status, 401);
    let page = service.page("/api/callers");
    assert_eq!((&page["found"], &page["next"]), (&5.into(), &Value::Null));
    assert_eq!(page["unidentified"], json!({"unauthorized": 1}));
    let shared = page["callers"].as_array().unwrap().iter();
    let shared = shared
        .into_iter()
        .find(|caller| caller["caller"] == "shared-api")
        .unwrap();
    assert_eq!(
        *shared,
        json!({
            "caller": "shared-api", "addresses": {"header": "x-tenant", "allow": 3}, "tokens": 1, "requests": 1,
            "spans": 2, "session_requests": 0, "refused": {"no_tenant": 1},
        })
    );
    let mut names = Vec::new();
    let mut after = String::new();
    loop {
        let page = service.page(&format!("/api/callers?limit=2{after}"));
        let callers = page["callers"].as_array().unwrap();
        names.extend(
            callers
                .iter()
                .map(|caller| caller["caller"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(
        names,
        ["acme-backend", "globex-backend", "path-api", "shared-api", "split-api"]
    );
    let some = service.page("/api/callers?contains=backend&after=acme-backend");
    assert_eq!(
        (&some["found"], &some["callers"][0]["caller"]),
        (&2.into(), &"globex-backend".into())
    );
}

#[test]
fn the_configuration_is_shown_with_its_faults_and_a_reload_reports_them() {
    let service = start();
    let page = service.page("/api/config");
    assert_eq!(page["settings"]["export.timeout"], "\"10s\"");
    assert_eq!(
        page["tables"],
        json!({"callers": 5, "environments": 0, "features": 0, "routes": 0, "tenants": 2, "wildcard": false})
    );
    assert_eq!((&page["faults"], &page["gateway"]["tls"]), (&json!([]), &false.into()));
    let expected = service.gateway().admin().unwrap().ip().to_string();
    assert!(
        page["gateway"]["admin"].as_str().unwrap().starts_with(&expected),
        "{page}"
    );

    service.write_config(TABLE, "[tenants.initech]");
    let (status, answer) = service.admin("POST", "/api/reload");
    assert_eq!((status, &answer["added"]), (200, &json!(["tenant:initech"])));
    service.write_config(TABLE, "[tenants.initech]\nexport.timeout = 5\nunknown = 1");
    let (status, answer) = service.admin("POST", "/api/reload");
    assert_eq!(status, 409);
    assert_eq!(answer["error"]["message"], "the running configuration is kept");
    assert_eq!(answer["error"]["faults"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(service.page("/api/config")["faults"], answer["error"]["faults"]);
}

#[test]
fn a_removed_tracer_is_created_again_by_the_next_data() {
    let service = start();
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/remove"),
        (200, json!({"removed": false}))
    );
    assert_eq!(service.post(ACME, &[], body(&["one"])).status, 200);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/remove"),
        (200, json!({"removed": true}))
    );
    until(|| service.page("/api/tenants/acme")["tracers"] == 0);
    assert_eq!(service.post(ACME, &[], body(&["two"])).status, 200);
    service.flush();
    assert_eq!(service.spans("acme"), ["one", "two"]);
}

#[test]
fn a_reload_revokes_tokens_and_without_the_table_none_is_valid() {
    let service = start();
    std::fs::write(service.path("tokens/admin"), "another-token-of-the-admin").unwrap();
    service.gateway().reload().unwrap();
    let status = |token: &str| {
        service
            .ask("GET", "/api/config", &[("authorization", &bearer(token))], "")
            .status
    };
    assert_eq!((status(ADMIN), status("another-token-of-the-admin")), (401, 200));
    service.write_config("", "");
    service.gateway().reload().unwrap();
    assert_eq!((status("another-token-of-the-admin"), status(SCRAPER)), (401, 401));
}

#[test]
fn a_listener_that_stays_open_does_not_lose_its_tls_by_a_reload() {
    let certificate = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let service = Service::prepare("", "");
    std::fs::write(service.path("cert.pem"), certificate.cert.pem()).unwrap();
    std::fs::write(service.path("key.pem"), certificate.signing_key.serialize_pem()).unwrap();
    let listen = |listen: &str| TABLE.replace("127.0.0.1:0", listen);
    let tls = "\ntls = { certificate = \"cert.pem\", key = \"key.pem\" }";
    service.write_config(&(listen("0.0.0.0:0") + tls), "");
    let service = service.start_again().unwrap();
    service.write_config(&listen("127.0.0.1:0"), "");
    let error = service.gateway().reload().unwrap_err().to_string();
    assert!(
        error.contains("gateway.admin.listen: 0.0.0.0:0 is not a loopback address; set gateway.tls"),
        "{error}"
    );
}

#[test]
fn the_fate_of_a_trace_is_explained() {
    let service = Service::with(TABLE, "[export.explain]\nmax_traces = 1000");
    let trace = "07".repeat(16);
    let explain = |trace: &str| service.admin("GET", &format!("/api/explain?trace_id={trace}"));
    let (status, unseen) = explain(&trace);
    assert_eq!(
        (status, &unseen["seen"], &unseen["selectors"]),
        (200, &false.into(), &json!([]))
    );
    assert_eq!(service.post(ACME, &[], body(&["one", "two"])).status, 200);
    service.flush();
    let (_, seen) = explain(&trace.to_uppercase());
    assert_eq!(
        (&seen["seen"], &seen["trace_id"], &seen["kept"]),
        (&true.into(), &trace.into(), &"10m".into())
    );
    let fate = &seen["selectors"][0];
    assert_eq!(
        (&fate["selector"], &fate["caller"]),
        (&"tenant:acme".into(), &"acme-backend".into())
    );
    assert_eq!((&fate["accepted"], &fate["delivered"]), (&2.into(), &2.into()));
    for trace in [
        "",
        "7",
        &"0".repeat(32),
        &"g".repeat(32),
        &"07".repeat(17),
        &format!("+{}", "7".repeat(31)),
    ] {
        assert_eq!(explain(trace).0, 400, "{trace}");
    }
    assert_eq!(service.admin("GET", "/api/explain").0, 400);
    let (status, answer) = start().admin("GET", &format!("/api/explain?trace_id={}", "1".repeat(32)));
    assert_eq!(status, 409);
    assert_eq!(
        answer["error"]["message"],
        "nothing is kept about traces: export.explain.max_traces is 0"
    );
}

#[test]
fn a_pause_keeps_the_data_until_it_is_resumed() {
    let service = start();
    let paused = |action: &str, changed: bool| {
        let expected = json!({"paused": action == "pause", "changed": changed});
        assert_eq!(
            service.admin("POST", &format!("/api/tenants/acme/{action}")),
            (200, expected)
        );
    };
    paused("pause", true);
    paused("pause", false);
    assert_eq!(service.post(ACME, &[], body(&["kept"])).status, 200);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/flush?timeout=100ms"),
        (200, json!({"pending": 1}))
    );
    assert_eq!(service.page("/api/tenants/acme")["paused"], true);
    assert_eq!(service.page("/api/tenants?only=paused")["found"], 1);
    assert_eq!(service.spans("acme"), Vec::<String>::new());
    paused("resume", true);
    paused("resume", false);
    assert_eq!(
        service.admin("POST", "/api/tenants/acme/flush?timeout=30s"),
        (200, json!({"pending": 0}))
    );
    assert_eq!(service.spans("acme"), ["kept"]);
    assert_eq!(service.admin("POST", "/api/tenants/initech/pause").0, 404);
    assert_eq!(service.admin("POST", "/api/tenants/initech/flush").0, 404);
    for timeout in ["31s", "-1s", "x", ""] {
        assert_eq!(
            service
                .admin("POST", &format!("/api/tenants/acme/flush?timeout={timeout}"))
                .0,
            400
        );
    }
}

#[test]
fn a_rotation_reads_the_key_now_and_a_dry_run_changes_nothing() {
    let service = start();
    let rotate = |query: &str| service.admin("POST", &format!("/api/tenants/acme/rotate{query}"));
    assert_eq!(service.post(ACME, &[], body(&["before"])).status, 200);
    service.flush();
    let (_, same) = rotate("?dry_run");
    assert_eq!(
        (&same["changed"], &same["connection"]),
        (&false.into(), &"accepted".into())
    );
    // The key of another project, so that its effect is visible.
    std::fs::write(service.path("keys/acme"), KEYS[1].1).unwrap();
    let (_, tried) = rotate("?dry_run=true");
    assert_eq!(
        (&tried["changed"], &tried["connection"]),
        (&true.into(), &"accepted".into())
    );
    assert_eq!(
        service.page("/api/tenants/acme")["key"]["fingerprint"],
        same["fingerprint"]
    );
    let (status, rotated) = rotate("");
    let expected = json!({
        "before": same["fingerprint"], "fingerprint": tried["fingerprint"], "changed": true, "tracers": 1,
    });
    assert_eq!((status, rotated), (200, expected));
    assert_eq!(service.post(ACME, &[], body(&["after"])).status, 200);
    service.flush();
    assert_eq!(
        (service.spans("acme"), service.spans("globex")),
        (vec!["before".to_owned()], vec!["after".to_owned()])
    );

    std::fs::write(service.path("keys/acme"), "key-that-no-project-has").unwrap();
    let (_, refused) = rotate("?dry_run");
    assert!(
        refused["connection"]["failed"].is_object() || refused["connection"]["failed"].is_string(),
        "{refused}"
    );
    std::fs::remove_file(service.path("keys/acme")).unwrap();
    for query in ["", "?dry_run"] {
        let (status, answer) = rotate(query);
        assert_eq!(status, 409, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("the key cannot be read"),
            "{answer}"
        );
    }
    assert_eq!(service.admin("POST", "/api/tenants/initech/rotate").0, 404);
    assert_eq!(service.admin("POST", "/api/tenants/initech/rotate?dry_run").0, 404);
    assert_eq!(rotate("?dry_run=1").0, 400);
}
