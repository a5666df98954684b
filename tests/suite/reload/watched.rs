//! Files that are watched: nobody calls `reload`.

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

/// Waits until look-ups give the tracer with that key.
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
fn a_file_is_read_again_however_it_is_replaced() {
    let files = Files::new(&["k1", "k2", "k3", "k4"], &text("k1"));
    assert!(files.world.registry.status().configuration.watched);
    wait_for_key(&files, "k1");
    files.rewrite(&text("k2"));
    wait_for_key(&files, "k2");
    files.write("default.toml~", &files.text(&text("k3")));
    fs::rename(files.path("default.toml~"), files.path("default.toml")).expect("renamed");
    wait_for_key(&files, "k3");
    // A layer that was not there when it began.
    files.write("local.toml", &table("acme", "k4"));
    wait_for_key(&files, "k4");
    fs::remove_file(files.path("local.toml")).expect("removed");
    wait_for_key(&files, "k3");
}

#[test]
fn a_link_that_kubernetes_swaps_is_seen_each_time() {
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
fn a_configuration_that_is_deleted_or_broken_is_kept_and_the_status_says_so() {
    let files = Files::new(&["k1", "k2"], &text("k1"));
    let acme = files.tenant("acme");
    fs::remove_file(files.path("default.toml")).expect("removed");
    wait_for(
        "the deletion to be told",
        || error(&files),
        |said| said.contains("no such file"),
    );
    assert!(files.tenant("acme").same_tracer(&acme));
    files.rewrite("[tenants.acme]\nsourse = \"eu\"\n");
    wait_for(
        "the fault to be told",
        || error(&files),
        |said| said.contains("unknown field; did you mean `source`?"),
    );
    assert!(files.tenant("acme").same_tracer(&acme));
    files.rewrite(&text("k2"));
    wait_for_key(&files, "k2");
    assert_eq!(error(&files), "");
}

#[test]
fn what_changed_between_reading_and_watching_is_seen() {
    let files = Files::new(&["k1", "k2"], &table("acme", "k1"));
    files.rewrite(&text("k1"));
    let config = Config::load(files.path("default.toml")).expect("valid");
    files.rewrite(&text("k2"));
    let builder = TracerRegistry::builder().config(config);
    let registry = builder.secret_source("test", keys()).build().expect("valid");
    let said = || {
        registry
            .config()
            .resolve(&selector("tenant:acme"))
            .expect("configured")
            .api_key
            .to_string()
    };
    wait_for("the newer file", said, |said| said.ends_with("k2"));
}

#[test]
fn a_table_that_goes_is_waited_for_and_then_unknown_without_anybody_asking() {
    let files = Files::new(&["k1"], &(text("k1") + &table("globex", "k1")));
    let waiting = || files.world.registry.status().configuration.waiting_since;
    files.tenant("globex");
    files.rewrite(&text("k1"));
    let unknown = || {
        let error = files.world.registry.tenant("globex").err();
        error.is_some_and(|error| error.is_unknown())
    };
    // Either is seen: the wait, or what comes after it.
    wait_for("the removal to wait", || waiting().is_some() || unknown(), |seen| *seen);
    wait_for("the removal", unknown, |unknown| *unknown);
    wait_for("the end of the wait", waiting, Option::is_none);
    files.tenant("acme");
}
