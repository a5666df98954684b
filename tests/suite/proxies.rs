//! Proxies: what goes through them, what they see, and that nobody uses one that was not named.

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::config::{BackendName, Binding, Proxy as Through, Tls};
use tracer_registry::error::ExportError;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::{KeySource, LookupError, RegistryBuilder, TracerRegistry};

use crate::child_process::is_child;
use crate::proxy::{Proxy, Rule};
use crate::support::{LONG, World, assert_shows_nothing_of, binding, key_of, once, registry, wait_for};
use crate::tls_server::{Authority, Manner, TlsServer};

/// What `Basic` makes of the key of `one` and of that of `two`, which stand for credentials here.
const ONE: &str = "Basic aGhfa2V5X29mX29uZV9jYW5hcnk=";
const TWO: &str = "Basic aGhfa2V5X29mX3R3b19jYW5hcnk=";

/// A server with TLS, and bindings that believe it.
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
        let manner = Manner {
            alpn: vec!["h2"],
            ..Manner::default()
        };
        Self {
            server: TlsServer::start(&authority.issue("127.0.0.1"), manner),
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
fn what_goes_to_an_https_endpoint_is_nothing_that_the_proxy_can_read() {
    let (secure, proxy) = (Secure::new(), Proxy::start(Rule::For(&[ONE])));
    let through = Through::url(&proxy.url).credentials(credentials("one"));
    let registry = secure.registry().tenant("a", binding("a").proxy(through)).build();
    let registry = registry.expect("valid");
    for _ in 0..3 {
        deliver(&registry, "a");
    }
    let host = secure.server.url.trim_start_matches("https://");
    let expected = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nproxy-authorization: {ONE}\r\n\r\n");
    assert_eq!(proxy.heads(), [expected]);
    assert!(!proxy.saw(&key_of("a")) && !proxy.saw("v1/traces"));
    let asked = secure.server.asked();
    assert!(asked.len() == 3 && asked.iter().all(|asked| asked.key == format!("Bearer {}", key_of("a"))));
}

#[test]
fn a_plain_endpoint_is_asked_for_by_its_whole_url() {
    let proxy = Proxy::start(Rule::For(&[ONE]));
    let world = World::with(&["b"], |builder| {
        let through = Through::url(&proxy.url).credentials(credentials("one"));
        builder.tenant("a", binding("a").proxy(through))
    });
    deliver(&world.registry, "a");
    deliver(&world.registry, "b");
    let heads = proxy.heads();
    let line = format!("POST {}/opentelemetry/v1/traces HTTP/1.1\r\n", world.collector.url());
    assert!(heads.len() == 1 && heads[0].starts_with(&line), "{heads:?}");
    assert!(proxy.saw(&key_of("a")) && !proxy.saw(&key_of("b")), "b has no proxy");
}

#[test]
fn tenants_with_credentials_or_proxies_of_their_own_never_meet_on_a_connection() {
    let secure = Secure::new();
    let (proxy, other) = (Proxy::start(Rule::For(&[ONE, TWO])), Proxy::start(Rule::Open));
    let at = |proxy: &Proxy, name: &str| Through::url(&proxy.url).credentials(credentials(name));
    let registry = secure
        .registry()
        .tenant("a", binding("a").proxy(at(&proxy, "one")))
        .tenant("a2", binding("a2").proxy(at(&proxy, "one")))
        .tenant("b", binding("b").proxy(at(&proxy, "two")))
        .tenant("c", binding("c").proxy(Through::url(&other.url)))
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
        let asked = secure.server.asked().into_iter().filter(|asked| asked.key == key);
        let mut connections: Vec<usize> = asked.map(|asked| asked.connection).collect();
        connections.dedup();
        assert_eq!(connections.len(), 1, "{tenant}");
        connections[0]
    };
    let mut connections = ["a", "b", "c", "d"].map(connection);
    assert_eq!(connection("a2"), connections[0], "the same client");
    connections.sort_unstable();
    assert_eq!(connections, [0, 1, 2, 3]);
    let count = |text: &str| proxy.heads().iter().filter(|head| head.contains(text)).count();
    assert_eq!((count(ONE), count(TWO), other.heads().len()), (1, 1, 1));
}

#[test]
fn what_a_proxy_refuses_is_said_in_so_many_words() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let nobody = format!("http://{}", closed.local_addr().expect("bound"));
    drop(closed);
    let (wants, forbids, speaks, long) = (
        Proxy::start(Rule::For(&[ONE])),
        Proxy::start(Rule::Answers("HTTP/1.1 403 Forbidden\r\n\r\nhh_key_of_two_canary")),
        Proxy::start(Rule::Answers("220 smtp.example\r\n\r\n")),
        Proxy::start(Rule::Answers("HTTP/1.1 200")),
    );
    for (through, said) in [
        (Through::url(&wants.url), "requires credentials (407)"),
        (
            Through::url(&wants.url).credentials(credentials("two")),
            "refused the credentials (407)",
        ),
        (Through::url(&forbids.url), "answered CONNECT with 403"),
        (Through::url(&speaks.url), "answer to CONNECT is not HTTP"),
        (Through::url(&long.url), "end of file"),
        (Through::url(&nobody), "cannot be reached: Connection refused"),
    ] {
        let secure = Secure::new();
        let registry = secure.registry().tenant("a", binding("a").proxy(through)).build();
        let registry = registry.expect("valid");
        registry.tenant("a").expect("configured").start_span("span").end();
        let error = wait_for(
            said,
            || registry.status().tracers[0].last_error.clone(),
            |error| error.as_ref().is_some_and(|error| error.to_string().contains(said)),
        );
        assert!(matches!(error, Some(ExportError::Connection { .. })), "{error:?}");
        let shown = format!("{error:?}");
        assert!(shown.contains("the proxy http://127.0.0.1:"), "{shown}");
        assert!(!shown.contains("canary") && !shown.contains("aGhf"), "{shown}");
        assert_eq!(secure.server.asked(), [], "nothing goes around the proxy");
    }
}

#[test]
fn credentials_that_a_forwarding_proxy_repeats_are_shown_nowhere() {
    for answer in [
        "HTTP/1.1 407 No\r\ncontent-length: 29\r\ncontent-type: text/plain\r\n\r\nrefused: hh_key_of_one_canary",
        "HTTP/1.1 407 No\r\ncontent-length: 35\r\ncontent-type: text/plain\r\n\r\nrefused: hh%5Fkey%5Fof%5Fone%5Fcan",
    ] {
        let proxy = Proxy::start(Rule::Answers(answer));
        let world = World::with(&[], |builder| {
            let through = Through::url(&proxy.url).credentials(credentials("one"));
            builder.export(once()).tenant("a", binding("a").proxy(through))
        });
        world.tenant("a").start_span("span").end();
        drop(world.registry.force_flush(LONG));
        let shown = format!("{:?}", world.status("a"));
        assert!(
            shown.contains("407") && shown.contains("receiver message withheld"),
            "{shown}"
        );
        assert_shows_nothing_of(&key_of("one"), &shown);
    }
}

#[test]
fn credentials_that_cannot_be_read_are_an_error_of_that_look_up_alone() {
    let world = World::with(&["b"], |builder| {
        let missing = Through::url("http://127.0.0.1:9").credentials(KeySource::file("/nowhere/proxy"));
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
fn the_proxy_of_a_variable_is_used_where_the_variable_is_named_and_nowhere_else() {
    const TEST: &str = "proxies::the_proxy_of_a_variable_is_used_where_the_variable_is_named_and_nowhere_else";
    let proxy = Proxy::start(Rule::Open);
    let variables = ["HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, &*proxy.url));
    if is_child(TEST, &variables) {
        let world = World::with(&["b"], |builder| {
            builder
                .tenant("a", binding("a").proxy(Through::env("HTTPS_PROXY")))
                .tenant("c", binding("c").proxy(Through::env("NOT_SET")))
        });
        for tenant in ["a", "b", "c"] {
            deliver(&world.registry, tenant);
        }
        return;
    }
    // In the process that started the other one, whose `proxy` it was.
    assert_eq!(proxy.heads().len(), 1, "{:?}", proxy.heads());
    assert!(proxy.saw(&key_of("a")) && !proxy.saw(&key_of("b")) && !proxy.saw(&key_of("c")));
}
