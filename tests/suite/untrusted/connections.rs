//! Connections to endpoints that untrusted layers choose: addresses, sharing, proxies.

use serde_json::json;
use tracer_registry::RegistryBuilder;
use tracer_registry::check::{CheckMode, ConnectionCheck};
use tracer_registry::config::{Binding, Export, Protocol, Proxy as ProxyConfig, Untrusted};
use tracer_registry::secret::Fingerprinter;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;

use super::FOLDER;
use crate::proxy::{Proxy, ProxyRule};
use crate::reload::Files;
use crate::support::{World, collector, quick, registry, wait_for};

const KEYS: &str = "keys = [\"provider:test/{tenant}\"]\n";

/// Returns the collector's URL with a host name that resolves to a loopback address.
fn by_name(url: &str) -> String {
    url.replace("127.0.0.1", "localhost")
}

#[test]
fn a_host_that_resolves_to_a_private_address_is_not_reached_even_over_the_operators_connection() {
    let files = Files::new(&["acme", "op"], FOLDER);
    let url = by_name(&files.world.collector.url());
    let text = |addresses: &str| {
        format!(
            "{FOLDER}[tenants.op]\nendpoint = \"{url}\"\napi_key = {{ provider = \"test\", name = \"op\" }}\n\
             [untrusted]\n{KEYS}endpoints = [\"{url}\"]\n{addresses}"
        )
    };
    files.rewrite(&text(""));
    files.world.registry.reload().expect("without a fault");
    files.write(
        "tenants.d/acme.toml",
        &format!("endpoint = \"{url}\"\napi_key = {{ provider = \"test\", name = \"acme\" }}\n"),
    );
    files.tenant("op").in_span("leaves a connection behind", |_| ());
    files.world.flush();

    let before = files.tenant("acme");
    before.in_span("stays here", |_| ());
    let last_error = || files.world.status("acme").last_error.map(|error| error.to_string());
    let error = wait_for("the refused address", last_error, Option::is_some).expect("just seen");
    assert!(
        error.contains("localhost is ") && error.contains("which is loopback"),
        "{error}"
    );
    let (_, line) = error.split_once("to allow it: untrusted.").expect("a line");
    let checked = files.world.registry.check(CheckMode::Connect);
    let acme = checked.iter().find(|it| it.selector == "tenant:acme").expect("checked");
    assert!(
        matches!(&acme.connection, ConnectionCheck::Failed(error) if error.to_string().contains("which is loopback")),
        "{acme:?}"
    );
    assert!(files.world.names("acme").is_empty());

    // The name may resolve to both addresses.
    assert!(line.starts_with("addresses = [\""), "{line}");
    files.rewrite(&text("addresses = [\"127.0.0.1\", \"::1\"]\n"));
    let report = files.world.registry.reload().expect("without a fault");
    assert_eq!(report.changed, [before.selector().clone()]);
    files.tenant("acme").in_span("arrives", |_| ());
    wait_for("the span", || files.world.names("acme"), |names| names == &["arrives"]);
}

/// Creates a registry whose binding source returns JSON rows with the collector's URL as endpoint.
fn untrusted(url: &str, fingerprinter: &Fingerprinter) -> RegistryBuilder {
    let row = json!({ "endpoint": url, "api_key": { "provider": "test", "name": "acme" } });
    let source = move |_: &Slug| -> Result<Option<Binding>, SourceError> {
        let binding = Binding::from_json(row.clone());
        binding.map(Some).map_err(|error| SourceError::new(error.to_string()))
    };
    let rules = Untrusted::new().key("provider:test/{tenant}").endpoint(url);
    registry("https://operators.example", &[], fingerprinter)
        .untrusted(rules)
        .binding_source(source)
}

#[test]
fn an_address_that_is_not_allowed_is_not_reached_with_any_protocol() {
    let mut protocols = vec![Protocol::HttpProtobuf, Protocol::HttpJson];
    if cfg!(feature = "grpc") {
        protocols.push(Protocol::Grpc);
    }
    for protocol in protocols {
        let fingerprinter = Fingerprinter::new();
        let collector = collector(&["acme"], &fingerprinter).start().expect("a free port");
        let url = by_name(&collector.url());
        let export = Export {
            protocol: Some(protocol),
            ..quick()
        };
        let defaults = Binding::new().backend(tracer_registry::config::BackendName::Otlp);
        let registry = untrusted(&url, &fingerprinter)
            .defaults(defaults)
            .export(export)
            .build();
        let world = World {
            registry: registry.expect("valid"),
            collector,
        };
        world.tenant("acme").in_span("stays here", |_| ());
        let last_error = || world.status("acme").last_error.map(|error| error.to_string());
        let error = wait_for("the refused address", last_error, Option::is_some).expect("just seen");
        assert!(error.contains("which is loopback"), "{protocol:?}: {error}");
        assert!(world.collector.requests().is_empty(), "{protocol:?}");
    }
}

#[test]
fn a_proxy_is_used_for_allowed_host_names_but_not_with_a_wildcard() {
    let (fingerprinter, proxy) = (Fingerprinter::new(), Proxy::start(ProxyRule::Open));
    let collector = collector(&["acme"], &fingerprinter).start().expect("a free port");
    let url = by_name(&collector.url());
    let defaults = || Binding::new().proxy(ProxyConfig::url(&proxy.url));
    let named = untrusted(&url, &fingerprinter).defaults(defaults()).build();
    let world = World {
        registry: named.expect("valid"),
        collector,
    };
    world.tenant("acme").in_span("through the proxy", |_| ());
    world.flush();
    assert_eq!(
        (world.names("acme"), proxy.heads().len()),
        (vec!["through the proxy".to_owned()], 1)
    );

    let with_wildcard = Untrusted::new()
        .key("provider:test/{tenant}")
        .endpoint(with_wildcard_host(&url));
    let registry = untrusted(&url, &fingerprinter)
        .defaults(defaults())
        .untrusted(with_wildcard)
        .build();
    let error = registry
        .expect("valid")
        .tenant("acme")
        .expect_err("the proxy would resolve it");
    assert!(super::refused(&error)[0].contains("with a proxy"), "{error}");
    assert_eq!(proxy.heads().len(), 1);
}

fn with_wildcard_host(url: &str) -> String {
    url.replace("localhost", "*")
}
