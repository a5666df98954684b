//! Merging of bindings for a selector.

use super::{Folder, listed, problems, resolve, toml, try_resolve};
use crate::config::{Auth, AuthScheme, BackendName, ResolveError, Tls};
use crate::secret::KeySource;

fn env(name: &str) -> KeySource {
    KeySource::Env(name.into())
}

#[test]
fn layers_are_overlaid_from_defaults_to_environment_feature_tenant_and_route() {
    let tables = ["defaults", "environments.e", "features.f", "tenants.t"];
    let table = |table| format!("[{table}]\nsource = '{table}'\nmetadata = {{ last = '{table}', '{table}' = true }}\n");
    let mut text = tables.map(table).concat();
    text += "[[routes]]\nwhen = { environment = 'e', feature = 'f', tenant = 't' }\nmetadata = { last = 'route' }\napi_key = { env = 'K' }";
    let config = toml(&text).expect("valid");
    let all = resolve(&config, "environment:e,feature:f,tenant:t");
    assert_eq!(all.source.as_deref(), Some("tenants.t"));
    assert_eq!(all.metadata["last"], "route");
    assert!(
        tables.iter().all(|table| all.metadata[*table] == true),
        "{:?}",
        all.metadata
    );
    assert_eq!(
        try_resolve(&config, "environment:e,feature:f"),
        Err(ResolveError::NoKey)
    );
}

#[test]
fn the_key_is_the_last_one_set() {
    let config = toml(
        "[defaults]\napi_key = { env = 'D' }\n[environments.e]\napi_key = { env = 'E' }\n[features.f]\n[tenants.t]\napi_key = { env = 'T' }",
    )
    .expect("valid");
    for (selector, key) in [
        ("environment:e", "E"),
        ("feature:f", "D"),
        ("environment:e,feature:f", "E"),
        ("environment:e,feature:f,tenant:t", "T"),
    ] {
        assert_eq!(resolve(&config, selector).api_key, env(key), "{selector}");
    }
    let without = toml("[tenants.t]\n[tenants.other]\napi_key = { env = 'OTHER' }").expect("valid");
    assert_eq!(try_resolve(&without, "tenant:t"), Err(ResolveError::NoKey));
}

#[test]
fn routes_with_more_parts_overlay_those_with_fewer() {
    let route = |when: &str, source: &str| format!("[[routes]]\nwhen = {{ {when} }}\nsource = '{source}'\n");
    let config = toml(&format!(
        "[defaults]\napi_key = {{ env = 'K' }}\n[environments.e]\n[features.f]\n[tenants.t]\n{}{}{}{}",
        route("environment = 'e', feature = 'f', tenant = 't'", "three"),
        route("feature = 'f', tenant = 't'", "two"),
        route("tenant = 't'", "one"),
        route("environment = 'e', tenant = 't'", "also-two"),
    ))
    .expect("valid");
    for (selector, source) in [
        ("tenant:t", "one"),
        ("feature:f,tenant:t", "two"),
        ("environment:e,tenant:t", "also-two"),
        ("environment:e,feature:f,tenant:t", "three"),
    ] {
        assert_eq!(resolve(&config, selector).source.as_deref(), Some(source), "{selector}");
    }
    assert_eq!(
        resolve(&config, "environment:e,feature:f").source,
        None,
        "no route applies"
    );
}

#[test]
fn a_change_of_backend_discards_lower_key_endpoint_and_auth() {
    let config = toml(
        r#"
[defaults]
endpoint = "https://honeyhive.example"
auth = { header = "x-key", scheme = "raw" }
api_key = { env = "HONEYHIVE" }
headers = { "x-team" = "a" }
[tenants.same]
backend = "honeyhive"
[tenants.other]
backend = "langfuse"
[tenants.own]
backend = "langfuse"
api_key = { env = "LANGFUSE" }
"#,
    )
    .expect("valid");
    let same = resolve(&config, "tenant:same");
    assert_eq!(same.endpoint.expect("kept").to_string(), "https://honeyhive.example");
    let auth = Auth {
        header: "x-key".into(),
        scheme: AuthScheme::Raw,
    };
    assert_eq!((same.auth, same.api_key), (Some(auth), env("HONEYHIVE")));
    assert_eq!(
        try_resolve(&config, "tenant:other").expect_err("discarded").to_string(),
        "no api_key: [tenants.other] changes the backend, which discards the key set below it; set api_key there too"
    );
    let own = resolve(&config, "tenant:own");
    assert_eq!(
        (own.backend, own.endpoint, own.auth),
        (BackendName::Langfuse, None, None)
    );
    assert_eq!((own.api_key, own.headers.len()), (env("LANGFUSE"), 1));
}

#[test]
fn the_wildcard_applies_only_to_tenants_without_a_table() {
    let config = toml(
        "[tenants.'*']\napi_key = { file = '/keys/{tenant}' }\nsource = '{tenant}'\nmetadata = { who = '{tenant}', n = 1 }\n[tenants.acme]",
    )
    .expect("valid");
    let any = resolve(&config, "tenant:any-one");
    assert_eq!(any.api_key, KeySource::File("/keys/any-one".into()));
    assert_eq!(
        (any.source.as_deref(), &any.metadata["who"]),
        (Some("any-one"), &"any-one".into())
    );
    assert_eq!(try_resolve(&config, "tenant:acme"), Err(ResolveError::NoKey));
    assert!(
        problems("[environments.'*']\n[features.'*']").len() == 2,
        "only tenants have a wildcard"
    );
}

#[test]
fn wildcard_keys_reports_the_key_that_a_look_up_uses() {
    let config = toml("[defaults]\napi_key = { env = 'K' }\n[tenants.'*']\nbackend = 'honeyhive'").expect("valid");
    assert_eq!(config.wildcard_keys(), [("tenant:*".to_owned(), Ok(env("K")))]);
    assert_eq!(resolve(&config, "tenant:any-one").api_key, env("K"));
}

#[test]
fn a_route_alone_makes_a_name_known() {
    let config = toml("[[routes]]\nwhen = { tenant = 't', feature = 'f' }\napi_key = { env = 'K' }").expect("valid");
    assert_eq!(resolve(&config, "tenant:t,feature:f").api_key, env("K"));
    assert!(matches!(
        try_resolve(&config, "tenant:t"),
        Err(ResolveError::Unknown { .. })
    ));
}

#[test]
fn an_unknown_name_is_refused_with_similar_names() {
    let config =
        toml("[tenants.acme]\n[tenants.acme-eu]\n[tenants.globex]\n[tenants.acne]\n[tenants.acmee]").expect("valid");
    let error = try_resolve(&config, "tenant:acm").expect_err("unknown");
    assert_eq!(
        error.to_string(),
        "tenant \"acm\" is not configured; did you mean acme, acmee, acme-eu?"
    );
    let error = try_resolve(&config, "feature:acme").expect_err("unknown");
    assert_eq!(error.to_string(), "feature \"acme\" is not configured");
}

#[test]
fn a_placeholder_for_a_missing_part_is_an_error() {
    let config = toml("[tenants.t]\napi_key = { file = '/{environment}/t' }\n[environments.e]").expect("valid");
    let error = try_resolve(&config, "tenant:t").expect_err("no environment");
    assert!(
        error.to_string().ends_with("the selector has no environment"),
        "{error}"
    );
    let both = resolve(&config, "environment:e,tenant:t");
    assert_eq!(both.api_key, KeySource::File("/e/t".into()));
}

#[test]
fn ambiguous_placeholders_are_refused() {
    for refused in [
        "{ env = '{tenant}_{feature}' }",
        "{ env = '{tenant}{feature}' }",
        "{ env = 'A_{tenant}_FOR_{feature}' }",
        "{ file = '/keys/{tenant}-{feature}' }",
        "{ file = '/keys/{feature}.x.{tenant}' }",
        "{ credential = '{environment}_{tenant}' }",
        "{ exec = ['pass', '{tenant}-{feature}'] }",
        "{ provider = 'p', name = '{tenant}{feature}' }",
    ] {
        let shown = problems(&format!("[defaults]\napi_key = {refused}"));
        assert!(
            shown.len() == 1 && shown[0].contains("could produce the same text"),
            "{refused}: {shown:?}"
        );
    }
    for allowed in [
        "{ env = '{tenant}_x_{feature}' }",
        "{ file = '/keys/{tenant}/{feature}' }",
        "{ file = '/keys/{tenant}/{tenant}-key' }",
        "{ exec = ['pass', '{tenant}', '{feature}'] }",
        "{ provider = 'p', name = '{tenant}/{feature}' }",
    ] {
        assert!(toml(&format!("[defaults]\napi_key = {allowed}")).is_ok(), "{allowed}");
    }
}

#[test]
fn a_name_never_selects_the_program() {
    let shown = problems("[tenants.'*']\napi_key = { exec = ['{tenant}', 'x'] }");
    assert!(shown[0].contains("must not contain a placeholder"), "{shown:?}");
}

#[test]
fn certificates_are_merged_and_cert_and_key_are_replaced_together() {
    let folder = Folder::new(&[(
        "default.toml",
        "[defaults]\napi_key = { env = 'K' }\ntls = { ca = 'ca.pem', cert = '/c/{tenant}.pem', key = '/c/{tenant}.key' }\n\
         [tenants.same]\n[tenants.own.tls]\ncert = 'own.pem'\nkey = 'own.key'\n\
         [tenants.other]\nbackend = 'otlp'\nendpoint = 'https://other.example'\napi_key = { env = 'K' }",
    )]);
    let config = folder.load(&[]).expect("valid");
    let in_folder = |name: &str| Some(folder.path(name));
    let same = resolve(&config, "tenant:same").tls;
    assert_eq!(same.ca, in_folder("ca.pem"));
    assert_eq!(same.cert, Some("/c/same.pem".into()));
    let own = resolve(&config, "tenant:own").tls;
    assert_eq!(
        (own.ca, own.cert, own.key),
        (in_folder("ca.pem"), in_folder("own.pem"), in_folder("own.key"))
    );
    assert_eq!(
        resolve(&config, "tenant:other").tls,
        Tls::default(),
        "discarded by the change of backend"
    );
    assert_eq!(
        problems("[defaults.tls]\ncert = 'c.pem'\nca = ''\n[tenants.'*'.tls]\nkey = '{tenant}{feature}'"),
        [
            "defaults.tls.ca: expected the path of a PEM file",
            "defaults.tls.key: missing; cert and key must be set together",
            "tenants.\"*\".tls.cert: missing; cert and key must be set together",
            "tenants.\"*\".tls.key: different names could produce the same text; put `/` between {tenant} and {feature}",
        ]
    );
}

#[test]
fn a_proxy_is_replaced_as_a_whole_and_may_come_from_a_variable() {
    let text = "[defaults]\napi_key = { env = 'K' }\nproxy = { url = 'http://proxy:3128/', credentials = { file = '/c/{tenant}' } }\n\
                [tenants.same]\n[tenants.own]\nproxy = { url = 'http://OWN' }\napi_key = { env = 'K' }\n\
                [tenants.variable]\nproxy = { env = 'HTTPS_PROXY' }\napi_key = { env = 'K' }\n\
                [tenants.unset]\nproxy = { env = 'UNSET' }\napi_key = { env = 'K' }";
    let folder = Folder::new(&[("default.toml", text)]);
    let variables = [
        ("HTTPS_PROXY", "http://from.variable:8080"),
        ("HTTP_PROXY", "http://no:1"),
    ];
    let config = folder.load(&variables).expect("valid");
    let proxy = |tenant: &str| {
        let proxy = resolve(&config, &format!("tenant:{tenant}")).proxy?;
        Some((
            proxy.url.to_string(),
            proxy.credentials.map(|source| source.to_string()),
        ))
    };
    let of = |url: &str, credentials: Option<&str>| Some((url.to_owned(), credentials.map(str::to_owned)));
    assert_eq!(proxy("same"), of("http://proxy:3128", Some("file /c/same")));
    assert_eq!(proxy("own"), of("http://own", None));
    assert_eq!(proxy("variable"), of("http://from.variable:8080", None));
    assert_eq!(proxy("unset"), None);
    let error = folder
        .load(&[("HTTPS_PROXY", "http://user:hh_canary@proxy:3128")])
        .expect_err("a password");
    assert_eq!(
        listed(&error),
        [
            "tenants.variable.proxy.env: the value of HTTPS_PROXY: the URL contains a user or password; set them with credentials"
        ]
    );
}

#[test]
fn an_unusable_proxy_is_a_problem() {
    for (proxy, problem) in [
        (
            "{}",
            ": expected { url = \"http://proxy.example:3128\" } or { env = \"HTTPS_PROXY\" }",
        ),
        (
            "{ url = 'https://proxy:3128' }",
            ".url: the URL of a proxy must start with http://; requests to https endpoints stay encrypted through it",
        ),
        (
            "{ url = 'http://proxy:3128/path' }",
            ".url: the URL of a proxy must not have a path",
        ),
        (
            "{ url = 'socks5://proxy:3128' }",
            ".url: invalid proxy URL; expected one such as \"http://proxy.example:3128\"",
        ),
        (
            "{ url = 'http://u:p@proxy:3128' }",
            ".url: the URL contains a user or password; set them with credentials",
        ),
        ("{ env = '' }", ".env: env must be the name of a variable"),
    ] {
        assert_eq!(
            problems(&format!("[defaults]\nproxy = {proxy}")),
            [format!("defaults.proxy{problem}")],
            "{proxy}"
        );
    }
}
