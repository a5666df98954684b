//! Checks a layer: each value by its declared rule, and the constraints between values.

use std::collections::HashMap;

use http::HeaderName;
use serde_json::Value;

use crate::config::problem::{Problems, quoted};
use crate::config::rules::values::more_than_zero;
use crate::config::rules::{header, routes, template};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{Document, WILDCARD, When};
use crate::config::settings::setting::Fields;
use crate::config::settings::tls::Tls;
use crate::config::untrusted::Rules;
use crate::secret::KeySource;
use crate::selector::{SelectorKind, Slug};

pub(crate) fn document(document: &Document, problems: &mut Problems) {
    document.check("", problems);
    for (path, written) in document.bindings() {
        binding(written, &path, problems);
    }
    for (part, table, bindings) in document.tables() {
        let names = bindings
            .keys()
            .filter(|name| part != SelectorKind::Tenant || *name != WILDCARD);
        for (name, error) in names.filter_map(|name| Some((name, Slug::new(name).err()?))) {
            problems.add(format!("{table}.{}", quoted(name)), error.to_string());
        }
    }
    let mut first_of: HashMap<&When, usize> = HashMap::new();
    for (index, route) in document.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        let first = *first_of.entry(&route.when).or_insert(index);
        if route.when == When::default() {
            problems.add(
                format!("{path}.when"),
                "missing selector; set it as in when = { tenant = \"acme\", feature = \"search\" }",
            );
        } else if let Err(message) = routes::pattern(&route.when) {
            problems.add(format!("{path}.when"), message);
        } else if first < index {
            problems.add(format!("{path}.when"), format!("duplicate of routes[{first}]"));
        }
    }
    drop(Rules::read(&document.untrusted, problems));
    document.export.check("export", problems);
    document.export.retry.check("export.retry", problems);
    document.export.explain.check("export.explain", problems);
    document.export.dead_letters.check("export.dead_letters", problems);
    document.reload.check("reload", problems);
    document.keys.check("keys", problems);
    document.pool.check("pool", problems);
    document.spool.check("spool", problems);
    if let Some(Err(error)) = document.routing.default.as_ref().map(routes::selector) {
        problems.add("routing.default", error.to_string());
    }
}

pub(crate) fn binding(binding: &Binding, path: &str, problems: &mut Problems) {
    binding.check(path, problems);
    if let Some(source) = &binding.api_key {
        for message in key_source(source) {
            problems.add(format!("{path}.api_key"), message);
        }
    }
    let auth = binding.auth.as_ref().map(|auth| header::key_header(&auth.header));
    if let Some(Err(message)) = auth {
        problems.add(format!("{path}.auth.header"), message);
    }
    for (setting, message) in binding.tls.iter().flat_map(Tls::problems) {
        problems.add(format!("{path}.tls.{setting}"), message);
    }
    if let Some(proxy) = &binding.proxy {
        if let Some((setting, message)) = proxy.problem() {
            problems.add(format!("{path}.proxy.{setting}"), message);
        }
        for message in proxy.credentials.iter().flat_map(key_source) {
            problems.add(format!("{path}.proxy.credentials"), message);
        }
    }
    for (name, value) in &*binding.headers {
        match HeaderName::try_from(name) {
            Err(_) => problems.add(format!("{path}.headers"), header::INVALID_NAME),
            Ok(known) => {
                if let Some(message) = header::problem(&known, value, binding.auth.as_ref()) {
                    problems.add(format!("{path}.headers.{}", quoted(name)), message);
                }
            }
        }
    }
    for (key, value) in &*binding.resource {
        if matches!(value, Value::Null | Value::Array(_) | Value::Object(_)) {
            problems.add(
                format!("{path}.resource.{}", quoted(key)),
                "a resource attribute must be a string, a number or a boolean",
            );
        }
    }
    if let Some(redact) = &binding.redact {
        redact.check_rules(&format!("{path}.redact"), problems);
        for message in redact.key.iter().flat_map(key_source) {
            problems.add(format!("{path}.redact.key"), message);
        }
    }
    if let Some(quota) = &binding.quota {
        quota.check(&format!("{path}.quota"), problems);
    }
    for (index, target) in binding.also.iter().flatten().enumerate() {
        if binding
            .also
            .iter()
            .flatten()
            .take(index)
            .any(|earlier| earlier == target)
        {
            problems.add(format!("{path}.also"), format!("{target} is listed twice"));
        }
    }
    if let Some(sampling) = &binding.sampling
        && !(0.0..=1.0).contains(&sampling.ratio)
    {
        problems.add(
            format!("{path}.sampling.ratio"),
            format!("{} is not between 0.0 and 1.0", sampling.ratio),
        );
    }
}

/// Returns the problems of a key source. They never include its values, which may be misplaced
/// keys.
fn key_source(source: &KeySource) -> Vec<String> {
    let mut messages = Vec::new();
    let mut texts: Vec<&str> = Vec::new();
    match source {
        KeySource::Env(name) => {
            texts.push(name);
            if name.is_empty() || !is_variable(&template::without_placeholders(name)) {
                messages.push("env must be the name of a variable: letters, digits and `_`".to_owned());
            }
        }
        KeySource::File(path) => {
            texts.extend(path.to_str());
            if path.as_os_str().is_empty() {
                messages.push("file must be the path of a file".to_owned());
            }
        }
        // Checked when it was allowed.
        KeySource::Confined(_) => {}
        KeySource::Credential(name) | KeySource::Provider { name, .. } => texts.push(name),
        KeySource::Exec(command) => {
            for (field, value) in [("timeout", Some(command.timeout)), ("lifetime", command.lifetime)] {
                let message = value.and_then(more_than_zero);
                messages.extend(message.map(|message| format!("{field} {message}")));
            }
            // An external name must not select which variables a command receives.
            if !command
                .pass_env
                .iter()
                .all(|name| !name.is_empty() && is_variable(name))
            {
                messages.push("pass_env must be a list of variable names: letters, digits and `_`".to_owned());
            }
            texts.extend(command.words.iter().map(String::as_str));
            match command.words.first() {
                None => messages.push("exec must be a program and its arguments".to_owned()),
                Some(program) if program.is_empty() => messages.push("exec must start with a program".to_owned()),
                // An external name may be an argument, but must not select the program.
                Some(program) if template::without_placeholders(program) != *program => {
                    messages.push("the program of exec must not contain a placeholder; its arguments may".to_owned());
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

/// Returns whether a text is valid in a variable's name. Accepts names whose placeholders were
/// removed.
fn is_variable(name: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(allowed) && !name.starts_with(|c: char| c.is_ascii_digit())
}
