//! What a tenant's file may set, and what it never receives.

use std::fs;

use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Value, json};

use super::{Folder, of_json, problems, toml};
use crate::config::{Binding, Config, ResolveError, ResolvedBinding};
use crate::secret::KeySource;
use crate::selector::{Selector, Slug};

const OPERATORS: &str = "https://operators.example";

/// Loads the operator's configuration: `[defaults]`, a key template for every tenant, and more
/// text.
fn config(more: &str) -> (Folder, Config) {
    let text = format!(
        "tenants_dir = 'tenants.d'\n[defaults]\nbackend = 'otlp'\nendpoint = '{OPERATORS}'\nheaders = {{ x-team = 'a' }}\n\
         resource = {{ site = 'eu' }}\nlimits = {{ events = 10, span_bytes = '1MB' }}\nsampling = {{ ratio = 0.5 }}\n\
         tls = {{ ca = '/ca.pem', cert = '/c.pem', key = '/k.pem' }}\n\
         [tenants.'*']\napi_key = {{ file = '/run/secrets/{{tenant}}' }}\nmetadata = {{ plan = 'standard' }}\n{more}"
    );
    let folder = Folder::new(&[]);
    fs::create_dir(folder.path("tenants.d")).expect("made");
    fs::write(folder.path("default.toml"), text).expect("written");
    let config = folder.load(&[]).expect("valid");
    (folder, config)
}

fn resolve_file(folder: &Folder, config: &Config, tenant: &str, text: &str) -> Result<ResolvedBinding, ResolveError> {
    fs::write(folder.path(&format!("tenants.d/{tenant}.toml")), text).expect("written");
    let name = Slug::new(tenant).expect("a name");
    let file = config.tenant_file(&name).expect("valid").expect("a file");
    config.resolve_with(
        &format!("tenant:{tenant}").parse::<Selector>().expect("a selector"),
        Some(&file),
    )
}

/// Returns the problems of acme's file as `key: message`.
fn refused(more: &str, text: &str) -> Vec<String> {
    let (folder, config) = config(more);
    let error = resolve_file(&folder, &config, "acme", text).expect_err(text);
    let ResolveError::Refused(refused) = error else {
        panic!("{text}: {error}")
    };
    for problem in refused.problems() {
        assert!(problem.file().ends_with("tenants.d/acme.toml"), "{problem}");
    }
    super::listed(&refused)
}

fn allowed(more: &str, text: &str) -> ResolvedBinding {
    let (folder, config) = config(more);
    resolve_file(&folder, &config, "acme", text).expect(text)
}

#[test]
fn a_file_without_key_and_endpoint_uses_the_operators() {
    let acme = allowed(
        "",
        "source = 'eu'\nmetadata = { plan = 'team' }\nsessions = 'per_trace'",
    );
    assert_eq!(acme.api_key, KeySource::file("/run/secrets/acme"));
    assert_eq!(acme.endpoint.expect("the operator's").to_string(), OPERATORS);
    assert_eq!((acme.untrusted, acme.source.as_deref()), (None, Some("eu")));
    assert_eq!(acme.metadata["plan"], "team");
    let same = allowed("", &format!("backend = 'otlp'\nendpoint = '{OPERATORS}/'"));
    assert_eq!(
        (same.api_key, same.untrusted),
        (KeySource::file("/run/secrets/acme"), None)
    );
}

#[test]
fn each_key_and_endpoint_is_refused_with_the_setting_that_would_allow_it() {
    let refusal = |key: &str, rest: &str| vec![format!("tenants.acme.{key}: an untrusted layer may not {rest}")];
    let key = |line: &str| {
        refusal(
            "api_key",
            &format!(
                "use this key source (a pattern without {{tenant}} applies to every tenant); \
                 to allow it: untrusted.keys = [{line}]"
            ),
        )
    };
    for (text, expected) in [
        ("api_key = { env = 'GLOBEX' }", key("\"env:GLOBEX\"")),
        ("api_key = { file = '/run/secrets/globex' }", key("\"file:/run/secrets/globex\"")),
        ("api_key = { file = '/run/secrets/acme' }", key("\"file:/run/secrets/{tenant}\"")),
        ("api_key = { credential = 'globex' }", key("\"credential:globex\"")),
        ("api_key = { provider = 'vault', name = 'globex' }", key("\"provider:vault/globex\"")),
        (
            "api_key = { exec = ['sh', '-c', 'id'] }",
            vec!["tenants.acme.api_key: an untrusted layer must not run a command; only the operator's configuration may".to_owned()],
        ),
        (
            "endpoint = 'https://attacker.example/path'",
            refusal("endpoint", "send to this endpoint; to allow it: untrusted.endpoints = [\"https://attacker.example\"]"),
        ),
        (
            "endpoint = 'https://operators.example/other'",
            refusal("endpoint", "send to this endpoint; to allow it: untrusted.endpoints = [\"https://operators.example\"]"),
        ),
        (
            "backend = 'honeycomb'",
            vec![
                "tenants.acme.backend: an untrusted layer that changes the backend must also set an endpoint that \
                 untrusted.endpoints allows"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(refused("", text), expected, "{text}");
    }
    let more = "[untrusted]\nkeys = ['env:ACME']\nendpoints = ['https://*']";
    assert_eq!(
        refused(
            more,
            "api_key = { env = 'OTHER' }\nendpoint = 'https://169.254.169.254'"
        ),
        [
            "tenants.acme.api_key: an untrusted layer may not use this key source (a pattern without {tenant} applies to every tenant); to allow it: untrusted.keys = [\"env:ACME\", \"env:OTHER\"]",
            "tenants.acme.endpoint: an untrusted layer may not send to 169.254.169.254, which is link-local; \
             to allow it: untrusted.addresses = [\"169.254.169.254\"]",
        ]
    );
}

#[test]
fn the_suggested_setting_allows_it() {
    let text = "endpoint = 'https://10.0.0.1'\napi_key = { file = '/keys/acme/key' }";
    let mut more = "[untrusted]\nendpoints = ['https://*']\naddresses = ['10.1.0.0/16']\n".to_owned();
    let lines: Vec<String> = refused(&more, text)
        .iter()
        .map(|problem| {
            problem
                .split("to allow it: untrusted.")
                .nth(1)
                .expect("a line")
                .to_owned()
        })
        .collect();
    more = more.replace("addresses = ['10.1.0.0/16']\n", "");
    for line in lines {
        more.push_str(&line);
        more.push('\n');
    }
    let acme = allowed(&more, text);
    assert_eq!(acme.api_key.to_string(), "file /keys/acme/key");
    assert_eq!(
        acme.untrusted.expect("an untrusted endpoint").texts(),
        ["10.1.0.0/16", "10.0.0.1"]
    );
}

#[test]
fn operator_only_settings_are_refused() {
    let operator_only = |setting: &str| {
        vec![format!(
            "tenants.acme.{setting}: an untrusted layer must not set this; only the operator's configuration may"
        )]
    };
    let raised = |setting: &str, max: &str| {
        vec![format!(
            "tenants.acme.{setting}: an untrusted layer may only lower this; the lower tables set {max}"
        )]
    };
    for (text, expected) in [
        ("auth = { header = 'x-key' }", operator_only("auth")),
        ("headers = { x-scope-orgid = 'globex' }", operator_only("headers")),
        ("proxy = { url = 'http://attacker.example:1' }", operator_only("proxy")),
        ("proxy = { env = 'PATH' }", operator_only("proxy")),
        ("tls = { ca = '/attacker.pem' }", operator_only("tls")),
        ("tls = { cert = '/c.pem', key = '/run/secrets/globex' }", operator_only("tls")),
        ("weight = 10000", operator_only("weight")),
        ("also = ['tenant:globex']", operator_only("also")),
        ("also = []", operator_only("also")),
        ("sampling = { ratio = 1.0 }", raised("sampling.ratio", "0.5")),
        ("limits = { events = 11 }", raised("limits.events", "10")),
        ("limits = { attributes = 129 }", raised("limits.attributes", "128")),
        ("limits = { span_bytes = '2MB' }", raised("limits.span_bytes", "1000000")),
        ("propagation = { trust_remote_parent = true }", raised("propagation.trust_remote_parent", "false")),
        ("propagation = { session_id = true }", raised("propagation.session_id", "false")),
        (
            "resource = { site = 'us' }",
            vec!["tenants.acme.resource.site: an untrusted layer must not replace an attribute of the lower tables".to_owned()],
        ),
        (
            "resource = { 'openinference.project.name' = 'globex' }",
            vec![
                "tenants.acme.resource.\"openinference.project.name\": an untrusted layer must not set an attribute that may \
                 select a project"
                    .to_owned(),
            ],
        ),
    ] {
        assert_eq!(refused("", text), expected, "{text}");
    }
    let less = allowed(
        "",
        "sampling = { ratio = 0.1 }\nlimits = { events = 5, links = 128, span_bytes = '1kB', request_bytes = '1GB' }\npropagation = { session_id = false }\n\
         resource = { site = 'eu', 'service.version' = '1' }",
    );
    assert_eq!(
        (less.sampling.ratio.to_string().as_str(), less.limits.events),
        ("0.1", Some(5))
    );
    assert_eq!(
        (less.limits.span_bytes, less.limits.request_bytes),
        (Some(1_000), Some(1_000_000_000))
    );
}

#[test]
fn an_endpoint_of_a_tenants_file_receives_nothing_of_the_operators() {
    let more = "[untrusted]\nkeys = ['env:OF_{tenant}']\nendpoints = ['https://*.vendor.example']";
    let (folder, config) = config(more);
    let alone = resolve_file(&folder, &config, "acme", "endpoint = 'https://a.vendor.example'");
    let error = alone.expect_err("the operator's key is discarded").to_string();
    assert!(
        error.contains("tenants.d/acme.toml changes the endpoint, which discards the key")
            && error.contains("set api_key there too"),
        "{error}"
    );
    let own = "endpoint = 'https://a.vendor.example'\napi_key = { env = 'OF_ACME' }";
    let own = resolve_file(&folder, &config, "acme", own).expect("allowed");
    assert_eq!(own.api_key, KeySource::env("OF_ACME"));
    assert!(
        own.untrusted.is_some() && own.headers.is_empty() && own.auth.is_none(),
        "{own:?}"
    );
    assert_eq!(
        (own.tls.ca, own.tls.cert, own.tls.key),
        (Some("/ca.pem".into()), None, None)
    );
}

#[test]
fn the_key_of_an_operators_route_is_not_sent_to_a_tenants_endpoint() {
    let route = |more: &str| {
        let more = format!(
            "[features.f]\n[[routes]]\nwhen = {{ tenant = 'acme', feature = 'f' }}\napi_key = {{ env = 'ROUTE' }}\n{more}\n\
             [untrusted]\nkeys = ['env:ACME']\nendpoints = ['https://*.vendor.example']"
        );
        let (folder, config) = config(&more);
        fs::write(
            folder.path("tenants.d/acme.toml"),
            "endpoint = 'https://a.vendor.example'\napi_key = { env = 'ACME' }",
        )
        .expect("written");
        let file = config
            .tenant_file(&Slug::new("acme").expect("a name"))
            .expect("valid")
            .expect("a file");
        config.resolve_with(
            &"feature:f,tenant:acme".parse::<Selector>().expect("a selector"),
            Some(&file),
        )
    };
    let error = route("").expect_err("an endpoint of the tenant").to_string();
    assert!(
        error.contains("tenants.acme.endpoint: the key belongs to an operator's table above this layer"),
        "{error}"
    );
    let with_endpoint = route("endpoint = 'https://operators.example'").expect("both are the operator's");
    assert_eq!(
        (with_endpoint.api_key, with_endpoint.untrusted),
        (KeySource::env("ROUTE"), None)
    );
}

#[test]
fn with_a_proxy_only_hosts_without_a_wildcard_are_allowed() {
    let text = "endpoint = 'https://a.vendor.example'\napi_key = { env = 'ACME' }";
    let more = |endpoint: &str| {
        format!(
            "[untrusted]\nkeys = ['env:ACME']\nendpoints = ['{endpoint}']\n[defaults.proxy]\nurl = 'http://proxy:1'"
        )
    };
    let shown = refused(&more("https://*.vendor.example"), text);
    assert_eq!(
        shown,
        [
            "tenants.acme.endpoint: with a proxy, an untrusted layer may send only to hosts that are allowed without a wildcard; \
             to allow it: untrusted.endpoints = [\"https://*.vendor.example\", \"https://a.vendor.example\"]"
        ]
    );
    assert!(allowed(&more("https://a.vendor.example"), text).proxy.is_some());
}

#[test]
fn a_binding_from_json_stays_untrusted_and_one_from_code_is_trusted() {
    let (_folder, config) = config("");
    let acme = Slug::new("acme").expect("a name");
    let resolve = |binding: Binding| {
        let given = config.tenant_from_program(&acme, binding).expect("valid");
        config.resolve_with(&"tenant:acme".parse::<Selector>().expect("a selector"), Some(&given))
    };
    let json = || Binding::from_json(json!({ "api_key": { "env": "GLOBEX" } })).expect("valid");
    for binding in [
        json(),
        json().source("eu"),
        json().api_key(KeySource::env("GLOBEX")),
        json().endpoint(OPERATORS),
    ] {
        let error = resolve(binding).expect_err("not allowed").to_string();
        assert!(
            error.starts_with("not allowed by [untrusted]: the source of bindings: tenants.acme.api_key: "),
            "{error}"
        );
    }
    let code = Binding::new()
        .api_key(KeySource::env("GLOBEX"))
        .endpoint("https://elsewhere.example");
    for binding in [json().trusted(), code] {
        assert_eq!(resolve(binding).expect("trusted").api_key, KeySource::env("GLOBEX"));
    }
}

#[test]
fn invalid_patterns_are_problems_and_relative_files_start_at_the_folder() {
    assert_eq!(
        problems(
            "[untrusted]\nkeys = ['exec:x', 'file:/a/{tenant}-*']\nendpoints = ['https://a.*']\naddresses = ['10.0.0.0/40']"
        ),
        [
            "untrusted.addresses[0]: expected a network such as \"10.1.0.0/16\", or an address",
            "untrusted.endpoints[0]: a pattern is a scheme, a host and optionally a port, as in \"https://*.example.com\"",
            "untrusted.keys[0]: untrusted layers must not run commands",
            "untrusted.keys[1]: a tenant could match another tenant's key; put / between {tenant} and *",
        ]
    );
    let (folder, config) = config("[untrusted]\nkeys = ['file:keys/{tenant}']");
    let acme = resolve_file(&folder, &config, "acme", "api_key = { file = '../keys/acme' }");
    assert!(acme.is_err(), "leaves the folder");
    let text = format!("api_key = {{ file = '{}' }}", folder.path("keys/acme").display());
    assert!(resolve_file(&folder, &config, "acme", &text).is_ok());
    assert!(toml("[untrusted]\nkeys = []\nendpoints = []\naddresses = []").is_ok());
}

/// Generates endpoints and keys of an operator's layer.
fn operators_layer(index: usize) -> impl Strategy<Value = Value> {
    let endpoint = proptest::option::of(select(vec![
        "https://a.example",
        "https://b.example",
        "https://x.allowed.example",
    ]));
    let backend = proptest::option::of(select(vec!["otlp", "langfuse"]));
    (endpoint, backend, any::<bool>()).prop_map(move |(endpoint, backend, has_key)| {
        let key = has_key.then(|| json!({ "env": format!("OPERATOR_{index}") }));
        without_null(json!({ "endpoint": endpoint, "backend": backend, "api_key": key }))
    })
}

fn untrusted_layer() -> impl Strategy<Value = Value> {
    let endpoint = proptest::option::of(select(vec![
        "https://a.example",
        "https://a.example/path",
        "https://b.example",
        "https://x.allowed.example",
        "https://y.allowed.example",
        "https://attacker.example",
        "http://127.0.0.1:1",
    ]));
    let key = proptest::option::of(select(vec![
        json!({ "env": "OF_ACME" }),
        json!({ "env": "OF_GLOBEX" }),
        json!({ "env": "OPERATOR_0" }),
        json!({ "file": "/keys/acme/key" }),
        json!({ "file": "/keys/globex/key" }),
        json!({ "file": "/keys/acme/../globex/key" }),
        json!({ "exec": ["id"] }),
    ]));
    let backend = proptest::option::of(select(vec!["otlp", "langfuse", "honeycomb"]));
    (endpoint, key, backend, any::<bool>()).prop_map(|(endpoint, key, backend, has_source)| {
        let source = has_source.then_some("eu");
        without_null(json!({ "endpoint": endpoint, "api_key": key, "backend": backend, "source": source }))
    })
}

fn without_null(mut value: Value) -> Value {
    value
        .as_object_mut()
        .expect("a table")
        .retain(|_, value| !value.is_null());
    value
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_key_and_its_endpoint_are_both_the_operators_or_both_allowed(
        defaults in operators_layer(0),
        environment in operators_layer(1),
        wildcard in operators_layer(2),
        route in operators_layer(3),
        layer in untrusted_layer(),
    ) {
        let mut route = route;
        route["when"] = json!({ "environment": "e", "tenant": "acme" });
        let document = json!({
            "defaults": defaults,
            "environments": { "e": environment },
            "tenants": { "*": wildcard },
            "routes": [route],
            "untrusted": { "keys": ["env:OF_{tenant}", "file:/keys/{tenant}/*"], "endpoints": ["https://*.allowed.example"] },
        });
        let config = of_json(document);
        let acme = Slug::new("acme").expect("a name");
        let selector = "environment:e,tenant:acme".parse::<Selector>().expect("a selector");
        let resolve = |layer: Value| {
            let given = Binding::from_json(layer).expect("valid");
            let given = config.tenant_from_program(&acme, given).expect("valid");
            config.resolve_with(&selector, Some(&given))
        };
        let pair = |binding: &ResolvedBinding| (binding.api_key.clone(), binding.endpoint.as_ref().map(ToString::to_string), binding.backend);
        let Ok(with) = resolve(layer) else { return Ok(()) };
        let operators = resolve(json!({})).map(|binding| pair(&binding));
        if operators == Ok(pair(&with)) {
            prop_assert!(with.untrusted.is_none() || with.endpoint.as_ref().is_some_and(|endpoint| endpoint.to_string().contains("allowed")));
            return Ok(());
        }
        let key = with.api_key.to_string();
        let key_is_allowed = ["environment variable OF_ACME", "file /keys/acme/key"].contains(&key.as_str());
        let operators_key = key.contains("OPERATOR_");
        let endpoint = with.endpoint.as_ref().map(ToString::to_string).unwrap_or_default();
        if with.untrusted.is_some() {
            prop_assert!(key_is_allowed && endpoint.ends_with(".allowed.example"), "{key} to {endpoint}");
        } else {
            let operators_endpoint = ["", "https://a.example", "https://b.example", "https://x.allowed.example"].contains(&endpoint.as_str());
            // The operator's key is sent only where it would go without the untrusted layer, as
            // checked above.
            prop_assert!(key_is_allowed && !operators_key && operators_endpoint, "{key} to {endpoint}");
        }
    }
}
