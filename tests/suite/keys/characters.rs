//! Keys with invalid characters, such as those left by editors and pasting. Errors name the
//! character only.

use std::fs;
use std::path::PathBuf;

use opentelemetry::trace::Span as _;
use secrecy::SecretString;
use tempfile::TempDir;
use tracer_registry::config::{AuthScheme, BackendName, Binding, Proxy};
use tracer_registry::secret::KeyCommand;
use tracer_registry::{KeySource, LookupError, TracerRegistry};

use crate::child_process::{is_child, variable};
use crate::support::{LONG, World, key_of, wait_for};

/// Keys that every scheme refuses, each with its error.
const REFUSED: [(&str, &str); 12] = [
    (
        " canary",
        "contains U+0020 (space) at byte 0; a key must not start or end with white space",
    ),
    (
        "canary ",
        "contains U+0020 (space) at byte 6; a key must not start or end with white space",
    ),
    (
        "canary\u{a0}",
        "contains U+00A0 (no-break space) at byte 6; a key must not start or end with white space",
    ),
    (
        "canary\u{200b}",
        "contains U+200B (zero-width space) at byte 6; a key must not start or end with white space",
    ),
    (
        "\u{202e}canary",
        "contains U+202E at byte 0; a key must not start or end with white space",
    ),
    (
        "   ",
        "contains U+0020 (space) at byte 0; a key must not start or end with white space",
    ),
    (
        "\"canary\"",
        "enclosed in quotes, U+0022 (quotation mark); write the key without quotes",
    ),
    (
        "'canary'",
        "enclosed in quotes, U+0027 (apostrophe); write the key without quotes",
    ),
    (
        "`canary`",
        "enclosed in quotes, U+0060 (backtick); write the key without quotes",
    ),
    (
        "\u{201c}canary\u{201d}",
        "enclosed in quotes, U+201C (left double quotation mark); write the key without quotes",
    ),
    (
        "\u{201e}canary\u{201c}",
        "enclosed in quotes, U+201E (low double quotation mark); write the key without quotes",
    ),
    (
        "\u{2018}canary\u{2019}",
        "enclosed in quotes, U+2018 (left single quotation mark); write the key without quotes",
    ),
];

/// Keys that only `basic` accepts, because it encodes them.
const NOT_ASCII: [(&str, &str); 9] = [
    ("u:canary\u{feff}canary", "contains U+FEFF (byte order mark) at byte 8"),
    ("u:canary\u{200b}canary", "contains U+200B (zero-width space) at byte 8"),
    (
        "u:canary\u{200d}canary",
        "contains U+200D (zero-width joiner) at byte 8",
    ),
    ("u:canary\u{a0}canary", "contains U+00A0 (no-break space) at byte 8"),
    ("u:canary\u{2013}canary", "contains U+2013 (en dash) at byte 8"),
    ("u:canary\u{2014}canary", "contains U+2014 (em dash) at byte 8"),
    (
        "u:canary\u{2019}canary",
        "contains U+2019 (right single quotation mark) at byte 8",
    ),
    ("u:canary_\u{43a}", "contains U+043A at byte 9"),
    ("u:sch\u{fc}ssel\u{2014}canary", "contains U+00FC at byte 5"),
];

const ASCII_ONLY: &str = "; the bearer and raw schemes need an ASCII key";

/// Creates a binding with an unused endpoint and the given scheme.
fn binding_with(source: KeySource, scheme: AuthScheme) -> Binding {
    let binding = Binding::new().backend(BackendName::Otlp).endpoint("http://127.0.0.1:9");
    binding.api_key(source).auth("authorization", scheme)
}

/// Returns the error of a look-up without its prefix, or `None` if the look-up succeeds.
fn lookup_error(registry: &TracerRegistry, tenant: &str) -> Option<String> {
    let error = registry.tenant(tenant).err()?;
    let message = error.to_string();
    assert!(!format!("{message} {error:?}").contains("canary"), "{message}");
    assert!(matches!(error, LookupError::Secret(_)), "{error:?}");
    Some(message.trim_start_matches("the key cannot be read: ").to_owned())
}

/// Returns a source of each kind for `key`, with its name in errors. The caller sets the variable
/// and the credential.
fn sources(folder: &TempDir, number: usize, key: &'static str) -> Vec<(String, KeySource)> {
    let file = folder.path().join(number.to_string());
    fs::write(&file, format!("{key}\n")).expect("written");
    let print = KeyCommand::new(["printf", "%s\\n", key]).timeout(LONG);
    let mut sources = vec![
        (
            format!("environment variable KEY_{number}"),
            KeySource::env(format!("KEY_{number}")),
        ),
        (format!("file {}", file.display()), KeySource::file(&file)),
        (
            format!("credential {number}"),
            KeySource::Credential(number.to_string()),
        ),
        (
            format!("provider p, secret {number}"),
            KeySource::provider("p", number.to_string()),
        ),
    ];
    if cfg!(unix) {
        sources.push(("command printf".to_owned(), KeySource::Exec(print)));
    }
    sources
}

#[test]
fn a_key_with_invalid_characters_is_refused_from_every_source() {
    let test = "keys::characters::a_key_with_invalid_characters_is_refused_from_every_source";
    let folder = TempDir::new().expect("a temporary folder");
    let all = || REFUSED.iter().chain(&NOT_ASCII).enumerate();
    let mut variables: Vec<_> = all()
        .map(|(number, (key, _))| (format!("KEY_{number}"), (*key).to_owned()))
        .collect();
    let credentials = folder.path().to_str().expect("UTF-8").to_owned();
    variables.push(("CREDENTIALS_DIRECTORY".to_owned(), credentials));
    let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value)).collect();
    if !is_child(test, &variables) {
        return;
    }
    let credentials = PathBuf::from(variable("CREDENTIALS_DIRECTORY"));
    let folder = TempDir::new().expect("a temporary folder");
    let key_of = move |name: &str| {
        all()
            .find(|(number, _)| number.to_string() == name)
            .map(|(_, (key, _))| *key)
    };
    let keys = move |name: &str| Ok(SecretString::from(key_of(name).expect("known")));
    let mut builder = TracerRegistry::builder().secret_source("p", keys);
    let mut expected = Vec::new();
    for (number, &(key, message)) in all() {
        fs::write(credentials.join(number.to_string()), key).expect("written");
        for (origin, source) in sources(&folder, number, key) {
            for scheme in [AuthScheme::Bearer, AuthScheme::Raw, AuthScheme::Basic] {
                let tenant = format!("t{}", expected.len());
                builder = builder.tenant(&tenant, binding_with(source.clone(), scheme));
                let message = match (number < REFUSED.len(), scheme) {
                    (true, _) => Some(format!("{origin}: {message}")),
                    (false, AuthScheme::Basic) => None,
                    (false, _) => Some(format!("{origin}: {message}{ASCII_ONLY}")),
                };
                expected.push((tenant, message));
            }
        }
    }
    let registry = builder.build().expect("valid");
    for (tenant, expected) in expected {
        assert_eq!(lookup_error(&registry, &tenant), expected, "{tenant}");
    }
}

#[test]
fn a_key_that_repeats_the_scheme_is_refused() {
    let with = |key: &'static str, scheme| {
        let registry = TracerRegistry::builder()
            .secret_source("p", move |_: &str| Ok(SecretString::from(key)))
            .tenant("acme", binding_with(KeySource::provider("p", "k"), scheme))
            .build();
        lookup_error(&registry.expect("valid"), "acme")
    };
    for (key, scheme, word) in [
        ("Bearer canary", AuthScheme::Bearer, "Bearer"),
        ("bearer canary", AuthScheme::Bearer, "Bearer"),
        ("Basic Y2FuYXJ5", AuthScheme::Basic, "Basic"),
    ] {
        let expected = format!("provider p, secret k: starts with {word}, which is added when the key is sent");
        assert_eq!(with(key, scheme), Some(expected), "{key}");
    }
    // Valid keys, such as raw ones of Logfire.
    for (key, scheme) in [
        ("Bearer canary", AuthScheme::Raw),
        ("Bearer:canary", AuthScheme::Bearer),
        ("two words", AuthScheme::Bearer),
        ("a\"quoted\"one", AuthScheme::Bearer),
        ("\"", AuthScheme::Bearer),
    ] {
        assert_eq!(with(key, scheme), None, "{key}");
    }
}

#[test]
fn a_byte_order_mark_is_stripped_and_basic_sends_utf_8() {
    let folder = TempDir::new().expect("a temporary folder");
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).expect("written");
        KeySource::file(path)
    };
    let (marked, umlaut) = (
        file("marked", &format!("\u{feff}{}\r\n", key_of("marked"))),
        file("umlaut", "u:schl\u{fc}ssel\n"),
    );
    let world = World::with(&[], |builder| {
        builder.tenant("marked", Binding::new().api_key(marked)).tenant(
            "umlaut",
            Binding::new().api_key(umlaut).auth("authorization", AuthScheme::Basic),
        )
    });
    world.collector.name_project("marked", &key_of("marked"));
    world.collector.name_project("umlaut", "u:schl\u{fc}ssel");
    for tenant in ["marked", "umlaut"] {
        world.tenant(tenant).start_span(tenant).end();
    }
    world.flush();
    for tenant in ["marked", "umlaut"] {
        assert_eq!(world.names(tenant), [tenant]);
    }
}

#[cfg(feature = "watch")]
#[test]
fn a_changed_key_is_validated_for_each_scheme() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path().join("key");
    fs::write(&path, "u:first").expect("written");
    let world = World::with(&[], |builder| {
        let key = || Binding::new().api_key(KeySource::file(&path));
        builder
            .tenant("bearer", key())
            .tenant("basic", key().auth("authorization", AuthScheme::Basic))
    });
    let key = |tenant: &str| world.status(tenant).key.expect("a tracer with a key");
    for tenant in ["bearer", "basic"] {
        world.tenant(tenant);
    }
    fs::write(&path, "u:zw\u{f6}lf").expect("written");
    let second = crate::support::fingerprint(&world.collector, "u:zw\u{f6}lf");
    wait_for("the new key", || key("basic"), |key| key.fingerprint == second);
    let kept = wait_for("an error", || key("bearer"), |key| key.error.is_some());
    assert_eq!(
        kept.fingerprint,
        crate::support::fingerprint(&world.collector, "u:first"),
        "the last good key"
    );
    let error = kept.error.expect("an error").to_string();
    assert!(
        error.ends_with("contains U+00F6 at byte 4; the bearer and raw schemes need an ASCII key"),
        "{error}"
    );
    fs::write(&path, "u:third").expect("written");
    let third = crate::support::fingerprint(&world.collector, "u:third");
    for tenant in ["bearer", "basic"] {
        wait_for(
            "the next key",
            || key(tenant),
            |key| key.fingerprint == third && key.error.is_none(),
        );
    }
}

#[test]
fn proxy_credentials_and_header_values_are_validated_too() {
    let lookup = |credentials: &'static str| {
        let proxy = Proxy::url("http://127.0.0.1:9").credentials(KeySource::provider("p", "proxy"));
        let registry = TracerRegistry::builder()
            .secret_source("p", move |name: &str| {
                Ok(SecretString::from(if name == "proxy" { credentials } else { "hh_key" }))
            })
            .tenant(
                "acme",
                binding_with(KeySource::provider("p", "key"), AuthScheme::Bearer).proxy(proxy),
            )
            .build()
            .expect("valid");
        registry.tenant("acme").map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(lookup("u:schl\u{fc}ssel"), Ok(()));
    for (credentials, expected) in [
        (
            "'u:canary'",
            "enclosed in quotes, U+0027 (apostrophe); write the key without quotes",
        ),
        (
            "u:canary\u{a0}",
            "contains U+00A0 (no-break space) at byte 8; a key must not start or end with white space",
        ),
    ] {
        let expected = format!("the proxy's credentials cannot be read: provider p, secret proxy: {expected}");
        assert_eq!(lookup(credentials), Err(expected));
    }
    for value in [" canary", "canary\t", "canary\u{a0}"] {
        let binding = binding_with(KeySource::provider("p", "key"), AuthScheme::Bearer).header("x-region", value);
        let error = TracerRegistry::builder()
            .tenant("acme", binding)
            .build()
            .expect_err(value);
        let error = error.to_string();
        assert!(error.contains("tenants.acme.headers.x-region: the value "), "{error}");
        assert!(!error.contains("can"), "{error}");
    }
}
