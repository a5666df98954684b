//! No public type shows a key, in whatever way it is printed.

use std::fmt::Debug;

use secrecy::SecretString;
use tracer_registry::config::{Binding, Config, Proxy};
use tracer_registry::secret::{ApiKey, Fingerprinter, KeyCommand, SecretError, SecretSources};
use tracer_registry::selector::SelectorKind;
use tracer_registry::{Enrichment, KeySource, Selector, TracerRegistry};

use crate::support::{World, binding, key_of};

/// The key of `a` as text, as base64 (as in `Basic`) and as bytes in a debugger's manner.
fn spellings() -> [String; 3] {
    let key = key_of("a");
    let bytes = format!("{:?}", &key.as_bytes()[..8]);
    let base64 = "aGhfa2V5X29mX2FfY2FuYXJ5".to_owned();
    [key, base64, bytes.trim_matches(['[', ']']).to_owned()]
}

fn assert_silent(what: &str, shown: &str) {
    for spelling in spellings() {
        assert!(!shown.contains(&spelling), "{what} shows a key: {shown}");
    }
}

fn debug(what: &str, value: &impl Debug) {
    assert_silent(what, &format!("{value:?}"));
    assert_silent(what, &format!("{value:#?}"));
}

#[test]
fn what_is_made_of_a_key_does_not_show_it() {
    let world = World::with(&["a"], |builder| {
        debug("RegistryBuilder", &builder);
        builder.environment("e", binding("a")).active_environment("e")
    });
    let registry = &world.registry;
    let tracer = registry.tenant("a").expect("configured");
    let builder = tracer.session("s").metadata("m", 1);
    debug("SessionBuilder", &builder);
    let session = builder.start();
    session.enrich(Enrichment::new().metadata("m", 2));
    tracer.in_span("span", |span| {
        span.set_attribute("k", "v");
        debug("ActiveSpan", &span);
        debug("Context", span.context());
    });
    let report = registry.force_flush(crate::support::LONG);
    assert_silent("Report", &report.to_string());
    debug("Report", &report);
    debug("TracerRegistry", registry);
    debug("TracerHandle", &tracer);
    debug(
        "RegistryTracer",
        &opentelemetry::trace::TracerProvider::tracer(&tracer, "t"),
    );
    debug("Session", &session);
    debug("Status", &registry.status());
    debug(
        "CheckedBinding",
        &registry.check(tracer_registry::check::CheckMode::Keys),
    );
    debug("Config", &registry.config());
    debug("ResolvedBinding", &registry.config().resolve(tracer.selector()));
    for serialized in [
        serde_json::to_string(&registry.status()),
        serde_json::to_string(&registry.check(tracer_registry::check::CheckMode::Keys)),
        serde_json::to_string(&report),
    ] {
        assert_silent("JSON", &serialized.expect("serializes"));
    }
}

#[test]
fn keys_and_their_sources_do_not_show_what_they_hold() {
    let secret = key_of("a");
    let mut sources = SecretSources::default();
    let in_source = secret.clone();
    sources.insert("vault", move |_: &str| Ok(SecretString::from(in_source.clone())));
    let source = KeySource::provider("vault", "a");
    let key: ApiKey = source.read(&sources).expect("a key");
    let fingerprinter = Fingerprinter::new();
    debug("ApiKey", &key);
    debug("SecretSources", &sources);
    debug("Fingerprinter", &fingerprinter);
    debug("Fingerprint", &key.fingerprint(&fingerprinter));
    assert_silent("Fingerprint", &key.fingerprint(&fingerprinter).to_string());
    let command = KeyCommand::new(["vault".to_owned(), format!("--token={secret}")]);
    let exec = KeySource::Exec(command.timeout(std::time::Duration::ZERO));
    debug("KeySource", &exec);
    assert_silent("KeySource", &exec.to_string());
    debug(
        "Binding",
        &Binding::new()
            .api_key(exec.clone())
            .header("authorization", &*secret)
            .endpoint(format!("http://{secret}@h"))
            .proxy(Proxy::url(format!("http://u:{secret}@h")).credentials(exec.clone())),
    );
    let failed = exec.read(&sources).expect_err("no such program, or no time");
    debug("SecretError", &failed);
    assert_silent("SecretError", &failed.to_string());
    // What comes out of a source and is no key is not shown either.
    let broken = format!("{secret}\n{secret}");
    let refusing = TracerRegistry::builder()
        .tenant("a", binding("a"))
        .secret_source("test", move |_: &str| {
            Ok::<_, SecretError>(SecretString::from(broken.clone()))
        })
        .build()
        .expect("valid");
    let error = refusing.tenant("a").expect_err("two lines");
    debug("LookupError", &error);
    assert_silent("LookupError", &error.to_string());
}

#[test]
fn a_configuration_error_does_not_show_a_key_that_was_written_where_its_source_belongs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("keys.toml");
    let secret = key_of("a");
    std::fs::write(
        &file,
        format!("[tenants.a]\napi_key = '{secret}'\nheaders.authorization = '{secret}'"),
    )
    .expect("written");
    let error = Config::load(&file).expect_err("a literal key");
    debug("ConfigError", &error);
    assert_silent("ConfigError", &error.to_string());
    for fault in error.problems() {
        assert_silent("ConfigProblem", &format!("{fault} {} {}", fault.key(), fault.message()));
    }
    let known = Selector::of(SelectorKind::Tenant, "a".parse().expect("a name"));
    assert_eq!(known.to_string(), "tenant:a");
}
