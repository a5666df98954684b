//! From a parsed file to a [`Document`], collecting every fault on the way.
//!
//! One pass over the tree, field by field. A value is never repeated in a message: it may be a key by mistake.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

use crate::config::fault::{Faults, Layer};
use crate::config::read::table::{COUNT, DURATION, SIZE, TEXT, Table, kind};
use crate::config::settings::binding::{Auth, Binding, Limits, Propagation, Sampling, default_auth_header};
use crate::config::settings::document::{
    ActiveEnvironment, ActiveVariable, Document, Keys, Reloading, Route, Routing, When,
};
use crate::config::settings::export::{Export, Retry};
use crate::config::settings::metrics::Metrics;
use crate::config::settings::pool::Pool;
use crate::config::settings::proxy::{Address, Proxy};
use crate::config::settings::tls::Tls;
use crate::config::settings::units::{HumanDuration, HumanSize};
use crate::config::settings::untrusted::Untrusted;
use crate::secret::{KeyCommand, KeySource};
use crate::util::json_depth::bounded;

const KEY_SOURCES: &str = "a key comes from { env = \"VARIABLE\" }, { file = \"/path\" }, { credential = \"name\" }, \
                           { exec = [\"command\", \"argument\"] } or { provider = \"name\", name = \"secret\" }";

const BACKENDS: [&str; 10] = [
    "honeyhive",
    "otlp",
    "langfuse",
    "phoenix",
    "langsmith",
    "logfire",
    "braintrust",
    "honeycomb",
    "grafana",
    "mlflow",
];

/// Reads a layer. `folder` is where its relative paths start.
pub(crate) fn document(value: Value, folder: &Path, faults: &mut Faults) -> Document {
    let Some(mut table) = Table::new(value, String::new(), faults) else {
        return Document::default();
    };
    let document = Document {
        active_environment: table
            .value("active_environment")
            .and_then(|value| active(value, table.faults)),
        defaults: table
            .table("defaults", |table| binding(table, folder))
            .unwrap_or_default(),
        environments: bindings(&mut table, "environments", folder),
        features: bindings(&mut table, "features", folder),
        tenants: bindings(&mut table, "tenants", folder),
        tenants_dir: path(&mut table, "tenants_dir", "the path of a folder", folder),
        routes: routes(&mut table, folder),
        untrusted: table
            .table("untrusted", |table| untrusted(table, folder))
            .unwrap_or_default(),
        export: table.table("export", export).unwrap_or_default(),
        reload: table
            .table("reload", |table| Reloading {
                watch: table.take("watch", "true or false"),
            })
            .unwrap_or_default(),
        keys: table
            .table("keys", |table| Keys {
                strict_permissions: table.take("strict_permissions", "true or false"),
            })
            .unwrap_or_default(),
        metrics: table.table("metrics", metrics).unwrap_or_default(),
        pool: table.table("pool", pool).unwrap_or_default(),
        routing: table
            .table("routing", |table| Routing {
                default: table.table("default", when),
            })
            .unwrap_or_default(),
    };
    table.finish();
    document
}

/// Reads a tenant's binding that stands by itself, as a table `[tenants.<slug>]` would: `path` is that table's.
pub(crate) fn alone(value: Value, path: String, folder: &Path, faults: &mut Faults) -> Binding {
    let Some(mut table) = Table::new(value, path, faults) else {
        return Binding::default();
    };
    let binding = binding(&mut table, folder);
    table.finish();
    binding
}

fn active(value: Value, faults: &mut Faults) -> Option<ActiveEnvironment> {
    if let Value::String(name) = value {
        return Some(ActiveEnvironment::Slug(name));
    }
    let mut table = Table::new(value, "active_environment".into(), faults)?;
    let env = table.required("env");
    let default = table.take("default", TEXT);
    table.finish();
    Some(ActiveEnvironment::Variable(ActiveVariable { env: env?, default }))
}

fn bindings(table: &mut Table<'_>, field: &'static str, folder: &Path) -> BTreeMap<String, Binding> {
    let mut bindings = BTreeMap::new();
    for (name, value, path) in table.entries(field) {
        if let Some(mut table) = Table::new(value, path, table.faults) {
            bindings.insert(name, binding(&mut table, folder));
            table.finish();
        }
    }
    bindings
}

fn routes(table: &mut Table<'_>, folder: &Path) -> Vec<Route> {
    let mut routes = Vec::new();
    for (value, path) in table.items("routes") {
        let Some(mut table) = Table::new(value, path, table.faults) else {
            // Keeps the place, so that the others keep their numbers.
            routes.push(Route::default());
            continue;
        };
        // A route without parts is a fault of the next stage.
        let when = table.table("when", when).unwrap_or_default();
        let binding = binding(&mut table, folder);
        table.finish();
        routes.push(Route { when, binding });
    }
    routes
}

fn untrusted(table: &mut Table<'_>, folder: &Path) -> Untrusted {
    let mut texts = |field| table.take::<Vec<String>>(field, "a list of texts");
    let keys = texts("keys").map(|patterns| patterns.into_iter().map(|pattern| in_folder(pattern, folder)).collect());
    Untrusted {
        keys,
        endpoints: texts("endpoints"),
        addresses: texts("addresses"),
        projects: texts("projects"),
    }
}

/// A pattern of files whose path begins at the folder where it is relative.
fn in_folder(pattern: String, folder: &Path) -> String {
    let path = pattern.strip_prefix("file:").filter(|path| !path.is_empty());
    let path = path.and_then(|path| folder.join(path).to_str().map(str::to_owned));
    path.map_or(pattern, |path| format!("file:{path}"))
}

fn when(table: &mut Table<'_>) -> When {
    When {
        tenant: table.take("tenant", TEXT),
        environment: table.take("environment", TEXT),
        feature: table.take("feature", TEXT),
    }
}

fn export(table: &mut Table<'_>) -> Export {
    Export {
        mode: table.choose("mode", &["background", "inline"]),
        protocol: table.choose("protocol", &["http/protobuf", "http/json", "grpc"]),
        compression: table.choose("compression", &["gzip", "zstd", "none"]),
        scheduled_delay: duration(table, "scheduled_delay"),
        max_export_batch_size: table.take("max_export_batch_size", COUNT),
        max_queue_size: table.take("max_queue_size", COUNT),
        max_queue_bytes: table.take("max_queue_bytes", SIZE).map(|HumanSize(bytes)| bytes),
        max_concurrent_exports: table.take("max_concurrent_exports", COUNT),
        timeout: duration(table, "timeout"),
        drop_timeout: duration(table, "drop_timeout"),
        retry: table.table("retry", retry).unwrap_or_default(),
    }
}

fn retry(table: &mut Table<'_>) -> Retry {
    Retry {
        initial_backoff: duration(table, "initial_backoff"),
        max_backoff: duration(table, "max_backoff"),
        max_elapsed: duration(table, "max_elapsed"),
        max_retry_after: duration(table, "max_retry_after"),
        server_errors: table.choose("server_errors", &["halve", "repeat"]),
    }
}

fn metrics(table: &mut Table<'_>) -> Metrics {
    Metrics {
        max_tracers: table.take("max_tracers", COUNT),
    }
}

fn pool(table: &mut Table<'_>) -> Pool {
    Pool {
        max_tracers: table.take("max_tracers", COUNT),
        idle_timeout: table.take("idle_timeout", "a duration such as \"30m\", or \"never\""),
        when_full: table.choose("when_full", &["reject", "grow"]),
    }
}

fn duration(table: &mut Table<'_>, field: &'static str) -> Option<Duration> {
    table.take(field, DURATION).map(|HumanDuration(duration)| duration)
}

/// The fields of a binding; the caller finishes the table, which may have others.
fn binding(table: &mut Table<'_>, folder: &Path) -> Binding {
    let path = table.path_of("api_key");
    Binding {
        api_key: table
            .value("api_key")
            .and_then(|value| key_source(value, path, folder, table.faults)),
        backend: table.choose("backend", &BACKENDS),
        endpoint: table.take("endpoint", "a URL"),
        project: table.take("project", TEXT),
        auth: table.table("auth", auth),
        tls: table.table("tls", |table| tls(table, folder)),
        proxy: table.table("proxy", |table| proxy(table, folder)).flatten(),
        headers: headers(table),
        source: table.take("source", TEXT),
        metadata: values(table, "metadata"),
        resource: values(table, "resource"),
        sampling: table.table("sampling", sampling).flatten(),
        limits: table.table("limits", limits),
        propagation: table.table("propagation", |table| Propagation {
            trust_remote_parent: table.take("trust_remote_parent", "true or false"),
            session_id: table.take("session_id", "true or false"),
        }),
        sessions: table.choose("sessions", &["explicit", "per_trace", "auto_create"]),
        weight: table.take("weight", "a number from 1 to 10000"),
        untrusted: false,
        forgotten: None,
    }
}

fn auth(table: &mut Table<'_>) -> Auth {
    Auth {
        header: table
            .take("header", "a header's name")
            .unwrap_or_else(default_auth_header),
        scheme: table.choose("scheme", &["bearer", "basic", "raw"]).unwrap_or_default(),
    }
}

fn tls(table: &mut Table<'_>, folder: &Path) -> Tls {
    let mut file = |setting| path(table, setting, "the path of a PEM file", folder);
    Tls {
        ca: file("ca"),
        cert: file("cert"),
        key: file("key"),
    }
}

/// A path; a relative one begins at `folder`. Nothing written stays nothing, so that it is refused.
fn path(table: &mut Table<'_>, setting: &'static str, expected: &str, folder: &Path) -> Option<PathBuf> {
    let path: PathBuf = table.take(setting, expected)?;
    Some(if path.as_os_str().is_empty() {
        path
    } else {
        folder.join(path)
    })
}

fn proxy(table: &mut Table<'_>, folder: &Path) -> Option<Proxy> {
    let path = table.path_of("credentials");
    let credentials = table.value("credentials");
    let credentials = credentials.and_then(|value| key_source(value, path, folder, table.faults));
    let (url, env) = (table.take("url", "a URL"), table.take("env", TEXT));
    let address = match (url, env) {
        (Some(url), None) => Address::Url(url),
        (None, Some(env)) => Address::Env(env),
        _ => {
            let message = "a proxy is { url = \"http://proxy.example:3128\" } or { env = \"HTTPS_PROXY\" }";
            table.faults.add(table.path.clone(), message);
            return None;
        }
    };
    Some(Proxy { address, credentials })
}

fn sampling(table: &mut Table<'_>) -> Option<Sampling> {
    if !table.fields.contains_key("ratio") {
        table.fault("ratio", "missing");
    }
    let ratio = table.take("ratio", "a number from 0.0 to 1.0")?;
    Some(Sampling { ratio })
}

fn limits(table: &mut Table<'_>) -> Limits {
    Limits {
        attributes: table.take("attributes", COUNT),
        events: table.take("events", COUNT),
        links: table.take("links", COUNT),
        attributes_per_event: table.take("attributes_per_event", COUNT),
        attributes_per_link: table.take("attributes_per_link", COUNT),
    }
}

/// Headers one by one, so that each fault has its key path.
fn headers(table: &mut Table<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, value, path) in table.entries("headers") {
        match value {
            Value::String(text) => {
                headers.insert(name, text);
            }
            other => table
                .faults
                .add(path, format!("a text is expected, found {}", kind(&other))),
        }
    }
    headers
}

/// Values of any kind. A variable's text is taken as the number or boolean that it is in JSON, where it is written just so: `1.10` and
/// `007` stay texts.
fn values(table: &mut Table<'_>, field: &'static str) -> BTreeMap<String, Value> {
    let in_variables = table.faults.layer() == Layer::Variables;
    let typed = |value: Value| {
        let text = value.as_str().filter(|_| in_variables);
        let parsed = text.and_then(|text| serde_json::from_str::<Value>(text).ok());
        parsed
            .filter(|parsed| (parsed.is_number() || parsed.is_boolean()) && Some(parsed.to_string().as_str()) == text)
            .unwrap_or(value)
    };
    let entries = table.entries(field).into_iter();
    entries.map(|(key, value, _)| (key, bounded(typed(value)))).collect()
}

fn command(table: &mut Table<'_>) -> Option<KeyCommand> {
    let timeout = duration(table, "timeout");
    let lifetime = duration(table, "lifetime");
    let passed: Option<Vec<String>> = table.take("pass_env", "a list of texts, names of variables,");
    let show_stderr = table.take("show_stderr", "true or false");
    let words: Vec<String> = table.take("exec", "a list of texts, the program and its arguments,")?;
    let mut command = KeyCommand::new(words).pass_env(passed.unwrap_or_default());
    command.timeout = timeout.unwrap_or(command.timeout);
    command.lifetime = lifetime;
    command.show_stderr = show_stderr.unwrap_or_default();
    Some(command)
}

fn key_source(value: Value, path: String, folder: &Path, faults: &mut Faults) -> Option<KeySource> {
    if !value.is_object() {
        faults.add(
            path,
            format!("a key is never written in the configuration; {KEY_SOURCES}"),
        );
        return None;
    }
    let mut table = Table::new(value, path, faults)?;
    let given: Vec<&str> = ["env", "file", "credential", "exec", "provider"]
        .into_iter()
        .filter(|kind| table.fields.contains_key(*kind))
        .collect();
    let source = match given.as_slice() {
        ["env"] => table.take("env", TEXT).map(KeySource::Env),
        ["file"] => table
            .take::<PathBuf>("file", "a path")
            .map(|path| KeySource::File(folder.join(path))),
        ["credential"] => table.take("credential", TEXT).map(KeySource::Credential),
        ["exec"] => command(&mut table).map(KeySource::Exec),
        ["provider"] => {
            let (provider, name) = (table.take("provider", TEXT), table.required("name"));
            provider
                .zip(name)
                .map(|(provider, name)| KeySource::Provider { provider, name })
        }
        _ => {
            let message = format!("exactly one source is needed, found {}; {KEY_SOURCES}", given.len());
            table.faults.add(table.path, message);
            return None;
        }
    };
    table.finish();
    source
}
