//! Fuzz target: files with the gateway's table, and files of callers.

use std::fs;

use tempfile::TempDir;
use tracer_registry::config::{Config, ConfigError};
use tracer_registry::gateway::wildcard_matches;
use tracer_registry::selector::Slug;

use super::caller::{CallerSettings, TenantRule};
use super::settings::Settings;

/// Part of a misplaced token that no error shows.
const HIDDEN: &str = "m1splaced";
/// Syntaxes of files.
const EXTENSIONS: [&str; 3] = ["toml", "yaml", "json"];

/// Reads the file of a caller, and a file with the table `[gateway]`. Returns whether it is valid as
/// either, in any syntax.
///
/// # Panics
/// Panics if an error has several lines, or if accepted settings are incomplete.
pub fn callers(data: &[u8]) -> bool {
    let mut is_accepted = false;
    for extension in EXTENSIONS {
        let folder = TempDir::new().expect("a temporary folder");
        let write =
            |name: &str, content: &[u8]| fs::write(folder.path().join(name), content).expect("a writable folder");
        let read = || Config::load_files_for_gateway(folder.path()).and_then(|config| Settings::read(&config));

        write("gateway.toml", b"[gateway]\ncallers_dir = 'callers'\n");
        fs::create_dir(folder.path().join("callers")).expect("a writable folder");
        write(&format!("callers/acme.{extension}"), data);
        is_accepted |= is_valid(&read());
        fs::remove_file(folder.path().join("gateway.toml")).expect("the file was written");
        write(&format!("gateway.{extension}"), data);
        is_accepted |= is_valid(&read());
    }
    is_accepted
}

fn is_valid(read: &Result<Settings, ConfigError>) -> bool {
    match read {
        Ok(settings) => {
            assert!(settings.http.is_some() || settings.grpc.is_some());
            assert!(settings.max_request > 0 && settings.memory >= 2 * settings.max_request);
            assert_eq!(
                settings.open.is_some(),
                settings.callers.is_empty() && settings.callers_dir.is_none()
            );
            settings.callers.values().for_each(|caller| assert_complete(caller));
            true
        }
        Err(error) => {
            for problem in error.problems() {
                let shown = problem.to_string();
                assert!(!shown.contains(char::is_control), "{shown}");
                // Names of tables, fields and tenants are shown.
                let is_name = problem.key().contains(HIDDEN) || problem.key().rsplit('.').next() == Some("allow");
                assert!(is_name || !problem.message().contains(HIDDEN), "{shown}");
            }
            false
        }
    }
}

/// A caller has a token, and a rule that permits only what its list permits.
fn assert_complete(caller: &CallerSettings) {
    assert!(!caller.tokens.is_empty() || !caller.token_sha256.is_empty());
    let allow = match &caller.tenant {
        TenantRule::Fixed(tenant) => {
            assert!(tenant.is_some() || caller.environment.is_some() || caller.feature.is_some());
            return;
        }
        TenantRule::Header { name, allow } => {
            let name = name.as_str();
            assert!(!["authorization", "x-api-key", "api-key", "x-honeycomb-team", "cookie"].contains(&name));
            allow
        }
        TenantRule::Resource { attribute, allow } => {
            assert!(!attribute.is_empty());
            allow
        }
        TenantRule::Path { allow } => allow,
    };
    let tenants = ["acme", "team-a", "a", "globex"].map(|name| Slug::new(name).expect("a slug"));
    let unused: Vec<&str> = allow.unused(&tenants).collect();
    for tenant in &tenants {
        let is_unused = unused.iter().all(|entry| !wildcard_matches(entry, tenant));
        assert!(is_unused, "{unused:?} match {tenant}");
    }
}
