//! Key files that untrusted layers may name: symlink targets, at the look-up and later.

use std::fs;
use std::os::unix::fs::symlink;

use tracer_registry::LookupError;
use tracer_registry::secret::SecretErrorKind;

use super::{FOLDER, refused};
use crate::reload::Files;
use crate::support::{key_of, wait_for};

fn files() -> Files {
    let files = Files::new(&["acme", "globex", "next"], FOLDER);
    fs::create_dir(files.path("keys")).expect("made");
    for tenant in ["acme", "globex"] {
        files.write(&format!("keys/{tenant}"), &key_of(tenant));
    }
    let folder = files.path("keys");
    files.rewrite(&format!(
        "{FOLDER}[untrusted]\nkeys = [\"file:{}/{{tenant}}\"]\n",
        folder.display()
    ));
    files.world.registry.reload().expect("without a fault");
    files.write(
        "tenants.d/acme.toml",
        &format!("api_key = {{ file = \"{}/acme\" }}\n", folder.display()),
    );
    files
}

/// Replaces a key file by a symlink, atomically.
fn link(files: &Files, target: &str, name: &str) {
    symlink(target, files.path("keys/new")).expect("linked");
    fs::rename(files.path("keys/new"), files.path(&format!("keys/{name}"))).expect("replaced");
}

#[test]
fn a_link_to_another_tenants_key_is_refused_by_a_look_up_and_by_a_rotation() {
    let files = files();
    link(&files, "globex", "acme");
    let error = files.world.registry.tenant("acme").expect_err("a link");
    assert!(
        matches!(&error, LookupError::Secret(error) if *error.kind() == SecretErrorKind::LinkNotAllowed),
        "{error}"
    );
    fs::remove_file(files.path("keys/acme")).expect("removed");
    files.write("keys/acme", &key_of("acme"));
    let acme = files.tenant("acme");
    let before = files.world.status("acme").key.expect("a key");
    assert_eq!(before.error, None);
    link(&files, "globex", "acme");
    let now = || files.world.status("acme").key.expect("a key");
    let refused = wait_for("an error", now, |key| key.error.is_some());
    let error = refused.error.expect("just seen");
    assert_eq!(*error.kind(), SecretErrorKind::LinkNotAllowed);
    assert_eq!(refused.fingerprint, before.fingerprint, "the last valid key is in use");
    acme.in_span("still its own", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("acme"), ["still its own"]);
    assert!(files.world.names("globex").is_empty());
}

#[test]
fn a_mounted_secret_is_followed_through_a_swap_of_its_data() {
    let files = files();
    let swap = |version: &str, key: &str| {
        fs::create_dir(files.path(&format!("keys/{version}"))).expect("made");
        files.write(&format!("keys/{version}/acme"), key);
        link(&files, version, "..data");
    };
    swap("..2026_1", &key_of("acme"));
    link(&files, "..data/acme", "acme");
    let acme = files.tenant("acme");
    let before = acme.fingerprint();
    swap("..2026_2", &key_of("next"));
    let now = || files.world.status("acme").key.expect("a key");
    wait_for("the next key", now, |key| {
        key.fingerprint != before && key.error.is_none()
    });
    acme.in_span("under the next key", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("next"), ["under the next key"]);
}

#[test]
fn a_file_may_name_a_project_freely_only_with_its_own_key() {
    let files = files();
    let folder = files.path("keys").display().to_string();
    let operator = |more: &str| {
        format!(
            "{FOLDER}[untrusted]\nkeys = [\"file:{folder}/{{tenant}}\"]\n{more}\n[tenants.\"*\"]\nbackend = \"langsmith\"\n\
             endpoint = \"{}\"\nauth = {{ scheme = \"bearer\" }}\nproject = \"{{tenant}}\"\n\
             api_key = {{ provider = \"test\", name = \"next\" }}\n",
            files.world.collector.url()
        )
    };
    let look_up = |operator: &str, file: &str| {
        files.write("tenants.d/acme.toml", file);
        files.rewrite(operator);
        files.world.registry.reload().expect("without a fault");
        files.world.registry.tenant("acme")
    };
    let error = look_up(&operator(""), "project = \"globex\"\n").expect_err("another tenant's");
    let faults = refused(&error);
    let line = "untrusted.projects = [\"globex\"]";
    assert!(
        faults.len() == 1 && faults[0].starts_with("tenants.acme.project: ") && faults[0].ends_with(line),
        "{faults:?}"
    );
    let own = format!("project = \"globex\"\napi_key = {{ file = \"{folder}/acme\" }}\n");
    for (operator, file, project, key) in [
        (operator(""), "source = \"s\"\n", "acme", "next"),
        (
            operator("projects = [\"{tenant}/*\"]"),
            "project = \"acme/search\"\n",
            "acme/search",
            "next",
        ),
        (operator(""), own.as_str(), "globex", "acme"),
    ] {
        let before = files.world.collector.requests().len();
        look_up(&operator, file).expect("allowed").in_span(project, |_| ());
        files.world.flush();
        let requests = files.world.collector.requests();
        let [request] = &requests[before..] else {
            panic!("{requests:#?}")
        };
        assert_eq!(request.header("langsmith-project"), Some(project));
        assert_eq!(request.project.as_deref(), Some(key), "the key of the request");
    }
}
