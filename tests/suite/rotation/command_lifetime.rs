//! Keys of commands with a lifetime: the command runs again before its key expires.

use std::fs;
use std::time::Duration;

use opentelemetry::trace::Span as _;
use tracer_registry::config::{Binding, Config};
use tracer_registry::secret::KeyCommand;
use tracer_registry::{KeySource, TracerRegistry};

use super::{Keys, endless_backoff, next_key};
use crate::support::{key_of, wait_for};

/// Creates tenant `a` with a command that prints the file `printed`.
fn keys(lifetime: Option<Duration>) -> Keys {
    let printed = tempfile::TempDir::new().expect("a folder");
    fs::write(printed.path().join("printed"), key_of("a")).expect("written");
    let command = KeyCommand::new(["cat".to_owned(), printed.path().join("printed").display().to_string()]);
    let command = command.timeout(Duration::from_secs(60));
    let command = match lifetime {
        Some(lifetime) => command.lifetime(lifetime),
        None => command,
    };
    let binding = Binding::new().api_key(KeySource::Exec(command));
    let mut keys = Keys::with(&[], |builder| builder.export(endless_backoff()).tenant("a", binding));
    keys.world = keys.world.with_projects(&["a"]);
    keys.folder = printed;
    keys
}

#[test]
fn a_command_runs_again_before_its_key_expires_and_a_failure_keeps_the_last_valid_key() {
    let keys = keys(Some(Duration::from_millis(100)));
    let world = &keys.world;
    let a = world.tenant("a");
    let old = world.revoke(&key_of("a"));
    keys.replace("printed", &next_key("a"));
    world.wait_for_key("a", &next_key("a"));
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    assert_eq!(
        world.collector.fault_hits(old),
        0,
        "the old key was not used after the rotation"
    );
    fs::remove_file(keys.path("printed")).expect("removed");
    let key = wait_for("an error", || world.key("a"), |key| key.error.is_some());
    assert_eq!(
        key.fingerprint,
        crate::support::fingerprint(&world.collector, &next_key("a"))
    );
    let error = key.error.expect("just seen").to_string();
    assert!(error.starts_with("command cat: failed with exit status: 1"), "{error}");
    a.start_span("span").end();
    world.wait_for_spans("a", 2);
    keys.replace("printed", &key_of("a_last"));
    world.wait_for_key("a", &key_of("a_last"));
    wait_for("no error", || world.key("a").error, Option::is_none);
}

#[test]
fn a_command_without_a_lifetime_runs_again_when_its_key_is_refused() {
    let keys = keys(None);
    let world = &keys.world;
    let a = world.tenant("a");
    world.revoke(&key_of("a"));
    keys.replace("printed", &next_key("a"));
    a.start_span("span").end();
    world.wait_for_spans("a", 1);
    world.assert_nothing_lost("a");
}

#[test]
fn a_lifetime_is_read_from_a_file_and_zero_is_an_error() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let load = |lifetime: &str| {
        let text = format!("[tenants.a]\napi_key = {{ exec = ['printf', 'key'], lifetime = '{lifetime}' }}\n");
        fs::write(folder.path().join("default.toml"), text).expect("written");
        Config::load(folder.path())
    };
    let config = load("10m").expect("valid");
    let registry = TracerRegistry::builder().config(config).build().expect("valid");
    assert!(registry.tenant("a").is_ok());
    let error = load("0s").expect_err("zero lifetime").to_string();
    assert!(error.contains("lifetime must be more than zero"), "{error}");
}
