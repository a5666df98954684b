//! Variables laid over the files.

use std::time::Duration;

use serde_json::json;

use super::{Folder, listed, resolve};
use crate::config::{ConfigFault, IdleTimeout, PoolSettings, WhenFull};
use crate::secret::{KeyCommand, KeySource};

const BASE: &str = "[tenants.acme]\napi_key = { env = 'A' }\nsource = 'kept'";

#[test]
fn a_variable_is_typed_by_the_field_it_is_for() {
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
                "TRACER_REGISTRY__TENANTS__NEW-ONE__API_KEY__EXEC",
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
        (acme.sampling_ratio, acme.limits.events, acme.trust_remote_parent),
        (0.5, Some(9), true)
    );
    let metadata = json!({"seats": 250, "version": "1.10", "number": "007", "trial": false, "list": "[1]"});
    assert_eq!(json!(acme.metadata), metadata);
    assert_eq!(
        acme.source.as_deref(),
        Some("kept"),
        "a variable that is set to nothing says nothing"
    );
    let new = resolve(&config, "tenant:new-one");
    let exec = KeySource::Exec(KeyCommand::new(["pass", "acme"]));
    assert_eq!(new.api_key, exec);
    assert_eq!(new.source.as_deref(), Some("1.10"), "a text stays as it is written");
}

#[test]
fn a_source_in_a_variable_takes_the_place_of_the_one_in_a_file() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let variables = [("TRACER_REGISTRY__TENANTS__ACME__API_KEY__CREDENTIAL", "acme")];
    let acme = resolve(&folder.load(&variables).expect("valid"), "tenant:acme");
    assert_eq!(acme.api_key, KeySource::Credential("acme".into()));
}

#[test]
fn faults_in_variables_have_their_key_path() {
    let folder = Folder::new(&[("default.toml", BASE)]);
    let error = folder
        .load(&[
            ("TRACER_REGISTRY__TENANTS__ACME__API_KEY", "hh_canary"),
            ("TRACER_REGISTRY__EXPORT__TIMEOUT", "5 parsecs"),
            ("TRACER_REGISTRY__EXPORT__MAX_QUEUE_SIZE", "many"),
            ("TRACER_REGISTRY__EXPORT__", "1"),
            ("TRACER_REGISTRY__DEFAULT__SOURCE", "misspelt"),
            ("TRACER_REGISTRY__TENANTS__A_B___C", "1"),
            ("TRACER_REGISTRY__DEFAULTS__METADATA", "table"),
        ])
        .expect_err("faults");
    let keys: Vec<&str> = error.faults().iter().map(ConfigFault::key).collect();
    let expected = [
        "default",
        "defaults.metadata",
        "export.",
        "export.max_queue_size",
        "export.timeout",
        "tenants.a_b._c",
        "tenants.acme.api_key",
    ];
    assert_eq!(keys, expected, "{error}");
    assert!(
        error
            .faults()
            .iter()
            .all(|fault| fault.file() == "the variables TRACER_REGISTRY__*")
    );
    assert!(!error.to_string().contains("canary"));
}

#[test]
fn two_variables_that_say_the_same_thing_are_a_fault() {
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
        let said = listed(&error);
        assert!(
            said.iter().any(|fault| fault.contains("another variable says")),
            "{said:?}"
        );
    }
}

#[cfg(unix)]
#[test]
fn a_value_that_is_no_text_is_refused_and_not_repeated() {
    use std::ffi::OsString;
    use std::os::unix::ffi::OsStringExt;

    let folder = Folder::new(&[("default.toml", BASE)]);
    let value = OsString::from_vec(b"hh_canary\xff".to_vec());
    let name = OsString::from_vec(b"TRACER_REGISTRY__TENANTS__\xff__SOURCE".to_vec());
    let variables = [
        ("TRACER_REGISTRY__TENANTS__ACME__SOURCE".into(), value),
        (name, "x".into()),
    ];
    let error = super::Config::load_with(folder.0.path(), &variables.into_iter().collect()).expect_err("no text");
    assert_eq!(error.faults().len(), 2, "{error}");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}
