//! The schema and the reader agree.

use jsonschema::Validator;
use serde_json::{Value, json};

use super::Folder;
use crate::config::json_schema;

fn validator() -> Validator {
    jsonschema::validator_for(&json_schema()).expect("a valid schema")
}

fn is_read(value: &Value) -> bool {
    Folder::new(&[("default.json", &value.to_string())]).load(&[]).is_ok()
}

#[test]
fn what_the_reader_accepts_satisfies_the_schema() {
    let schema = validator();
    for good in [
        json!({}),
        json!({"active_environment": "e", "environments": {"e": {}}}),
        json!({"active_environment": {"env": "E"}}),
        json!({"active_environment": {"env": "E_", "default": "e"}, "environments": {"e": {}}}),
        json!({"defaults": {"api_key": {"env": "K"}}}),
        json!({"defaults": {"api_key": {"exec": ["pass"], "timeout": "1s"}}}),
        json!({"defaults": {"api_key": {"exec": ["vault"], "pass_env": ["VAULT_TOKEN"], "show_stderr": true}}}),
        json!({"keys": {}}),
        json!({"keys": {"strict_permissions": false}}),
        json!({"defaults": {"api_key": {"provider": "p", "name": "n"}}}),
        json!({"defaults": {"auth": {}, "backend": "otlp", "endpoint": "http://localhost"}}),
        json!({"defaults": {"headers": {"x-a": "b"}, "metadata": {"a": null, "b": [1], "c": {"d": 1}}}}),
        json!({"defaults": {"resource": {"service.name": "s", "n": 1, "b": true}}}),
        json!({"defaults": {"sampling": {"ratio": 1}, "limits": {}, "propagation": {}}}),
        json!({"defaults": {"propagation": {"trust_remote_parent": true, "session_id": true}, "sessions": "per_trace"}}),
        json!({"defaults": {"tls": {}}}),
        json!({"defaults": {"backend": "mlflow", "project": "12"}}),
        json!({"untrusted": {"projects": ["{tenant}"]}}),
        json!({"defaults": {"proxy": {"env": "HTTPS_PROXY"}}}),
        json!({"tenants": {"a": {"proxy": {"url": "http://proxy:3128", "credentials": {"file": "proxy"}}}}}),
        json!({"defaults": {"tls": {"ca": "ca.pem"}}, "tenants": {"a": {"tls": {"cert": "c.pem", "key": "c.key"}}}}),
        json!({"export": {"max_queue_bytes": "64MiB"}}),
        json!({"export": {"mode": "inline"}}),
        json!({"tenants_dir": ".", "reload": {}}),
        json!({"metrics": {}}),
        json!({"metrics": {"max_tracers": 0}}),
        json!({"pool": {"max_tracers": 1, "idle_timeout": "30m", "when_full": "grow"}}),
        json!({"pool": {"idle_timeout": "never", "when_full": "reject"}}),
        json!({"spool": {"mode": "off", "path": "spool", "max_bytes": "10GiB", "tenant_max_bytes": "1GiB"}}),
        json!({"spool": {"max_age": "72h", "wait_for_lock": "5s"}}),
        json!({"tenants": {"*": {}, "a.b-c_d": {}, "0": {}}}),
        json!({"routes": [{"when": {"tenant": "t"}, "api_key": {"credential": "c"}, "source": "s"}]}),
        json!({"export": {"protocol": "http/json", "compression": "none", "timeout": "1m 5s", "retry": {"max_backoff": "1s"}}}),
    ] {
        assert!(is_read(&good), "{good}");
        if let Err(error) = schema.validate(&good) {
            panic!("{good}: {error}");
        }
    }
}

#[test]
fn the_reader_refuses_what_the_schema_refuses() {
    let schema = validator();
    for bad in [
        json!([]),
        json!({"unknown": 1}),
        json!({"defaults": null}),
        json!({"defaults": {"unknown": 1}}),
        json!({"defaults": {"source": null}}),
        json!({"defaults": {"project": 12}}),
        json!({"untrusted": {"projects": "{tenant}"}}),
        json!({"defaults": {"api_key": "hh_key"}}),
        json!({"defaults": {"api_key": ["hh_key"]}}),
        json!({"defaults": {"api_key": {}}}),
        json!({"defaults": {"api_key": {"key": "hh_key"}}}),
        json!({"defaults": {"api_key": {"env": "K", "file": "f"}}}),
        json!({"defaults": {"api_key": {"env": "K", "timeout": "1s"}}}),
        json!({"defaults": {"api_key": {"exec": "pass"}}}),
        json!({"defaults": {"api_key": {"exec": []}}}),
        json!({"defaults": {"api_key": {"provider": "p"}}}),
        json!({"defaults": {"backend": "honeybee"}}),
        json!({"defaults": {"auth": {"scheme": "digest"}}}),
        json!({"defaults": {"auth": "bearer"}}),
        json!({"defaults": {"headers": {"x-a": 1}}}),
        json!({"defaults": {"resource": {"a": [1]}}}),
        json!({"defaults": {"sampling": {}}}),
        json!({"defaults": {"sampling": {"ratio": 1.5}}}),
        json!({"defaults": {"limits": {"attributes": -1}}}),
        json!({"defaults": {"propagation": {"trust_remote_parent": "yes"}}}),
        json!({"defaults": {"propagation": {"session_id": 1}}}),
        json!({"defaults": {"sessions": "perTrace"}}),
        json!({"defaults": {"tls": "ca.pem"}}),
        json!({"defaults": {"proxy": "http://proxy:3128"}}),
        json!({"defaults": {"proxy": {}}}),
        json!({"defaults": {"proxy": {"url": "http://proxy:3128", "env": "HTTPS_PROXY"}}}),
        json!({"defaults": {"proxy": {"url": "http://proxy:3128", "credentials": "user:password"}}}),
        json!({"defaults": {"proxy": {"credentials": {"env": "P"}}}}),
        json!({"defaults": {"tls": {"ca": ["ca.pem"]}}}),
        json!({"defaults": {"tls": {"cert": "c.pem"}}}),
        json!({"defaults": {"tls": {"key": "c.key"}}}),
        json!({"defaults": {"tls": {"verify": false}}}),
        json!({"tenants": {"ACME": {}}}),
        json!({"tenants": {"a..b": {}}}),
        json!({"features": {"*": {}}}),
        json!({"routes": {}}),
        json!({"routes": [{"api_key": {"env": "K"}}]}),
        json!({"routes": [{"when": {"tenant": "t"}, "unknown": 1}]}),
        json!({"routes": [{"when": {"project": "t"}}]}),
        json!({"tenants_dir": 1}),
        json!({"reload": {"watch": "always"}}),
        json!({"reload": {"interval": "5s"}}),
        json!({"export": {"max_queue_size": 0}}),
        json!({"export": {"max_queue_bytes": true}}),
        json!({"export": {"mode": "foreground"}}),
        json!({"export": {"max_concurrent_exports": 65537}}),
        json!({"export": {"timeout": 5}}),
        json!({"pool": {"max_tracers": 0}}),
        json!({"pool": {"idle_timeout": 5}}),
        json!({"pool": {"when_full": "evict"}}),
        json!({"pool": {"unknown": 1}}),
        json!({"spool": "overflow"}),
        json!({"spool": {"mode": "always"}}),
        json!({"spool": {"max_bytes": true}}),
        json!({"spool": {"path": 1}}),
        json!({"spool": {"max_age": 72}}),
        json!({"spool": {"sync": "full"}}),
        json!({"export": {"retry": null}}),
        json!({"metrics": 100}),
        json!({"metrics": {"max_tracers": -1}}),
        json!({"metrics": {"max_tracers": "all"}}),
        json!({"metrics": {"max_tracer": 1}}),
        json!({"active_environment": {"default": "e"}}),
        json!({"active_environment": 1}),
    ] {
        assert!(!is_read(&bad), "{bad}");
        assert!(!schema.is_valid(&bad), "{bad}");
    }
}

#[test]
fn every_field_of_the_schema_is_described() {
    fn undescribed(path: &str, value: &Value, found: &mut Vec<String>) {
        let Value::Object(entries) = value else { return };
        if let Some(Value::Object(properties)) = entries.get("properties") {
            for (name, property) in properties {
                if property.get("description").is_none() {
                    found.push(format!("{path}/{name}"));
                }
            }
        }
        for (name, entry) in entries {
            undescribed(&format!("{path}/{name}"), entry, found);
        }
    }
    let mut found = Vec::new();
    undescribed("", &json_schema(), &mut found);
    assert!(found.is_empty(), "{found:?}");
}
