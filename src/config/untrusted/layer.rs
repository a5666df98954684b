//! Checks an untrusted layer against the layers below.

use super::origin::LayerOrigin;
use super::rules::{Rules, line_for_address};
use crate::config::problem::Problems;
use crate::config::problem::quoted;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::Binding;
use crate::config::settings::setting::Fields;
use crate::secret::KeySource;
use crate::selector::Selector;

/// Words in the names of resource attributes that select a project (Phoenix
/// `openinference.project.name`, Braintrust `braintrust.parent`, Weave `wandb.entity` and
/// `wandb.project`, MLflow's experiments) or route to a tenant.
const PROJECT_WORDS: [&str; 9] = [
    "dataset",
    "entity",
    "experiment",
    "org",
    "organization",
    "parent",
    "project",
    "tenant",
    "workspace",
];

/// Returns whether a layer sends elsewhere than the lower tables: to a URL that differs in any
/// part, or to another backend.
pub(crate) fn moves(over: &Binding, below: &Binding) -> bool {
    let backend = over.backend.is_some() && over.backend != below.backend;
    let endpoint = over.endpoint.as_deref().is_some_and(|over| {
        let below = below.endpoint.as_deref().and_then(|below| Endpoint::new(below).ok());
        below.is_none() || Endpoint::new(over).ok() != below
    });
    backend || endpoint
}

/// Adds a problem for each setting that an untrusted layer may not have. Returns the key source in
/// the form to read.
///
/// # Errors
/// Returns a [`TemplateError`] if the key source cannot be filled in.
pub(crate) fn check(
    layer: &Binding,
    origin: LayerOrigin<'_>,
    below: &Binding,
    selector: &Selector,
    rules: &Rules,
    problems: &mut Problems,
) -> Result<Option<KeySource>, TemplateError> {
    problems.enter_untrusted(origin.file());
    let tenant = origin.tenant(selector);
    let path = origin.path();
    operator_only(layer, &path, problems);
    raised(layer, below, &path, problems);
    resource(layer, below, &path, problems);
    redact(layer, below, &path, problems);
    if moves(layer, below) {
        endpoint(layer, &path, rules, problems);
    }
    let Some(source) = &layer.api_key else { return Ok(None) };
    let source = template::fill_source(source, selector)?;
    let admitted = rules.admit(&source, tenant);
    if admitted.is_none() {
        let message = match rules.line_for_key(&source, tenant) {
            Some(line) => format!(
                "an untrusted layer may not use this key source (a pattern without {{tenant}} applies to every tenant); to allow it: {line}"
            ),
            None => "an untrusted layer must not run a command; only the operator's configuration may".to_owned(),
        };
        problems.add(format!("{path}.api_key"), message);
    }
    Ok(admitted)
}

/// Reports settings that only the operator may set, which are all that are not declared otherwise.
fn operator_only(layer: &Binding, path: &str, problems: &mut Problems) {
    for (table, refused) in [
        ("", layer.operator_only()),
        ("limits.", layer.limits.unwrap_or_default().operator_only()),
        ("propagation.", layer.propagation.unwrap_or_default().operator_only()),
        (
            "redact.",
            layer.redact.iter().flat_map(|redact| redact.operator_only()).collect(),
        ),
    ] {
        for setting in refused {
            let message = "an untrusted layer must not set this; only the operator's configuration may";
            problems.add(format!("{path}.{table}{setting}"), message);
        }
    }
}

/// Reports settings that are higher than in the lower tables.
fn raised(layer: &Binding, below: &Binding, path: &str, problems: &mut Problems) {
    let limits = layer.limits.unwrap_or_default();
    let propagation = layer.propagation.unwrap_or_default();
    let quota = layer.quota.as_deref().copied().unwrap_or_default();
    let ratio = layer.sampling.map(|sampling| sampling.ratio);
    let max = below.sampling.map_or(1.0, |sampling| sampling.ratio);
    let ratio = ratio.filter(|ratio| *ratio > max).map(|_| ("ratio", max.to_string()));
    for (table, raised) in [
        ("sampling", ratio.into_iter().collect()),
        ("limits", limits.raised(&below.limits.unwrap_or_default())),
        (
            "quota",
            // A burst that is left out below is limited too.
            quota.raised(&below.quota.as_deref().copied().unwrap_or_default().with_bursts()),
        ),
        (
            "propagation",
            propagation.raised(&below.propagation.unwrap_or_default()),
        ),
    ] {
        for (setting, max) in raised {
            let message = format!("an untrusted layer may only lower this; the lower tables set {max}");
            problems.add(format!("{path}.{table}.{setting}"), message);
        }
    }
}

/// Reports a setting that makes the redaction of the lower tables weaker.
fn redact(layer: &Binding, below: &Binding, path: &str, problems: &mut Problems) {
    let names = |binding: &Binding| binding.redact.as_ref().and_then(|redact| redact.names);
    if names(layer) == Some(false) && names(below) == Some(true) {
        let message = "an untrusted layer may only add to the redaction of the lower tables";
        problems.add(format!("{path}.redact.names"), message);
    }
}

/// Reports resource attributes that the operator set or that can select a project, because
/// receivers route by them.
fn resource(layer: &Binding, below: &Binding, path: &str, problems: &mut Problems) {
    for (key, value) in &*layer.resource {
        let selects_project = key
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| PROJECT_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)));
        let message = if selects_project {
            "an untrusted layer must not set an attribute that may select a project"
        } else if below.resource.get(key).is_some_and(|below| below != value) {
            "an untrusted layer must not replace an attribute of the lower tables"
        } else {
            continue;
        };
        problems.add(format!("{path}.resource.{}", quoted(key)), message);
    }
}

fn endpoint(layer: &Binding, path: &str, rules: &Rules, problems: &mut Problems) {
    // An invalid endpoint was reported already.
    let Some(endpoint) = layer.endpoint.as_deref().and_then(|text| Endpoint::new(text).ok()) else {
        problems.add(
            format!("{path}.backend"),
            "an untrusted layer that changes the backend must also set an endpoint that untrusted.endpoints allows",
        );
        return;
    };
    let path = format!("{path}.endpoint");
    if !rules.allows_endpoint(&endpoint) {
        let line = rules.line_for_endpoint(&endpoint);
        problems.add(
            path.clone(),
            format!("an untrusted layer may not send to this endpoint; to allow it: {line}"),
        );
    }
    if let Some(address) = endpoint.address()
        && let Some(word) = rules.addresses.refusal(address)
    {
        let line = line_for_address(&rules.addresses, address);
        problems.add(
            path,
            format!("an untrusted layer may not send to {address}, which is {word}; to allow it: {line}"),
        );
    }
}
