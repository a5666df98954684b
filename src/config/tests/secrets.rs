//! A key that was written in the configuration by mistake is never repeated.

use super::{Folder, toml};
use crate::config::{AuthScheme, Binding, Config, Document};
use crate::secret::{KeyCommand, KeySource};

const CANARY: &str = "hh_canary_4711";

/// Loads a file and checks that no output contains the canary. Returns whether the file has
/// problems.
fn is_silent(name: &str, text: &str) -> bool {
    match Folder::new(&[(name, text)]).load(&[]) {
        Ok(config) => {
            let shown = format!("{config:?}");
            assert!(!shown.contains("canary"), "{text}: {shown}");
            false
        }
        Err(error) => {
            let shown = format!("{error} {error:?} {error:#?}");
            assert!(!shown.contains("canary"), "{text}: {shown}");
            true
        }
    }
}

#[test]
fn a_key_in_place_of_any_value_is_a_problem_that_does_not_repeat_it() {
    for line in [
        "api_key = KEY",
        "api_key = [KEY]",
        "api_key = { key = KEY }",
        "api_key = { env = KEY, file = KEY }",
        "api_key = { env = [KEY] }",
        "api_key = { env = { KEY = KEY } }",
        "api_key = { file = [KEY] }",
        "api_key = { credential = [KEY] }",
        "api_key = { exec = KEY }",
        "api_key = { exec = [KEY, 1] }",
        "api_key = { exec = ['pass'], timeout = KEY }",
        "api_key = { exec = ['pass'], key = KEY }",
        "api_key = { provider = 'p', name = [KEY] }",
        "api_key = { env = 'Bearer hh_canary_4711' }",
        "backend = KEY",
        "endpoint = KEY",
        "endpoint = [KEY]",
        "endpoint = 'https://hh_canary_4711@host'",
        "endpoint = 'https://user:hh_canary_4711@host/path'",
        "endpoint = 'https://host/?key=hh_canary_4711'",
        "proxy = KEY",
        "proxy = { url = KEY }",
        "proxy = { url = 'http://user:hh_canary_4711@proxy:3128' }",
        "proxy = { url = 'http://hh_canary_4711@proxy:3128' }",
        "proxy = { url = 'http://proxy:3128/hh_canary_4711' }",
        "proxy = { url = 'http://proxy:3128', credentials = KEY }",
        "proxy = { env = 'http://user:hh_canary_4711@proxy:3128' }",
        "tls = KEY",
        "tls = { ca = [KEY] }",
        "tls = { cert = 'c.pem', key = \"-----BEGIN PRIVATE KEY-----hh_canary_4711\" }",
        "tls = { cert = 'c.pem', key = \"hh_canary_4711\\n\" }",
        "auth = KEY",
        "auth = { header = 'Authorization: Bearer hh_canary_4711' }",
        "auth = { scheme = 'Bearer hh_canary_4711' }",
        "auth = { scheme = KEY }",
        "auth = { key = KEY }",
        "headers = KEY",
        "headers = { authorization = 'Bearer hh_canary_4711' }",
        "headers = { 'Authorization: Bearer hh_canary_4711' = '' }",
        "headers = { x-other = 'Bearer hh_canary_4711' }",
        "headers = { x-other = \"hh_canary_4711\\n\" }",
        "headers = { x-other = [KEY] }",
        "source = [KEY]",
        "metadata = KEY",
        "metadata = [KEY]",
        "resource = KEY",
        "resource = { key = [KEY] }",
        "sampling = KEY",
        "sampling = { ratio = KEY }",
        "limits = KEY",
        "limits = { events = KEY }",
        "propagation = KEY",
        "propagation = { trust_remote_parent = KEY }",
        "sessions = KEY",
        "apikey = KEY",
        "api-key = { KEY = KEY }".trim_end(),
    ] {
        // As a name, the canary would be part of a path; as a value it is quoted.
        let line = line
            .replace("{ KEY = KEY }", "{ key = KEY }")
            .replace("KEY", &format!("'{CANARY}'"));
        for table in ["defaults", "tenants.acme", "environments.e", "features.f"] {
            assert!(
                is_silent("default.toml", &format!("[{table}]\n{line}\n")),
                "{table}: {line}"
            );
        }
        assert!(
            is_silent(
                "default.toml",
                &format!("[[routes]]\nwhen = {{ tenant = 't' }}\n{line}\n")
            ),
            "{line}"
        );
    }
    for text in [
        "api_key = KEY",
        "tenants = KEY",
        "tenants = { acme = KEY }",
        "routes = KEY",
        "routes = [KEY]",
        "routes = [{ when = KEY }]",
        "routes = [{ when = { tenant = [KEY] } }]",
        "export = KEY",
        "export = { timeout = KEY, protocol = KEY, max_queue_size = KEY, retry = KEY }",
        "active_environment = [KEY]",
        "active_environment = { env = [KEY], default = [KEY], key = KEY }",
    ] {
        let text = text.replace("KEY", &format!("'{CANARY}'"));
        assert!(is_silent("default.toml", &text), "{text}");
    }
}

#[test]
fn a_syntax_error_next_to_a_key_does_not_repeat_it() {
    for (name, text) in [
        ("default.toml", "[tenants.acme]\napi_key = KEY"),
        ("default.toml", "[tenants.acme]\napi_key : \"KEY\""),
        ("default.toml", "[tenants.acme]\napi_key = \"KEY"),
        ("default.toml", "[tenants.acme\napi_key = \"KEY\""),
        ("default.yaml", "tenants:\n\tacme: { api_key: KEY }"),
        ("default.yaml", "tenants: { acme: { api_key: \"KEY }"),
        ("default.yaml", "tenants:\n  acme:\n    api_key: KEY\n   endpoint: KEY"),
        ("default.yaml", "tenants: { acme: { api_key: KEY: KEY } }"),
        ("default.json", "{\"tenants\": {\"acme\": {\"api_key\": KEY}}}"),
        ("default.json", "{\"tenants\": {\"acme\": {\"api_key\": \"KEY}}}"),
        ("default.json", "{\"tenants\": {\"acme\": {\"api_key\": \"KEY\"}}},"),
    ] {
        assert!(is_silent(name, &text.replace("KEY", CANARY)), "{text}");
    }
}

#[test]
fn the_value_of_the_environments_variable_is_not_repeated() {
    let folder = Folder::new(&[(
        "default.toml",
        "active_environment = { env = 'HH_API_KEY' }\n[environments.e]",
    )]);
    let error = folder.load(&[("HH_API_KEY", CANARY)]).expect_err("no environment");
    assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
}

#[test]
fn debug_output_shows_no_value_that_could_be_a_key() {
    let text = format!(
        "[tenants.acme]\napi_key = {{ exec = ['vault', '-token={CANARY}'] }}\nheaders = {{ x-plain = '{CANARY}' }}\nmetadata = {{ m = '{CANARY}' }}\n\
         resource = {{ r = '{CANARY}' }}"
    );
    let config = toml(&text).expect("valid");
    let acme = super::resolve(&config, "tenant:acme");
    let binding = Binding::new()
        .api_key(KeySource::Exec(KeyCommand::new([format!("vault -token={CANARY}")])))
        .endpoint(format!("https://{CANARY}@host"))
        .auth("x-key", AuthScheme::Raw)
        .header("authorization", CANARY)
        .metadata("m", CANARY)
        .resource("r", CANARY);
    let mut document = Document::default();
    document.tenants.insert("acme".into(), binding.clone().into());
    let error = Config::from_document(document.clone()).expect_err("problems");
    assert_eq!(error.problems().len(), 2, "{error}");
    for shown in [
        format!("{config:?}"),
        format!("{acme:?}"),
        format!("{binding:?}"),
        format!("{document:?}"),
        format!("{error} {error:?}"),
    ] {
        assert!(!shown.contains("canary"), "{shown}");
    }
}
