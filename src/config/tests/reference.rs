//! The tables of settings in `docs/configuration.md` match the types.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{resolve, toml};
use crate::config::{Config, json_schema};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// Returns the last column of each setting's row.
fn table(before: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, after) = PAGE.split_once(before).expect("a table");
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

fn binding_rows() -> BTreeMap<&'static str, &'static str> {
    table("In `[defaults]`, an environment, a feature, a tenant or a route:")
}

fn registry_rows() -> BTreeMap<&'static str, &'static str> {
    table("For the whole registry:")
}

/// Returns the paths of all settings in a schema table, without the tables that hold bindings.
pub(super) fn paths(root: &Value, schema: &Value, path: &str) -> Vec<String> {
    let schema = schema.get("$ref").and_then(Value::as_str).map_or(schema, |name| {
        let name = name.rsplit('/').next().expect("a name");
        &root["$defs"][name]
    });
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else {
        return vec![path.to_owned()];
    };
    let nested = properties.iter().filter(|(name, _)| !holds_bindings(name, path));
    nested
        .flat_map(|(name, nested)| {
            let path = if path.is_empty() {
                name.clone()
            } else {
                format!("{path}.{name}")
            };
            paths(root, nested, &path)
        })
        .collect()
}

fn holds_bindings(name: &str, path: &str) -> bool {
    path.is_empty() && ["defaults", "environments", "features", "tenants", "routes"].contains(&name)
}

/// Returns whether the reference lists a setting or its table.
fn is_listed(path: &str, settings: &BTreeMap<&str, &str>) -> bool {
    settings
        .keys()
        .any(|name| path == *name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

#[test]
fn the_reference_lists_exactly_the_settings() {
    let schema = json_schema();
    for (all, listed) in [
        (paths(&schema, &schema["$defs"]["Binding"], ""), binding_rows()),
        (paths(&schema, &schema, ""), registry_rows()),
    ] {
        assert!(all.len() > 15, "{all:?}");
        let missing: Vec<_> = all.iter().filter(|path| !is_listed(path, &listed)).collect();
        assert!(missing.is_empty(), "not in docs/configuration.md: {missing:?}");
        let gone: Vec<_> = listed
            .keys()
            .filter(|name| {
                let is_setting = |path: &String| path == *name || path.starts_with(&format!("{name}."));
                !all.iter().any(is_setting)
            })
            .collect();
        assert!(gone.is_empty(), "unknown settings: {gone:?}");
    }
}

/// Returns a default as a TOML value, if it is one: `1s`, `"gzip"`, `128 each`.
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

/// Returns the effective settings as text.
fn effective(config: &Config) -> String {
    format!(
        "{:?} {:?} {:?} {:?} {} {}",
        config.export,
        config.pool,
        config.metrics,
        config.spool,
        config.has_strict_permissions(),
        config.is_watched()
    )
}

#[test]
fn the_defaults_in_the_reference_are_correct() {
    let mut seen = 0;
    for (name, default) in registry_rows() {
        if let Some(value) = value_of(default) {
            let explicit = toml(&format!("{name} = {value}")).expect("valid");
            let implicit = toml("").expect("valid");
            assert_eq!(effective(&explicit), effective(&implicit), "{name} = {value}");
            seen += 1;
        }
    }
    let key = "defaults.api_key = { env = \"A\" }\ntenants.acme = {}\n";
    let implicit = resolve(&toml(key).expect("valid"), "tenant:acme");
    for (name, default) in binding_rows() {
        // Unset limits use the SDK's defaults and are not stored.
        if name.starts_with("limits.") {
            continue;
        }
        if let Some(value) = value_of(default) {
            let explicit = toml(&format!("{key}defaults.{name} = {value}")).expect("valid");
            assert_eq!(
                resolve(&explicit, "tenant:acme").digest(),
                implicit.digest(),
                "{name} = {value}"
            );
            seen += 1;
        }
    }
    assert!(seen > 20, "only {seen} defaults were found");
}
