//! Checks a layer: each value by the rule that is declared with it, and what several values together must keep.

use std::collections::HashMap;

use http::HeaderName;
use serde_json::Value;

use crate::config::fault::{Faults, quoted};
use crate::config::rules::values::more_than_zero;
use crate::config::rules::{header, routes, template};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::{Document, WILDCARD, When};
use crate::config::settings::setting::Fields;
use crate::config::settings::tls::Tls;
use crate::config::untrusted::Rules;
use crate::secret::KeySource;
use crate::selector::{SelectorKind, Slug};

pub(crate) fn document(document: &Document, faults: &mut Faults) {
    document.check("", faults);
    for (path, written) in document.bindings() {
        binding(written, &path, faults);
    }
    for (part, table, bindings) in document.tables() {
        let names = bindings
            .keys()
            .filter(|name| part != SelectorKind::Tenant || *name != WILDCARD);
        for (name, error) in names.filter_map(|name| Some((name, Slug::new(name).err()?))) {
            faults.add(format!("{table}.{}", quoted(name)), error.to_string());
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
    }
    drop(Rules::read(&document.untrusted, faults));
    document.export.check("export", faults);
    document.export.retry.check("export.retry", faults);
    document.reload.check("reload", faults);
    document.keys.check("keys", faults);
    document.pool.check("pool", faults);
    if let Some(Err(error)) = document.routing.default.as_ref().map(routes::selector) {
        faults.add("routing.default", error.to_string());
    }
}

pub(crate) fn binding(binding: &Binding, path: &str, faults: &mut Faults) {
    binding.check(path, faults);
    if let Some(source) = &binding.api_key {
        for message in key_source(source) {
            faults.add(format!("{path}.api_key"), message);
        }
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
    for (name, value) in &*binding.headers {
        match HeaderName::try_from(name) {
            Err(_) => faults.add(format!("{path}.headers"), header::NO_NAME),
            Ok(known) => {
                if let Some(message) = header::fault(&known, value, binding.auth.as_ref()) {
                    faults.add(format!("{path}.headers.{}", quoted(name)), message);
                }
            }
        }
    }
    for (key, value) in &*binding.resource {
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
                let message = value.and_then(more_than_zero);
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
