//! Layers and their precedence.

use super::{Folder, listed, resolve, try_resolve};
use crate::secret::KeySource;

const DEFAULT: &str = r#"
active_environment = { env = "STAGE", default = "development" }
[environments.development]
api_key = { env = "DEV" }
[environments.production]
api_key = { env = "PROD" }
[tenants.acme]
api_key = { file = "keys/acme" }
source = "default"
metadata = { from_default = 1, shared = "default" }
"#;

#[test]
fn each_layer_wins_over_those_before_it_and_tables_are_merged_by_key() {
    let folder = Folder::new(&[
        ("default.toml", DEFAULT),
        (
            "production.toml",
            "[tenants.acme]\nsource = 'production'\nmetadata = { from_production = 2, shared = 'production' }",
        ),
        ("development.toml", "[tenants.acme]\nsource = 'development'"),
        (
            "local.toml",
            "[tenants.acme]\nmetadata = { from_local = 3, shared = 'local' }",
        ),
    ]);
    let source = |variables: &[(&str, &str)]| {
        let config = folder.load(variables).expect("valid");
        let acme = resolve(&config, "tenant:acme");
        (
            acme.source.expect("a source"),
            serde_json::to_string(&*acme.metadata).expect("values"),
        )
    };
    assert_eq!(
        source(&[]),
        (
            "development".into(),
            r#"{"from_default":1,"from_local":3,"shared":"local"}"#.into()
        )
    );
    let expected = r#"{"from_default":1,"from_local":3,"from_production":2,"shared":"local"}"#;
    assert_eq!(
        source(&[("STAGE", "production")]),
        ("production".into(), expected.into())
    );
    let over = [
        ("STAGE", "production"),
        ("TRACER_REGISTRY__TENANTS__ACME__SOURCE", "variable"),
    ];
    assert_eq!(source(&over), ("variable".into(), expected.into()));
}

#[test]
fn the_folder_and_its_default_file_are_layered_and_other_files_stand_alone() {
    let folder = Folder::new(&[
        ("default.toml", DEFAULT),
        ("local.toml", "[tenants.acme]\nsource = 'local'"),
        ("alone.toml", DEFAULT),
    ]);
    let source = |path: &str| {
        let config = folder.load_alone(path).expect("valid");
        resolve(&config, "tenant:acme").source.expect("a source")
    };
    assert_eq!(source(""), "local");
    assert_eq!(source("default.toml"), "local");
    assert_eq!(source("alone.toml"), "default");
}

#[test]
fn the_active_environment_comes_from_the_variable_or_the_default() {
    let folder = Folder::new(&[("default.toml", DEFAULT)]);
    let active = |variables: &[(&str, &str)]| {
        let config = folder.load(variables).expect("valid");
        config.active_environment().map(ToString::to_string)
    };
    assert_eq!(active(&[]).as_deref(), Some("development"));
    assert_eq!(active(&[("STAGE", "")]).as_deref(), Some("development"));
    assert_eq!(active(&[("STAGE", "production")]).as_deref(), Some("production"));
    // The registry's own variable takes precedence over the file's.
    let ours = ("TRACER_REGISTRY__ACTIVE_ENVIRONMENT", "production");
    assert_eq!(active(&[("STAGE", "development"), ours]).as_deref(), Some("production"));
    let none = Folder::new(&[("default.toml", "active_environment = { env = 'STAGE' }")]);
    assert_eq!(none.load(&[]).expect("valid").active_environment(), None);
}

#[test]
fn an_active_environment_that_is_not_configured_is_a_problem_and_never_a_path() {
    let outside = Folder::new(&[("secret.toml", "[defaults]\nsource = 'outside'")]);
    let climbing = format!("..{}/secret", outside.0.path().display());
    let folder = Folder::new(&[("default.toml", DEFAULT), ("staging.toml", "")]);
    for stage in [
        "staging",
        "Production",
        "production ",
        "../secret",
        &climbing,
        "/etc/passwd",
        "default",
        "local",
        "*",
        "a\0b",
    ] {
        let error = folder.load(&[("STAGE", stage)]).expect_err(stage);
        assert_eq!(
            listed(&error),
            [
                "active_environment: the value of the variable STAGE is not a configured environment; configured: development, production"
            ]
        );
    }
    let literal = Folder::new(&[(
        "default.toml",
        "active_environment = 'prod\\uction'\n[environments.production]",
    )]);
    let shown = listed(&literal.load(&[]).expect_err("a typo"));
    assert_eq!(
        shown,
        [r#"active_environment: "prod\\uction" is not a configured environment; configured: production"#]
    );
}

#[cfg(unix)]
#[test]
fn a_variable_that_is_not_utf8_is_a_problem_and_not_the_default() {
    use std::os::unix::ffi::OsStringExt;

    let folder = Folder::new(&[("default.toml", DEFAULT)]);
    let bytes = std::ffi::OsString::from_vec(vec![b'p', 0xff]);
    let variables = [("STAGE".into(), bytes)].into_iter().collect();
    let error = super::Config::load_layers(folder.0.path(), false, &variables).expect_err("not UTF-8");
    assert_eq!(error.problems()[0].key(), "active_environment");
}

#[test]
fn environments_called_default_or_local_have_no_file() {
    let text =
        "active_environment = { env = 'STAGE' }\n[environments.local]\napi_key = { env = 'L' }\n[environments.default]";
    let folder = Folder::new(&[
        ("default.toml", text),
        ("local.toml", "[environments.local]\nsource = 'once'"),
    ]);
    for name in ["local", "default"] {
        let config = folder.load(&[("STAGE", name)]).expect("valid");
        assert_eq!(config.active_environment().map(|name| &**name), Some(name));
    }
}

#[test]
fn an_environments_file_may_define_but_not_select_an_environment() {
    let base = "active_environment = { env = 'STAGE' }";
    let folder = Folder::new(&[
        ("default.toml", base),
        ("eu.toml", "[environments.eu]\napi_key = { env = 'EU' }"),
        ("us.toml", "active_environment = 'eu'\n[environments.us]"),
    ]);
    let config = folder.load(&[("STAGE", "eu")]).expect("valid");
    assert_eq!(resolve(&config, "environment:eu").api_key, KeySource::Env("EU".into()));
    let error = folder.load(&[("STAGE", "us")]).expect_err("a selection");
    assert!(error.problems()[0].file().ends_with("us.toml"), "{error}");
    assert_eq!(error.problems()[0].key(), "active_environment");
}

#[test]
fn relative_key_files_start_at_the_folder_of_their_configuration_file() {
    let folder = Folder::new(&[("default.toml", DEFAULT)]);
    let config = folder.load(&[]).expect("valid");
    assert_eq!(
        resolve(&config, "tenant:acme").api_key,
        KeySource::File(folder.path("keys/acme"))
    );
    let variables = [("TRACER_REGISTRY__TENANTS__ACME__API_KEY__FILE", "/run/acme")];
    let error = folder.load(&[("TRACER_REGISTRY__TENANTS__ACME__API_KEY", "/run/acme")]);
    assert!(error.is_err(), "a string is not a key source");
    let config = folder.load(&variables).expect("valid");
    assert_eq!(
        resolve(&config, "tenant:acme").api_key,
        KeySource::File("/run/acme".into())
    );
}

#[cfg(unix)]
#[test]
fn relative_paths_stay_valid_after_a_change_of_working_directory() {
    let folder = Folder::new(&[("default.toml", DEFAULT)]);
    let up: std::path::PathBuf = std::env::current_dir()
        .expect("a folder")
        .iter()
        .skip(1)
        .map(|_| "..")
        .collect();
    let relative = up.join(folder.0.path().strip_prefix("/").expect("absolute"));
    let config = super::Config::load_layers(&relative, false, &super::vars(&[])).expect("valid");
    let KeySource::File(key) = resolve(&config, "tenant:acme").api_key else {
        panic!("a key in a file")
    };
    assert!(relative.is_relative() && key.is_absolute(), "{}", key.display());
    std::fs::create_dir(folder.path("keys")).expect("created");
    std::fs::write(folder.path("keys/acme"), "").expect("written");
    let real = |path: &std::path::Path| path.canonicalize().expect("there");
    assert_eq!(real(&key), real(&folder.path("keys/acme")));
}

#[test]
fn a_later_layer_overlays_a_route_with_the_same_parts() {
    let route = |rest: &str| format!("[[routes]]\nwhen = {{ tenant = 'acme', feature = 'search' }}\n{rest}");
    let folder = Folder::new(&[
        (
            "default.toml",
            &format!(
                "{DEFAULT}\n[features.search]\n{}",
                route("api_key = { env = 'A' }\nsource = 'a'")
            ),
        ),
        ("local.toml", &route("source = 'b'")),
    ]);
    let both = resolve(&folder.load(&[]).expect("valid"), "feature:search,tenant:acme");
    assert_eq!(
        (both.api_key, both.source.as_deref()),
        (KeySource::Env("A".into()), Some("b"))
    );
}

#[test]
fn naming_the_default_backend_discards_nothing_of_lower_layers() {
    let folder = Folder::new(&[
        (
            "default.toml",
            "[defaults]\napi_key = { env = 'K' }\nendpoint = 'https://own.example'\n[tenants.acme]",
        ),
        ("local.toml", "[defaults]\nbackend = 'honeyhive'"),
    ]);
    let acme = resolve(&folder.load(&[]).expect("valid"), "tenant:acme");
    assert_eq!(acme.api_key, KeySource::Env("K".into()));
    assert_eq!(
        acme.endpoint.expect("the layer below has it").to_string(),
        "https://own.example"
    );
    let over = [("TRACER_REGISTRY__DEFAULTS__BACKEND", "langfuse")];
    assert!(
        try_resolve(&folder.load(&over).expect("valid"), "tenant:acme").is_err(),
        "another backend discards the key"
    );
}
