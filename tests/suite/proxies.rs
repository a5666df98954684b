//! Proxies: what passes through them, what they can read, and that only a configured proxy is used.

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{BackendName, Binding, Proxy as ProxyConfig, Tls};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{KeySource, LookupError, RegistryBuilder, TracerRegistry};

use crate::child_process::is_child;
use crate::proxy::{Proxy, ProxyRule};
use crate::support::{LONG, World, assert_shows_nothing_of, binding, key_of, once, registry, wait_for};
use crate::tls_server::{Authority, TlsOptions, TlsServer};

/// `Basic` credentials made of the test keys of `one` and `two`.
const ONE: &str = "Basic aGhfa2V5X29mX29uZV9jYW5hcnk=";
const TWO: &str = "Basic aGhfa2V5X29mX3R3b19jYW5hcnk=";

/// A TLS server, and bindings that trust its certificate.
struct Secure {
    server: TlsServer,
    tls: Tls,
    _files: TempDir,
}

impl Secure {
    fn new() -> Self {
        let (files, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("own"));
        let ca = files.path().join("ca.pem");
        std::fs::write(&ca, &authority.pem).expect("written");
        let options = TlsOptions {
            alpn: vec!["h2"],
            ..TlsOptions::default()
        };
        Self {
            server: TlsServer::start(&authority.issue("127.0.0.1"), options),
            tls: Tls {
                ca: Some(ca),
                ..Tls::default()
            },
            _files: files,
        }
    }

    fn registry(&self) -> RegistryBuilder {
        let defaults = Binding::new().backend(BackendName::Otlp).endpoint(&self.server.url);
        registry(&self.server.url, &[], &Fingerprinter::new()).defaults(defaults.tls(self.tls.clone()))
    }
}

fn credentials(name: &str) -> KeySource {
    KeySource::provider("test", name)
}

fn deliver(registry: &TracerRegistry, tenant: &str) {
    registry.tenant(tenant).expect("configured").start_span("span").end();
    let report = registry.force_flush(LONG);
    assert!(report.is_complete(), "{report:#?}");
}

#[test]
fn a_proxy_cannot_read_requests_to_an_https_endpoint() {
    let (secure, proxy) = (Secure::new(), Proxy::start(ProxyRule::RequireCredentials(&[ONE])));
    let proxy_config = ProxyConfig::url(&proxy.url).credentials(credentials("one"));
    let registry = secure.registry().tenant("a", binding("a").proxy(proxy_config)).build();
    let registry = registry.expect("valid");
    for _ in 0..3 {
        deliver(&registry, "a");
    }
    let host = secure.server.url.trim_start_matches("https://");
    let expected = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nproxy-authorization: {ONE}\r\n\r\n");
    assert_eq!(proxy.heads(), [expected]);
    assert!(!proxy.saw(&key_of("a")) && !proxy.saw("v1/traces"));
    let requests = secure.server.requests();
    assert!(
        requests.len() == 3
            && requests
                .iter()
                .all(|request| request.key == format!("Bearer {}", key_of("a")))
    );
}

#[test]
fn requests_to_a_plain_http_endpoint_use_the_absolute_url() {
    let proxy = Proxy::start(ProxyRule::RequireCredentials(&[ONE]));
    let world = World::with(&["b"], |builder| {
        let proxy_config = ProxyConfig::url(&proxy.url).credentials(credentials("one"));
        builder.tenant("a", binding("a").proxy(proxy_config))
    });
    deliver(&world.registry, "a");
    deliver(&world.registry, "b");
    let heads = proxy.heads();
    let line = format!("POST {}/opentelemetry/v1/traces HTTP/1.1\r\n", world.collector.url());
    assert!(heads.len() == 1 && heads[0].starts_with(&line), "{heads:?}");
    assert!(proxy.saw(&key_of("a")) && !proxy.saw(&key_of("b")), "b has no proxy");
}

#[test]
fn tenants_with_different_credentials_or_proxies_never_share_a_connection() {
    let secure = Secure::new();
    let (proxy, other) = (
        Proxy::start(ProxyRule::RequireCredentials(&[ONE, TWO])),
        Proxy::start(ProxyRule::Open),
    );
    let at = |proxy: &Proxy, name: &str| ProxyConfig::url(&proxy.url).credentials(credentials(name));
    let registry = secure
        .registry()
        .tenant("a", binding("a").proxy(at(&proxy, "one")))
        .tenant("a2", binding("a2").proxy(at(&proxy, "one")))
        .tenant("b", binding("b").proxy(at(&proxy, "two")))
        .tenant("c", binding("c").proxy(ProxyConfig::url(&other.url)))
        .tenant("d", binding("d"))
        .build()
        .expect("valid");
    for _ in 0..3 {
        for tenant in ["a", "a2", "b", "c", "d"] {
            deliver(&registry, tenant);
        }
    }
    let connection = |tenant: &str| {
        let key = format!("Bearer {}", key_of(tenant));
        let requests = secure
            .server
            .requests()
            .into_iter()
            .filter(|request| request.key == key);
        let mut connections: Vec<usize> = requests.map(|request| request.connection).collect();
        connections.dedup();
        assert_eq!(connections.len(), 1, "{tenant}");
        connections[0]
    };
    let mut connections = ["a", "b", "c", "d"].map(connection);
    assert_eq!(
        connection("a2"),
        connections[0],
        "tenants with the same credentials share a client"
    );
    connections.sort_unstable();
    assert_eq!(connections, [0, 1, 2, 3]);
    let count = |text: &str| proxy.heads().iter().filter(|head| head.contains(text)).count();
    assert_eq!((count(ONE), count(TWO), other.heads().len()), (1, 1, 1));
}

#[test]
fn the_error_names_the_reason_why_a_proxy_refused() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let unreachable = format!("http://{}", closed.local_addr().expect("bound"));
    drop(closed);
    let (requires_credentials, forbids, speaks_smtp, ends_early) = (
        Proxy::start(ProxyRule::RequireCredentials(&[ONE])),
        Proxy::start(ProxyRule::Respond("HTTP/1.1 403 Forbidden\r\n\r\nhh_key_of_two_canary")),
        Proxy::start(ProxyRule::Respond("220 smtp.example\r\n\r\n")),
        Proxy::start(ProxyRule::Respond("HTTP/1.1 200")),
    );
    for (proxy_config, expected) in [
        (
            ProxyConfig::url(&requires_credentials.url),
            "requires credentials (407)",
        ),
        (
            ProxyConfig::url(&requires_credentials.url).credentials(credentials("two")),
            "refused the credentials (407)",
        ),
        (ProxyConfig::url(&forbids.url), "answered CONNECT with 403"),
        (ProxyConfig::url(&speaks_smtp.url), "answer to CONNECT is not HTTP"),
        (ProxyConfig::url(&ends_early.url), "end of file"),
        (ProxyConfig::url(&unreachable), "cannot be reached: Connection refused"),
    ] {
        let secure = Secure::new();
        let registry = secure.registry().tenant("a", binding("a").proxy(proxy_config)).build();
        let registry = registry.expect("valid");
        registry.tenant("a").expect("configured").start_span("span").end();
        let error = wait_for(
            expected,
            || registry.status().tracers[0].last_error.clone(),
            |error| error.as_ref().is_some_and(|error| error.to_string().contains(expected)),
        );
        assert!(matches!(error, Some(ExportError::Connection { .. })), "{error:?}");
        let output = format!("{error:?}");
        assert!(output.contains("the proxy http://127.0.0.1:"), "{output}");
        assert!(!output.contains("canary") && !output.contains("aGhf"), "{output}");
        assert_eq!(secure.server.requests(), [], "no request bypasses the proxy");
    }
}

#[test]
fn credentials_that_a_forwarding_proxy_echoes_appear_in_no_output() {
    for answer in [
        "HTTP/1.1 407 No\r\ncontent-length: 29\r\ncontent-type: text/plain\r\n\r\nrefused: hh_key_of_one_canary",
        "HTTP/1.1 407 No\r\ncontent-length: 35\r\ncontent-type: text/plain\r\n\r\nrefused: hh%5Fkey%5Fof%5Fone%5Fcan",
    ] {
        let proxy = Proxy::start(ProxyRule::Respond(answer));
        let world = World::with(&[], |builder| {
            let proxy_config = ProxyConfig::url(&proxy.url).credentials(credentials("one"));
            builder.export(once()).tenant("a", binding("a").proxy(proxy_config))
        });
        world.tenant("a").start_span("span").end();
        drop(world.registry.force_flush(LONG));
        let output = format!("{:?}", world.status("a"));
        assert!(
            output.contains("407") && output.contains("receiver message withheld"),
            "{output}"
        );
        assert_shows_nothing_of(&key_of("one"), &output);
    }
}

#[test]
fn unreadable_credentials_fail_only_the_look_up_that_needs_them() {
    let world = World::with(&["b"], |builder| {
        let missing = ProxyConfig::url("http://127.0.0.1:9").credentials(KeySource::file("/nowhere/proxy"));
        builder.tenant("a", binding("a").proxy(missing))
    });
    let error = world.registry.tenant("a").expect_err("no such file");
    assert!(matches!(error, LookupError::ProxyCredentials(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "the proxy's credentials cannot be read: file /nowhere/proxy: no such file"
    );
    deliver(&world.registry, "b");
}

#[test]
fn the_proxy_of_an_environment_variable_is_used_only_by_bindings_that_name_it() {
    const TEST: &str = "proxies::the_proxy_of_an_environment_variable_is_used_only_by_bindings_that_name_it";
    let proxy = Proxy::start(ProxyRule::Open);
    let variables = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &*proxy.url));
    if is_child(TEST, &variables) {
        let world = World::with(&["b"], |builder| {
            builder
                .tenant("a", binding("a").proxy(ProxyConfig::env("HTTPS_PROXY")))
                .tenant("c", binding("c").proxy(ProxyConfig::env("NOT_SET")))
        });
        for tenant in ["a", "b", "c"] {
            deliver(&world.registry, tenant);
        }
        return;
    }
    // In the parent process, which runs the proxy.
    assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
    assert!(proxy.saw(&key_of("a")) && !proxy.saw(&key_of("b")) && !proxy.saw(&key_of("c")));
}
