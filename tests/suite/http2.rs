//! HTTP/2: many tenants on one connection, and what they are to each other there.

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
use crate::tls_server::{Asked, Authority, Manner, TlsServer};

struct World {
    registry: TracerRegistry,
    server: TlsServer,
    /// Holds the authority's certificate.
    _files: TempDir,
}

fn world(tenants: &[&str], manner: Manner, export: Export) -> World {
    let (files, authority) = (tempfile::tempdir().expect("a folder"), Authority::new("own"));
    let server = TlsServer::start(&authority.issue("127.0.0.1"), manner);
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

    fn asked_by(&self, tenant: &str) -> Vec<Asked> {
        let key = format!("Bearer {}", key_of(tenant));
        self.server
            .asked()
            .into_iter()
            .filter(|asked| asked.key == key)
            .collect()
    }
}

#[test]
fn http2_is_spoken_where_the_server_chooses_it_and_all_tenants_share_one_connection() {
    let names: Vec<String> = (0..20).map(|n| format!("t{n}")).collect();
    let tenants: Vec<&str> = names.iter().map(String::as_str).collect();
    for (alpn, version) in [
        (vec!["h2", "http/1.1"], Version::HTTP_2),
        (vec!["h2"], Version::HTTP_2),
        (vec!["http/1.1"], Version::HTTP_11),
        (vec![], Version::HTTP_11),
    ] {
        let manner = Manner {
            alpn,
            ..Manner::default()
        };
        let world = world(&tenants, manner, quick());
        world.span("t0", 1);
        assert!(world.registry.force_flush(LONG).is_complete());
        for tenant in &tenants {
            world.span(tenant, 1);
        }
        assert!(world.registry.force_flush(LONG).is_complete());
        let asked = world.server.asked();
        assert_eq!(asked.len(), 21);
        assert!(asked.iter().all(|asked| asked.version == version), "{asked:#?}");
        if version == Version::HTTP_2 {
            assert!(asked.iter().all(|asked| asked.connection == 0), "{asked:#?}");
        }
        for tenant in &tenants[1..] {
            assert_eq!(world.asked_by(tenant).len(), 1, "{tenant}");
        }
    }
}

#[test]
fn a_request_that_hangs_on_a_shared_connection_keeps_others_waiting_no_longer_than_its_own_time() {
    let manner = Manner {
        alpn: vec!["h2"],
        hang: Some("key_of_hanging"),
        ..Manner::default()
    };
    let export = Export {
        timeout: Some(Duration::from_secs(2)),
        compression: Some(Compression::None),
        ..quick()
    };
    let world = world(&["hanging", "well"], manner, export);
    let well = |count| {
        wait_for("well's spans", || world.delivered("well"), |there| *there == count);
    };
    world.span("well", 1);
    well(1);
    // Larger than what the server takes unread on the whole connection.
    world.span("hanging", 200_000);
    wait_for(
        "the one that hangs",
        || world.asked_by("hanging").len(),
        |asked| *asked == 1,
    );
    for count in 2..=20 {
        world.span("well", 1000);
        well(count);
    }
    let (hanging, others) = (world.asked_by("hanging"), world.asked_by("well"));
    assert_eq!(hanging[0].connection, others[0].connection, "they did share one");
    let last = others.last().expect("20 of them").connection;
    // The first was before; the second waited behind the one that hangs, so that the third was kept apart; then all is as it was.
    assert!(others[3..].iter().all(|asked| asked.connection == last), "{others:#?}");
    assert_ne!(last, hanging[0].connection);
    // Each repetition has a connection of its own.
    wait_for("repetitions", || world.asked_by("hanging").len(), |asked| *asked >= 3);
    let hanging: Vec<usize> = world.asked_by("hanging").iter().map(|asked| asked.connection).collect();
    let mut once = hanging.clone();
    once.dedup();
    assert_eq!((once.len(), hanging.contains(&last)), (hanging.len(), false));
    // Well again, it is sent on the shared connection.
    world.server.let_go();
    assert!(world.registry.force_flush(LONG).is_complete());
    for _ in 0..2 {
        world.span("hanging", 1);
        assert!(world.registry.force_flush(LONG).is_complete());
    }
    assert_eq!(world.asked_by("hanging").last().expect("asked").connection, last);
}
