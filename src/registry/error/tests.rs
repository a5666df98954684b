//! Each variant of [`LookupError`] and its row in docs/operations.md.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;
use std::thread;
use std::time::Duration;

use super::{BuildError, LookupError};
use crate::backend::DestinationError;
use crate::config::{BackendName, Binding, ResolveError};
use crate::export::{TlsError, TlsErrorKind};
use crate::registry::SourceError;
use crate::secret::{SecretError, SecretErrorKind};
use crate::selector::{Selector, SelectorError, SelectorKind, Slug};

const PAGE: &str = include_str!("../../../docs/operations.md");

/// Returns the columns "unknown" and "temporary" of the table, by variant.
fn table() -> BTreeMap<&'static str, (&'static str, &'static str)> {
    let (_, after) = PAGE.split_once("| `LookupError` |").expect("a table of variants");
    let rows = after.lines().skip(2).take_while(|line| line.starts_with('|'));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(str::trim).collect::<Vec<_>>());
    cells
        .map(|cells| (cells[0].trim_matches('`'), (cells[2], cells[3])))
        .collect()
}

/// A new variant does not compile here until it is added; add it to `all` too.
fn variant(error: &LookupError) -> &'static str {
    match error {
        LookupError::Selector(_) => "Selector",
        LookupError::Resolve(ResolveError::Unknown { .. }) => "Resolve(Unknown)",
        LookupError::Resolve(_) => "Resolve(_)",
        LookupError::TenantBinding(_) => "TenantBinding",
        LookupError::Source { .. } => "Source",
        LookupError::OnlyAsync(_) => "OnlyAsync",
        LookupError::Destination(_) => "Destination",
        LookupError::Secret(_) => "Secret",
        LookupError::Tls(_) => "Tls",
        LookupError::ProxyCredentials(_) => "ProxyCredentials",
        LookupError::RedactKey(_) => "RedactKey",
        LookupError::NoActiveEnvironment => "NoActiveEnvironment",
        LookupError::Recursive { .. } => "Recursive",
        LookupError::Panicked(_) => "Panicked",
        LookupError::PoolFull { .. } => "PoolFull",
        LookupError::Erased(_) => "Erased",
        LookupError::Forked => "Forked",
        LookupError::Shutdown => "Shutdown",
    }
}

fn all() -> Vec<LookupError> {
    let name = || Slug::new("acme").expect("a name");
    let selector = || Selector::of(SelectorKind::Tenant, name());
    let secret = |kind| SecretError::new("file /key", kind);
    let tls = |kind| TlsError::new(Path::new("/ca.pem"), kind);
    vec![
        LookupError::Selector(SelectorError::Empty),
        LookupError::Resolve(ResolveError::Unknown {
            part: SelectorKind::Tenant,
            name: name(),
            similar: Vec::new(),
        }),
        LookupError::Resolve(ResolveError::NoKey),
        LookupError::TenantBinding(Binding::from_json(serde_json::json!([])).expect_err("not an object")),
        LookupError::Source {
            tenant: name(),
            error: SourceError::new("away"),
        },
        LookupError::OnlyAsync(name()),
        LookupError::Destination(DestinationError::NoEndpoint(BackendName::Otlp)),
        LookupError::Secret(secret(SecretErrorKind::TimedOut(Duration::from_secs(1)))),
        LookupError::Secret(secret(SecretErrorKind::NotFound)),
        LookupError::Secret(secret(SecretErrorKind::Unset)),
        LookupError::Secret(secret(SecretErrorKind::NotUtf8)),
        LookupError::Tls(tls(TlsErrorKind::NotFound)),
        LookupError::Tls(tls(TlsErrorKind::NoCertificate)),
        LookupError::ProxyCredentials(secret(SecretErrorKind::Unreadable(ErrorKind::PermissionDenied.into()))),
        LookupError::ProxyCredentials(secret(SecretErrorKind::NotAFile)),
        LookupError::RedactKey(secret(SecretErrorKind::NotFound)),
        LookupError::RedactKey(secret(SecretErrorKind::NotUtf8)),
        LookupError::NoActiveEnvironment,
        LookupError::Recursive {
            selector: selector(),
            thread: thread::current().id(),
        },
        LookupError::Panicked(selector()),
        LookupError::PoolFull {
            selector: selector(),
            max_tracers: 1,
        },
        LookupError::Erased(selector()),
        LookupError::Forked,
        LookupError::Shutdown,
    ]
}

#[test]
fn the_documented_table_classifies_every_variant() {
    let table = table();
    let mut seen: BTreeMap<&str, Vec<bool>> = BTreeMap::new();
    for error in all() {
        let variant = variant(&error);
        let (unknown, _) = table
            .get(variant)
            .unwrap_or_else(|| panic!("{variant} is not in docs/operations.md"));
        assert_eq!(error.is_unknown(), *unknown == "yes", "{variant}");
        seen.entry(variant).or_default().push(error.is_temporary());
    }
    for (variant, (_, temporary)) in &table {
        let is_temporary = seen.get(variant).unwrap_or_else(|| panic!("unknown variant {variant}"));
        match *temporary {
            "yes" => assert!(is_temporary.iter().all(|it| *it), "{variant}"),
            "no" => assert!(is_temporary.iter().all(|it| !it), "{variant}"),
            // Described in words: temporary in some cases only.
            _ => assert!(
                is_temporary.contains(&true) && is_temporary.contains(&false),
                "{variant}"
            ),
        }
    }
}

#[test]
fn debug_prints_the_message_of_every_error() {
    for error in all() {
        assert_eq!(format!("{error:?}"), error.to_string());
    }
    let error = Binding::from_json(serde_json::json!({ "x": 1, "y": 2 })).expect_err("two unknown fields");
    assert_eq!(error.to_string().lines().count(), 3);
    assert_eq!(format!("{error:?}"), error.to_string());
    let built = BuildError::Config(error);
    assert_eq!(format!("{built:?}"), built.to_string());
}
