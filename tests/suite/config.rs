//! The shipped configuration files, and configuration from files and environment variables.

use std::error::Error;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Termination};

use serde_json::Value;
use tracer_registry::config::{Binding, Config, ConfigProblem, json_schema};
use tracer_registry::{BuildError, LookupError, Selector, TracerRegistry};

use crate::child_process::is_child;

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config")
}

fn resolve(config: &Config, selector: &str) -> tracer_registry::config::ResolvedBinding {
    config
        .resolve(&selector.parse().expect("a selector"))
        .expect("configured")
}

#[test]
fn the_shipped_files_are_valid_and_differ_by_environment() {
    let test = "config::the_shipped_files_are_valid_and_differ_by_environment";
    for (environment, sampling, keys) in [
        ("", 1.0, "/run/secrets/"),
        ("development", 1.0, "/run/secrets/"),
        ("staging", 1.0, "/run/secrets/staging/"),
        ("production", 0.1, "/run/secrets/"),
    ] {
        let marker = format!("WITH_{}", environment.to_uppercase());
        if !is_child(test, &[("ENVIRONMENT", environment), (&marker, "1")]) {
            continue;
        }
        let config = Config::load(shipped()).expect("valid");
        let expected = if environment.is_empty() {
            "development"
        } else {
            environment
        };
        assert_eq!(config.active_environment().map(|name| &**name), Some(expected));
        assert_eq!(config.selectors().len(), 8, "{:?}", config.selectors());
        for selector in config.selectors() {
            let binding = config.resolve(&selector).expect("complete");
            let endpoint = binding.endpoint.expect("configured");
            assert_eq!(endpoint.to_string(), "https://api.dp1.us.honeyhive.ai", "{selector}");
            assert_eq!(binding.metadata["stage"], expected, "{selector}");
        }
        let globex = resolve(&config, "tenant:globex");
        assert!((globex.sampling.ratio - sampling).abs() < f64::EPSILON);
        assert_eq!(globex.api_key.to_string(), format!("file {keys}globex_api_key"));
        let any = resolve(&config, "tenant:initech");
        assert_eq!(any.api_key.to_string(), format!("file {keys}tenants/initech"));
        let routed = resolve(&config, "tenant:acme,feature:search");
        assert_eq!(routed.api_key.to_string(), "file /run/secrets/acme_search_api_key");
        assert_eq!(routed.metadata["plan"], "enterprise");
        assert_eq!(routed.metadata["team"], "retrieval");
    }
}

#[test]
fn the_shipped_files_satisfy_the_schema() {
    let schema = jsonschema::validator_for(&json_schema()).expect("a valid schema");
    for name in ["default", "development", "staging", "production"] {
        let text = fs::read_to_string(shipped().join(format!("{name}.toml"))).expect("shipped");
        let source = config::File::from_str(&text, config::FileFormat::Toml);
        let parsed = config::Config::builder().add_source(source).build().expect("TOML");
        let value: Value = parsed.try_deserialize().expect("values");
        if let Err(error) = schema.validate(&value) {
            panic!("{name}.toml: {error}");
        }
        assert!(
            name != "default" || value["routes"].is_array(),
            "default.toml has no routes"
        );
    }
}

#[test]
fn the_bindings_of_the_shipped_files_are_complete_except_for_keys() {
    let test = "config::the_bindings_of_the_shipped_files_are_complete_except_for_keys";
    if !is_child::<&str>(test, &[]) {
        return;
    }
    let registry = TracerRegistry::from_config(shipped().join("default.toml")).expect("valid");
    let checked = registry.check(tracer_registry::check::CheckMode::Keys);
    assert_eq!(checked.len(), 9);
    let (any_tenant, named): (Vec<_>, Vec<_>) = checked.into_iter().partition(|binding| binding.selector == "tenant:*");
    assert_eq!(any_tenant[0].error, None, "the key of a wildcard is not checked");
    for binding in named {
        assert!(matches!(binding.error, Some(LookupError::Secret(_))), "{binding:?}");
        let endpoint = binding.endpoint.expect("known");
        assert_eq!(endpoint, "https://api.dp1.us.honeyhive.ai/opentelemetry/v1/traces");
    }
}

#[test]
fn environment_variables_override_the_shipped_files() {
    let test = "config::environment_variables_override_the_shipped_files";
    let variables = [
        ("ENVIRONMENT", "staging"),
        ("HH_API_KEY_STAGING", "hh_staging"),
        ("TRACER_REGISTRY__DEFAULTS__ENDPOINT", "http://127.0.0.1:4318"),
        ("TRACER_REGISTRY__TENANTS__ACME__API_KEY__ENV", "ACME_KEY"),
        ("ACME_KEY", "hh_acme"),
    ];
    if !is_child(test, &variables) {
        return;
    }
    let registry = TracerRegistry::from_config(shipped()).expect("valid");
    let staging = registry.active().expect("its key is set");
    assert_eq!(staging.selector().to_string(), "environment:staging");
    registry.tenant("acme").expect("its key is set");
    let acme = resolve(&registry.config(), "tenant:acme");
    assert_eq!(acme.endpoint.expect("configured").to_string(), "http://127.0.0.1:4318");
    let error = registry.tenant("globex").expect_err("no file");
    assert!(matches!(error, LookupError::Secret(_)), "{error}");
}

#[test]
fn an_invalid_configuration_is_rejected_with_all_its_errors() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(
        folder.path().join("default.toml"),
        "[tenants.ACME]\napi_key = 'hh_canary'\n[exports]",
    )
    .expect("written");
    let error = TracerRegistry::from_config(folder.path()).expect_err("faults");
    let BuildError::Config(config) = &error else {
        panic!("{error:?}")
    };
    assert_eq!(config.problems().len(), 3, "{config}");
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn a_registry_built_in_code_is_validated_by_the_same_rules() {
    let binding = Binding::new;
    let error = TracerRegistry::builder()
        .tenant("ACME", binding())
        .tenant("acme", binding().endpoint("https://user:hh_canary@host"))
        .environment("*", binding())
        .defaults(
            binding()
                .header("Authorization", "Bearer hh_canary")
                .sampling_ratio(7.0),
        )
        .route(&Selector::tenant("a").feature("f"), binding())
        .route(
            &Selector::feature("f").tenant("a"),
            binding().resource("list", serde_json::json!([1])),
        )
        .active_environment("production")
        .build()
        .expect_err("faults");
    let BuildError::Config(config) = &error else {
        panic!("{error:?}")
    };
    let keys: Vec<&str> = config.problems().iter().map(ConfigProblem::key).collect();
    let expected = [
        "active_environment",
        "defaults.headers.Authorization",
        "defaults.sampling.ratio",
        "environments.\"*\"",
        "routes[1].resource.list",
        "routes[1].when",
        "tenants.ACME",
        "tenants.acme.endpoint",
    ];
    assert_eq!(keys, expected, "{config}");
    assert!(config.problems().iter().all(|fault| fault.file() == "the builder"));
    assert!(!format!("{error} {error:?}").contains("canary"));
}

#[test]
fn a_configuration_error_returned_from_main_prints_one_error_per_line() {
    const FAULTY: &str = "FAULTY_CONFIGURATION";
    fn program(file: &str) -> Result<(), Box<dyn Error>> {
        let registry = TracerRegistry::from_config(file)?;
        drop(registry);
        Ok(())
    }
    #[expect(clippy::disallowed_methods, reason = "a variable marks the child process")]
    if let Ok(file) = std::env::var(FAULTY) {
        // The runtime reports the result of `main` the same way.
        let code = program(&file).report();
        assert_ne!(format!("{code:?}"), format!("{:?}", ExitCode::SUCCESS));
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("default.toml");
    fs::write(&file, "[tenants.acme]\napi_key = \"hh_canary\"\nbogus = 1\n").expect("written");
    let error = TracerRegistry::from_config(&file).expect_err("two faults").to_string();
    assert_eq!(error.lines().count(), 3, "{error}");
    let test = "config::a_configuration_error_returned_from_main_prints_one_error_per_line";
    let child = Command::new(std::env::current_exe().expect("the path of this binary"))
        .args(["--exact", test, "--nocapture"])
        .env(FAULTY, &file)
        .output()
        .expect("the binary starts");
    assert!(child.status.success());
    let shown = String::from_utf8(child.stderr).expect("text");
    assert!(shown.contains(&format!("Error: {error}\n")), "{shown}");
}
