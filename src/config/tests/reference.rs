//! The table of settings in `docs/configuration.md` says what the types say.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{resolve, toml};
use crate::config::{Config, json_schema};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// By setting, what the last column says.
fn table(before: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, after) = PAGE.split_once(before).expect("the table is there");
    let rows = after.lines().skip_while(|line| !line.starts_with("|---"));
    let rows = rows.skip(1).take_while(|line| line.starts_with('|'));
    let mut settings = BTreeMap::new();
    for row in rows {
        let row = row.trim_matches('|');
        let (names, _) = row.split_once(" | ").expect("a name");
        let (_, default) = row.rsplit_once(" | ").expect("a default");
        settings.extend(names.split('`').skip(1).step_by(2).map(|name| (name, default.trim())));
    }
    settings
}

fn of_bindings() -> BTreeMap<&'static str, &'static str> {
    table("In `[defaults]`, an environment, a feature, a tenant or a route:")
}

fn of_the_registry() -> BTreeMap<&'static str, &'static str> {
    table("For the whole registry:")
}

/// The paths of all settings of a table of the schema, without the tables that hold bindings.
pub(super) fn paths(root: &Value, schema: &Value, path: &str) -> Vec<String> {
    let schema = schema.get("$ref").and_then(Value::as_str).map_or(schema, |name| {
        let name = name.rsplit('/').next().expect("a name");
        &root["$defs"][name]
    });
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return vec![path.to_owned()];
    };
    let below = properties.iter().filter(|(name, _)| !is_of_bindings(name, path));
    below
        .flat_map(|(name, below)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            paths(root, below, &path)
        })
        .collect()
}

fn is_of_bindings(name: &str, path: &str) -> bool {
    path.is_empty() && ["defaults", "environments", "features", "tenants", "routes"].contains(&name)
}

/// Whether a setting, or the table that it is in, is in the reference.
fn is_told(path: &str, settings: &BTreeMap<&str, &str>) -> bool {
    settings
        .keys()
        .any(|name| path == *name || path.strip_prefix(name).is_some_and(|below| below.starts_with('.')))
}

#[test]
fn every_setting_is_in_the_reference_and_nothing_else_is() {
    let schema = json_schema();
    for (all, told) in [
        (paths(&schema, &schema["$defs"]["Binding"], ""), of_bindings()),
        (paths(&schema, &schema, ""), of_the_registry()),
    ] {
        assert!(all.len() > 15, "{all:?}");
        let missing: Vec<_> = all.iter().filter(|path| !is_told(path, &told)).collect();
        assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
        let gone: Vec<_> = told
            .keys()
            .filter(|name| {
                let is_it = |path: &String| path == *name || path.starts_with(&format!("{name}."));
                !all.iter().any(is_it)
            })
            .collect();
        assert!(gone.is_empty(), "no settings: {gone:?}");
    }
}

/// As TOML, where it is a value: `1s`, `"gzip"`, `128 each`.
fn value_of(default: &str) -> Option<String> {
    let value = default.trim_end_matches(" each").trim_matches('`');
    let is_plain = value.starts_with('"') || ["true", "false"].contains(&value) || value.parse::<f64>().is_ok();
    let is_time = value.starts_with(|first: char| first.is_ascii_digit());
    match (is_plain, is_time) {
        (true, _) => Some(value.to_owned()),
        (false, true) => Some(format!("{value:?}")),
        (false, false) => None,
    }
}

/// What settings come to, as text.
fn in_effect(config: &Config) -> String {
    format!(
        "{:?} {:?} {:?} {} {}",
        config.export,
        config.pool,
        config.metrics,
        config.has_strict_permissions(),
        config.is_watched()
    )
}

#[test]
fn the_defaults_in_the_reference_are_the_defaults() {
    let mut seen = 0;
    for (name, default) in of_the_registry() {
        if let Some(value) = value_of(default) {
            let said = toml(&format!("{name} = {value}")).expect("valid");
            let silent = toml("").expect("valid");
            assert_eq!(in_effect(&said), in_effect(&silent), "{name} = {value}");
            seen += 1;
        }
    }
    let key = "defaults.api_key = { env = \"A\" }\ntenants.acme = {}\n";
    let silent = resolve(&toml(key).expect("valid"), "tenant:acme");
    for (name, default) in of_bindings() {
        // What is not limited has the SDK's limits, and is not written out.
        if name.starts_with("limits.") {
            continue;
        }
        if let Some(value) = value_of(default) {
            let said = toml(&format!("{key}defaults.{name} = {value}")).expect("valid");
            assert_eq!(
                resolve(&said, "tenant:acme").digest(),
                silent.digest(),
                "{name} = {value}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} defaults were found");
}
