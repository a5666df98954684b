//! The layer `gateway`, and the table `[gateway]` that the library keeps unread.

use std::path::Path;

use super::{Folder, listed, resolve, vars};
use crate::config::{Config, ConfigError};

const ACME: &str = "[tenants.acme]\napi_key = { file = 'keys/acme' }\n";

fn load(path: &Path, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::load_layers(path, true, &vars(variables))
}

fn source(config: &Config) -> String {
    resolve(config, "tenant:acme").source.expect("a source")
}

#[test]
fn the_gateways_file_lies_between_the_environments_and_the_local_one() {
    let layer = |name: &str| format!("[tenants.acme]\nsource = '{name}'\n");
    let files = [
        (
            "default.toml",
            format!("active_environment = 'e'\n[environments.e]\n{ACME}source = 'default'"),
        ),
        ("e.toml", layer("environment")),
        ("gateway.toml", layer("gateway")),
        ("local.toml", layer("local")),
    ];
    for (count, expected) in [(1, "default"), (2, "environment"), (3, "gateway"), (4, "local")] {
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        let folder = Folder::new(&files[..count]);
        assert_eq!(source(&load(folder.0.path(), &[]).expect("valid")), expected);
        let variable = ("TRACER_REGISTRY__TENANTS__ACME__SOURCE", "variable");
        assert_eq!(source(&load(folder.0.path(), &[variable]).expect("valid")), "variable");
        // Another program reads the folder without the gateway's file.
        let expected = if expected == "gateway" { "environment" } else { expected };
        assert_eq!(source(&folder.load(&[]).expect("valid")), expected);
    }
}

#[test]
fn the_gateways_file_is_layered_if_it_is_given_itself_and_may_stand_alone() {
    let folder = Folder::new(&[
        ("default.toml", ACME),
        ("gateway.toml", "[defaults]\nsource = 'gateway'"),
        ("other.toml", ACME),
        ("alone/gateway.toml", &format!("{ACME}source = 'alone'")),
    ]);
    assert_eq!(
        source(&load(&folder.path("gateway.toml"), &[]).expect("valid")),
        "gateway"
    );
    assert_eq!(
        source(&load(&folder.path("default.toml"), &[]).expect("valid")),
        "gateway"
    );
    assert_eq!(
        resolve(&load(&folder.path("other.toml"), &[]).expect("valid"), "tenant:acme").source,
        None
    );
    for path in ["alone", "alone/gateway.toml"] {
        assert_eq!(source(&load(&folder.path(path), &[]).expect("valid")), "alone");
    }
    let alone = Config::load_layers(&folder.path("gateway.toml"), false, &vars(&[])).expect("stands alone");
    assert!(
        !alone
            .selectors()
            .iter()
            .any(|selector| selector.to_string() == "tenant:acme")
    );
    let error = load(Folder::new(&[]).0.path(), &[]).expect_err("empty");
    assert_eq!(
        listed(&error),
        [": the folder has no default.toml, default.yaml, default.yml or default.json"]
    );
}

#[test]
fn two_gateway_files_conflict_and_a_missing_one_that_was_given_is_a_problem() {
    let folder = Folder::new(&[("default.toml", ""), ("gateway.toml", ""), ("gateway.json", "{}")]);
    let error = load(&folder.path("gateway.toml"), &[]).expect_err("two files");
    assert!(
        listed(&error)[0].starts_with("gateway.toml: conflicts with "),
        "{error}"
    );
    let error = load(&Folder::new(&[]).path("gateway.toml"), &[]).expect_err("missing");
    assert_eq!(listed(&error), [": no such file or folder"]);
}

#[test]
fn an_environment_called_gateway_has_no_separate_file() {
    let folder = Folder::new(&[
        (
            "default.toml",
            &format!("active_environment = 'gateway'\n[environments.gateway]\n{ACME}"),
        ),
        (
            "gateway.toml",
            "active_environment = 'gateway'\n[defaults]\nsource = 'gateway'",
        ),
    ]);
    // As an environment's file it could not select the environment.
    assert_eq!(source(&load(folder.0.path(), &[]).expect("valid")), "gateway");
    let error = folder.load(&[]).expect_err("an environment's file");
    assert!(listed(&error)[0].starts_with("active_environment: "), "{error}");
}

#[test]
fn any_program_accepts_the_table_without_reading_it() {
    let folder = Folder::new(&[("default.toml", "[gateway]\nanything = [1, { nested = true }]")]);
    let config = folder.load(&[]).expect("valid");
    assert!(!format!("{config:?}").contains("anything"));
    let folder = Folder::new(&[("default.toml", "gateway = 1")]);
    let error = folder.load(&[]).expect_err("not a table");
    assert_eq!(listed(&error), ["gateway: expected a table, found a number"]);
}

#[test]
fn a_configuration_that_is_read_again_keeps_the_layer() {
    let folder = Folder::new(&[
        ("default.toml", ACME),
        ("gateway.toml", "[defaults]\nsource = 'gateway'"),
    ]);
    let config = load(folder.0.path(), &[]).expect("valid");
    assert_eq!(source(&config.read_again().expect("valid")), "gateway");
    #[cfg(feature = "watch")]
    assert!(config.files().contains(&folder.path("gateway.yaml")));
}

#[cfg(feature = "gateway")]
mod reading {
    use std::time::Duration;

    use super::*;
    use crate::KeySource;
    use crate::config::gateway::GatewayProblems;

    #[derive(Debug, Default, PartialEq)]
    struct Read {
        flag: Option<bool>,
        time: Option<Duration>,
        size: Option<usize>,
        tokens: Vec<KeySource>,
    }

    fn read(config: &Config) -> Result<Read, ConfigError> {
        let (mut problems, mut read) = (GatewayProblems::new(config), Read::default());
        config.read_gateway(&mut problems, |table| {
            read.flag = table.flag("flag").or(read.flag);
            read.time = table.duration("time").or(read.time);
            read.size = table.size("size").or(read.size);
            if let Some(tokens) = table.key_sources("token") {
                read.tokens = tokens;
            }
        });
        problems.into_result().map(|()| read)
    }

    #[test]
    fn later_layers_replace_fields_and_paths_start_at_the_folder_of_their_file() {
        let folder = Folder::new(&[
            (
                "default.toml",
                "[gateway]\ntime = '1s'\nsize = '1KiB'\ntoken = { file = 'keys/a' }",
            ),
            (
                "gateway.toml",
                "[gateway]\ntime = '2s'\ntoken = [{ file = 'keys/b' }, { env = 'B' }]",
            ),
        ]);
        let config = load(folder.0.path(), &[("TRACER_REGISTRY__GATEWAY__FLAG", "true")]).expect("valid");
        let expected = Read {
            flag: Some(true),
            time: Some(Duration::from_secs(2)),
            size: Some(1024),
            tokens: vec![KeySource::file(folder.path("keys/b")), KeySource::env("B")],
        };
        assert_eq!(read(&config).expect("valid"), expected);
        let list = ("TRACER_REGISTRY__GATEWAY__TOKEN", r#"[{ "file": "c" }]"#);
        let config = load(folder.0.path(), &[list]).expect("valid");
        assert_eq!(read(&config).expect("valid").tokens, [KeySource::file("c")]);
    }

    #[test]
    fn problems_name_the_file_and_never_a_value() {
        let folder = Folder::new(&[
            ("default.toml", "[gateway]\ntoken = 'hh_a_key_itself'\ntme = 1"),
            (
                "gateway.toml",
                "[gateway]\nflag = 'hh_a_key_itself'\ntoken = [{ fil = 'x' }]",
            ),
            ("local.toml", "[gateway]\ntoken = []"),
        ]);
        let config = load(folder.0.path(), &[]).expect("valid");
        let error = read(&config).expect_err("problems");
        let files: Vec<_> = error
            .problems()
            .iter()
            .map(|problem| problem.file().rsplit('/').next())
            .collect();
        let (default, gateway, local) = (Some("default.toml"), Some("gateway.toml"), Some("local.toml"));
        assert_eq!(files, [default, default, gateway, gateway, local]);
        let starts = [
            "gateway.tme: unknown field; did you mean `time`?",
            "gateway.token: a key is never written in the configuration; use { env =",
            "gateway.flag: expected true or false, found a string",
            "gateway.token[0]: expected exactly one key source, found 0; use",
            "gateway.token: an empty list; use",
        ];
        for (shown, start) in listed(&error).iter().zip(starts) {
            assert!(shown.starts_with(start), "{shown}");
        }
        assert!(!error.to_string().contains("hh_"), "{error}");
    }
}
