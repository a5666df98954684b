//! All problems of a configuration are reported together, each with its file and key.

use super::{Folder, problems, toml};

#[test]
fn problems_of_all_layers_are_reported_in_order_of_layer_and_key() {
    let folder = Folder::new(&[
        (
            "default.toml",
            r#"
active_environment = { env = "STAGE" }
unknown = 1
[environments.eu]
[defaults]
source = 5
bakend = "otlp"
[tenants.acme]
api_key = "hh_canary_1"
endpoint = "https://user:hh_canary_2@host"
headers = { Authorization = "Bearer hh_canary_3", "bad name" = "x", x-ok = "line\nbreak" }
auth = { header = "not a header", scheme = "digest", extra = 1 }
resource = { list = [1] }
[tenants.ACME]
api_key = { env = "A", file = "b" }
[tenants."a b"]
api_key = { exec = "pass hh_canary_4" }
[features.f]
sampling = { ratio = 1.5 }
limits = { events = "many", attribute = 1 }
backend = "honeybee"
[[routes]]
when = { tenant = "t" }
[[routes]]
when = { tenant = "t" }
[[routes]]
source = "unreachable"
[[routes]]
when = { tenant = "../t" }
[export]
scheduled_delay = "5 parsecs"
max_export_batch_size = 0
timeout = "0s"
"#,
        ),
        ("eu.toml", "active_environment = 'us'\n[defaults]\nendpoint = 'nowhere'"),
        ("local.yaml", "export: { retry: { max_backoff: 30 } }"),
        ("local.json", "{}"),
    ]);
    let error = folder
        .load(&[
            ("STAGE", "eu"),
            ("TRACER_REGISTRY__TENANTS__ACME__API_KEY", "hh_canary_5"),
        ])
        .expect_err("problems");
    let shown: Vec<String> = error
        .problems()
        .iter()
        .map(|problem| {
            let file = problem.file().rsplit('/').next().expect("a name");
            let is_folder = problem.key() == "local.yaml";
            let file = if is_folder { "(folder)" } else { file };
            format!("{file} {}", problem.key())
        })
        .collect();
    let expected = [
        "default.toml defaults.bakend",
        "default.toml defaults.source",
        "default.toml export.max_export_batch_size",
        "default.toml export.scheduled_delay",
        "default.toml export.timeout",
        "default.toml features.f.backend",
        "default.toml features.f.limits.attribute",
        "default.toml features.f.limits.events",
        "default.toml features.f.sampling.ratio",
        "default.toml routes[1].when",
        "default.toml routes[2].when",
        "default.toml routes[3].when",
        "default.toml tenants.\"a b\"",
        "default.toml tenants.\"a b\".api_key.exec",
        "default.toml tenants.ACME",
        "default.toml tenants.ACME.api_key",
        "default.toml tenants.acme.api_key",
        "default.toml tenants.acme.auth.extra",
        "default.toml tenants.acme.auth.header",
        "default.toml tenants.acme.auth.scheme",
        "default.toml tenants.acme.endpoint",
        "default.toml tenants.acme.headers",
        "default.toml tenants.acme.headers.Authorization",
        "default.toml tenants.acme.headers.x-ok",
        "default.toml tenants.acme.resource.list",
        "default.toml unknown",
        "eu.toml active_environment",
        "eu.toml defaults.endpoint",
        "(folder) local.yaml",
        "local.yaml export.retry.max_backoff",
        "the variables TRACER_REGISTRY__* tenants.acme.api_key",
    ];
    assert_eq!(shown, expected, "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
    let again = folder.load(&[
        ("STAGE", "eu"),
        ("TRACER_REGISTRY__TENANTS__ACME__API_KEY", "hh_canary_5"),
    ]);
    assert_eq!(again.expect_err("the same problems"), error);
}

#[test]
fn a_problem_states_the_rule_and_a_suggestion() {
    for (text, expected) in [
        ("tenant = {}", "tenant: unknown field; did you mean `tenants`?"),
        (
            "[defaults]\nbackend = 'honeyhve'",
            "defaults.backend: expected one of \"honeyhive\", \"otlp\", \"langfuse\", \"phoenix\", \"langsmith\", \"logfire\", \"braintrust\", \"honeycomb\", \"grafana\", \"mlflow\" (did you mean \"honeyhive\"?), found \"honeyhve\"",
        ),
        (
            "[defaults]\nbackend = 'hh_canary_1'",
            "defaults.backend: expected one of \"honeyhive\", \"otlp\", \"langfuse\", \"phoenix\", \"langsmith\", \"logfire\", \"braintrust\", \"honeycomb\", \"grafana\", \"mlflow\", found a string",
        ),
        (
            "[resource]\na = 1",
            "resource: unknown field; it belongs in [defaults] or in the table of a tenant",
        ),
        (
            "[export]\ntimeout = 5",
            "export.timeout: expected a duration such as \"500ms\" or \"5m\", found a number",
        ),
        (
            "[export]\nmax_queue_bytes = \"lots\"",
            "export.max_queue_bytes: expected a size such as \"64MiB\" or \"500kB\", or a number of bytes, found a string",
        ),
        (
            "[export]\nmode = 'inlined'",
            "export.mode: expected one of \"background\", \"inline\" (did you mean \"inline\"?), found \"inlined\"",
        ),
        (
            // Could be a misplaced key.
            "[export]\nmode = 'hhcanarysecret'",
            "export.mode: expected one of \"background\", \"inline\", found a string",
        ),
        (
            "[metrics]\nmax_tracers = -1",
            "metrics.max_tracers: expected a non-negative integer, found a number",
        ),
        (
            "[export]\nmax_queue_size = 0",
            "export.max_queue_size: must be at least 1",
        ),
        (
            "[tenants]\nacme = 'x'",
            "tenants.acme: expected a table, found a string",
        ),
        ("[defaults.sampling]", "defaults.sampling.ratio: missing"),
        (
            "[defaults.sampling]\nratio = -0.1",
            "defaults.sampling.ratio: -0.1 is not between 0.0 and 1.0",
        ),
        (
            "[defaults.api_key]",
            "defaults.api_key: expected exactly one key source, found 0; use { env = \"VARIABLE\" }, { file = \"/path\" }, { credential = \"name\" }, { exec = [\"command\", \"argument\"] } or { provider = \"name\", name = \"secret\" }",
        ),
        ("[defaults.api_key]\nprovider = 'p'", "defaults.api_key.name: missing"),
        (
            "[defaults.api_key]\nenv = ''",
            "defaults.api_key: env must be the name of a variable: letters, digits and `_`",
        ),
        (
            "[defaults.api_key]\nexec = []",
            "defaults.api_key: exec must be a program and its arguments",
        ),
        (
            "[defaults.auth]\nheader = 'Content-Type'",
            "defaults.auth.header: this header is set by the request itself, and cannot carry the key",
        ),
        (
            "[defaults.headers]\nx-source = 'x'",
            "defaults.headers.x-source: this header is set by the request itself",
        ),
    ] {
        assert_eq!(problems(text), [expected], "{text}");
    }
    let name = problems("[tenants.ACME]");
    assert!(
        name[0].starts_with("tenants.ACME: invalid name \"ACME\": contains 'A'"),
        "{name:?}"
    );
    let long = problems(&format!("[tenants.{}]", "x".repeat(10_000)));
    assert!(long[0].len() < 400, "a long name is shortened: {}", long[0].len());
}

#[test]
fn meaningless_and_excessive_amounts_are_refused() {
    for line in [
        "scheduled_delay = '25h'",
        "scheduled_delay = '500000000000y'",
        "timeout = '0s'",
        "timeout = '2days'",
        "drop_timeout = '1y'",
        "max_queue_size = 0",
        "max_concurrent_exports = 0",
        "max_concurrent_exports = 65537",
        "max_concurrent_exports = 9223372036854775807",
        "retry = { initial_backoff = '0s' }",
        "retry = { max_backoff = '0ms' }",
        "retry = { max_elapsed = '1month' }",
        "retry = { max_retry_after = '25h' }",
        "retry = { server_errors = 'drop' }",
        "explain = { max_traces = 1000001 }",
        "explain = { keep = '0s' }",
        "explain = { keep = '25h' }",
        "dead_letters = { max_batches = 17 }",
        "dead_letters = { max_bytes = '0B' }",
    ] {
        assert_eq!(problems(&format!("[export]\n{line}")).len(), 1, "{line}");
    }
    for exec in ["timeout = '0s'", "timeout = '1y'"] {
        assert_eq!(
            problems(&format!("[defaults.api_key]\nexec = ['pass']\n{exec}")).len(),
            1,
            "{exec}"
        );
    }
    for line in [
        "max_tracers = 0",
        "idle_timeout = '0s'",
        "idle_timeout = '25h'",
        "idle_timeout = 'ever'",
        "when_full = 'evict'",
    ] {
        assert_eq!(problems(&format!("[pool]\n{line}")).len(), 1, "{line}");
    }
    assert!(toml("[pool]\nmax_tracers = 1\nidle_timeout = '24h'").is_ok());
    let edges = "[export]\nscheduled_delay = '0s'\ntimeout = '24h'\ndrop_timeout = '0s'\nretry = { max_elapsed = '0s', max_retry_after = '0s' }\nexplain = { max_traces = 1000000, keep = '24h' }\ndead_letters = { max_batches = 16 }";
    assert!(toml(edges).is_ok());
}

#[test]
fn one_problem_is_one_line_and_several_are_a_list() {
    let one = toml("x = 1").expect_err("a problem").to_string();
    assert!(
        one.ends_with("default.toml: x: unknown field") && !one.contains('\n'),
        "{one}"
    );
    let two = toml("x = 1\ny = 2").expect_err("problems").to_string();
    assert_eq!(two.lines().count(), 3, "{two}");
    assert!(two.starts_with("2 errors in the configuration\n  "), "{two}");
}

#[test]
fn headers_that_carry_keys_are_refused_under_any_name() {
    for name in [
        "Authorization",
        "proxy-authorization",
        "X-Api-Key",
        "api-key",
        "x-honeycomb-team",
        "Cookie",
        "x-auth-token",
        "x-vendor-secret",
        "private-token",
        "x-goog-api-key",
        "ocp-apim-subscription-api-key",
    ] {
        let shown = problems(&format!("[defaults.headers]\n{name} = 'hh_canary'"));
        assert!(
            shown.len() == 1 && shown[0].contains("never written in the configuration"),
            "{shown:?}"
        );
        assert!(!shown[0].contains("canary"), "{shown:?}");
    }
    for value in ["Bearer hh_canary", "bearer hh_canary", "Basic aGhfY2FuYXJ5"] {
        assert_eq!(
            problems(&format!("[defaults.headers]\nx-plain = '{value}'")).len(),
            1,
            "{value}"
        );
    }
    let own = problems("[defaults]\nauth = { header = 'X-Mine' }\nheaders = { x-mine = 'hh_canary' }");
    assert_eq!(own.len(), 1, "{own:?}");
    for harmless in [
        "x-team = 'Bearer'",
        "langsmith-project = 'p'",
        "x-bt-parent = 'project_id:1'",
        "x-author = 'basic'",
    ] {
        assert!(toml(&format!("[defaults.headers]\n{harmless}")).is_ok(), "{harmless}");
    }
}

#[test]
fn grpc_requires_its_feature() {
    let text = "[export]\nprotocol = 'grpc'";
    if cfg!(feature = "grpc") {
        assert!(toml(text).is_ok());
    } else {
        let expected =
            "export.protocol: grpc needs the feature `grpc` of tracer-registry, and this program was built without it";
        assert_eq!(problems(text)[0], expected);
    }
}

#[test]
fn zstd_requires_its_feature() {
    let text = "[export]\ncompression = 'zstd'";
    if cfg!(feature = "zstd") {
        assert!(toml(text).is_ok());
    } else {
        let expected = "export.compression: zstd needs the feature `zstd` of tracer-registry, and this program was built without it";
        assert_eq!(problems(text)[0], expected);
    }
}
