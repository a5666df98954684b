//! Environment variables overlaid on the files.

use std::time::Duration;

use serde_json::json;

use super::{Folder, listed, resolve};
use crate::config::{ConfigProblem, IdleTimeout, PoolSettings, WhenFull};
use crate::secret::{KeyCommand, KeySource};

const BASE: &str = "[tenants.acme]\napi_key = { env = 'A' }\nsource = 'kept'\n[tenants.new-one]";

#[test]
fn a_variable_has_the_type_of_its_field() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let config = folder
        .load(&[
            ("TRACER_REGISTRY__EXPORT__MAX_QUEUE_SIZE", "77"),
            ("TRACER_REGISTRY__EXPORT__TIMEOUT", "3s"),
            ("TRACER_REGISTRY__EXPORT__RETRY__MAX_ELAPSED", "1h"),
            ("TRACER_REGISTRY__DEFAULTS__SOURCE", "1.10"),
            ("TRACER_REGISTRY__TENANTS__ACME__SAMPLING__RATIO", "0.5"),
            ("TRACER_REGISTRY__TENANTS__ACME__LIMITS__EVENTS", "9"),
            (
                "TRACER_REGISTRY__TENANTS__ACME__PROPAGATION__TRUST_REMOTE_PARENT",
                "true",
            ),
            ("TRACER_REGISTRY__TENANTS__ACME__METADATA__SEATS", "250"),
            ("TRACER_REGISTRY__TENANTS__ACME__METADATA__VERSION", "1.10"),
            ("TRACER_REGISTRY__TENANTS__ACME__METADATA__NUMBER", "007"),
            ("TRACER_REGISTRY__TENANTS__ACME__METADATA__TRIAL", "false"),
            ("TRACER_REGISTRY__TENANTS__ACME__METADATA__LIST", "[1]"),
            (
                "TRACER_REGISTRY__TENANTS__NEW_ONE__API_KEY__EXEC",
                r#"["pass", "acme"]"#,
            ),
            ("TRACER_REGISTRY__TENANTS__ACME__SOURCE", ""),
            ("TRACER_REGISTRY__POOL__MAX_TRACERS", "7"),
            ("TRACER_REGISTRY__POOL__IDLE_TIMEOUT", "never"),
            ("TRACER_REGISTRY__POOL__WHEN_FULL", "grow"),
            ("TRACER_REGISTRY_OTHER", "not ours"),
            ("tracer_registry__export__timeout", "not ours either"),
        ])
        .expect("valid");
    let export = config.export();
    assert_eq!((export.max_queue_size, export.timeout), (77, Duration::from_secs(3)));
    assert_eq!(export.retry.max_elapsed, Duration::from_secs(3600));
    let pool = PoolSettings {
        max_tracers: 7,
        idle_timeout: IdleTimeout::Never,
        when_full: WhenFull::Grow,
    };
    assert_eq!(*config.pool(), pool);
    let acme = resolve(&config, "tenant:acme");
    assert_eq!(
        (acme.sampling.ratio, acme.limits.events, acme.trust_remote_parent),
        (0.5, Some(9), true)
    );
    let metadata = json!({"seats": 250, "version": "1.10", "number": "007", "trial": false, "list": "[1]"});
    assert_eq!(json!(*acme.metadata), metadata);
    assert_eq!(acme.source.as_deref(), Some("kept"), "an empty variable is ignored");
    let new = resolve(&config, "tenant:new-one");
    let exec = KeySource::Exec(KeyCommand::new(["pass", "acme"]));
    assert_eq!(new.api_key, exec);
    assert_eq!(new.source.as_deref(), Some("1.10"), "a string is not converted");
}

#[test]
fn a_key_source_in_a_variable_replaces_the_files() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let variables = [("TRACER_REGISTRY__TENANTS__ACME__API_KEY__CREDENTIAL", "acme")];
    let acme = resolve(&folder.load(&variables).expect("valid"), "tenant:acme");
    assert_eq!(acme.api_key, KeySource::Credential("acme".into()));
}

#[test]
fn problems_of_variables_have_their_key_path() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let error = folder
        .load(&[
            ("TRACER_REGISTRY__TENANTS__ACME__API_KEY", "hh_canary"),
            ("TRACER_REGISTRY__EXPORT__TIMEOUT", "5 parsecs"),
            ("TRACER_REGISTRY__EXPORT__MAX_QUEUE_SIZE", "many"),
            ("TRACER_REGISTRY__EXPORT__", "1"),
            ("TRACER_REGISTRY__DEFAULT__SOURCE", "misspelt"),
            ("TRACER_REGISTRY__TENANTS__ACME___C", "1"),
            ("TRACER_REGISTRY__TENANTS__A_B__SOURCE", "1"),
            ("TRACER_REGISTRY__DEFAULTS__METADATA", "table"),
        ])
        .expect_err("problems");
    let keys: Vec<&str> = error.problems().iter().map(ConfigProblem::key).collect();
    let expected = [
        "default",
        "defaults.metadata",
        "export.",
        "export.max_queue_size",
        "export.timeout",
        "tenants.a_b.source",
        "tenants.acme._c",
        "tenants.acme.api_key",
    ];
    assert_eq!(keys, expected, "{error}");
    assert!(
        error
            .problems()
            .iter()
            .all(|problem| problem.file() == "the variables TRACER_REGISTRY__*")
    );
    assert!(!error.to_string().contains("canary"));
}

#[test]
fn two_variables_for_one_setting_are_a_problem() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    for (one, other) in [
        (
            "TRACER_REGISTRY__TENANTS__ACME__SOURCE",
            "TRACER_REGISTRY__TENANTS__acme__SOURCE",
        ),
        (
            "TRACER_REGISTRY__DEFAULTS__METADATA",
            "TRACER_REGISTRY__DEFAULTS__METADATA__A",
        ),
        (
            "TRACER_REGISTRY__DEFAULTS__METADATA__A__B",
            "TRACER_REGISTRY__defaults__METADATA__A",
        ),
    ] {
        let error = folder.load(&[(one, "1"), (other, "2")]).expect_err(one);
        let shown = listed(&error);
        assert!(
            shown
                .iter()
                .any(|problem| problem.contains("another variable for the same setting")),
            "{shown:?}"
        );
    }
}

#[test]
fn a_variable_matches_the_declared_name_that_it_can_spell() {
    let names = ["acme-eu", "acme.us", "globex_eu", "a-b_c.d"];
    let tables = ["environments", "features", "tenants"];
    let base: String = tables
        .iter()
        .flat_map(|table| names.map(|name| format!("[{table}.\"{name}\"]\napi_key = {{ env = 'A' }}\n")))
        .collect();
    let folder = Folder::new(&[("default.toml", &base)]);
    for table in tables {
        for (written, name) in [
            ("ACME_EU", "acme-eu"),
            ("acme_eu", "acme-eu"),
            ("ACME-EU", "acme-eu"),
            ("ACME_US", "acme.us"),
            ("ACME.US", "acme.us"),
            ("GLOBEX_EU", "globex_eu"),
            ("A_B_C_D", "a-b_c.d"),
            ("A-B_C.D", "a-b_c.d"),
        ] {
            let variable = format!("TRACER_REGISTRY__{}__{written}__SOURCE", table.to_uppercase());
            let config = folder.load(&[(&variable, "set")]).expect("one name");
            let part = table.trim_end_matches('s');
            let changed: Vec<bool> = names
                .iter()
                .map(|name| resolve(&config, &format!("{part}:{name}")).source.as_deref() == Some("set"))
                .collect();
            assert_eq!(changed, names.map(|other| other == name), "{variable}");
        }
    }
}

#[test]
fn a_variable_that_matches_no_declared_name_or_two_is_a_problem() {
    let base = "[tenants.acme-eu]\napi_key = { env = 'A' }\n[tenants.acme_eu]\napi_key = { env = 'B' }\n[environments.prod]\n[features.search]";
    let tenants = [
        ("default.toml", "tenants_dir = 'tenants'\n[tenants.acme]"),
        ("tenants/filed.toml", "source = 'x'"),
    ];
    for (files, variable, key, why) in [
        (
            &[("default.toml", base)][..],
            "TENANTS__ACME_EU__SOURCE",
            "tenants.acme_eu.source",
            "ambiguous: it matches tenants.acme-eu and tenants.acme_eu",
        ),
        (
            &[("default.toml", base)],
            "TENANTS__ACME__SOURCE",
            "tenants.acme.source",
            "no file declares it",
        ),
        (
            &[("default.toml", base)],
            "TENANTS__ACME.EU__SOURCE",
            "tenants.acme.eu.source",
            "no file declares it",
        ),
        (
            &[("default.toml", base)],
            "ENVIRONMENTS__PRODUCTION__SOURCE",
            "environments.production.source",
            "no file declares it",
        ),
        (
            &[("default.toml", base)],
            "FEATURES__SEARCHES__SOURCE",
            "features.searches.source",
            "no file declares it",
        ),
        // A table would take precedence over the tenant's file, which would no longer be read.
        (
            &tenants,
            "TENANTS__FILED__SOURCE",
            "tenants.filed.source",
            "no file declares it",
        ),
    ] {
        let folder = Folder::new(files);
        let error = folder
            .load(&[(&format!("TRACER_REGISTRY__{variable}"), "x")])
            .expect_err(variable);
        let [problem] = error.problems() else { panic!("{error}") };
        assert_eq!(problem.key(), key);
        assert!(problem.message().contains(why), "{problem}");
    }
    let dashed = Folder::new(&[("default.toml", base)]);
    let config = dashed
        .load(&[("TRACER_REGISTRY__TENANTS__ACME-EU__SOURCE", "x")])
        .expect("an exact match");
    assert_eq!(resolve(&config, "tenant:acme-eu").source.as_deref(), Some("x"));
    assert_eq!(resolve(&config, "tenant:acme_eu").source, None);
}

#[test]
fn every_layer_of_files_declares_names() {
    let folder = Folder::new(&[
        (
            "default.toml",
            "active_environment = 'staging'\n[defaults]\napi_key = { env = 'A' }\n[environments.staging]\n[environments.prod]",
        ),
        ("prod.toml", "[tenants.of-prod]"),
        ("local.toml", "[tenants.of-local]"),
    ]);
    let local = [("TRACER_REGISTRY__TENANTS__OF_LOCAL__SOURCE", "x")];
    assert_eq!(
        resolve(&folder.load(&local).expect("declared"), "tenant:of-local")
            .source
            .as_deref(),
        Some("x")
    );
    let prod = [
        ("TRACER_REGISTRY__TENANTS__OF_PROD__SOURCE", "x"),
        ("TRACER_REGISTRY__ACTIVE_ENVIRONMENT", "prod"),
    ];
    assert_eq!(
        resolve(&folder.load(&prod).expect("declared"), "tenant:of-prod")
            .source
            .as_deref(),
        Some("x")
    );
    folder
        .load(&prod[..1])
        .expect_err("the file of another environment is not read");
}

#[test]
fn two_spellings_of_one_variable_are_a_problem() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let variables = [
        ("TRACER_REGISTRY__TENANTS__NEW_ONE__SOURCE", "1"),
        ("TRACER_REGISTRY__TENANTS__NEW-ONE__SOURCE", "2"),
    ];
    let error = folder.load(&variables).expect_err("an undefined order");
    assert!(
        error.to_string().contains("another variable for the same setting"),
        "{error}"
    );
    let apart = [
        ("TRACER_REGISTRY__TENANTS__NEW_ONE__SOURCE", "1"),
        ("TRACER_REGISTRY__TENANTS__NEW-ONE__API_KEY__ENV", "K"),
    ];
    let config = folder.load(&apart).expect("two settings of one tenant");
    let new = resolve(&config, "tenant:new-one");
    assert_eq!(
        (new.source.as_deref(), new.api_key),
        (Some("1"), KeySource::Env("K".into()))
    );
}

#[cfg(unix)]
#[test]
fn a_value_that_is_not_utf8_is_refused_and_not_repeated() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let folder = Folder::new(&[("default.toml", BASE)]);
    let value = OsString::from_vec(b"hh_canary\xff".to_vec());
    let name = OsString::from_vec(b"TRACER_REGISTRY__TENANTS__\xff__SOURCE".to_vec());
    let variables = [
        ("TRACER_REGISTRY__TENANTS__ACME__SOURCE".into(), value),
        (name, "x".into()),
    ];
    let error =
        super::Config::load_layers(folder.0.path(), false, &variables.into_iter().collect()).expect_err("not UTF-8");
    assert_eq!(error.problems().len(), 2, "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
