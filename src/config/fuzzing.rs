//! Fuzz targets: files of the operator, environment variables, and files of tenants.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{LazyLock, Mutex, PoisonError};

use serde_json::Value;
use tempfile::TempDir;

use super::problem::ConfigError;
use super::read::layers::EXTENSIONS;
use super::read::parse::parse;
use super::read::variables::Variables;
use super::resolve::config::Config;
use super::resolve::error::ResolveError;
use super::resolve::resolved::ResolvedBinding;
use super::settings::binding::{Auth, Binding};
use super::settings::tls::Tls;
use crate::secret::KeySource;
use crate::selector::{Selector, Slug};

/// A key that is written where another value belongs.
const MISPLACED: &str = "hh_m1splaced-k3y-0123456789";
/// Part of it that no error shows.
const HIDDEN: &str = "m1splaced";
/// Settings whose values errors show: names of tenants and environments, and a folder.
const SHOWN: [&str; 3] = ["active_environment", "tenants_dir", "when"];
/// Values that are replaced by a key, and selectors that are resolved, of one file.
const MAX_TRIED: usize = 6;
/// Largest file that is loaded with misplaced keys.
const MAX_BYTES: u64 = 64 << 10;

/// Loads a file of each syntax. Returns whether any syntax accepts it.
///
/// # Panics
/// Panics if an error shows a value that may be a key, or if the same tables in JSON are read
/// differently.
pub fn config(data: &[u8]) -> bool {
    let folder = TempDir::new().expect("a temporary folder");
    let mut is_accepted = false;
    for (extension, syntax) in EXTENSIONS.iter().filter(|(extension, _)| *extension != "yml") {
        let loaded = load(folder.path(), extension, data);
        let tree = std::str::from_utf8(data)
            .ok()
            .and_then(|text| parse(text, *syntax, MAX_BYTES).ok());
        if let Err(error) = &loaded {
            assert_shown(error);
            // An error of the parser quotes nothing.
            assert!(tree.is_some() || !error.to_string().contains(HIDDEN), "{error}");
        }
        is_accepted |= loaded.is_ok();
        let Some(tree) = tree else { continue };
        let as_json = load(folder.path(), "json", tree.to_string().as_bytes());
        match (&loaded, &as_json) {
            (Ok(config), Ok(as_json)) => assert!(config.document == as_json.document),
            (Err(error), Err(as_json)) => assert_eq!(error.problems().len(), as_json.problems().len(), "{error}"),
            _ => panic!("{extension}: {loaded:?}\njson: {as_json:?}"),
        }
        if let Ok(config) = &loaded {
            for selector in config.selectors().iter().take(MAX_TRIED) {
                if let Err(error) = config.resolve(selector) {
                    assert!(!error.to_string().contains(char::is_control) || matches!(error, ResolveError::Refused(_)));
                }
            }
        }
        for tree in with_misplaced_key(&tree) {
            if let Err(error) = load(folder.path(), "json", tree.to_string().as_bytes()) {
                assert!(!error.to_string().contains(HIDDEN), "{error}\n{tree}");
            }
        }
    }
    is_accepted
}

fn load(folder: &Path, extension: &str, content: &[u8]) -> Result<Config, ConfigError> {
    let file = folder.join(format!("fuzzed.{extension}"));
    fs::write(&file, content).expect("a writable folder");
    Config::load_layers(&file, false, &Variables::empty())
}

/// Each problem is one line of bounded length.
fn assert_shown(error: &ConfigError) {
    for problem in error.problems() {
        let shown = problem.to_string();
        assert!(!shown.contains(char::is_control), "{shown}");
    }
}

/// Returns copies of a tree in which one text is a key.
fn with_misplaced_key(tree: &Value) -> Vec<Value> {
    let mut places = Vec::new();
    collect(tree, "", &mut places);
    if tree.to_string().contains(HIDDEN) {
        // It may be a name, which errors show.
        places.clear();
    }
    let step = places.len().div_ceil(MAX_TRIED).max(1);
    let replaced = places.iter().step_by(step).map(|place| {
        let mut tree = tree.clone();
        *tree.pointer_mut(place).expect("a place in the tree") = MISPLACED.into();
        tree
    });
    replaced.collect()
}

/// Collects the pointers to texts that are not names.
fn collect(value: &Value, at: &str, places: &mut Vec<String>) {
    match value {
        Value::String(_) => places.push(at.to_owned()),
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &format!("{at}/{index}"), places);
            }
        }
        Value::Object(fields) => {
            let values = fields.iter().filter(|(name, _)| !SHOWN.contains(&name.as_str()));
            for (name, value) in values {
                collect(
                    value,
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    places,
                );
            }
        }
        _ => {}
    }
}

/// The operator's configuration beside the files of tenants.
const OPERATOR: &str = r#"
tenants_dir = "tenants"

[defaults]
backend = "otlp"
endpoint = "https://otlp.operator.test"
weight = 200
source = "operator"
headers = { x-operator = "1" }
resource = { "service.name" = "app" }
sampling = { ratio = 0.5 }
limits = { attributes = 64, span_bytes = "64KiB" }

[tenants."*"]
api_key = { file = "/run/secrets/tenants/{tenant}" }

[untrusted]
keys = ["file:/run/secrets/own/{tenant}/*", "provider:vault/tenants/{tenant}"]
endpoints = ["https://*.example.com", "http://10.1.2.3:4318"]
addresses = ["10.1.0.0/16"]
projects = ["{tenant}", "{tenant}/*"]
"#;

struct Operator {
    folder: TempDir,
    config: Config,
    without_file: ResolvedBinding,
}

static OPERATOR_FILES: LazyLock<Mutex<Operator>> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    fs::create_dir(folder.path().join("tenants")).expect("a writable folder");
    let config = load(folder.path(), "toml", OPERATOR.as_bytes()).expect("a valid configuration");
    let without_file = config.resolve(&acme()).expect("the tenant is known");
    Mutex::new(Operator {
        folder,
        config,
        without_file,
    })
});

fn acme() -> Selector {
    Selector::try_from(Selector::tenant("acme")).expect("a valid selector")
}

/// Reads a tenant's file of each syntax. Returns whether any syntax accepts it.
///
/// # Panics
/// Panics if the file chooses anything that the operator does not allow, or if the same tables read
/// as a value are judged differently.
pub fn tenant(data: &[u8]) -> bool {
    let operator = OPERATOR_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    let Operator {
        folder,
        config,
        without_file,
    } = &*operator;
    let slug = Slug::new("acme").expect("a slug");
    let mut is_accepted = false;
    for (extension, syntax) in EXTENSIONS.iter().filter(|(extension, _)| *extension != "yml") {
        let file = folder.path().join(format!("tenants/acme.{extension}"));
        fs::write(&file, data).expect("a writable folder");
        let read = config.tenant_file(&slug);
        fs::remove_file(&file).expect("the file was written");
        let tree = std::str::from_utf8(data)
            .ok()
            .and_then(|text| parse(text, *syntax, MAX_BYTES).ok());
        if let Some(tree) = tree {
            assert_eq!(Binding::from_json(tree).is_ok(), read.is_ok());
        }
        let binding = match read {
            Ok(binding) => binding.expect("the file exists"),
            Err(error) => {
                assert_shown(&error);
                assert!(error.problems().len() <= 51);
                continue;
            }
        };
        match config.resolve_with(&acme(), Some(&binding)) {
            Ok(resolved) => {
                assert_allowed(&resolved, without_file);
                is_accepted = true;
            }
            Err(ResolveError::Refused(error)) => assert_shown(&error),
            Err(error) => assert!(!error.to_string().contains(char::is_control), "{error}"),
        }
    }
    is_accepted
}

/// The rules of `[untrusted]`, written a second time.
fn assert_allowed(resolved: &ResolvedBinding, operator: &ResolvedBinding) {
    let is_moved = (&resolved.endpoint, resolved.backend) != (&operator.endpoint, operator.backend);
    let endpoint = resolved.endpoint.as_ref().expect("the operator has one").to_string();
    let host = endpoint.split('/').nth(2).unwrap_or_default();
    let is_allowed = endpoint.starts_with("https://") && host.trim_end_matches(":443").ends_with(".example.com")
        || endpoint.starts_with("http://") && host == "10.1.2.3:4318";
    assert!(!is_moved || is_allowed, "{endpoint}");

    let own = match &resolved.api_key {
        KeySource::Confined(_) => {
            let path = resolved.api_key.path().expect("a file");
            let name = path.strip_prefix("/run/secrets/own/acme").expect("the tenant's folder");
            assert!(
                name.components().count() == 1 && name.as_os_str() != "..",
                "{}",
                path.display()
            );
            true
        }
        KeySource::Provider { provider, name } => {
            assert_eq!((&**provider, &**name), ("vault", "tenants/acme"));
            true
        }
        source => {
            assert_eq!(source, &operator.api_key);
            false
        }
    };
    assert!(own || !is_moved, "the operator's key stays with its endpoint");
    let project = resolved.project.as_deref();
    assert!(
        own || project.is_none_or(|project| project == "acme" || project.starts_with("acme/")),
        "{project:?}"
    );

    assert_eq!((&resolved.auth, &resolved.tls), (&None::<Auth>, &Tls::default()));
    assert!(resolved.proxy.is_none() && resolved.weight == operator.weight);
    assert!(resolved.headers == operator.headers || is_moved && resolved.headers.is_empty());
    assert!(resolved.sampling.ratio <= operator.sampling.ratio && resolved.sampling.ratio >= 0.0);
    assert!(resolved.limits.attributes <= operator.limits.attributes && resolved.limits.attributes.is_some());
    assert!(resolved.limits.span_bytes <= operator.limits.span_bytes && resolved.limits.span_bytes.is_some());
    assert!(!resolved.trust_remote_parent && !resolved.propagate_session_id);
    assert_eq!(
        resolved.resource.get("service.name"),
        operator.resource.get("service.name")
    );
}

/// The file that variables are overlaid on.
const BELOW: &str = r#"
[defaults]
backend = "otlp"
endpoint = "https://otlp.operator.test"
api_key = { env = "KEY" }

[environments.production]
[features.search]

[tenants.acme-eu]
source = "eu"

[tenants."globex.com"]
metadata = { plan = "x" }
"#;

static BELOW_VARIABLES: LazyLock<(TempDir, PathBuf)> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a temporary folder");
    let file = folder.path().join("below.toml");
    fs::write(&file, BELOW).expect("a writable folder");
    (folder, file)
});

/// Overlays environment variables on a file: a name without `TRACER_REGISTRY__`, `=` and a value,
/// one a line. Returns whether they are accepted.
///
/// # Panics
/// Panics if an error shows the value of a variable.
pub fn variables(data: &[u8]) -> bool {
    let text = String::from_utf8_lossy(data);
    let lines = text.lines().filter_map(|line| line.split_once('='));
    let lines: Vec<(String, &str)> = lines
        .map(|(name, value)| (format!("TRACER_REGISTRY__{name}"), value))
        .collect();
    let load = |misplaced: Option<usize>| {
        let values = lines.iter().enumerate().map(|(index, (name, value))| {
            let value = if misplaced == Some(index) { MISPLACED } else { value };
            (name.into(), value.into())
        });
        Config::load_layers(&BELOW_VARIABLES.1, false, &values.collect::<Variables>())
    };
    let loaded = load(None);
    if let Err(error) = &loaded {
        assert_shown(error);
    }
    let shows_value = |name: &str| SHOWN.iter().any(|shown| name.to_lowercase().contains(shown));
    let places = lines.iter().enumerate().filter(|(_, (name, _))| !shows_value(name));
    // The text itself may have it in a name, which errors show.
    let tried = if text.to_lowercase().contains(HIDDEN) {
        0
    } else {
        MAX_TRIED
    };
    for (index, _) in places.take(tried) {
        if let Err(error) = load(Some(index)) {
            assert!(!error.to_string().contains(HIDDEN), "{error}");
        }
    }
    loaded.is_ok()
}
