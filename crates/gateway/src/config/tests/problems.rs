//! The exact messages of invalid settings.

use super::*;

#[track_caller]
fn check(result: Result<impl Sized, ConfigError>, expected: &[&str]) {
    let error = result.err().expect("problems");
    assert_eq!(listed(&error), expected);
}

#[test]
fn all_problems_are_reported_at_once_without_values() {
    let text = "[gateway]\nhttps = 'x'\nhttp = 'secret-value'\nmax_request = 5.5\nother_signals = 'refuze'\n\
                trusted_proxies = ['10.0.0.0/8', 'secret-value']\n\
                [gateway.callers.acme]\ntoken = 'secret-value'\ntenat = 'acme'\nbasic = 'secret-value'\n\
                [gateway.callers.Globex]\ntoken = { env = 'G' }\ntenant = 'globex'";
    let error = Folder::new(&[("gateway.toml", text)]).read().expect_err("problems");
    assert!(!error.to_string().contains("secret-value"), "{error}");
    let shown = listed(&error);
    let starts = [
        "gateway.callers.Globex: invalid name \"Globex\": contains 'G'; a name is 1 to 64 of a-z 0-9 - _ . with",
        "gateway.callers.acme.basic: expected one of \"pair\", \"user\", \"password\", found a string",
        "gateway.callers.acme.tenat: unknown field; did you mean `tenant`?",
        "gateway.callers.acme.token: a key is never written in the configuration; use { env = \"VARIABLE\" }, ",
        "gateway.http: expected an address such as \"127.0.0.1:4318\", or false, found a string",
        "gateway.https: unknown field; did you mean `http`?",
        "gateway.max_request: expected a size such as \"64MiB\" or \"500kB\", or a number of bytes, found a number",
        "gateway.other_signals: expected one of \"refuse\", \"discard\" (did you mean \"refuse\"?), found \"refuze\"",
        "gateway.trusted_proxies: entry 1 is not a network such as \"10.0.0.0/8\"",
        "gateway.callers.acme.tenant: missing; a caller needs a tenant, an environment or a feature",
    ];
    assert_eq!(shown.len(), starts.len(), "{error}");
    for (shown, start) in shown.iter().zip(starts) {
        assert!(shown.starts_with(start), "{shown}");
    }
    assert!(error.problems()[0].file().ends_with("gateway.toml"));
}

#[test]
fn listeners_that_cannot_be_served_safely_are_refused() {
    check(
        settings("http = false\ngrpc = false"),
        &["gateway: both http and grpc are off, so that nothing is received"],
    );
    check(
        settings("grpc = '127.0.0.1:4318'"),
        &["gateway.grpc: the address of gateway.http; each listener needs its own"],
    );
    settings("http = '127.0.0.1:0'\ngrpc = '127.0.0.1:0'").expect("two free ports");
    check(
        settings("http = '0.0.0.0:4318'"),
        &[
            "gateway.http: 0.0.0.0:4318 is not a loopback address; set gateway.tls, or gateway.insecure = true if a proxy ends TLS",
        ],
    );
    for safe in ["insecure = true", "tls = { certificate = 'c', key = 'k' }"] {
        settings(&format!("http = '0.0.0.0:4318'\ngrpc = '[::]:4317'\n{safe}")).expect("safe");
    }
    settings("http = '[::ffff:127.0.0.1]:4318'").expect("loopback");
    check(
        settings("http = true"),
        &["gateway.http: expected an address such as \"127.0.0.1:4318\", or false"],
    );
    check(
        settings("tls = { key = 'k' }"),
        &["gateway.tls: certificate and key are both needed"],
    );
}

#[test]
fn an_open_gateway_is_local_and_has_no_callers() {
    check(
        settings("open = { tenant = 'acme' }"),
        &["gateway.open: cannot be set together with callers"],
    );
    let open = |more: &str| Folder::new(&[("gateway.toml", &format!("[gateway]\n{more}"))]).read();
    check(
        open("open = { tenant = 'acme' }\nhttp = '10.0.0.1:4318'\ninsecure = true"),
        &["gateway.http: must be a loopback address, because gateway.open is set"],
    );
    check(
        open("open = {}"),
        &[
            "gateway.callers: no caller; add a table [gateway.callers.<name>], callers_dir, or open = { tenant = \"..\" }",
            "gateway.open: a selector needs a tenant, an environment or a feature",
        ],
    );
    check(
        open(""),
        &[
            "gateway.callers: no caller; add a table [gateway.callers.<name>], callers_dir, or open = { tenant = \"..\" }",
        ],
    );
}

#[test]
fn limits_that_would_refuse_everything_are_problems() {
    check(
        settings("max_request = '0B'\nmax_connections = 0\nhttp2_max_streams = 0\nbody_min_rate = '0B'"),
        &[
            "gateway.body_min_rate: must be at least 1",
            "gateway.http2_max_streams: must be at least 1",
            "gateway.max_connections: must be at least 1",
            "gateway.max_request: must be at least 1",
        ],
    );
    check(
        settings("header_timeout = '0s'\nidle_timeout = '25h'"),
        &[
            "gateway.header_timeout: must be more than zero",
            "gateway.idle_timeout: must be at most a day",
        ],
    );
    check(
        settings("max_request = '200MiB'"),
        &[
            "gateway.memory: must be at least twice gateway.max_request, because a compressed request is held in both forms",
        ],
    );
}

#[test]
fn exports_that_cannot_carry_encoded_payloads_are_problems() {
    let folder = Folder::new(&[
        ("default.toml", "[export]\nprotocol = 'http/json'\nmode = 'inline'"),
        ("gateway.toml", "[gateway]\nopen = { tenant = 'acme' }"),
    ]);
    check(
        folder.read(),
        &[
            "export.mode: the gateway cannot send inline; use \"background\"",
            "export.protocol: the gateway cannot send JSON; use \"http/protobuf\" or \"grpc\"",
        ],
    );
}

#[test]
fn a_caller_needs_a_token_and_a_selector() {
    check(
        caller(""),
        &["gateway.callers.acme.token: missing; a caller needs a token or token_sha256"],
    );
    check(
        caller("token = { env = 'A' }"),
        &["gateway.callers.acme.tenant: missing; a caller needs a tenant, an environment or a feature"],
    );
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    check(
        caller(&format!(
            "tenant = 'a'\ntoken_sha256 = ['{empty}', 'secret-value', '{}']",
            "é".repeat(32)
        )),
        &[
            "gateway.callers.acme.token_sha256: digest 0 is that of an empty token",
            "gateway.callers.acme.token_sha256: digest 1 is not 64 hexadecimal digits",
            "gateway.callers.acme.token_sha256: digest 2 is not 64 hexadecimal digits",
        ],
    );
    check(
        caller("token = { env = 'A' }\ntenant = 'ACME'"),
        &["gateway.callers.acme.tenant: expected a name of 1 to 64 of a-z 0-9 - _ ., found a string"],
    );
}

#[test]
fn rules_for_the_tenant_that_are_incomplete_or_unsafe_are_problems() {
    let rule = |rule: &str| caller(&format!("token = {{ env = 'A' }}\ntenant = {{ {rule} }}"));
    let at = "gateway.callers.acme.tenant";
    for (written, expected) in [
        (
            "",
            vec![
                ".allow: missing; list the tenants, or patterns such as \"team-*\"",
                ": expected a tenant, { header = \"x-tenant\", allow = [..] }, { resource = \"tenant.id\", allow = [..] } \
                 or { path = true, allow = [..] }",
            ],
        ),
        (
            "header = 'x-tenant', path = true, allow = ['a']",
            vec![": expected only one of header, resource and path"],
        ),
        (
            "header = 'x-tenant'",
            vec![".allow: missing; list the tenants, or patterns such as \"team-*\""],
        ),
        (
            "path = true, allow = []",
            vec![".allow: empty, so that no request would be accepted"],
        ),
        (
            "path = true, allow = 'a'",
            vec![".allow: expected a list of tenants and patterns such as \"team-*\", found a string"],
        ),
        (
            "path = false, allow = ['a']",
            vec![".path: expected true; write the tenant itself if it is fixed"],
        ),
        (
            "resource = '', allow = ['a']",
            vec![".resource: expected the name of a resource attribute, such as \"tenant.id\""],
        ),
        (
            "header = 'x tenant', allow = ['a']",
            vec![".header: invalid header name"],
        ),
        (
            "path = true, allow = ['a', '[a]*']",
            vec![".allow: entry 1: a pattern is 1 to 64 of a-z 0-9 - _ . and *, and '*' is its only special character"],
        ),
    ] {
        let expected: Vec<String> = expected.into_iter().map(|message| format!("{at}{message}")).collect();
        let error = rule(written).expect_err(written);
        let mut shown = listed(&error);
        shown.sort();
        let mut expected = expected;
        expected.sort();
        assert_eq!(shown, expected, "{written}");
    }
    for (headers, message) in [
        (
            [
                "authorization",
                "Proxy-Authorization",
                "cookie",
                "x-api-key",
                "api-key",
                "x-honeycomb-team",
            ]
            .as_slice(),
            "this header carries credentials, and cannot name the tenant",
        ),
        (
            [
                "connection",
                "TE",
                "host",
                "content-type",
                "x-forwarded-for",
                "grpc-timeout",
                "tenant-bin",
            ]
            .as_slice(),
            "this header belongs to the request or its connection, and cannot name the tenant",
        ),
    ] {
        for header in headers {
            check(
                rule(&format!("header = '{header}', allow = ['a']")),
                &[&format!("{at}.header: {message}")],
            );
        }
    }
}

#[test]
fn problems_of_the_callers_folder_name_the_file() {
    let folder = Folder::new(&[
        (
            "gateway.toml",
            "[gateway]\ncallers_dir = 'callers.d'\n[gateway.callers.b]\ntoken = { env = 'B' }\ntenant = 'b'",
        ),
        ("callers.d/a.toml", "tokn = 1\ntenant = 'a'"),
        ("callers.d/b.toml", "token = { env = 'B2' }\ntenant = 'b'"),
        ("callers.d/c.json", "{}"),
        ("callers.d/c.toml", "token = { env = 'C' }\ntenant = 'c'"),
        ("callers.d/D.toml", ""),
        ("callers.d/e.toml", "= secret-value"),
        ("callers.d/f.toml", &format!("# {}", "x".repeat(64 << 10))),
    ]);
    let error = folder.read().expect_err("problems");
    let shown = listed(&error)
        .join("\n")
        .replace(folder.path("").to_str().expect("UTF-8"), "");
    assert!(!shown.contains("secret-value"), "{shown}");
    for expected in [
        "gateway.callers.a.tokn: unknown field; did you mean `token`?",
        "gateway.callers.b: also in callers.d/b.toml; remove one of them",
        "gateway.callers.c: callers.d/c.json conflicts with callers.d/c.toml",
        "gateway.callers_dir: invalid name \"D\": contains 'D'; a name is",
        "larger than 64 KiB",
    ] {
        assert!(shown.contains(expected), "{expected} in {shown}");
    }
    let at = |name: &str| error.problems().iter().any(|problem| problem.file().ends_with(name));
    assert!(
        at("callers.d/a.toml") && at("callers.d/e.toml") && at("callers.d/f.toml"),
        "{error}"
    );
    let missing = Folder::new(&[("gateway.toml", "[gateway]\ncallers_dir = 'gone'")]);
    let expected = format!(
        "gateway.callers_dir: {} cannot be read: entity not found",
        missing.path("gone").display()
    );
    check(missing.read(), &[&expected]);
}
