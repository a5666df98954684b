//! HTTP/2: many tenants on one connection.

use std::time::Duration;

use http::Version;
use opentelemetry::KeyValue;
use opentelemetry::trace::Span as _;
use tempfile::TempDir;
use tracer_registry::TracerRegistry;
use tracer_registry::config::{BackendName, Binding, Compression, Export, Tls};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::SelectorKind;

use crate::support::{LONG, binding, key_of, quick, registry, wait_for};
use crate::tls_server::{Authority, ReceivedRequest, TlsOptions, TlsServer};

struct World {
    registry: TracerRegistry,
    server: TlsServer,
    /// Contains the certificate of the authority.
    _files: TempDir,
}

fn world(tenants: &[&str], options: TlsOptions, export: Export) -> World {
    let (files, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), options);
    let ca = files.path().join("ca.pem");
    std::fs::write(&ca, &authority.pem).expect("written");
    let tls = Tls {
        ca: Some(ca),
        ..Tls::default()
    };
    let defaults = Binding::new().backend(BackendName::Otlp).endpoint(&server.url).tls(tls);
    let builder = registry(&server.url, &[], &Fingerprinter::new())
        .defaults(defaults)
        .export(export);
    let builder = tenants
        .iter()
        .fold(builder, |builder, tenant| builder.tenant(*tenant, binding(tenant)));
    World {
        registry: builder.build().expect("valid"),
        server,
        _files: files,
    }
}

impl World {
    fn span(&self, tenant: &str, payload: usize) {
        let tracer = self.registry.tenant(tenant).expect("configured");
        let mut span = tracer.start_span("span");
        span.set_attribute(KeyValue::new("payload", "x".repeat(payload)));
        span.end();
    }

    fn delivered(&self, tenant: &str) -> u64 {
        let status = self.registry.status();
        let of_tenant = status.tracers.iter().find(|status| {
            status
                .selector
                .get(SelectorKind::Tenant)
                .is_some_and(|name| **name == *tenant)
        });
        of_tenant.map_or(0, |status| status.spans.delivered)
    }

    fn requests_of(&self, tenant: &str) -> Vec<ReceivedRequest> {
        let key = format!("Bearer {}", key_of(tenant));
        self.server
            .requests()
            .into_iter()
            .filter(|request| request.key == key)
            .collect()
    }
}

#[test]
fn http2_is_used_if_the_server_selects_it_and_tenants_share_one_connection() {
    let names: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    for (alpn, version) in [
        (vec!["h2", "http/1.1"], Version::HTTP_2),
        (vec!["h2"], Version::HTTP_2),
        (vec!["http/1.1"], Version::HTTP_11),
        (vec![], Version::HTTP_11),
    ] {
        let options = TlsOptions {
            alpn,
            ..TlsOptions::default()
        };
        let world = world(&tenants, options, quick());
        world.span("t0", 1);
        assert!(world.registry.force_flush(LONG).is_complete());
        for tenant in &tenants {
            world.span(tenant, 1);
        }
        assert!(world.registry.force_flush(LONG).is_complete());
        let requests = world.server.requests();
        assert_eq!(requests.len(), 21);
        assert!(
            requests.iter().all(|request| request.version == version),
            "{requests:#?}"
        );
        if version == Version::HTTP_2 {
            assert!(requests.iter().all(|request| request.connection == 0), "{requests:#?}");
        }
        for tenant in &tenants[1..] {
            assert_eq!(world.requests_of(tenant).len(), 1, "{tenant}");
        }
    }
}

#[test]
fn a_hanging_request_on_a_shared_connection_delays_others_at_most_for_its_timeout() {
    let options = TlsOptions {
        alpn: vec!["h2"],
        hang: Some("key_of_hanging"),
        ..TlsOptions::default()
    };
    let export = Export {
        timeout: Some(Duration::from_secs(2)),
        compression: Some(Compression::None),
        ..quick()
    };
    let world = world(&["hanging", "healthy"], options, export);
    let wait_for_healthy = |count| {
        wait_for(
            "spans of healthy",
            || world.delivered("healthy"),
            |delivered| *delivered == count,
        );
    };
    world.span("healthy", 1);
    wait_for_healthy(1);
    // Larger than the server's flow-control window of the connection.
    world.span("hanging", 200_000);
    wait_for(
        "the hanging request",
        || world.requests_of("hanging").len(),
        |count| *count == 1,
    );
    for count in 2..=20 {
        world.span("healthy", 1000);
        wait_for_healthy(count);
    }
    let (hanging, others) = (world.requests_of("hanging"), world.requests_of("healthy"));
    assert_eq!(hanging[0].connection, others[0].connection, "both used one connection");
    let last = others.last().expect("20 of them").connection;
    // The first request came before. The second waited behind the hanging one, so the third was
    // sent separately. All later ones share a connection.
    assert!(
        others[3..].iter().all(|request| request.connection == last),
        "{others:#?}"
    );
    assert_ne!(last, hanging[0].connection);
    // Each retry uses a separate connection.
    wait_for("retries", || world.requests_of("hanging").len(), |count| *count >= 3);
    let hanging: Vec<usize> = world
        .requests_of("hanging")
        .iter()
        .map(|request| request.connection)
        .collect();
    let mut once = hanging.clone();
    once.dedup();
    assert_eq!((once.len(), hanging.contains(&last)), (hanging.len(), false));
    // After recovery, its requests use the shared connection again.
    world.server.stop_hanging();
    assert!(world.registry.force_flush(LONG).is_complete());
    for _ in 0..2 {
        world.span("hanging", 1);
        assert!(world.registry.force_flush(LONG).is_complete());
    }
    assert_eq!(world.requests_of("hanging").last().expect("requests").connection, last);
}
