//! Bindings that differ in any setting compare unequal.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::{Folder, resolve, toml};
use crate::config::{Config, ConfigError, ResolvedBinding, json_schema};

/// Returns two tables that set everything, with different values.
fn tables() -> [Value; 2] {
    let one = json!({
        "api_key": {"exec": ["pass", "one"], "timeout": "1s"},
        "backend": "otlp",
        "endpoint": "https://one.example",
        "project": "one",
        "auth": {"header": "x-one", "scheme": "raw"},
        "tls": {"ca": "/one.ca", "cert": "/one.cert", "key": "/one.key"},
        "proxy": {"url": "http://one.example:1", "credentials": {"file": "/one"}},
        "headers": {"x-header": "one"},
        "source": "one",
        "metadata": {"any": {"depth": [1, {"is": "compared"}]}},
        "resource": {"any": 1},
        "sampling": {"ratio": 0.25},
        "limits": {
            "attributes": 1, "events": 1, "links": 1, "attributes_per_event": 1, "attributes_per_link": 1,
            "span_bytes": "1kB", "request_bytes": "1kB"
        },
        "propagation": {"trust_remote_parent": false, "session_id": false},
        "sessions": "explicit",
        "weight": 2,
        "redact": {
            "key": {"env": "HASH_ONE"},
            "names": true,
            "rules": {"a": {"attributes": ["HASH_ONE"], "patterns": ["email"], "regex": ["HASH_ONE"], "action": "hash"}}
        },
        "quota": {"bytes_burst": "1kB", "bytes_per_day": "1kB", "bytes_per_month": "1kB", "bytes_per_second": "1kB", "requests_burst": 1, "requests_per_second": 1, "spans_burst": 1, "spans_per_day": 1, "spans_per_month": 1, "spans_per_second": 1},
        "also": ["tenant:one"]
    });
    let other = json!({
        "api_key": {"exec": ["pass", "other"], "timeout": "2s"},
        "backend": "honeycomb",
        "endpoint": "https://other.example",
        "project": "other",
        "auth": {"header": "x-other", "scheme": "basic"},
        "tls": {"ca": "/other.ca", "cert": "/other.cert", "key": "/other.key"},
        "proxy": {"url": "http://other.example:1", "credentials": {"file": "/other"}},
        "headers": {"x-header": "other"},
        "source": "other",
        "metadata": {"any": {"depth": [1, {"is": "compared, all of it"}]}},
        "resource": {"any": 1.5},
        "sampling": {"ratio": 0.250_000_01},
        "limits": {
            "attributes": 2, "events": 2, "links": 2, "attributes_per_event": 2, "attributes_per_link": 2,
            "span_bytes": "2kB", "request_bytes": "2kB"
        },
        "propagation": {"trust_remote_parent": true, "session_id": true},
        "sessions": "per_trace",
        "weight": 3,
        "redact": {
            "key": {"env": "HASH_OTHER"},
            "names": false,
            "rules": {"a": {"attributes": ["HASH_OTHER"], "patterns": ["card"], "regex": ["HASH_OTHER"], "action": "drop"}}
        },
        "quota": {"bytes_burst": "2kB", "bytes_per_day": "2kB", "bytes_per_month": "2kB", "bytes_per_second": "2kB", "requests_burst": 2, "requests_per_second": 2, "spans_burst": 2, "spans_per_day": 2, "spans_per_month": 2, "spans_per_second": 2},
        "also": ["tenant:other"]
    });
    [one, other]
}

/// Returns the paths of all values that are not tables.
fn leaves(value: &Value) -> Vec<Vec<String>> {
    let Value::Object(entries) = value else {
        return vec![Vec::new()];
    };
    let nested = entries.iter().flat_map(|(name, value)| {
        leaves(value).into_iter().map(move |mut path| {
            path.insert(0, name.clone());
            path
        })
    });
    nested.collect()
}

fn at<'v>(value: &'v mut Value, path: &[String]) -> &'v mut Value {
    path.iter().fold(value, |value, name| &mut value[name])
}

fn resolved(table: &Value) -> ResolvedBinding {
    let config = json!({"tenants": {"acme": table}});
    let config = Folder::new(&[("default.json", &config.to_string())]).load(&[]);
    resolve(&config.expect("valid"), "tenant:acme")
}

#[test]
fn bindings_are_equal_only_if_all_values_are() {
    let [one, mut other] = tables();
    let of_one = resolved(&one);
    assert!(of_one == resolved(&one) && of_one.digest() == resolved(&one).digest());
    let paths = leaves(&one);
    assert!(paths.len() > 20, "{paths:?}");
    for path in paths {
        let mut table = one.clone();
        *at(&mut table, &path) = at(&mut other, &path).take();
        let changed = resolved(&table);
        assert!(changed != of_one, "{path:?} is not compared");
        assert_ne!(changed.digest(), of_one.digest(), "{path:?} is not in the digest");
    }
}

#[test]
fn bindings_with_different_key_sources_differ() {
    let [one, _] = tables();
    let sources = [
        json!({"env": "ONE"}),
        json!({"env": "OTHER"}),
        json!({"file": "ONE"}),
        json!({"file": "OTHER"}),
        json!({"credential": "ONE"}),
        json!({"credential": "OTHER"}),
        json!({"exec": ["ONE"]}),
        json!({"exec": ["ONE", "OTHER"]}),
        json!({"exec": ["ONE"], "timeout": "1s"}),
        json!({"provider": "ONE", "name": "ONE"}),
        json!({"provider": "ONE", "name": "OTHER"}),
        json!({"provider": "OTHER", "name": "ONE"}),
    ];
    let bindings = sources.map(|source| {
        let mut table = one.clone();
        table["api_key"] = source;
        resolved(&table)
    });
    for (index, binding) in bindings.iter().enumerate() {
        for other in &bindings[..index] {
            assert!(binding != other && binding.digest() != other.digest(), "{binding:?}");
        }
    }
}

#[test]
fn omitting_a_value_makes_a_binding_different() {
    let [one, _] = tables();
    let of_one = resolved(&one);
    for name in one.as_object().expect("a table").keys() {
        // These may be set to their default, and a key is required.
        if ["sessions", "propagation", "backend", "api_key"].contains(&name.as_str()) {
            continue;
        }
        let mut without = one.clone();
        without.as_object_mut().expect("a table").remove(name);
        assert_ne!(resolved(&without).digest(), of_one.digest(), "{name}");
    }
}

/// If this fails, add the new setting to the tables above.
#[test]
fn the_tables_set_every_setting_of_a_binding() {
    let schema = json_schema();
    let [one, _] = tables();
    let mut missing = BTreeSet::new();
    compare(&schema, &schema["$defs"]["Binding"], &one, "", &mut missing);
    assert!(missing.is_empty(), "{missing:?}");
}

fn compare(root: &Value, schema: &Value, table: &Value, path: &str, missing: &mut BTreeSet<String>) {
    let named = schema.get("$ref").and_then(Value::as_str);
    let schema = named
        .and_then(|name| name.rsplit('/').next())
        .map_or(schema, |name| &root["$defs"][name]);
    let none = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&none);
    assert!(!path.is_empty() || !properties.is_empty(), "the schema has properties");
    for (name, nested) in properties {
        let path = format!("{path}.{name}");
        match table.get(name) {
            Some(value) => compare(root, nested, value, &path, missing),
            None => drop(missing.insert(path)),
        }
    }
}

#[test]
fn read_again_uses_the_original_location() -> Result<(), ConfigError> {
    let folder = Folder::new(&[("default.toml", "[tenants.acme]\nsource = \"one\"\n")]);
    let config = Config::load_files(folder.path("default.toml"))?;
    assert_eq!(config.read_again()?, config);
    std::fs::write(folder.path("default.toml"), "[tenants.acme]\nsource = \"other\"\n").expect("written");
    assert_ne!(config.read_again()?, config);
    Ok(())
}

#[test]
fn every_setting_of_export_and_pool_needs_a_restart() {
    let settings = [
        ("mode", json!("inline")),
        ("protocol", json!("http/json")),
        ("compression", json!("none")),
        ("scheduled_delay", json!("7s")),
        ("max_export_batch_size", json!(7)),
        ("max_queue_size", json!(7)),
        ("max_queue_bytes", json!("7MiB")),
        ("max_concurrent_exports", json!(7)),
        ("timeout", json!("7s")),
        ("drop_timeout", json!("7s")),
        ("retry.initial_backoff", json!("7s")),
        ("retry.max_backoff", json!("7s")),
        ("retry.max_elapsed", json!("7s")),
        ("retry.max_retry_after", json!("7s")),
        ("retry.server_errors", json!("repeat")),
        ("explain.max_traces", json!(7)),
        ("explain.keep", json!("7s")),
        ("dead_letters.max_batches", json!(7)),
        ("dead_letters.max_bytes", json!("7MiB")),
    ];
    let of_pool = [
        ("max_tracers", json!(7)),
        ("idle_timeout", json!("7s")),
        ("when_full", json!("grow")),
    ];
    let schema = json_schema();
    let named = |name: &str| schema["$defs"][name]["properties"].as_object().expect("a table").len();
    let nested = ["Retry", "Explain", "DeadLetters"];
    let in_tables: usize = nested.into_iter().map(named).sum();
    assert_eq!(settings.len(), named("Export") - nested.len() + in_tables);
    assert_eq!(of_pool.len(), named("Pool"));
    let old = toml("").expect("valid");
    assert!(old.needs_restart(&old).is_empty());
    let settings = settings.map(|(key, value)| (format!("export.{key}"), value));
    let of_pool = of_pool.map(|(key, value)| (format!("pool.{key}"), value));
    for (key, value) in settings.into_iter().chain(of_pool) {
        let new = toml(&format!("{key} = {value}")).expect("valid");
        assert_eq!(old.needs_restart(&new), [key]);
    }
}
