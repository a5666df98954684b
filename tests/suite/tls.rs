//! TLS: server certificates, client certificates, and separate connections for tenants with
//! different ones.

use std::fs;
use std::path::{Path, PathBuf};

use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::config::{BackendName, Binding, Tls};
use tracer_registry::error::TlsErrorKind;
use tracer_registry::secret::Fingerprinter;
use tracer_registry::status::BreakerState;
use tracer_registry::{LookupError, RegistryBuilder, Selector, TracerRegistry};

use crate::support::{LONG, binding, key_of, registry, wait_for};
use crate::tls_server::{Authority, Issued, TlsOptions, TlsServer};

/// A temporary folder for certificates and keys.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("written");
        path
    }

    /// Returns settings with a client certificate and the server's CA.
    fn client(&self, name: &str, issued: &Issued, ca: &Path) -> Tls {
        Tls {
            ca: Some(ca.to_owned()),
            cert: Some(self.write(&format!("{name}.pem"), &issued.cert)),
            key: Some(self.write(&format!("{name}.key"), &issued.key)),
        }
    }
}

fn trust_ca(ca: &Path) -> Tls {
    Tls {
        ca: Some(ca.to_owned()),
        ..Tls::default()
    }
}

fn registry_at(server: &TlsServer, tenants: &[(&str, Tls)]) -> RegistryBuilder {
    let builder = registry(&server.url, &[], &Fingerprinter::new());
    let builder = builder.defaults(Binding::new().backend(BackendName::Otlp).endpoint(&server.url));
    tenants.iter().fold(builder, |builder, (name, tls)| {
        builder.tenant(*name, binding(name).tls(tls.clone()))
    })
}

fn span(registry: &TracerRegistry, tenant: &str) {
    registry.tenant(tenant).expect("configured").start_span("span").end();
}

fn deliver(registry: &TracerRegistry, tenant: &str) {
    span(registry, tenant);
    let report = registry.force_flush(LONG);
    assert!(report.is_complete(), "{report:#?}");
}

/// Waits until the last error of the only tracer contains a text.
fn wait_for_error(registry: &TracerRegistry, text: &str) {
    let last_error = || {
        registry.status().tracers[0]
            .last_error
            .as_ref()
            .map(ToString::to_string)
    };
    wait_for(text, last_error, |error| {
        error.as_ref().is_some_and(|error| error.contains(text))
    });
}

#[test]
fn a_server_with_a_certificate_of_a_configured_ca_is_trusted() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), TlsOptions::default());
    // The bundle has a comment, and the CA is the second certificate.
    let bundle = format!("a comment\n{}\n{}", Authority::new("other").pem, authority.pem);
    let ca = files.write("ca.pem", &bundle);
    let registry = registry_at(&server, &[("a", trust_ca(&ca))]).build().expect("valid");
    deliver(&registry, "a");
    assert_eq!(server.requests()[0].key, format!("Bearer {}", key_of("a")));
    let checked = registry.check(CheckMode::Connect);
    assert_eq!(checked[0].connection, ConnectionCheck::Accepted, "{checked:#?}");
}

#[test]
fn an_untrusted_server_gets_no_request_and_the_error_names_the_trusted_authorities() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let other = files.write("other.pem", &Authority::new("other").pem);
    let own = files.write("own.pem", &authority.pem);
    for (host, tls, expected) in [
        ("127.0.0.1", Tls::default(), "trusted authorities: the platform's"),
        ("127.0.0.1", trust_ca(&other), "other.pem)"),
        ("elsewhere.example", trust_ca(&own), "not valid for name"),
    ] {
        let server = TlsServer::start(&authority.issue(host), TlsOptions::default());
        let registry = registry_at(&server, &[("a", tls)]).build().expect("valid");
        span(&registry, "a");
        wait_for_error(&registry, "server certificate rejected");
        wait_for_error(&registry, expected);
        assert_eq!(server.requests(), []);
    }
}

#[test]
fn a_client_certificate_is_sent_if_the_server_requires_one() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let options = TlsOptions {
        clients: Some(authority.pem.clone()),
        ..TlsOptions::default()
    };
    let server = TlsServer::start(&authority.issue("127.0.0.1"), options);
    let ca = files.write("ca.pem", &authority.pem);
    let client = authority.issue("client-a");
    let with = registry_at(&server, &[("a", files.client("a", &client, &ca))])
        .build()
        .expect("valid");
    deliver(&with, "a");
    assert_eq!(server.requests()[0].client, Some(client.der()));
    let without = registry_at(&server, &[("b", trust_ca(&ca))]).build().expect("valid");
    span(&without, "b");
    wait_for_error(&without, "server requires a client certificate");
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn tenants_share_a_connection_only_if_they_have_the_same_client_certificate() {
    for alpn in [vec![], vec!["h2"]] {
        let (files, authority) = (Files::new(), Authority::new("own"));
        let options = TlsOptions {
            clients: Some(authority.pem.clone()),
            alpn,
            ..TlsOptions::default()
        };
        let server = TlsServer::start(&authority.issue("127.0.0.1"), options);
        let ca = files.write("ca.pem", &authority.pem);
        let issued = ["a", "b"].map(|name| (name, authority.issue(name)));
        let mut tenants: Vec<(&str, Tls)> = Vec::new();
        for (name, issued) in &issued {
            tenants.push((name, files.client(name, issued, &ca)));
        }
        // Two more tenants with the files of `b`, which therefore share its client.
        tenants.extend(["b2", "b3"].map(|name| (name, tenants[1].1.clone())));
        let registry = registry_at(&server, &tenants).build().expect("valid");
        for _ in 0..5 {
            for tenant in ["a", "b", "b2", "b3"] {
                deliver(&registry, tenant);
            }
        }
        for _ in 0..50 {
            span(&registry, "a");
            span(&registry, "b");
        }
        assert!(registry.force_flush(LONG).is_complete());
        let requests = server.requests();
        let mut connections = [Vec::new(), Vec::new()];
        for request in &requests {
            let is_a = request.key == format!("Bearer {}", key_of("a"));
            let tenant_index = usize::from(!is_a);
            assert_eq!(request.client, Some(issued[tenant_index].1.der()), "{}", request.key);
            connections[tenant_index].push(request.connection);
        }
        assert!(connections[0].iter().all(|of_a| !connections[1].contains(of_a)));
        let first = connections[1][0];
        assert!(
            connections[1][..15].iter().all(|connection| *connection == first),
            "sequential requests of b, b2 and b3 share a connection: {connections:?}"
        );
    }
}

#[test]
fn successive_short_lived_tracers_share_a_connection() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), TlsOptions::default());
    let ca = files.write("ca.pem", &authority.pem);
    let registry = registry_at(&server, &[("a", trust_ca(&ca))]).build().expect("valid");
    for _ in 0..5 {
        let dedicated = registry.dedicated(Selector::tenant("a")).expect("configured");
        dedicated.start_span("span").end();
        drop(dedicated);
        assert!(registry.force_flush(LONG).is_complete());
        wait_for(
            "the drop of the tracer",
            || registry.status().tracers[0].tracers,
            |tracers| *tracers == 0,
        );
    }
    let connections: Vec<usize> = server.requests().iter().map(|request| request.connection).collect();
    assert_eq!(connections, [0; 5]);
}

#[test]
fn an_unusable_file_fails_only_that_look_up_and_the_error_names_it_without_its_content() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), TlsOptions::default());
    let ca = files.write("ca.pem", &authority.pem);
    let (one, other) = (authority.issue("one"), authority.issue("other"));
    let good = files.client("good", &one, &ca);
    let canary = files.write("canary.pem", "hh_canary");
    let broken = files.write(
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\nhh_canary\n-----END CERTIFICATE-----\n",
    );
    let no_certificate = files.write(
        "no-certificate.pem",
        "-----BEGIN CERTIFICATE-----\naGhfY2FuYXJ5\n-----END CERTIFICATE-----\n",
    );
    let encrypted = files.write(
        "encrypted.key",
        &one.key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
    );
    let others = files.write("others.key", &other.key);
    let missing = files.path("missing.pem");
    let large = files.write("large.pem", &"x".repeat((1 << 20) + 1));
    let with_ca = |ca: &Path| (trust_ca(ca), ca.to_owned());
    let with_cert = |cert: &Path| {
        (
            Tls {
                cert: Some(cert.to_owned()),
                ..good.clone()
            },
            cert.to_owned(),
        )
    };
    let with_key = |key: &Path| {
        (
            Tls {
                key: Some(key.to_owned()),
                ..good.clone()
            },
            key.to_owned(),
        )
    };
    let cert = good.cert.clone().expect("set");
    for ((tls, file), fault) in [
        (with_ca(&missing), TlsErrorKind::NotFound),
        (with_ca(files.0.path()), TlsErrorKind::NotAFile),
        (with_ca(&large), TlsErrorKind::TooLarge(1 << 20)),
        (with_ca(&canary), TlsErrorKind::NoCertificate),
        (with_ca(&broken), TlsErrorKind::NoCertificate),
        (with_ca(&no_certificate), TlsErrorKind::BadCertificate(1)),
        (with_cert(&missing), TlsErrorKind::NotFound),
        (with_cert(&others), TlsErrorKind::NoCertificate),
        (with_cert(&no_certificate), TlsErrorKind::BadCertificate(1)),
        (with_key(&missing), TlsErrorKind::NotFound),
        (with_key(&canary), TlsErrorKind::NoKey),
        (with_key(&cert), TlsErrorKind::NoKey),
        (with_key(&encrypted), TlsErrorKind::NoKey),
        (with_key(&others), TlsErrorKind::OtherKey(cert.clone())),
    ] {
        let registry = registry_at(&server, &[("a", tls), ("b", good.clone())])
            .build()
            .expect("valid");
        let error = registry.tenant("a").expect_err("unusable");
        let LookupError::Tls(tls_error) = &error else {
            panic!("{error:?}")
        };
        assert_eq!((tls_error.file(), tls_error.fault()), (&*file, &fault));
        let text = format!("{error} {error:?}");
        assert!(text.contains(&file.display().to_string()), "{text}");
        assert!(
            !text.contains("canary\n") && !text.contains("aGhf") && !text.contains("hh_"),
            "{text}"
        );
        assert_eq!(registry.check(CheckMode::Keys)[0].error, Some(error));
        deliver(&registry, "b");
    }
    let registry = registry_at(&server, &[("a", trust_ca(&missing))])
        .build()
        .expect("valid");
    registry.tenant("a").expect_err("missing");
    fs::write(&missing, &authority.pem).expect("written");
    deliver(&registry, "a");
}

#[test]
fn a_changed_ca_applies_from_the_next_connection() {
    let (files, authority) = (Files::new(), Authority::new("new"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), TlsOptions::default());
    let ca = files.write("ca.pem", &Authority::new("old").pem);
    let registry = registry_at(&server, &[("a", trust_ca(&ca))]).build().expect("valid");
    span(&registry, "a");
    wait_for_error(&registry, "server certificate rejected");
    // A half-written file: the previous CA stays in use, and the error names the file.
    fs::write(&ca, &authority.pem[..100]).expect("written");
    wait_for_error(&registry, "ca.pem: no valid PEM certificate found");
    fs::write(&ca, &authority.pem).expect("written");
    assert!(registry.force_flush(LONG).is_complete());
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_changed_client_certificate_is_sent_once_its_key_has_changed_too() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let options = TlsOptions {
        clients: Some(authority.pem.clone()),
        one_request_each: true,
        ..TlsOptions::default()
    };
    let server = TlsServer::start(&authority.issue("127.0.0.1"), options);
    let ca = files.write("ca.pem", &authority.pem);
    let (old, new) = (authority.issue("old"), authority.issue("new"));
    let registry = registry_at(&server, &[("a", files.client("a", &old, &ca))])
        .build()
        .expect("valid");
    deliver(&registry, "a");
    files.write("a.pem", &new.cert);
    deliver(&registry, "a");
    files.write("a.key", &new.key);
    deliver(&registry, "a");
    let certificates: Vec<_> = server.requests().into_iter().map(|request| request.client).collect();
    assert_eq!(certificates, [Some(old.der()), Some(old.der()), Some(new.der())]);
}

#[test]
fn an_endpoint_without_tls_reads_no_certificates() {
    let files = Files::new();
    let world = crate::support::World::with(&[], |builder| {
        builder.tenant("a", binding("a").tls(trust_ca(&files.path("missing.pem"))))
    });
    deliver(&world.registry, "a");
}

#[test]
fn one_tenants_wrong_ca_does_not_affect_others_at_the_same_endpoint() {
    let (files, authority) = (Files::new(), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), TlsOptions::default());
    let ca = files.write("ca.pem", &authority.pem);
    let wrong = files.write("wrong.pem", &Authority::new("other").pem);
    let registry = registry_at(&server, &[("a", trust_ca(&wrong)), ("b", trust_ca(&ca))]);
    let registry = registry.build().expect("valid");
    span(&registry, "a");
    let breaker = || registry.status().tracers[0].breakers.endpoint.state;
    wait_for("an open breaker", breaker, |state| *state != BreakerState::Closed);
    span(&registry, "b");
    let delivered_of_b = || registry.status().tracers[1].spans.delivered;
    wait_for("b's span", delivered_of_b, |delivered| *delivered == 1);
    assert_eq!(
        registry.status().tracers[1].breakers.endpoint.state,
        BreakerState::Closed
    );
}
