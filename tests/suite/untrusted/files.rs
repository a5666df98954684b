//! Hostile files in the tenants folder.

use std::fs;

use tracer_registry::check::CheckMode;

use super::{Attacker, FOLDER, WILDCARD, refused};
use crate::reload::Files;
use crate::support::key_of;

#[test]
fn hostile_files_get_no_foreign_key_run_no_command_and_reach_no_server() {
    let attacker = Attacker::new();
    let text = format!("{FOLDER}{WILDCARD}[tenants.globex]\napi_key = {{ provider = \"test\", name = \"globex\" }}\n");
    let files = Files::new(&["any", "globex"], &text);
    let (marker, secret) = (files.path("marker"), files.path("secret"));
    fs::write(&secret, "hh_a_secret_canary").expect("written");
    let endpoint = format!("endpoint = \"{}\"\n", attacker.url());
    let line = format!("untrusted.endpoints = [\"{}\"]", attacker.url());
    for (tenant, more, lines) in [
        ("acme", String::new(), vec![line.clone()]),
        (
            "evil",
            format!("api_key = {{ exec = [\"touch\", \"{}\"] }}", marker.display()),
            vec!["must not run a command".to_owned(), line.clone()],
        ),
        (
            "reader",
            format!("api_key = {{ file = \"{}\" }}", secret.display()),
            vec![
                format!("untrusted.keys = [\"file:{}\"]", secret.display()),
                line.clone(),
            ],
        ),
        (
            "thief",
            "api_key = { provider = \"test\", name = \"globex\" }".to_owned(),
            vec!["untrusted.keys = [\"provider:test/globex\"]".to_owned(), line.clone()],
        ),
    ] {
        files.write(&format!("tenants.d/{tenant}.toml"), &(endpoint.clone() + &more));
        let error = files.world.registry.tenant(tenant).expect_err(tenant);
        let faults = refused(&error);
        // One more fault for the address, because the attacker's is private.
        assert_eq!(faults.len(), lines.len() + 1, "{faults:#?}");
        assert!(
            lines
                .iter()
                .all(|line| faults.iter().any(|fault| fault.contains(line.as_str()))),
            "{faults:#?}"
        );
        let output = error.to_string();
        assert!(
            output.contains(&format!("tenants.d/{tenant}.toml: tenants.{tenant}.")),
            "{output}"
        );
        assert!(!output.contains("canary"), "{output}");
    }
    let checked = files.world.registry.check(CheckMode::Connect);
    let faulty: Vec<&str> = checked
        .iter()
        .filter(|it| it.is_faulty())
        .map(|it| it.selector.as_str())
        .collect();
    assert_eq!(faulty, ["tenant:acme", "tenant:evil", "tenant:reader", "tenant:thief"]);
    let output = serde_json::to_string(&checked).expect("JSON");
    assert!(
        !output.contains("canary") && !output.contains(&key_of("globex")),
        "{output}"
    );
    assert!(files.world.registry.status().tracers.is_empty());
    attacker.assert_untouched();
    assert!(!marker.exists(), "the command must not run");
    files.tenant("umbrella").in_span("of another tenant", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("any"), ["of another tenant"]);
}

#[test]
fn with_the_suggested_settings_the_tenants_spans_arrive_under_its_own_key() {
    let files = Files::new(&["acme", "any"], &format!("{FOLDER}{WILDCARD}"));
    fs::create_dir(files.path("keys")).expect("made");
    files.write("keys/acme", &key_of("acme"));
    let url = files.world.collector.url();
    let key = files.path("keys/acme").display().to_string();
    files.write(
        "tenants.d/acme.toml",
        &format!("endpoint = \"{url}/\"\napi_key = {{ file = \"{key}\" }}\n"),
    );
    assert!(
        files.world.registry.tenant("acme").is_err(),
        "the key is not allowed yet"
    );
    // The endpoint equals the operator's, so it needs no permission.
    let faults = refused(&files.world.registry.tenant("acme").expect_err("the key is not allowed"));
    let lines: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split("to allow it: ").nth(1))
        .collect();
    assert_eq!(
        lines,
        [format!(
            "untrusted.keys = [\"file:{}\"]",
            key.replace("keys/acme", "keys/{tenant}")
        )]
    );
    let allowed = lines[0].replace("untrusted.", "[untrusted]\n");
    files.rewrite(&format!("{FOLDER}{WILDCARD}{allowed}\n"));
    files.world.registry.reload().expect("without a fault");
    files.tenant("acme").in_span("under its own key", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("acme"), ["under its own key"]);
    files.write("tenants.d/globex.toml", &format!("api_key = {{ file = \"{key}\" }}\n"));
    let error = files
        .world
        .registry
        .tenant("globex")
        .expect_err("the key file belongs to acme");
    assert!(refused(&error)[0].contains("tenants.globex.api_key"), "{error}");
}

#[test]
fn a_file_without_a_key_is_merged_over_the_wildcard_table() {
    let files = Files::new(
        &["any"],
        &format!("{FOLDER}{WILDCARD}metadata = {{ plan = \"standard\", region = \"eu\" }}\n"),
    );
    files.write("tenants.d/acme.toml", "metadata = { plan = \"team\" }\n");
    files.tenant("acme").in_span("asked", |_| ());
    files.world.flush();
    let span = files.world.span("any", "asked");
    assert_eq!(span.attributes["honeyhive_metadata.plan"], "team");
    assert_eq!(span.attributes["honeyhive_metadata.region"], "eu");
}
