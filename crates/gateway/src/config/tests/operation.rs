//! The tables `[gateway.admin]`, `[gateway.telemetry]` and `[gateway.log]`.

use super::*;

#[track_caller]
fn refused(text: &str, expected: &[&str]) {
    let error = settings(text).expect_err("problems");
    assert_eq!(listed(&error), expected, "{text}");
}

#[test]
fn without_their_tables_there_is_neither_an_admin_listener_nor_telemetry() {
    let settings = settings("").expect("valid");
    assert_eq!((settings.admin, settings.telemetry), (None, None));
    assert_eq!(settings.log, LogSettings::default());
}

#[test]
fn an_admin_table_needs_only_a_token() {
    let admin = settings("admin = { token = { env = 'A' } }").expect("valid").admin;
    let admin = admin.expect("written");
    assert_eq!(admin.listen.to_string(), "127.0.0.1:4320");
    assert_eq!(
        (admin.tokens, admin.metrics_tokens),
        (vec![KeySource::env("A")], Vec::new())
    );
    assert!(admin.hosts.is_empty());
}

#[test]
fn layers_of_the_admin_table_are_merged_and_hosts_have_one_spelling() {
    let folder = Folder::new(&[
        (
            "default.toml",
            "[gateway.admin]\ntoken = { file = 'a' }\nmetrics_token = [{ file = 'm1' }, { file = 'm2' }]",
        ),
        (
            "gateway.toml",
            "[gateway]\nopen = { tenant = 'acme' }\n[gateway.admin]\nlisten = '[::1]:1'\n\
             hosts = ['Gateway.Internal.', '10.1.2.3', '2001:DB8::1', '::ffff:10.1.2.4']",
        ),
    ]);
    let settings = folder.read().expect("valid");
    let watched: Vec<_> = settings.watched().into_iter().collect();
    assert_eq!(watched, ["a", "m1", "m2"].map(|file| folder.path(file)));
    let admin = settings.admin.expect("written");
    assert_eq!(admin.listen.to_string(), "[::1]:1");
    assert_eq!(admin.metrics_tokens.len(), 2);
    assert_eq!(admin.hosts, ["gateway.internal", "10.1.2.3", "2001:db8::1", "10.1.2.4"]);
}

#[test]
fn an_admin_table_that_is_not_safe_is_refused() {
    refused(
        "admin = {}",
        &["gateway.admin.token: missing; every request needs a token"],
    );
    let admin = |more: &str| format!("admin = {{ token = {{ env = 'A' }}, {more} }}");
    refused(
        &admin("listen = '127.0.0.1:4318'"),
        &["gateway.admin.listen: the address of gateway.http; each listener needs its own"],
    );
    for insecure in ["", "\ninsecure = true"] {
        refused(
            &(admin("listen = '0.0.0.0:4320'") + insecure),
            &["gateway.admin.listen: 0.0.0.0:4320 is not a loopback address; set gateway.tls"],
        );
    }
    let tls = "\ntls = { certificate = 'c', key = 'k' }";
    settings(&(admin("listen = '0.0.0.0:4320'") + tls)).expect("encrypted");
    refused(
        &admin("hosts = ['*', '*.example', 'a:1', 'u@h', 'a b', '', '[::1]:2']"),
        &[
            "gateway.admin.hosts: entry 0: \"*\" would turn the check of the host off; name the hosts",
            "gateway.admin.hosts: entry 1: \"*\" would turn the check of the host off; name the hosts",
            "gateway.admin.hosts: entry 2 is not a host name without a port",
            "gateway.admin.hosts: entry 3 is not a host name without a port",
            "gateway.admin.hosts: entry 4 is not a host name without a port",
            "gateway.admin.hosts: entry 5 is not a host name without a port",
            "gateway.admin.hosts: entry 6 is not a host name without a port",
        ],
    );
}

#[test]
fn telemetry_has_an_endpoint_and_no_key_in_the_configuration() {
    let telemetry = settings(
        "[gateway.telemetry]\nendpoint = 'https://collector.example:4318/v1/metrics'\ntoken = { env = 'T' }\n\
         headers = { x-scope = 'ops' }\ninterval = '10s'",
    );
    let telemetry = telemetry.expect("valid").telemetry.expect("written");
    assert_eq!(telemetry.endpoint, "https://collector.example:4318/v1/metrics");
    assert_eq!(telemetry.token, Some(KeySource::env("T")));
    assert_eq!(telemetry.headers["x-scope"], "ops");
    assert_eq!(telemetry.interval, Duration::from_secs(10));

    refused("telemetry = {}", &["gateway.telemetry.endpoint: missing"]);
    let at = |endpoint: &str| format!("telemetry = {{ endpoint = '{endpoint}' }}");
    for (endpoint, problem) in [
        (
            "https://u:p@host/",
            "the URL contains a user or password; set the key with api_key",
        ),
        ("https://host/?key=1", "the URL must not have a query or fragment"),
        (
            "host",
            "invalid URL; expected one such as \"https://collector.example:4318\"",
        ),
        (
            "http://collector.example/",
            "http:// is only allowed to a loopback address; use https://, or set gateway.insecure = true",
        ),
    ] {
        refused(&at(endpoint), &[&format!("gateway.telemetry.endpoint: {problem}")]);
    }
    for endpoint in [
        "http://localhost:1/a",
        "http://127.0.0.9",
        "http://[::1]:4318/v1/metrics",
    ] {
        settings(&at(endpoint)).expect(endpoint);
    }
    settings(&(at("http://collector.example/") + "\ninsecure = true")).expect("insecure");
    refused(
        "telemetry = { endpoint = 'https://h', interval = '2h', token = [{ env = 'A' }, { env = 'B' }], \
         headers = { authorization = 'secret-value', 'a b' = 'x' } }",
        &[
            "gateway.telemetry.headers: an entry cannot be set, or carries a key; set keys with token",
            "gateway.telemetry.headers: an entry cannot be set, or carries a key; set keys with token",
            "gateway.telemetry.token: expected one key source, because a request carries one token",
            "gateway.telemetry.interval: must be from 1 s to 1 h",
        ],
    );
}

#[test]
fn the_log_has_a_format_and_a_level() {
    let log = settings("log = { format = 'json', level = 'debug' }")
        .expect("valid")
        .log;
    assert_eq!((log.format, log.level), (LogFormat::Json, LogLevel::Debug));
    refused(
        "log = { level = 'trace' }",
        &["gateway.log.level: expected one of \"warn\", \"info\", \"debug\", found a string"],
    );
}

#[test]
fn own_metrics_bound_the_number_of_tracers_with_series() {
    let read = |max: usize, table: &str| {
        let default = format!("[metrics]\nmax_tracers = {max}");
        let gateway = format!("[gateway]\nopen = {{ tenant = 'acme' }}\n{table}");
        Folder::new(&[("default.toml", &default), ("gateway.toml", &gateway)]).read()
    };
    for table in [
        "admin = { token = { env = 'A' } }",
        "telemetry = { endpoint = 'https://h' }",
    ] {
        read(10_000, table).expect("allowed");
        let error = read(10_001, table).expect_err("too many");
        assert_eq!(
            listed(&error),
            ["metrics.max_tracers: must be at most 10000 with gateway.admin or gateway.telemetry"]
        );
    }
    read(10_001, "").expect("nothing reads them");
}
