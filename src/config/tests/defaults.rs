//! An unset setting has its default, regardless of other settings: never unset if there is a
//! default, and zero only if that turns something off.

use std::collections::{BTreeMap, BTreeSet};

use super::reference::paths;
use super::{Folder, resolve, toml};
use crate::config::{
    Config, DeadLetterSettings, ExplainSettings, ExportSettings, Limits, MetricsSettings, PoolSettings, Quota,
    ResolvedBinding, RetrySettings, SpoolSettings, json_schema,
};

/// Registry settings with a default, each with another value.
pub(super) const REGISTRY_SETTINGS: [(&str, &str); 28] = [
    ("export.mode", "\"inline\""),
    ("export.protocol", "\"http/json\""),
    ("export.compression", "\"none\""),
    ("export.scheduled_delay", "\"7s\""),
    ("export.max_export_batch_size", "7"),
    ("export.max_queue_size", "7"),
    ("export.max_queue_bytes", "\"7kB\""),
    ("export.max_concurrent_exports", "7"),
    ("export.timeout", "\"7s\""),
    ("export.drop_timeout", "\"7s\""),
    ("export.explain.max_traces", "7"),
    ("export.explain.keep", "\"7s\""),
    ("export.dead_letters.max_batches", "7"),
    ("export.dead_letters.max_bytes", "\"7kB\""),
    ("export.retry.initial_backoff", "\"7s\""),
    ("export.retry.max_backoff", "\"7s\""),
    ("export.retry.max_elapsed", "\"7s\""),
    ("export.retry.max_retry_after", "\"7s\""),
    ("export.retry.server_errors", "\"repeat\""),
    ("keys.strict_permissions", "true"),
    ("metrics.max_tracers", "7"),
    ("pool.idle_timeout", "\"7s\""),
    ("pool.max_tracers", "7"),
    ("pool.when_full", "\"grow\""),
    ("reload.watch", "true"),
    ("spool.max_age", "\"7m\""),
    ("spool.drain_rate", "\"7MiB\""),
    ("spool.wait_for_lock", "\"7s\""),
];

/// Settings of redaction without a default, which another feature or setting needs.
const REDACT_SETTINGS: [&str; 2] = ["redact.key", "redact.rules"];

/// Registry settings that are tested together, because one needs the others.
pub(super) const SPOOL_SETTINGS: [&str; 4] = ["spool.mode", "spool.path", "spool.max_bytes", "spool.tenant_max_bytes"];

/// Binding settings with a default, each with another value.
const BINDING_SETTINGS: [(&str, &str); 23] = [
    ("limits.attributes", "7"),
    ("limits.attributes_per_event", "7"),
    ("limits.attributes_per_link", "7"),
    ("limits.events", "7"),
    ("limits.links", "7"),
    ("limits.request_bytes", "\"7kB\""),
    ("limits.span_bytes", "\"7kB\""),
    ("propagation.session_id", "true"),
    ("propagation.trust_remote_parent", "true"),
    ("quota.bytes_burst", "\"7kB\""),
    ("quota.bytes_per_day", "\"7kB\""),
    ("quota.bytes_per_month", "\"7kB\""),
    ("quota.bytes_per_second", "\"7kB\""),
    ("quota.requests_burst", "7"),
    ("quota.requests_per_second", "7"),
    ("quota.spans_burst", "7"),
    ("quota.spans_per_day", "7"),
    ("quota.spans_per_month", "7"),
    ("quota.spans_per_second", "7"),
    ("redact.names", "true"),
    ("sampling.ratio", "0.5"),
    ("sessions", "\"per_trace\""),
    ("weight", "7"),
];

/// Settings that are zero by default, which turns something off.
const OFF: [&str; 3] = [
    "export.explain.max_traces",
    "export.dead_letters.max_batches",
    "spool.wait_for_lock",
];

/// Settings without a default.
const WITHOUT_DEFAULT: [&str; 18] = [
    "active_environment",
    "also",
    "api_key",
    "auth",
    "backend",
    "endpoint",
    "gateway",
    "headers",
    "metadata",
    "project",
    "proxy",
    "resource",
    "routing",
    "source",
    "tenants_dir",
    "tls",
    "untrusted",
    "when",
];

type Effective = BTreeMap<&'static str, String>;

/// Returns the effective settings of the registry. Destructures without `..`, so that a new setting
/// does not compile until it is added.
fn registry_settings(config: &Config) -> Effective {
    let ExportSettings {
        mode,
        protocol,
        compression,
        scheduled_delay,
        max_export_batch_size,
        max_queue_size,
        max_queue_bytes,
        max_concurrent_exports,
        timeout,
        drop_timeout,
        retry,
        explain,
        dead_letters,
    } = config.export();
    let ExplainSettings { max_traces, keep } = explain;
    let DeadLetterSettings { max_batches, max_bytes } = dead_letters;
    let RetrySettings {
        initial_backoff,
        max_backoff,
        max_elapsed,
        max_retry_after,
        server_errors,
    } = retry;
    let PoolSettings {
        max_tracers,
        idle_timeout,
        when_full,
    } = config.pool();
    let MetricsSettings { max_tracers: series } = config.metrics();
    let SpoolSettings {
        mode: _,
        max_age,
        wait_for_lock,
        drain_rate,
        path: _,
        max_bytes: _,
        tenant_max_bytes: _,
    } = config.spool();
    Effective::from([
        ("export.mode", format!("{mode:?}")),
        ("export.protocol", format!("{protocol:?}")),
        ("export.compression", format!("{compression:?}")),
        ("export.scheduled_delay", format!("{scheduled_delay:?}")),
        ("export.max_export_batch_size", max_export_batch_size.to_string()),
        ("export.max_queue_size", max_queue_size.to_string()),
        ("export.max_queue_bytes", max_queue_bytes.to_string()),
        ("export.max_concurrent_exports", max_concurrent_exports.to_string()),
        ("export.timeout", format!("{timeout:?}")),
        ("export.drop_timeout", format!("{drop_timeout:?}")),
        ("export.retry.initial_backoff", format!("{initial_backoff:?}")),
        ("export.retry.max_backoff", format!("{max_backoff:?}")),
        ("export.retry.max_elapsed", format!("{max_elapsed:?}")),
        ("export.retry.max_retry_after", format!("{max_retry_after:?}")),
        ("export.retry.server_errors", format!("{server_errors:?}")),
        ("export.explain.max_traces", max_traces.to_string()),
        ("export.explain.keep", format!("{keep:?}")),
        ("export.dead_letters.max_batches", max_batches.to_string()),
        ("export.dead_letters.max_bytes", max_bytes.to_string()),
        ("keys.strict_permissions", config.has_strict_permissions().to_string()),
        ("metrics.max_tracers", series.to_string()),
        ("pool.idle_timeout", format!("{idle_timeout:?}")),
        ("pool.max_tracers", max_tracers.to_string()),
        ("pool.when_full", format!("{when_full:?}")),
        ("reload.watch", config.is_watched().to_string()),
        ("spool.max_age", format!("{max_age:?}")),
        ("spool.drain_rate", drain_rate.to_string()),
        ("spool.wait_for_lock", format!("{wait_for_lock:?}")),
    ])
}

/// Returns the effective settings of a binding. An unset limit is the SDK's when a tracer is
/// created.
fn binding_settings(binding: &ResolvedBinding) -> Effective {
    let Limits {
        attributes,
        events,
        links,
        attributes_per_event,
        attributes_per_link,
        span_bytes,
        request_bytes,
    } = binding.limits;
    let Quota {
        spans_per_second,
        spans_burst,
        bytes_per_second,
        bytes_burst,
        requests_per_second,
        requests_burst,
        spans_per_day,
        bytes_per_day,
        spans_per_month,
        bytes_per_month,
    } = binding.quota;
    Effective::from([
        ("limits.attributes", format!("{attributes:?}")),
        ("limits.attributes_per_event", format!("{attributes_per_event:?}")),
        ("limits.attributes_per_link", format!("{attributes_per_link:?}")),
        ("limits.events", format!("{events:?}")),
        ("limits.links", format!("{links:?}")),
        ("limits.request_bytes", format!("{request_bytes:?}")),
        ("limits.span_bytes", format!("{span_bytes:?}")),
        ("propagation.session_id", binding.propagate_session_id.to_string()),
        (
            "propagation.trust_remote_parent",
            binding.trust_remote_parent.to_string(),
        ),
        ("quota.bytes_burst", format!("{bytes_burst:?}")),
        ("quota.bytes_per_day", format!("{bytes_per_day:?}")),
        ("quota.bytes_per_month", format!("{bytes_per_month:?}")),
        ("quota.bytes_per_second", format!("{bytes_per_second:?}")),
        ("quota.requests_burst", format!("{requests_burst:?}")),
        ("quota.requests_per_second", format!("{requests_per_second:?}")),
        ("quota.spans_burst", format!("{spans_burst:?}")),
        ("quota.spans_per_day", format!("{spans_per_day:?}")),
        ("quota.spans_per_month", format!("{spans_per_month:?}")),
        ("quota.spans_per_second", format!("{spans_per_second:?}")),
        ("redact.names", binding.redact.names.to_string()),
        ("sampling.ratio", binding.sampling.ratio.to_string()),
        ("sessions", format!("{:?}", binding.sessions)),
        ("weight", binding.weight.to_string()),
    ])
}

/// Returns the settings that differ.
fn differing(one: &Effective, other: &Effective) -> Vec<&'static str> {
    let keys = one.keys().filter(|key| one[*key] != other[*key]);
    keys.copied().collect()
}

fn assert_no_zero(defaults: &Effective) {
    for (setting, default) in defaults {
        assert!(
            OFF.contains(setting) || !["0", "0ns", "Some(0)", "After(0ns)"].contains(&default.as_str()),
            "{setting} is {default}"
        );
    }
}

#[test]
fn every_unset_registry_setting_has_its_default() {
    let defaults = registry_settings(&toml("").expect("valid"));
    assert_no_zero(&defaults);
    for (setting, value) in REGISTRY_SETTINGS {
        let alone = toml(&format!("{setting} = {value}")).expect(setting);
        assert_eq!(differing(&registry_settings(&alone), &defaults), [setting]);
        let variable = format!("TRACER_REGISTRY__{}", setting.to_uppercase().replace('.', "__"));
        let value = value.trim_matches('"');
        let by_variable = Folder::new(&[("default.toml", "")])
            .load(&[(&variable, value)])
            .expect(setting);
        assert_eq!(
            differing(&registry_settings(&by_variable), &defaults),
            [setting],
            "{variable}"
        );
    }
}

#[test]
fn a_layer_that_sets_one_setting_keeps_those_of_the_layer_below() {
    let defaults = registry_settings(&toml("").expect("valid"));
    for (below, value_below) in REGISTRY_SETTINGS {
        for (above, value_above) in REGISTRY_SETTINGS {
            let folder = [
                ("default.toml", &*format!("{below} = {value_below}")),
                ("local.toml", &*format!("{above} = {value_above}")),
            ];
            let config = Folder::new(&folder).load(&[]).expect(above);
            let expected: BTreeSet<&str> = [below, above].into();
            let differ = differing(&registry_settings(&config), &defaults);
            assert_eq!(differ, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn every_unset_binding_setting_is_inherited_or_has_its_default() {
    let key = "defaults.api_key = { env = \"K\" }\ntenants.acme = {}\n";
    let config = |more: &str| toml(&(key.replace("tenants.acme = {}\n", "") + more)).expect("valid");
    let defaults = binding_settings(&resolve(&config("tenants.acme = {}"), "tenant:acme"));
    assert_no_zero(&defaults);
    for (setting, value) in BINDING_SETTINGS {
        for table in ["defaults", "tenants.acme"] {
            let alone = config(&format!("tenants.acme.source = \"x\"\n{table}.{setting} = {value}\n"));
            let differ = differing(&binding_settings(&resolve(&alone, "tenant:acme")), &defaults);
            assert_eq!(differ, [setting], "{table}");
        }
        for (above, value_above) in BINDING_SETTINGS {
            let both = config(&format!(
                "defaults.{setting} = {value}\ntenants.acme.{above} = {value_above}\n"
            ));
            let expected: BTreeSet<&str> = [setting, above].into();
            let differ = differing(&binding_settings(&resolve(&both, "tenant:acme")), &defaults);
            assert_eq!(differ, expected.into_iter().collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_commands_timeout_defaults_to_ten_seconds_and_its_lifetime_to_none() {
    let config = toml("[tenants.acme]\napi_key = { exec = [\"pass\"] }").expect("valid");
    let crate::secret::KeySource::Exec(command) = resolve(&config, "tenant:acme").api_key else {
        panic!("a command");
    };
    assert_eq!((command.timeout.as_secs(), command.lifetime), (10, None));
}

#[test]
fn every_setting_of_the_schema_is_tested_here() {
    let schema = json_schema();
    let tables = ["defaults", "environments", "features", "tenants", "routes"];
    let is_known = |path: &String| {
        let first = path.split('.').next().expect("a name");
        let is_tested_elsewhere = [&SPOOL_SETTINGS[..], &REDACT_SETTINGS]
            .concat()
            .contains(&path.as_str());
        is_tested_elsewhere || WITHOUT_DEFAULT.contains(&first) || tables.contains(&first)
    };
    for (all, seen) in [
        (
            paths(&schema, &schema, ""),
            REGISTRY_SETTINGS.map(|(setting, _)| setting).to_vec(),
        ),
        (
            paths(&schema, &schema["$defs"]["Binding"], ""),
            BINDING_SETTINGS.map(|(setting, _)| setting).to_vec(),
        ),
    ] {
        let all: BTreeSet<String> = all.into_iter().filter(|path| !is_known(path)).collect();
        let seen: BTreeSet<String> = seen.into_iter().map(str::to_owned).collect();
        assert_eq!(all, seen);
    }
}
