//! A key is used only with the backend, endpoint, proxy and certificate authority that it was
//! written with.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Folder, of_json, resolve, toml, try_resolve};
use crate::config::{Change, ResolveError};
use crate::secret::KeySource;

fn env(name: &str) -> KeySource {
    KeySource::Env(name.into())
}

const DEFAULTS: &str = "[defaults]\nbackend = 'otlp'\nendpoint = 'https://a.example/x'\napi_key = { env = 'K' }\n\
                        auth = { header = 'x-key', scheme = 'raw' }\nproxy = { url = 'http://proxy:1' }\ntls = { ca = '/ca.pem' }\n";

#[test]
fn a_change_of_endpoint_proxy_or_authority_discards_lower_key_and_auth() {
    for (changed, change) in [
        ("endpoint = 'https://attacker.example'", Change::Endpoint),
        ("endpoint = 'http://a.example'", Change::Endpoint),
        ("endpoint = 'https://a.example:8443'", Change::Endpoint),
        ("proxy = { url = 'http://other:1' }", Change::Proxy),
        ("proxy = { env = 'UNSET' }", Change::Proxy),
        ("tls = { ca = '/other.pem' }", Change::Authority),
        ("backend = 'honeyhive'", Change::Backend),
    ] {
        let with_key =
            format!("{DEFAULTS}[tenants.t]\n{changed}\n[tenants.own]\n{changed}\napi_key = {{ env = 'OWN' }}");
        let config = toml(&with_key).expect("valid");
        let at = "[tenants.t]".to_owned();
        assert_eq!(
            try_resolve(&config, "tenant:t"),
            Err(ResolveError::KeyDiscarded { change, at }),
            "{changed}"
        );
        let own = resolve(&config, "tenant:own");
        assert_eq!((own.api_key, own.auth), (env("OWN"), None), "{changed}");
    }
    for same in [
        "endpoint = 'https://A.example:443/other/path'",
        "proxy = { url = 'http://proxy:1', credentials = { env = 'C' } }",
        "tls = { cert = '/c.pem', key = '/k.pem' }",
        "backend = 'otlp'",
        "headers = { x-team = 'a' }",
    ] {
        let config = toml(&format!("{DEFAULTS}[tenants.t]\n{same}")).expect("valid");
        let kept = resolve(&config, "tenant:t");
        assert!(kept.api_key == env("K") && kept.auth.is_some(), "{same}");
    }
}

#[test]
fn a_change_from_a_default_endpoint_proxy_or_authority_discards_the_key() {
    for changed in [
        "endpoint = 'http://127.0.0.1:4318'",
        "proxy = { url = 'http://proxy:1' }",
        "tls = { ca = '/ca.pem' }",
    ] {
        let config = toml(&format!(
            "[defaults]\napi_key = {{ env = 'K' }}\n[tenants.t]\n{changed}"
        ))
        .expect("valid");
        let error = try_resolve(&config, "tenant:t").expect_err("discarded");
        assert!(matches!(error, ResolveError::KeyDiscarded { .. }), "{changed}: {error}");
        assert!(error.to_string().ends_with("set api_key there too"), "{error}");
    }
}

#[test]
fn a_key_discarded_by_another_file_is_not_replaced_by_the_default_key() {
    let default = "[defaults]\nendpoint = 'https://a.example'\napi_key = { env = 'D' }\n\
                   [tenants.t]\napi_key = { env = 'T' }\n[tenants.u]\nsource = 'u'";
    let local = "[tenants.t]\nendpoint = 'https://a.example'\n[tenants.u]\nendpoint = 'https://a.example'";
    let folder = Folder::new(&[("default.toml", default), ("local.toml", local)]);
    let config = folder.load(&[]).expect("valid");
    let error = try_resolve(&config, "tenant:t").expect_err("its key is discarded");
    assert!(matches!(error, ResolveError::KeyDiscarded { .. }), "{error}");
    let without = Folder::new(&[
        ("default.toml", "[tenants.t]\napi_key = { env = 'T' }"),
        ("local.toml", local),
    ]);
    let error = try_resolve(&without.load(&[]).expect("valid"), "tenant:t").expect_err("its key is discarded");
    assert!(matches!(error, ResolveError::KeyDiscarded { .. }), "{error}");
    assert_eq!(
        resolve(&config, "tenant:u").api_key,
        env("D"),
        "it had no key, so none is discarded"
    );
}

#[test]
fn the_error_of_a_discarded_key_names_the_layer_with_the_change() {
    let key = "[defaults]\nendpoint = 'https://a.example'\napi_key = { env = 'K' }\n[tenants.t]\n";
    let change = "[defaults]\nendpoint = 'https://b.example'";
    let endpoint = ("TRACER_REGISTRY__DEFAULTS__ENDPOINT", "https://b.example");
    let active = "active_environment = 'eu'\n";
    for (files, variables, at) in [
        (
            vec![("default.toml", key.to_owned())],
            vec![endpoint],
            "[defaults] in the variables TRACER_REGISTRY__*",
        ),
        (
            vec![("default.toml", key.to_owned()), ("local.toml", change.to_owned())],
            vec![],
            "[defaults] in the local file",
        ),
        (
            vec![
                ("default.toml", format!("{active}{key}[environments.eu]")),
                ("eu.toml", change.to_owned()),
            ],
            vec![],
            "[defaults] in the file of the active environment",
        ),
        (
            vec![(
                "default.toml",
                format!("{key}api_key = {{ env = 'T' }}\nendpoint = 'https://a.example'"),
            )],
            vec![("TRACER_REGISTRY__TENANTS__T__ENDPOINT", "https://b.example")],
            "[tenants.t] in the variables TRACER_REGISTRY__*",
        ),
    ] {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let config = Folder::new(&files).load(&variables).expect("valid");
        assert_eq!(
            try_resolve(&config, "tenant:t").expect_err("discarded").to_string(),
            format!(
                "no api_key: {at} changes the endpoint, which discards the key set below it; set api_key there too"
            )
        );
    }
}

#[test]
fn wildcard_keys_reports_a_discarded_key_like_a_look_up() {
    let config = toml(&format!("{DEFAULTS}[tenants.'*']\nendpoint = 'https://b.example'")).expect("valid");
    assert_eq!(
        config.wildcard_keys().into_iter().next().map(|(_, key)| key.map(drop)),
        Some(try_resolve(&config, "tenant:any").map(drop))
    );
}

/// Generates settings of a layer that affect where its key may be sent.
fn layer() -> impl Strategy<Value = Value> {
    let one_of = |values: &'static [&'static str]| proptest::option::of(proptest::sample::select(values));
    (
        one_of(&["https://a.example", "https://b.example"]),
        one_of(&["http://p:1", "http://q:1"]),
        one_of(&["/a", "/b"]),
    )
        .prop_map(|(endpoint, proxy, ca)| {
            let mut layer = json!({});
            if let Some(endpoint) = endpoint {
                layer["endpoint"] = endpoint.into();
            }
            if let Some(proxy) = proxy {
                layer["proxy"] = json!({ "url": proxy });
            }
            if let Some(ca) = ca {
                layer["tls"] = json!({ "ca": ca });
            }
            layer
        })
}

proptest! {
    #[test]
    fn no_layer_above_the_key_changes_its_destination(
        layers in proptest::collection::vec((layer(), any::<bool>()), 4)
    ) {
        let layers: Vec<Value> = layers.into_iter().enumerate().map(|(index, (mut layer, has_key))| {
            if has_key {
                layer["api_key"] = json!({ "env": format!("K{index}") });
            }
            layer
        }).collect();
        let [defaults, environment, tenant, mut route]: [Value; 4] = layers.clone().try_into().expect("four");
        route["when"] = json!({ "environment": "e", "tenant": "t" });
        let document = json!({ "defaults": defaults, "environments": { "e": environment }, "tenants": { "t": tenant }, "routes": [route] });
        let config = of_json(document);
        let resolved = try_resolve(&config, "environment:e,tenant:t");
        let keys = layers.iter().rposition(|layer| layer.get("api_key").is_some());
        // Effective settings at a layer.
        let effective = |at: usize| ["endpoint", "proxy", "tls"].map(|setting| {
            layers[..=at].iter().rev().find_map(|layer| layer.get(setting)).cloned()
        });
        let is_unchanged = |key: usize| (key..layers.len()).all(|above| effective(above) == effective(key));
        match keys {
            None => prop_assert_eq!(resolved.map(drop), Err(ResolveError::NoKey)),
            Some(key) if is_unchanged(key) => prop_assert_eq!(resolved.map(|binding| binding.api_key), Ok(env(&format!("K{key}")))),
            Some(_) => {
                let is_discarded = matches!(resolved, Err(ResolveError::KeyDiscarded { .. }));
                prop_assert!(is_discarded, "{resolved:?}");
            }
        }
    }
}
