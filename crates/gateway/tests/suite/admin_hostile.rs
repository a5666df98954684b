//! Hostile requests to the admin listener.

use std::io::Write as _;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::time::timeout;

use crate::admin::{TABLE, bearer, routes, start};
use crate::limits::Raw;
use crate::support::{ACME, ADMIN, GLOBEX, LONG, SCRAPER, Service, body, until};

/// Asks with the token of the admin, without the checks of an HTTP client.
fn raw_status(service: &Service, method: &str, path: &str) -> u16 {
    let mut raw = Raw::connect(service.gateway().admin().unwrap());
    raw.write(format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
    ));
    let answer = raw.read_to_end();
    let status = answer
        .split(' ')
        .nth(1)
        .unwrap_or_else(|| panic!("{method} {path}: {answer:?}"));
    status.parse().unwrap()
}

/// Texts in the place of a selector that are none.
fn hostile_selectors() -> Vec<String> {
    let bad = [
        "..",
        ".",
        "%2e%2e",
        "%2E",
        "..%2f..",
        "..%5c..",
        "%2f",
        "%5c",
        "%00",
        "%0a",
        "%0d%0a",
        "%1b[2J",
        "%7f",
        "%80",
        "%ff",
        "%c0%af",
        "%e2%80%ae",
        "%ed%a0%80",
        "%",
        "%2",
        "%zz",
        "%u0041",
        "ACME",
        "Acme",
        "a%20b",
        "a+b",
        "a&b",
        "a=b",
        "a;b",
        "a'b",
        "a\"b",
        "a<b",
        "a|b",
        "a\\b",
        "a`b",
        "$HOME",
        "${x}",
        "{{x}}",
        "{tenant}",
        "%7btenant%7d",
        "*",
        "%2a",
        "acme*",
        "~",
        "!",
        "@",
        "a@b",
        "-",
        "_",
        "-a",
        "a-",
        ".a",
        "a.",
        "a..b",
        "%2561cme",
        "a%252fb",
        "tenant:",
        ":",
        ":acme",
        "tenant::acme",
        "tenant:acme,",
        ",",
        ",tenant:acme",
        "tenant:acme,tenant:acme",
        "tenant:acme,tenant:globex",
        "Tenant:acme",
        "tenant%3a",
        "user:acme",
        "tenant:ACME",
        "tenant:a%00",
        "tenant:acme%0aset-cookie:x",
        "feature:..",
        "environment:%2f",
        "tenant%3Aacme%2C",
        "null",
        "nan%00",
        "0%",
    ];
    let mut hostile: Vec<String> = bad
        .iter()
        .filter(|text| **text != "null")
        .map(ToString::to_string)
        .collect();
    for byte in (0..=0x2c)
        .chain([0x2f])
        .chain(0x3a..=0x5e)
        .chain([0x60])
        .chain(0x7b..=0xff)
    {
        hostile.push(format!("a%{byte:02x}b"));
    }
    hostile.extend(["a", "%61", "tenant:a", "."].map(|text| text.repeat(300)));
    hostile
}

#[test]
fn hostile_selectors_are_refused_on_every_route() {
    let service = start();
    let hostile = hostile_selectors();
    assert!(hostile.len() > 200, "{}", hostile.len());
    let before = service.gateway().registry().status();
    let routes: Vec<_> = routes()
        .into_iter()
        .filter(|(_, path)| path.contains("/acme"))
        .collect();
    for (index, selector) in hostile.iter().enumerate() {
        // Each text on one route, and each route with many texts.
        let (method, path) = &routes[index % routes.len()];
        let path = path.replace("/acme", &format!("/{selector}"));
        let status = raw_status(&service, method, &path);
        assert!([400, 404].contains(&status), "{method} {path}: {status}");
    }
    assert_eq!(service.gateway().registry().status(), before);
    assert_eq!(service.post(ACME, &[], body(&["served"])).status, 200);
}

#[test]
fn hostile_paths_and_parameters_are_refused() {
    let service = start();
    for path in [
        "/api/../api/config",
        "/api/./config",
        "//api/config",
        "/api//config",
        "/api/config/",
        "/api/config/..",
        "/%61pi/config",
        "/api%2fconfig",
        "/api/config%00",
        "/api/config%20",
        "/api/config;a=b",
        "/api/tenants/acme/../globex/remove",
        "/api/tenants/acme%2fremove/x",
        "/API/config",
        "/.git/config",
        "/etc/passwd",
    ] {
        for method in ["GET", "POST"] {
            let status = raw_status(&service, method, path);
            assert!([400, 404].contains(&status), "{method} {path}: {status}");
        }
    }
    let many = "p=1&".repeat(2_000);
    for query in [
        "limit=%31%00",
        "limit=1e3",
        "limit=0x10",
        "limit=\u{661}",
        "limit[]=1",
        "LIMIT=1",
        "limit%00=1",
        "limit=1;order=selector",
        "order=Selector",
        "order=selector%00",
        "order=",
        "only=everything",
        "after=tenant",
        "after=-1:tenant:acme",
        "after=18446744073709551616:tenant:acme",
        "after=1:1:tenant:acme",
        "after=tenant:..",
        "contains=%ff",
        "contains=a&contains=a",
        "=1",
        "=",
        "%3d",
        "__proto__=1",
        &many,
    ] {
        let status = raw_status(&service, "GET", &format!("/api/tenants?{query}"));
        assert_eq!(status, 400, "{query}");
    }
}

#[test]
fn slow_heads_and_idle_connections_end_and_take_nothing_from_programs() {
    let service = Service::start(&format!("{TABLE}\nheader_timeout = \"300ms\"\nmax_connections = 4"));
    let address = service.gateway().admin().unwrap();
    let idle: Vec<_> = (0..64).map(|_| TcpStream::connect(address).unwrap()).collect();
    // The limit of the admin listener is its own, and so are its connections.
    for name in ["one", "two"] {
        assert_eq!(service.post(ACME, &[], body(&[name])).status, 200);
        assert_eq!(service.post(GLOBEX, &[], body(&[name])).status, 200);
    }
    let mut slow = Raw::connect(address);
    let started = Instant::now();
    // Each byte arrives in time, the head does not.
    for byte in b"GET /api/config HTTP/1.1\r\n".iter().cycle() {
        if slow.0.write_all(&[*byte]).is_err() || started.elapsed() > LONG {
            break;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(started.elapsed() < LONG / 4, "{:?}", started.elapsed());
    drop(idle);
    until(|| raw_status_or_none(&service) == Some(200));
    assert_eq!(
        service.status().connections.slow_head,
        0,
        "counts of the other listeners"
    );
}

#[test]
fn a_refusal_before_the_token_ends_a_connection_of_http2() {
    let service = start();
    let address = service.gateway().admin().unwrap();
    let ends = |token: &str| {
        service.client.runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
            let (mut sender, connection) = handshake.await.unwrap();
            let connection = tokio::spawn(connection);
            let request = Request::get(format!("http://{address}/api/config")).header("authorization", bearer(token));
            let request = request.body(Full::<Bytes>::default()).unwrap();
            let status = sender.send_request(request).await.unwrap().status();
            let end = timeout(Duration::from_secs(3), connection).await;
            (status.as_u16(), end.is_ok())
        })
    };
    assert_eq!(ends("wrong-token-of-a-client"), (401, true));
    assert_eq!(ends(ADMIN), (200, false));
}

fn raw_status_or_none(service: &Service) -> Option<u16> {
    let mut raw = Raw::connect(service.gateway().admin().unwrap());
    let request = format!(
        "GET /api/config HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {ADMIN}\r\nconnection: close\r\n\r\n"
    );
    raw.0.write_all(request.as_bytes()).ok()?;
    raw.read_to_end().split(' ').nth(1)?.parse().ok()
}

/// Returns the answers of all routes with each token, with and without faults.
pub(crate) fn every_answer(service: &Service) -> Vec<String> {
    let mut answers = Vec::new();
    for (method, path) in routes().into_iter().filter(|(_, path)| !path.ends_with("/events")) {
        let trace = "07".repeat(16);
        let parameters = [
            "",
            "?unknown=1",
            "?dry_run",
            "?limit=1000",
            &format!("?trace_id={trace}"),
        ];
        for parameter in parameters {
            for token in [ADMIN, SCRAPER, ACME, "wrong-token-of-a-client"] {
                let reply = service.ask(
                    &method,
                    &format!("{path}{parameter}"),
                    &[("authorization", &bearer(token))],
                    "",
                );
                answers.push(format!("{reply:?}"));
            }
        }
    }
    let changes = service.gateway().registry().changes(0);
    answers.push(format!("{changes:?}"));
    answers
}
