//! Redaction: no output of a public type contains a key.

use std::fmt::Debug;

use secrecy::SecretString;
use tracer_registry::config::{Binding, Config, Proxy};
use tracer_registry::secret::{ApiKey, Fingerprinter, KeyCommand, SecretError, SecretSources};
use tracer_registry::selector::SelectorKind;
use tracer_registry::{Enrichment, KeySource, Selector, TracerRegistry};

use crate::support::{World, binding, key_of};

/// The test key of `a` as text, as base64 (as in `Basic`), and as bytes in debug format.
fn encodings() -> [String; 3] {
    let key = key_of("a");
    let bytes = format!("{:?}", &key.as_bytes()[..8]);
    let base64 = "aGhfa2V5X29mX2FfY2FuYXJ5".to_owned();
    [key, base64, bytes.trim_matches(['[', ']']).to_owned()]
}

fn assert_no_key(type_name: &str, shown: &str) {
    for encoding in encodings() {
        assert!(!shown.contains(&encoding), "{type_name} shows a key: {shown}");
    }
}

fn assert_debug_has_no_key(type_name: &str, value: &impl Debug) {
    assert_no_key(type_name, &format!("{value:?}"));
    assert_no_key(type_name, &format!("{value:#?}"));
}

#[test]
fn no_type_that_uses_a_key_shows_it() {
    let world = World::with(&["a"], |builder| {
        assert_debug_has_no_key("RegistryBuilder", &builder);
        builder.environment("e", binding("a")).active_environment("e")
    });
    let registry = &world.registry;
    let tracer = registry.tenant("a").expect("configured");
    let builder = tracer.session("s").metadata("m", 1);
    assert_debug_has_no_key("SessionBuilder", &builder);
    let session = builder.start();
    session.enrich(Enrichment::new().metadata("m", 2));
    tracer.in_span("span", |span| {
        span.set_attribute("k", "v");
        assert_debug_has_no_key("ActiveSpan", &span);
        assert_debug_has_no_key("Context", span.context());
    });
    let report = registry.force_flush(crate::support::LONG);
    assert_no_key("Report", &report.to_string());
    assert_debug_has_no_key("Report", &report);
    assert_debug_has_no_key("TracerRegistry", registry);
    assert_debug_has_no_key("TracerHandle", &tracer);
    assert_debug_has_no_key(
        "RegistryTracer",
        &opentelemetry::trace::TracerProvider::tracer(&tracer, "t"),
    );
    assert_debug_has_no_key("Session", &session);
    assert_debug_has_no_key("Status", &registry.status());
    assert_debug_has_no_key(
        "CheckedBinding",
        &registry.check(tracer_registry::check::CheckMode::Keys),
    );
    assert_debug_has_no_key("Config", &registry.config());
    assert_debug_has_no_key("ResolvedBinding", &registry.config().resolve(tracer.selector()));
    for serialized in [
        serde_json::to_string(&registry.status()),
        serde_json::to_string(&registry.check(tracer_registry::check::CheckMode::Keys)),
        serde_json::to_string(&report),
    ] {
        assert_no_key("JSON", &serialized.expect("serializes"));
    }
}

#[test]
fn keys_and_their_sources_do_not_show_the_key() {
    let secret = key_of("a");
    let mut sources = SecretSources::default();
    let in_source = secret.clone();
    sources.insert("vault", move |_: &str| Ok(SecretString::from(in_source.clone())));
    let source = KeySource::provider("vault", "a");
    let key: ApiKey = source.read(&sources).expect("a key");
    let fingerprinter = Fingerprinter::new();
    assert_debug_has_no_key("ApiKey", &key);
    assert_debug_has_no_key("SecretSources", &sources);
    assert_debug_has_no_key("Fingerprinter", &fingerprinter);
    assert_debug_has_no_key("Fingerprint", &key.fingerprint(&fingerprinter));
    assert_no_key("Fingerprint", &key.fingerprint(&fingerprinter).to_string());
    let command = KeyCommand::new(["vault".to_owned(), format!("--token={secret}")]);
    let exec = KeySource::Exec(command.timeout(std::time::Duration::ZERO));
    assert_debug_has_no_key("KeySource", &exec);
    assert_no_key("KeySource", &exec.to_string());
    assert_debug_has_no_key(
        "Binding",
        &Binding::new()
            .api_key(exec.clone())
            .header("authorization", &*secret)
            .endpoint(format!("http://{secret}@h"))
            .proxy(Proxy::url(format!("http://u:{secret}@h")).credentials(exec.clone())),
    );
    let failed = exec.read(&sources).expect_err("no such program, or no time");
    assert_debug_has_no_key("SecretError", &failed);
    assert_no_key("SecretError", &failed.to_string());
    // An invalid key that a source returns is not shown either.
    let broken = format!("{secret}\n{secret}");
    let refusing = TracerRegistry::builder()
        .tenant("a", binding("a"))
        .secret_source("test", move |_: &str| {
            Ok::<_, SecretError>(SecretString::from(broken.clone()))
        })
        .build()
        .expect("valid");
    let error = refusing.tenant("a").expect_err("two lines");
    assert_debug_has_no_key("LookupError", &error);
    assert_no_key("LookupError", &error.to_string());
}

#[test]
fn a_configuration_error_does_not_show_a_key_written_in_place_of_its_source() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("keys.toml");
    let secret = key_of("a");
    std::fs::write(
        &file,
        format!("[tenants.a]\napi_key = '{secret}'\nheaders.authorization = '{secret}'"),
    )
    .expect("written");
    let error = Config::load(&file).expect_err("a literal key");
    assert_debug_has_no_key("ConfigError", &error);
    assert_no_key("ConfigError", &error.to_string());
    for fault in error.problems() {
        assert_no_key("ConfigProblem", &format!("{fault} {} {}", fault.key(), fault.message()));
    }
    let known = Selector::of(SelectorKind::Tenant, "a".parse().expect("a name"));
    assert_eq!(known.to_string(), "tenant:a");
}
