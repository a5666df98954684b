//! Changes of `[untrusted]` while tracers exist.

use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tracer_registry::config::Binding;
use tracer_registry::selector::Slug;
use tracer_registry::source::SourceError;

use super::{FOLDER, WILDCARD, refused};
use crate::dynamic_tenants::HOUR;
use crate::reload::Files;

const ALLOWED: &str = "[untrusted]\nkeys = [\"provider:test/{tenant}\"]\n";

#[test]
fn a_binding_that_is_no_longer_allowed_is_not_used_and_no_other_key_replaces_it() {
    static SOURCE_CALLS: AtomicUsize = AtomicUsize::new(0);
    let row = |tenant: &Slug| -> Result<Option<Binding>, SourceError> {
        SOURCE_CALLS.fetch_add(1, Ordering::SeqCst);
        let row = json!({ "api_key": { "provider": "test", "name": tenant.as_str() } });
        let binding = Binding::from_json(row).map_err(|error| SourceError::new(error.to_string()))?;
        Ok((tenant.as_str() == "globex").then_some(binding))
    };
    let cache_options = tracer_registry::source::BindingCacheOptions {
        ttl: HOUR,
        ..tracer_registry::source::BindingCacheOptions::default()
    };
    let text = format!("{FOLDER}{WILDCARD}{ALLOWED}");
    let files = Files::with(&["acme", "globex", "any"], &text, |builder| {
        builder.binding_source(row).binding_cache(cache_options)
    });
    files.write(
        "tenants.d/acme.toml",
        "api_key = { provider = \"test\", name = \"acme\" }\n",
    );
    let before = ["acme", "globex"].map(|tenant| files.tenant(tenant));
    let other = files.tenant("initech");

    files.rewrite(&format!("{FOLDER}{WILDCARD}"));
    let report = files.world.registry.reload().expect("without a fault");
    let changed: Vec<String> = report.changed.iter().map(ToString::to_string).collect();
    assert_eq!(
        (changed, report.kept.len()),
        (vec!["tenant:acme".to_owned(), "tenant:globex".to_owned()], 0)
    );
    for tenant in ["acme", "globex"] {
        let error = files.world.registry.tenant(tenant).expect_err("not allowed");
        assert!(refused(&error)[0].contains("untrusted.keys"), "{error}");
    }
    assert!(
        files.tenant("initech").same_tracer(&other),
        "the wildcard table is unchanged"
    );

    files.rewrite(&text);
    files.world.registry.reload().expect("without a fault");
    for (tenant, before) in ["acme", "globex"].iter().zip(&before) {
        let again = files.tenant(tenant);
        assert!(!again.same_tracer(before) && again.fingerprint() == before.fingerprint());
    }
    assert_eq!(
        SOURCE_CALLS.load(Ordering::SeqCst),
        2,
        "cached bindings are checked again without a call of the source"
    );
}

#[test]
fn a_file_that_becomes_hostile_removes_only_its_tracer() {
    let files = Files::new(&["acme", "globex", "any"], &format!("{FOLDER}{WILDCARD}{ALLOWED}"));
    for tenant in ["acme", "globex"] {
        let key = format!("api_key = {{ provider = \"test\", name = \"{tenant}\" }}\n");
        files.write(&format!("tenants.d/{tenant}.toml"), &key);
    }
    let before = ["acme", "globex"].map(|tenant| files.tenant(tenant));
    files.write(
        "tenants.d/acme.toml",
        "api_key = { provider = \"test\", name = \"globex\" }\n",
    );
    let report = files.world.registry.reload().expect("without a fault");
    assert_eq!(report.changed, [before[0].selector().clone()]);
    let error = files
        .world
        .registry
        .tenant("acme")
        .expect_err("the key of another tenant");
    assert!(refused(&error)[0].contains("tenants.acme.api_key"), "{error}");
    assert!(files.tenant("globex").same_tracer(&before[1]));
    fs::remove_file(files.path("tenants.d/acme.toml")).expect("removed");
    files.world.registry.reload().expect("without a fault");
    files.tenant("acme").in_span("with the wildcard table", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("any"), ["with the wildcard table"]);
}
