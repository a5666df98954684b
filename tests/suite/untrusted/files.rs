//! Hostile files in a folder of tenants.

use std::fs;

use tracer_registry::check::CheckMode;

use super::{ANY, Attacker, FOLDER, refused};
use crate::reload::Files;
use crate::support::key_of;

#[test]
fn hostile_files_get_neither_the_operators_key_nor_anothers_run_nothing_and_reach_nobody() {
    let attacker = Attacker::new();
    let text = format!("{FOLDER}{ANY}[tenants.globex]\napi_key = {{ provider = \"test\", name = \"globex\" }}\n");
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
        let said = refused(&error);
        // With the address, of which the attacker's is one that is not public.
        assert_eq!(said.len(), lines.len() + 1, "{said:#?}");
        assert!(
            lines
                .iter()
                .all(|line| said.iter().any(|fault| fault.contains(line.as_str()))),
            "{said:#?}"
        );
        let shown = error.to_string();
        assert!(
            shown.contains(&format!("tenants.d/{tenant}.toml: tenants.{tenant}.")),
            "{shown}"
        );
        assert!(!shown.contains("canary"), "{shown}");
    }
    let checked = files.world.registry.check(CheckMode::Connect);
    let faulty: Vec<&str> = checked
        .iter()
        .filter(|it| it.is_faulty())
        .map(|it| it.selector.as_str())
        .collect();
    assert_eq!(faulty, ["tenant:acme", "tenant:evil", "tenant:reader", "tenant:thief"]);
    let shown = serde_json::to_string(&checked).expect("JSON");
    assert!(
        !shown.contains("canary") && !shown.contains(&key_of("globex")),
        "{shown}"
    );
    assert!(files.world.registry.status().tracers.is_empty());
    attacker.assert_untouched();
    assert!(!marker.exists(), "a command was run");
    files.tenant("umbrella").in_span("of another", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("any"), ["of another"]);
}

#[test]
fn with_the_lines_that_were_printed_the_tenants_spans_arrive_under_its_own_key() {
    let files = Files::new(&["acme", "any"], &format!("{FOLDER}{ANY}"));
    fs::create_dir(files.path("keys")).expect("made");
    files.write("keys/acme", &key_of("acme"));
    let url = files.world.collector.url();
    let key = files.path("keys/acme").display().to_string();
    files.write(
        "tenants.d/acme.toml",
        &format!("endpoint = \"{url}/\"\napi_key = {{ file = \"{key}\" }}\n"),
    );
    assert!(files.world.registry.tenant("acme").is_err(), "nothing is allowed yet");
    // The endpoint is the operator's own, said once more: that is no choice.
    let said = refused(&files.world.registry.tenant("acme").expect_err("the key"));
    let lines: Vec<&str> = said
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
    files.rewrite(&format!("{FOLDER}{ANY}{allowed}\n"));
    files.world.registry.reload().expect("without a fault");
    files.tenant("acme").in_span("under its own key", |_| ());
    files.world.flush();
    assert_eq!(files.world.names("acme"), ["under its own key"]);
    files.write("tenants.d/globex.toml", &format!("api_key = {{ file = \"{key}\" }}\n"));
    let error = files.world.registry.tenant("globex").expect_err("it is acme's");
    assert!(refused(&error)[0].contains("tenants.globex.api_key"), "{error}");
}

#[test]
fn a_file_that_says_nothing_of_keys_is_laid_over_what_holds_for_every_tenant() {
    let files = Files::new(
        &["any"],
        &format!("{FOLDER}{ANY}metadata = {{ plan = \"standard\", region = \"eu\" }}\n"),
    );
    files.write("tenants.d/acme.toml", "metadata = { plan = \"team\" }\n");
    files.tenant("acme").in_span("asked", |_| ());
    files.world.flush();
    let span = files.world.span("any", "asked");
    assert_eq!(span.attributes["honeyhive_metadata.plan"], "team");
    assert_eq!(span.attributes["honeyhive_metadata.region"], "eu");
}
