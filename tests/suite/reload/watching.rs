//! Watched configuration files: a change is loaded without a call of `reload`.

use std::fs;
use std::os::unix::fs::symlink;

use tracer_registry::TracerRegistry;
use tracer_registry::config::Config;

use super::{Files, selector, table};
use crate::support::{keys, wait_for};

const WATCH: &str = "[reload]\nwatch = true\n";

fn text(key: &str) -> String {
    WATCH.to_owned() + &table("acme", key)
}

/// Waits until look-ups return a tracer with the test key of `key`.
fn wait_for_key(files: &Files, key: &str) {
    let sends = || {
        let acme = files.tenant("acme");
        acme.in_span(key.to_owned(), |_| ());
        files.world.flush();
        files.world.names(key)
    };
    wait_for(key, sends, |names| names.iter().any(|name| name == key));
}

fn error(files: &Files) -> String {
    let error = files.world.registry.status().configuration.error;
    error.map(|error| error.to_string()).unwrap_or_default()
}

#[test]
fn a_file_is_reloaded_after_each_kind_of_replacement() {
    let files = Files::new(&["k1", "k2", "k3", "k4"], &text("k1"));
    assert!(files.world.registry.status().configuration.watched);
    wait_for_key(&files, "k1");
    files.rewrite(&text("k2"));
    wait_for_key(&files, "k2");
    files.write("default.toml~", &files.text(&text("k3")));
    fs::rename(files.path("default.toml~"), files.path("default.toml")).expect("renamed");
    wait_for_key(&files, "k3");
    // A layer that did not exist when the registry was built.
    files.write("local.toml", &table("acme", "k4"));
    wait_for_key(&files, "k4");
    fs::remove_file(files.path("local.toml")).expect("removed");
    wait_for_key(&files, "k3");
}

#[test]
fn each_swap_of_a_kubernetes_symlink_is_detected() {
    let files = Files::new(&["k1", "k2", "k3"], &text("k1"));
    let swap = |version: &str, key: &str| {
        fs::create_dir(files.path(version)).expect("made");
        files.write(&format!("{version}/default.toml"), &files.text(&text(key)));
        symlink(version, files.path("..data_tmp")).expect("linked");
        fs::rename(files.path("..data_tmp"), files.path("..data")).expect("swapped");
    };
    swap("..1", "k1");
    symlink("..data/default.toml", files.path("link")).expect("linked");
    fs::rename(files.path("link"), files.path("default.toml")).expect("replaced");
    swap("..2", "k2");
    wait_for_key(&files, "k2");
    fs::remove_dir_all(files.path("..1")).expect("removed");
    swap("..3", "k3");
    wait_for_key(&files, "k3");
}

#[test]
fn the_configuration_is_kept_if_its_file_is_deleted_or_invalid_and_the_status_has_the_error() {
    let files = Files::new(&["k1", "k2"], &text("k1"));
    let acme = files.tenant("acme");
    fs::remove_file(files.path("default.toml")).expect("removed");
    wait_for(
        "the error of the deletion",
        || error(&files),
        |error| error.contains("no such file"),
    );
    assert!(files.tenant("acme").same_tracer(&acme));
    files.rewrite("[tenants.acme]\nsourse = \"eu\"\n");
    wait_for(
        "the error of the unknown field",
        || error(&files),
        |error| error.contains("unknown field; did you mean `source`?"),
    );
    assert!(files.tenant("acme").same_tracer(&acme));
    files.rewrite(&text("k2"));
    wait_for_key(&files, "k2");
    assert_eq!(error(&files), "");
}

#[test]
fn a_change_between_load_and_watch_is_detected() {
    let files = Files::new(&["k1", "k2"], &table("acme", "k1"));
    files.rewrite(&text("k1"));
    let config = Config::load(files.path("default.toml")).expect("valid");
    files.rewrite(&text("k2"));
    let builder = TracerRegistry::builder().config(config);
    let registry = builder.secret_source("test", keys()).build().expect("valid");
    let api_key = || {
        registry
            .config()
            .resolve(&selector("tenant:acme"))
            .expect("configured")
            .api_key
            .to_string()
    };
    wait_for("the newer file", api_key, |api_key| api_key.ends_with("k2"));
}

#[test]
fn a_removed_table_is_confirmed_and_then_unknown_without_a_look_up() {
    let files = Files::new(&["k1"], &(text("k1") + &table("globex", "k1")));
    let waiting = || files.world.registry.status().configuration.waiting_since;
    files.tenant("globex");
    files.rewrite(&text("k1"));
    let unknown = || {
        let error = files.world.registry.tenant("globex").err();
        error.is_some_and(|error| error.is_unknown())
    };
    // The wait may already be over.
    wait_for("the removal to wait", || waiting().is_some() || unknown(), |seen| *seen);
    wait_for("the removal", unknown, |unknown| *unknown);
    wait_for("the end of the wait", waiting, Option::is_none);
    files.tenant("acme");
}
