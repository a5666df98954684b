//! The rules that a layer's values must keep, whoever wrote them.

use http::{HeaderName, HeaderValue};
use serde_json::Value;

use super::binding::Binding;
use super::document::{Document, Route, WILDCARD, When};
use super::endpoint::Endpoint;
use super::export::Export;
use super::fault::Faults;
use crate::selector::{Name, Part, Selector, SelectorError, SelectorParts};

/// Headers that carry keys: a value for one of them would be a key written in the configuration.
const KEY_HEADERS: [&str; 8] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "api_key",
    "x-honeycomb-team",
    "x-auth-token",
];

/// Headers that are made with the request.
const OWN_HEADERS: [&str; 7] = [
    "content-type",
    "content-length",
    "content-encoding",
    "transfer-encoding",
    "host",
    "connection",
    "x-source",
];

pub(super) fn document(document: &Document, faults: &mut Faults) {
    binding(&document.defaults, "defaults", faults);
    for (part, table, bindings) in [
        (Part::Environment, "environments", &document.environments),
        (Part::Feature, "features", &document.features),
        (Part::Tenant, "tenants", &document.tenants),
    ] {
        for (name, binding_of_name) in bindings {
            let path = format!("{table}.{name}");
            if !(part == Part::Tenant && name == WILDCARD)
                && let Err(error) = Name::new(name)
            {
                faults.add(path.clone(), error.to_string());
            }
            binding(binding_of_name, &path, faults);
        }
    }
    for (index, route) in document.routes.iter().enumerate() {
        let path = format!("routes[{index}]");
        if route.when == When::default() {
            faults.add(
                format!("{path}.when"),
                "names no part; a route is for a tenant, an environment, a feature or several of them",
            );
        } else if let Err(error) = selector(route) {
            faults.add(format!("{path}.when"), error.to_string());
        }
        if let Some(first) = document.routes[..index]
            .iter()
            .position(|other| other.when == route.when)
        {
            faults.add(
                format!("{path}.when"),
                format!("the same parts as routes[{first}]; which of the two holds would be chance"),
            );
        }
        binding(&route.binding, &path, faults);
    }
    export(&document.export, faults);
}

/// The parts of a route.
pub(super) fn selector(route: &Route) -> Result<Selector, SelectorError> {
    let when = &route.when;
    let mut written = SelectorParts::default();
    if let Some(name) = &when.environment {
        written = written.environment(name);
    }
    if let Some(name) = &when.feature {
        written = written.feature(name);
    }
    if let Some(name) = &when.tenant {
        written = written.tenant(name);
    }
    Selector::try_from(written)
}

fn binding(binding: &Binding, path: &str, faults: &mut Faults) {
    if let Some(Err(error)) = binding.endpoint.as_deref().map(Endpoint::new) {
        faults.add(format!("{path}.endpoint"), error.to_string());
    }
    if let Some(auth) = &binding.auth
        && HeaderName::try_from(&auth.header).is_err()
    {
        faults.add(
            format!("{path}.auth.header"),
            format!("{:?} is no header's name", auth.header),
        );
    }
    for (name, value) in &binding.headers {
        if let Some(message) = header_fault(name, value) {
            faults.add(format!("{path}.headers.{name}"), message);
        }
    }
    for (key, value) in &binding.resource {
        if matches!(value, Value::Null | Value::Array(_) | Value::Object(_)) {
            faults.add(
                format!("{path}.resource.\"{key}\""),
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

fn header_fault(name: &str, value: &str) -> Option<String> {
    let Ok(header) = HeaderName::try_from(name) else {
        return Some("is no header's name".to_owned());
    };
    if KEY_HEADERS.contains(&header.as_str()) {
        return Some("this header carries a key, and a key is never written in the configuration; use api_key, and auth for another header".to_owned());
    }
    if OWN_HEADERS.contains(&header.as_str()) {
        return Some("this header is made with the request".to_owned());
    }
    HeaderValue::from_str(value)
        .is_err()
        .then(|| "the value has characters that a header cannot carry".to_owned())
}

fn export(export: &Export, faults: &mut Faults) {
    for (field, value) in [
        ("max_export_batch_size", export.max_export_batch_size),
        ("max_queue_size", export.max_queue_size),
        ("max_concurrent_exports", export.max_concurrent_exports),
    ] {
        if value == Some(0) {
            faults.add(format!("export.{field}"), "must be at least 1");
        }
    }
    if export.timeout.is_some_and(|timeout| timeout.0.is_zero()) {
        faults.add("export.timeout", "must be more than zero");
    }
}
