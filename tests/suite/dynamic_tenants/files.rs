//! A folder with one file per tenant.

use std::fs;
use std::os::unix::fs::symlink;

use tracer_registry::check::CheckMode;
use tracer_registry::config::{Binding, Untrusted};
use tracer_registry::{BuildError, KeySource, LookupError, TracerRegistry};

use crate::reload::{Files, table};
use crate::support::{keys, wait_for};

const FOLDER: &str = "tenants_dir = \"tenants.d\"\n[untrusted]\nkeys = [\"provider:test/*\"]\n";
const WILDCARD: &str = "[tenants.\"*\"]\napi_key = { provider = \"test\", name = \"any\" }\n";

pub(super) fn key(name: &str) -> String {
    format!("api_key = {{ provider = \"test\", name = \"{name}\" }}\n")
}

fn binding_fault(error: &LookupError) -> &str {
    let LookupError::TenantBinding(faults) = error else {
        panic!("{error}")
    };
    faults.problems()[0].message()
}

#[test]
fn a_tenants_file_is_read_at_the_look_up_and_a_later_file_is_found() {
    let files = Files::new(&["acme", "globex"], FOLDER);
    files.write("tenants.d/broken.toml", "[[[");
    let unknown = files.world.registry.tenant("acme").expect_err("no file yet");
    assert!(matches!(unknown, LookupError::Resolve(_)), "{unknown}");
    files.write(
        "tenants.d/acme.toml",
        &(key("acme") + "metadata = { plan = \"team\" }\n"),
    );
    files.write(
        "tenants.d/globex.json",
        r#"{"api_key": {"provider": "test", "name": "{tenant}"}}"#,
    );
    for tenant in ["acme", "globex"] {
        files.tenant(tenant).in_span("asked", |_| ());
    }
    files.world.flush();
    let span = files.world.span("acme", "asked");
    assert_eq!(span.attributes["honeyhive_metadata.plan"], "team");
    assert_eq!(files.world.names("globex"), ["asked"]);
}

#[test]
fn a_reload_applies_changed_and_removed_files_and_keeps_the_tracer_of_an_invalid_one() {
    let files = Files::new(&["acme"], FOLDER);
    for tenant in ["acme", "globex", "hooli", "initech"] {
        files.write(&format!("tenants.d/{tenant}.toml"), &key("acme"));
    }
    let before = ["acme", "globex", "hooli", "initech"].map(|tenant| files.tenant(tenant));
    files.write("tenants.d/acme.toml", &(key("acme") + "source = \"eu\"\n"));
    fs::remove_file(files.path("tenants.d/globex.toml")).expect("removed");
    files.write("tenants.d/hooli.toml", "sourse = \"eu\"\n");
    let report = files.world.registry.reload().expect("the configuration has no fault");
    assert_eq!(report.changed.len() + report.removed.len(), 2, "{report}");
    assert_eq!(
        (
            report.changed[0].to_string().as_str(),
            report.removed[0].to_string().as_str()
        ),
        ("tenant:acme", "tenant:globex")
    );
    assert_eq!(
        (report.kept.len(), report.kept[0].selector.to_string().as_str()),
        (1, "tenant:hooli")
    );
    assert!(
        binding_fault(&report.kept[0].error).contains("unknown field"),
        "{report}"
    );
    assert!(!files.tenant("acme").same_tracer(&before[0]));
    assert!(files.world.registry.tenant("globex").is_err());
    assert!(files.tenant("hooli").same_tracer(&before[2]));
    assert!(files.tenant("initech").same_tracer(&before[3]));
}

#[test]
fn an_invalid_file_fails_only_its_tenant_and_no_other_binding_is_used() {
    let files = Files::new(&["any"], &(FOLDER.to_owned() + WILDCARD));
    files.write("tenants.d/acme.toml", "api_key = \"hh_key_canary\"\n");
    files.write("tenants.d/globex.toml", &key("globex"));
    files.write("tenants.d/globex.yaml", "source: eu\n");
    files.write(
        "tenants.d/hooli.toml",
        &[0xff].map(char::from).iter().collect::<String>(),
    );
    fs::create_dir(files.path("tenants.d/initech.toml")).expect("made");
    for (tenant, message) in [
        ("acme", "a key is never written"),
        ("globex", "conflicts with"),
        ("hooli", "line 1"),
        ("initech", "not a regular file"),
    ] {
        let error = files.world.registry.tenant(tenant).expect_err(tenant);
        assert!(binding_fault(&error).contains(message), "{error}");
        assert!(
            error.to_string().contains(tenant) && !error.to_string().contains("canary"),
            "{error}"
        );
    }
    assert!(files.world.registry.status().tracers.is_empty());
    assert!(
        files.world.registry.tenant("umbrella").is_ok(),
        "tenants without a file use the wildcard table"
    );
    // Without the folder, tenants without a file cannot be identified either.
    fs::remove_dir_all(files.path("tenants.d")).expect("removed");
    let error = files.world.registry.tenant("wonka").expect_err("the folder is gone");
    assert!(binding_fault(&error).contains("no such folder"), "{error}");
}

#[test]
fn a_missing_tenants_folder_is_a_configuration_fault() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    fs::write(&file, FOLDER).expect("written");
    let error = TracerRegistry::from_config(file.path()).expect_err("no folder");
    let BuildError::Config(faults) = error else {
        panic!("{error}")
    };
    assert_eq!(faults.problems()[0].key(), "tenants_dir");
}

#[test]
fn check_reports_the_three_invalid_files_of_ten_thousand() {
    let files = Files::new(&["acme"], &(FOLDER.to_owned() + &table("acme", "acme")));
    for number in 0..10_000 {
        files.write(&format!("tenants.d/t{number}.toml"), &key("acme"));
    }
    files.write("tenants.d/t17.toml", "[[[");
    files.write("tenants.d/t99.toml", "endpoint = \"nowhere\"\n");
    files.write("tenants.d/acme.toml", &key("globex"));
    // Not tenant files: left by an editor.
    files.write("tenants.d/.t1.toml.swp", "");
    files.write("tenants.d/t1.toml~", "");
    let checked = files.world.registry.check(CheckMode::Keys);
    assert_eq!(checked.len(), 10_002);
    let faulty: Vec<String> = checked
        .iter()
        .filter_map(|binding| Some(format!("{}: {}", binding.selector, binding.error.as_ref()?)))
        .collect();
    assert_eq!(faulty.len(), 3, "{faulty:#?}");
    assert!(faulty[0].starts_with("tenant:t17: "), "{faulty:#?}");
    assert!(
        faulty[1].starts_with("tenant:t99: ") && faulty[1].contains("tenants.t99.endpoint"),
        "{faulty:#?}"
    );
    assert!(
        faulty[2].starts_with("tenant:acme: ") && faulty[2].contains("which takes precedence"),
        "{faulty:#?}"
    );
    assert!(files.world.registry.status().tracers.is_empty());
}

#[test]
fn a_table_precedes_a_file_then_the_source_then_the_wildcard_table() {
    let source = |tenant: &tracer_registry::selector::Slug| {
        let known = ["acme", "globex", "hooli"].contains(&tenant.as_str());
        Ok(known.then(|| Binding::new().api_key(KeySource::provider("test", "source"))))
    };
    let text = FOLDER.to_owned() + &table("acme", "table") + WILDCARD;
    let files = Files::with(&["table", "file", "source", "any"], &text, |builder| {
        builder.binding_source(source)
    });
    files.write("tenants.d/acme.toml", &key("file"));
    files.write("tenants.d/globex.toml", &key("file"));
    for (tenant, from) in [
        ("acme", "table"),
        ("globex", "file"),
        ("hooli", "source"),
        ("initech", "any"),
    ] {
        files.tenant(tenant).in_span(tenant, |_| ());
        files.world.flush();
        assert_eq!(files.world.names(from), [tenant]);
    }
}

#[test]
fn tenant_files_are_watched() {
    let text = format!("{FOLDER}{WILDCARD}[reload]\nwatch = true\n");
    let files = Files::new(&["any", "file"], &text);
    let (acme, globex) = (files.tenant("acme"), files.tenant("globex"));
    let wait_for_change = |tenant: &str, before: &tracer_registry::TracerHandle| {
        let now = || files.tenant(tenant);
        wait_for(tenant, now, |now| !now.same_tracer(before))
    };
    files.write("tenants.d/acme.toml", &key("file"));
    let from_file = wait_for_change("acme", &acme);
    files.write("tenants.d/new", &(key("file") + "source = \"eu\"\n"));
    fs::rename(files.path("tenants.d/new"), files.path("tenants.d/acme.toml")).expect("renamed");
    let from_newer_file = wait_for_change("acme", &from_file);
    assert_ne!(from_file.fingerprint(), acme.fingerprint());
    fs::remove_file(files.path("tenants.d/acme.toml")).expect("removed");
    let from_wildcard = wait_for_change("acme", &from_newer_file);
    assert_eq!(from_wildcard.fingerprint(), acme.fingerprint());
    assert!(files.tenant("globex").same_tracer(&globex));
}

#[test]
fn a_swap_of_the_symlink_behind_a_tenants_file_is_detected() {
    let files = Files::new(&["one", "two"], &format!("{FOLDER}[reload]\nwatch = true\n"));
    let swap = |version: &str, name: &str| {
        fs::create_dir(files.path(&format!("tenants.d/..{version}"))).expect("made");
        files.write(&format!("tenants.d/..{version}/acme.toml"), &key(name));
        symlink(format!("..{version}"), files.path("tenants.d/..data_tmp")).expect("linked");
        fs::rename(files.path("tenants.d/..data_tmp"), files.path("tenants.d/..data")).expect("swapped");
    };
    swap("1", "one");
    symlink("..data/acme.toml", files.path("tenants.d/acme.toml")).expect("linked");
    let one = files.tenant("acme");
    swap("2", "two");
    let two = wait_for(
        "the other version",
        || files.tenant("acme"),
        |now| !now.same_tracer(&one),
    );
    assert_ne!(two.fingerprint(), one.fingerprint());
}

#[test]
fn a_registry_built_in_code_reads_tenant_files() {
    let folder = tempfile::TempDir::new().expect("a folder");
    let registry = TracerRegistry::builder()
        .tenants_dir(folder.path())
        .untrusted(Untrusted::new().key("provider:test/*"))
        .secret_source("test", keys())
        .build()
        .expect("valid");
    fs::write(folder.path().join("acme.toml"), key("acme")).expect("written");
    let acme = registry.tenant("acme").expect("a file");
    fs::write(folder.path().join("acme.toml"), key("other")).expect("written");
    assert_eq!(registry.reload().expect("no fault").changed, [acme.selector().clone()]);
    assert_ne!(
        registry.tenant("acme").expect("a file").fingerprint(),
        acme.fingerprint()
    );
}
