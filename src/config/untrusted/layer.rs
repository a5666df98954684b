//! What an untrusted layer may say, laid over what is below it.

use super::place::LayerPlace;
use super::rules::{Rules, line_for_address};
use crate::config::fault::Faults;
use crate::config::fault::quoted;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::Binding;
use crate::config::settings::setting::Fields;
use crate::secret::KeySource;
use crate::selector::Selector;

/// Words in the names of resource attributes by which receivers choose a project (Phoenix `openinference.project.name`, Braintrust
/// `braintrust.parent`, Weave `wandb.entity` and `wandb.project`, MLflow's experiments) or route to a tenant.
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

/// Whether an untrusted layer sends elsewhere than the tables below it: by a URL that differs in any part, or to another backend.
pub(crate) fn moves(over: &Binding, below: &Binding) -> bool {
    let backend = over.backend.is_some() && over.backend != below.backend;
    let endpoint = over.endpoint.as_deref().is_some_and(|over| {
        let below = below.endpoint.as_deref().and_then(|below| Endpoint::new(below).ok());
        below.is_none() || Endpoint::new(over).ok() != below
    });
    backend || endpoint
}

/// A fault for everything that an untrusted layer may not say; its key source as it may be read.
///
/// # Errors
/// Where the key source cannot be filled in.
pub(crate) fn check(
    layer: &Binding,
    place: LayerPlace<'_>,
    below: &Binding,
    selector: &Selector,
    rules: &Rules,
    faults: &mut Faults,
) -> Result<Option<KeySource>, TemplateError> {
    faults.enter_untrusted(place.file());
    let tenant = place.tenant(selector);
    let path = place.path();
    never(layer, &path, faults);
    raises(layer, below, &path, faults);
    resource(layer, below, &path, faults);
    if moves(layer, below) {
        endpoint(layer, &path, rules, faults);
    }
    let Some(source) = &layer.api_key else { return Ok(None) };
    let source = template::fill_source(source, selector)?;
    let admitted = rules.admit(&source, tenant);
    if admitted.is_none() {
        let message = match rules.line_for_key(&source, tenant) {
            Some(line) => format!(
                "an untrusted layer may not have its key from there, and a pattern without {{tenant}} allows every tenant's layer to; to allow it: {line}"
            ),
            None => "an untrusted layer never runs a command; only the operator's configuration may".to_owned(),
        };
        faults.add(format!("{path}.api_key"), message);
    }
    Ok(admitted)
}

/// Settings that are the operator's alone: all that are not declared otherwise.
fn never(layer: &Binding, path: &str, faults: &mut Faults) {
    for (table, refused) in [
        ("", layer.operators_alone()),
        ("limits.", layer.limits.unwrap_or_default().operators_alone()),
        ("propagation.", layer.propagation.unwrap_or_default().operators_alone()),
    ] {
        for setting in refused {
            let message = "an untrusted layer never sets this; only the operator's configuration may";
            faults.add(format!("{path}.{table}{setting}"), message);
        }
    }
}

/// An untrusted layer takes less than it is given, never more.
fn raises(layer: &Binding, below: &Binding, path: &str, faults: &mut Faults) {
    let limits = layer.limits.unwrap_or_default();
    let propagation = layer.propagation.unwrap_or_default();
    let ratio = layer.sampling.map(|sampling| sampling.ratio);
    let most = below.sampling.map_or(1.0, |sampling| sampling.ratio);
    let ratio = ratio.filter(|ratio| *ratio > most).map(|_| ("ratio", most.to_string()));
    for (table, raised) in [
        ("sampling", ratio.into_iter().collect()),
        ("limits", limits.raised(&below.limits.unwrap_or_default())),
        (
            "propagation",
            propagation.raised(&below.propagation.unwrap_or_default()),
        ),
    ] {
        for (setting, most) in raised {
            let message = format!("an untrusted layer may lower this and not raise it: the tables below it say {most}");
            faults.add(format!("{path}.{table}.{setting}"), message);
        }
    }
}

/// Receivers route by resource attributes: what the operator set stays, and what chooses a project is the operator's.
fn resource(layer: &Binding, below: &Binding, path: &str, faults: &mut Faults) {
    for (key, value) in &*layer.resource {
        let chooses = key
            .split(|c: char| !c.is_ascii_alphanumeric())
            .any(|word| PROJECT_WORDS.iter().any(|known| word.eq_ignore_ascii_case(known)));
        let message = if chooses {
            "an untrusted layer never sets an attribute by which a receiver may choose a project"
        } else if below.resource.get(key).is_some_and(|below| below != value) {
            "an untrusted layer never replaces an attribute of the tables below it"
        } else {
            continue;
        };
        faults.add(format!("{path}.resource.{}", quoted(key)), message);
    }
}

fn endpoint(layer: &Binding, path: &str, rules: &Rules, faults: &mut Faults) {
    // One that cannot be read is a fault already.
    let Some(endpoint) = layer.endpoint.as_deref().and_then(|text| Endpoint::new(text).ok()) else {
        faults.add(
            format!("{path}.backend"),
            "an untrusted layer that changes the backend names the endpoint too, and that must be allowed by untrusted.endpoints",
        );
        return;
    };
    let path = format!("{path}.endpoint");
    if !rules.allows_endpoint(&endpoint) {
        let line = rules.line_for_endpoint(&endpoint);
        faults.add(
            path.clone(),
            format!("an untrusted layer may not send there; to allow it: {line}"),
        );
    }
    if let Some(address) = endpoint.address()
        && let Some(word) = rules.addresses.refusal(address)
    {
        let line = line_for_address(&rules.addresses, address);
        faults.add(
            path,
            format!("an untrusted layer may not send to {address}, which is {word}; to allow it: {line}"),
        );
    }
}
