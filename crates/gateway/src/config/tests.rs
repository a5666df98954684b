//! The table as written, with real files.

mod operation;
mod problems;
#[cfg(feature = "jetstream")]
mod stream;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tracer_registry::KeySource;
use tracer_registry::config::{Config, ConfigError};
use tracer_registry::selector::Slug;

use super::*;

/// A folder with configuration files.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(TempDir::new().expect("a temporary folder"));
        for (name, text) in files {
            folder.write(name, text);
        }
        folder
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let file = self.path(name);
        fs::create_dir_all(file.parent().expect("in the folder")).expect("made");
        fs::write(file, text).expect("written");
    }

    pub(crate) fn config(&self) -> Config {
        Config::load_for_gateway(self.0.path()).expect("valid without the gateway's table")
    }

    fn read(&self) -> Result<Settings, ConfigError> {
        Settings::read(&self.config())
    }
}

/// Returns the settings of a table `[gateway]` with a caller.
fn settings(text: &str) -> Result<Settings, ConfigError> {
    let caller = "[gateway.callers.any]\ntoken = { env = 'ANY' }\ntenant = 'any'\n";
    Folder::new(&[("gateway.toml", &format!("[gateway]\n{text}\n{caller}"))]).read()
}

/// Returns the caller `acme` of a table.
fn caller(text: &str) -> Result<CallerSettings, ConfigError> {
    let text = format!("[gateway.callers.acme]\n{text}");
    let mut settings = Folder::new(&[("gateway.toml", &text)]).read()?;
    Ok(Arc::unwrap_or_clone(settings.callers.remove("acme").expect("written")))
}

fn listed(error: &ConfigError) -> Vec<String> {
    let problems = error.problems().iter();
    problems
        .map(|problem| format!("{}: {}", problem.key(), problem.message()))
        .collect()
}

fn slug(name: &str) -> Slug {
    Slug::new(name).expect("a slug")
}

#[test]
fn the_shipped_file_contains_the_defaults_and_two_callers() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let mut settings = Settings::read(&Config::load_for_gateway(&folder).expect("valid")).expect("valid");
    let callers = std::mem::take(&mut settings.callers);
    assert_eq!(settings, Settings::default());
    assert_eq!(
        callers.keys().map(Slug::as_str).collect::<Vec<_>>(),
        ["acme-backend", "shared-api"]
    );
    let text = fs::read_to_string(folder.join("gateway.toml")).expect("readable");
    for setting in DEFAULTS.map(|(setting, _)| setting) {
        let prefix = |line: &str| line.split_once(" = ").is_some_and(|(name, _)| name.trim() == setting);
        assert!(text.lines().any(prefix), "{setting}");
    }
}

/// Settings with a default, and the default as TOML.
const DEFAULTS: [(&str, &str); 14] = [
    ("http", "'127.0.0.1:4318'"),
    ("grpc", "'127.0.0.1:4317'"),
    ("insecure", "false"),
    ("trusted_proxies", "[]"),
    ("other_signals", "'refuse'"),
    ("max_request", "'20MiB'"),
    ("memory", "'256MiB'"),
    ("max_connections", "10000"),
    ("header_timeout", "'5s'"),
    ("body_grace", "'5s'"),
    ("body_min_rate", "'1KiB'"),
    ("idle_timeout", "'2m'"),
    ("http2_max_streams", "100"),
    ("shutdown_timeout", "'25s'"),
];

#[test]
fn each_written_default_equals_an_omitted_one_and_the_page_lists_it() {
    let page = include_str!("../../../../docs/configuration.md");
    let (_, table) = page.split_once("\n## The gateway\n").expect("a section");
    let omitted = settings("").expect("valid");
    for (setting, default) in DEFAULTS {
        assert_eq!(
            settings(&format!("{setting} = {default}")).expect("valid"),
            omitted,
            "{setting}"
        );
        let row = table
            .lines()
            .find(|line| line.contains(&format!("`{setting}`")))
            .expect(setting);
        let is_list = setting == "trusted_proxies";
        assert!(
            is_list || row.contains(&format!("`{}`", default.replace('\'', "\""))),
            "{row}"
        );
    }
}

#[test]
fn each_setting_changes_what_it_names() {
    let changed = settings(
        "http = false\ngrpc = '[::1]:1'\ninsecure = true\ntrusted_proxies = ['10.0.0.0/8', '::1']\n\
         other_signals = 'discard'\nmax_request = '1MiB'\nmemory = '2MiB'\nmax_connections = 1\nheader_timeout = '1s'\n\
         body_grace = '2s'\nbody_min_rate = '2KiB'\nidle_timeout = '3s'\nhttp2_max_streams = 4\nshutdown_timeout = '5s'\n\
         tls = { certificate = '/c', key = '/k', client_ca = '/a' }",
    )
    .expect("valid");
    let expected = Settings {
        http: None,
        grpc: Some("[::1]:1".parse().expect("an address")),
        callers: changed.callers.clone(),
        callers_dir: None,
        open: None,
        insecure: true,
        tls: Some(Tls {
            certificate: "/c".into(),
            key: "/k".into(),
            client_ca: Some("/a".into()),
        }),
        trusted_proxies: vec![
            "10.0.0.0/8".parse().expect("a network"),
            "::1/128".parse().expect("a network"),
        ],
        other_signals: OtherSignals::Discard,
        max_request: 1 << 20,
        memory: 2 << 20,
        max_connections: 1,
        header_timeout: Duration::from_secs(1),
        body_grace: Duration::from_secs(2),
        body_min_rate: 2 << 10,
        idle_timeout: Duration::from_secs(3),
        http2_max_streams: 4,
        shutdown_timeout: Duration::from_secs(5),
        ..Settings::default()
    };
    assert_eq!(changed, expected);
}

#[test]
fn a_caller_has_tokens_and_a_rule_for_its_tenant() {
    let digest = "ab".repeat(32);
    let acme = caller(&format!(
        "token_sha256 = '{digest}'\nenvironment = 'e'\nfeature = 'f'\nbasic = 'user'"
    ));
    let acme = acme.expect("valid");
    assert_eq!(
        (acme.token_sha256.as_slice(), acme.basic),
        ([[0xab; 32]].as_slice(), BasicPart::User)
    );
    assert_eq!((acme.environment, acme.feature), (Some(slug("e")), Some(slug("f"))));
    assert_eq!(acme.tenant, TenantRule::Fixed(None));
    let token = "token = [{ env = 'A' }, { file = '/b' }]\n";
    let acme = caller(&format!("{token}tenant = 'acme'")).expect("valid");
    assert_eq!(acme.tokens, [KeySource::env("A"), KeySource::file("/b")]);
    assert_eq!(acme.tenant, TenantRule::Fixed(Some(slug("acme"))));
    let allow = Allow::new(&["acme".to_owned(), "team-*".to_owned()]).expect("valid");
    for (written, rule) in [
        (
            "header = 'X-Tenant'",
            TenantRule::Header {
                name: "x-tenant".parse().expect("a name"),
                allow: allow.clone(),
            },
        ),
        (
            "resource = 'tenant.id'",
            TenantRule::Resource {
                attribute: "tenant.id".into(),
                allow: allow.clone(),
            },
        ),
        ("path = true", TenantRule::Path { allow: allow.clone() }),
    ] {
        let text = format!("{token}tenant = {{ {written}, allow = ['acme', 'team-*'] }}");
        assert_eq!(caller(&text).expect("valid").tenant, rule);
    }
}

#[test]
fn an_open_gateway_has_one_selector() {
    let open = Folder::new(&[(
        "gateway.toml",
        "[gateway]\nopen = { tenant = 'acme', environment = 'e' }",
    )]);
    let open = open.read().expect("valid").open.expect("open");
    assert_eq!(open.to_string(), "environment:e,tenant:acme");
}

#[test]
fn files_of_the_callers_folder_are_callers_and_others_are_ignored() {
    let folder = Folder::new(&[
        (
            "gateway.toml",
            "[gateway]\ncallers_dir = 'callers.d'\n[gateway.callers.b]\ntoken = { env = 'B' }\ntenant = 'b'",
        ),
        ("callers.d/a.toml", "token = { file = 'token' }\ntenant = 'a'"),
        ("callers.d/c.json", r#"{ "token": { "env": "C" }, "tenant": "c" }"#),
        ("callers.d/.hidden.toml", "invalid"),
        ("callers.d/README", "text"),
    ]);
    let settings = folder.read().expect("valid");
    assert_eq!(
        settings.callers.keys().map(Slug::as_str).collect::<Vec<_>>(),
        ["a", "b", "c"]
    );
    assert_eq!(
        settings.callers["a"].tokens,
        [KeySource::file(folder.path("callers.d/token"))]
    );
    let watched: Vec<_> = settings.watched().into_iter().collect();
    assert_eq!(watched, [folder.path("callers.d"), folder.path("callers.d/token")]);
}

#[test]
fn beyond_a_thousand_token_files_their_folders_are_watched() {
    let mut settings = Settings::default();
    for index in 0..=1_000 {
        let tokens = vec![KeySource::file(format!("/tokens/{}/{index}", index % 2))];
        settings.callers.insert(
            slug(&format!("c{index}")),
            Arc::new(CallerSettings {
                tokens,
                ..CallerSettings::default()
            }),
        );
    }
    settings.tls = Some(Tls {
        certificate: "/c".into(),
        key: "/k".into(),
        client_ca: None,
    });
    let watched: Vec<_> = settings.watched().into_iter().collect();
    assert_eq!(watched, ["/c", "/k", "/tokens/0", "/tokens/1"].map(PathBuf::from));
}

#[test]
fn a_layer_replaces_the_rule_of_a_tenant_and_its_tokens_as_a_whole() {
    let folder = Folder::new(&[
        (
            "default.toml",
            "[gateway.callers.acme]\ntoken = { env = 'A' }\ntenant = { header = 'x-tenant', allow = ['a'] }",
        ),
        (
            "gateway.toml",
            "[gateway.callers.acme]\ntoken = { file = '/b' }\ntenant = { path = true, allow = ['b'] }",
        ),
    ]);
    let acme = folder.read().expect("valid").callers.remove("acme").expect("written");
    assert_eq!(acme.tokens, [KeySource::file("/b")]);
    assert!(matches!(acme.tenant, TenantRule::Path { .. }));
}

#[test]
fn variables_change_settings_and_callers_of_files() {
    const TEST: &str = "config::tests::variables_change_settings_and_callers_of_files";
    const VARIABLES: [(&str, &str); 5] = [
        ("HTTP", "false"),
        ("MAX_CONNECTIONS", "7"),
        ("TRUSTED_PROXIES", r#"["10.0.0.0/8"]"#),
        ("CALLERS__ACME_BACKEND__TENANT__HEADER", "x-tenant"),
        ("CALLERS__ACME_BACKEND__TENANT__ALLOW", r#"["acme"]"#),
    ];
    let prefix = "TRACER_REGISTRY__GATEWAY__";
    if std::env::vars().any(|(name, _)| name.starts_with(prefix)) {
        let text = "[gateway.callers.acme-backend]\ntoken = { env = 'A' }\ntenant = 'a'";
        let settings = Folder::new(&[("gateway.toml", text)]).read().expect("valid");
        assert_eq!(
            (settings.http, settings.max_connections, settings.trusted_proxies.len()),
            (None, 7, 1)
        );
        assert!(matches!(
            settings.callers["acme-backend"].tenant,
            TenantRule::Header { .. }
        ));
        for (files, expected) in [
            (
                "[gateway.callers.other]\ntoken = { env = 'A' }\ntenant = 'a'",
                "gateway.callers.acme_backend: no file declares it",
            ),
            (
                "[gateway.callers.acme-backend]\ntoken = { env = 'A' }\ntenant = 'a'\n\
                 [gateway.callers.'acme.backend']\ntoken = { env = 'B' }\ntenant = 'a'",
                "gateway.callers.acme_backend: ambiguous",
            ),
        ] {
            let error = Folder::new(&[("gateway.toml", files)]).read().expect_err("a problem");
            assert!(listed(&error)[0].starts_with(expected), "{error}");
            assert_eq!(error.problems().len(), 1, "{error}");
        }
        return;
    }
    let mut process = Command::new(std::env::current_exe().expect("a test binary"));
    process
        .args([TEST, "--exact"])
        .envs(VARIABLES.map(|(name, value)| (format!("{prefix}{name}"), value)));
    let output = process.output().expect("started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn tenants_that_are_not_configured_are_reported() {
    let folder = Folder::new(&[(
        "gateway.toml",
        "[gateway.callers.a]\ntoken = { env = 'A' }\ntenant = 'gone'\n\
         [gateway.callers.b]\ntoken = { env = 'B' }\ntenant = { path = true, allow = ['acme', 'old', 'team-*', 'a*'] }",
    )]);
    let warnings = folder.read().expect("valid").unused_tenants(&[slug("acme")]);
    assert_eq!(
        warnings,
        [
            "gateway.callers.a.tenant: \"gone\" matches no configured tenant",
            "gateway.callers.b.tenant: \"old\" matches no configured tenant",
            "gateway.callers.b.tenant: \"team-*\" matches no configured tenant",
        ]
    );
}
