//! The rules that a layer's values must keep, whoever wrote them.

use std::collections::HashMap;
use std::time::Duration;

use http::HeaderName;
use serde_json::Value;

use crate::config::fault::{Faults, quoted};
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::{header, routes, template};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{Document, WILDCARD, When};
use crate::config::settings::export::{Compression, Export, MAX_CONCURRENT_EXPORTS, Protocol};
use crate::config::settings::pool::{IdleTimeout, Pool};
use crate::config::settings::tls::Tls;
use crate::config::untrusted::Rules;
use crate::secret::KeySource;
use crate::selector::{SelectorKind, Slug};

/// The longest duration of the configuration. Far above any that helps, and far below what the clock can add.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn document(document: &Document, faults: &mut Faults) {
    binding(&document.defaults, "defaults", faults);
    for (part, table, bindings) in [
        (SelectorKind::Environment, "environments", &document.environments),
        (SelectorKind::Feature, "features", &document.features),
        (SelectorKind::Tenant, "tenants", &document.tenants),
    ] {
        for (name, binding_of_name) in bindings {
            let path = format!("{table}.{}", quoted(name));
            if !(part == SelectorKind::Tenant && name == WILDCARD)
                && let Err(error) = Slug::new(name)
            {
                faults.add(path.clone(), error.to_string());
            }
            binding(binding_of_name, &path, faults);
        }
    }
    let mut first_of: HashMap<&When, usize> = HashMap::new();
    for (index, route) in document.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        let first = *first_of.entry(&route.when).or_insert(index);
        if route.when == When::default() {
            faults.add(
                format!("{path}.when"),
                "names no part; a route says what it is for, as in when = { tenant = \"acme\", feature = \"search\" }",
            );
        } else if let Err(message) = routes::pattern(&route.when) {
            faults.add(format!("{path}.when"), message);
        } else if first < index {
            faults.add(format!("{path}.when"), format!("duplicate of routes[{first}]"));
        }
        binding(&route.binding, &path, faults);
    }
    drop(Rules::read(&document.untrusted, faults));
    export(&document.export, faults);
    if document
        .tenants_dir
        .as_ref()
        .is_some_and(|dir| dir.as_os_str().is_empty())
    {
        faults.add("tenants_dir", "the path of a folder is expected");
    }
    if cfg!(not(feature = "watch")) && document.reload.watch == Some(true) {
        faults.add(
            "reload.watch",
            "watching files needs the feature `watch` of tracer-registry, and this program was built without it",
        );
    }
    if cfg!(not(unix)) && document.keys.strict_permissions == Some(true) {
        faults.add(
            "keys.strict_permissions",
            "files have no mode on this system that could be checked",
        );
    }
    pool(&document.pool, faults);
    if let Some(Err(error)) = document.routing.default.as_ref().map(routes::selector) {
        faults.add("routing.default", error.to_string());
    }
}

pub(crate) fn binding(binding: &Binding, path: &str, faults: &mut Faults) {
    if let Some(source) = &binding.api_key {
        for message in key_source(source) {
            faults.add(format!("{path}.api_key"), message);
        }
    }
    if let Some(Err(error)) = binding.endpoint.as_deref().map(Endpoint::new) {
        faults.add(format!("{path}.endpoint"), error.to_string());
    }
    if let Some(message) = binding.project.as_deref().and_then(project) {
        faults.add(format!("{path}.project"), message);
    }
    let auth = binding.auth.as_ref().map(|auth| header::of_the_key(&auth.header));
    if let Some(Err(message)) = auth {
        faults.add(format!("{path}.auth.header"), message);
    }
    for (setting, message) in binding.tls.iter().flat_map(Tls::faults) {
        faults.add(format!("{path}.tls.{setting}"), message);
    }
    if let Some(proxy) = &binding.proxy {
        if let Some((setting, message)) = proxy.fault() {
            faults.add(format!("{path}.proxy.{setting}"), message);
        }
        for message in proxy.credentials.iter().flat_map(key_source) {
            faults.add(format!("{path}.proxy.credentials"), message);
        }
    }
    for (name, value) in &binding.headers {
        match HeaderName::try_from(name) {
            Err(_) => faults.add(format!("{path}.headers"), header::NO_NAME),
            Ok(known) => {
                if let Some(message) = header::fault(&known, value, binding.auth.as_ref()) {
                    faults.add(format!("{path}.headers.{}", quoted(name)), message);
                }
            }
        }
    }
    for (key, value) in &binding.resource {
        if matches!(value, Value::Null | Value::Array(_) | Value::Object(_)) {
            faults.add(
                format!("{path}.resource.{}", quoted(key)),
                "a resource attribute is a text, a number or a boolean",
            );
        }
    }
    if let Some(sampling) = &binding.sampling
        && !(0.0..=1.0).contains(&sampling.ratio)
    {
        faults.add(
            format!("{path}.sampling.ratio"),
            format!("{} is not between 0.0 and 1.0", sampling.ratio),
        );
    }
    if let Some(weight) = binding.weight
        && !(1..=10_000).contains(&weight)
    {
        faults.add(format!("{path}.weight"), format!("{weight} is not between 1 and 10000"));
    }
}

/// What is wrong with a project. Two selectors must not meet in one because their names do in one text.
fn project(text: &str) -> Option<String> {
    if text.is_empty() || text.trim() != text || text.contains(char::is_control) {
        return Some(
            "a project is a text without control characters that neither is empty nor begins or ends with a blank"
                .to_owned(),
        );
    }
    template::ambiguous(text, false)
}

/// What is wrong with where a key comes from. What is written there is not repeated: it may be the key itself.
fn key_source(source: &KeySource) -> Vec<String> {
    let mut messages = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    match source {
        KeySource::Env(name) => {
            texts.push(name);
            if name.is_empty() || !is_variable(&template::without_placeholders(name)) {
                messages.push("env is the name of a variable: letters, digits and `_`".to_owned());
            }
        }
        KeySource::File(path) => {
            texts.extend(path.to_str());
            if path.as_os_str().is_empty() {
                messages.push("file is the path of a file".to_owned());
            }
        }
        // Checked when it was allowed.
        KeySource::Confined(_) => {}
        KeySource::Credential(name) | KeySource::Provider { name, .. } => texts.push(name),
        KeySource::Exec(command) => {
            for (field, value) in [("timeout", Some(command.timeout)), ("lifetime", command.lifetime)] {
                let message = value.and_then(|value| duration(value, Zero::HasNone));
                messages.extend(message.map(|message| format!("{field} {message}")));
            }
            // A name that comes from outside does not choose which variable a command gets.
            if !command
                .pass_env
                .iter()
                .all(|name| !name.is_empty() && is_variable(name))
            {
                messages.push("pass_env is a list of variables' names: letters, digits and `_`".to_owned());
            }
            texts.extend(command.words.iter().map(String::as_str));
            match command.words.first() {
                None => messages.push("exec is a program and its arguments".to_owned()),
                Some(program) if program.is_empty() => messages.push("exec begins with a program".to_owned()),
                // A name comes from outside: it may say what is asked for, never which program runs.
                Some(program) if template::without_placeholders(program) != *program => {
                    messages.push("the program of exec cannot depend on a name; its arguments can".to_owned());
                }
                Some(_) => {}
            }
        }
    }
    let as_variable = matches!(source, KeySource::Env(_));
    messages.extend(
        texts
            .into_iter()
            .filter_map(|text| template::ambiguous(text, as_variable)),
    );
    messages
}

/// Whether a text can be the name of a variable, or what is left of one without its placeholders.
fn is_variable(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn export(export: &Export, faults: &mut Faults) {
    for (field, value) in [
        ("max_export_batch_size", export.max_export_batch_size),
        ("max_queue_size", export.max_queue_size),
        ("max_queue_bytes", export.max_queue_bytes),
        ("max_concurrent_exports", export.max_concurrent_exports),
    ] {
        if value == Some(0) {
            faults.add(format!("export.{field}"), "must be at least 1");
        }
    }
    if export
        .max_concurrent_exports
        .is_some_and(|most| most > MAX_CONCURRENT_EXPORTS)
    {
        faults.add(
            "export.max_concurrent_exports",
            format!("must be at most {MAX_CONCURRENT_EXPORTS}"),
        );
    }
    if cfg!(not(feature = "grpc")) && export.protocol == Some(Protocol::Grpc) {
        faults.add(
            "export.protocol",
            "grpc needs the feature `grpc` of tracer-registry, and this program was built without it",
        );
    }
    if cfg!(not(feature = "zstd")) && export.compression == Some(Compression::Zstd) {
        faults.add(
            "export.compression",
            "zstd needs the feature `zstd` of tracer-registry, and this program was built without it",
        );
    }
    let retry = &export.retry;
    for (field, value, zero) in [
        ("scheduled_delay", export.scheduled_delay, Zero::HasAMeaning),
        ("timeout", export.timeout, Zero::HasNone),
        ("drop_timeout", export.drop_timeout, Zero::HasAMeaning),
        // Without a pause between attempts, a receiver in trouble would be asked without end.
        ("retry.initial_backoff", retry.initial_backoff, Zero::HasNone),
        ("retry.max_backoff", retry.max_backoff, Zero::HasNone),
        ("retry.max_elapsed", retry.max_elapsed, Zero::HasAMeaning),
        ("retry.max_retry_after", retry.max_retry_after, Zero::HasAMeaning),
    ] {
        if let Some(message) = value.and_then(|value| duration(value, zero)) {
            faults.add(format!("export.{field}"), message);
        }
    }
}

fn pool(pool: &Pool, faults: &mut Faults) {
    if pool.max_tracers == Some(0) {
        faults.add("pool.max_tracers", "must be at least 1");
    }
    if let Some(IdleTimeout::After(time)) = pool.idle_timeout
        && let Some(message) = duration(time, Zero::HasNone)
    {
        faults.add("pool.idle_timeout", format!("{message}, or \"never\""));
    }
}

/// Whether a duration of zero says something: "at once", "not at all".
#[derive(Clone, Copy, PartialEq, Eq)]
enum Zero {
    HasAMeaning,
    HasNone,
}

fn duration(value: Duration, zero: Zero) -> Option<String> {
    if value.is_zero() && zero == Zero::HasNone {
        return Some("must be more than zero".to_owned());
    }
    (value > LONGEST).then(|| format!("must be at most {}", humantime::format_duration(LONGEST)))
}
