//! Builds the registries of a cast in code.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::super::program::cast::{Backend, Member, REGISTRIES};
use super::EXPLAINED;
use tracer_registry::config::{BackendName, Binding, Explain, Export, Pattern, Protocol, Redact, RedactRule};
use tracer_registry::secret::{Fingerprinter, SecretError};
use tracer_registry::selector::{SelectorBuilder, SelectorKind};
use tracer_registry::{BuildError, KeySource, RegistryBuilder, Selector, TracerRegistry};
use tracer_registry_collector::LocalCollector;

/// Larger than the spans and session events of one tracer in a round.
const QUEUE: usize = 1 << 20;

/// Builds the registries without creating tracers.
pub(in super::super) fn registries(
    cast: &[Member],
    collector: &Arc<LocalCollector>,
    fingerprinter: &Fingerprinter,
) -> Result<Vec<TracerRegistry>, BuildError> {
    let mut registries = Vec::new();
    for index in 0..REGISTRIES {
        let members = || cast.iter().filter(|member| member.registry == index);
        let keys: HashMap<String, String> = members()
            .map(|member| (member.token.clone(), member.key.clone()))
            .collect();
        let export = Export {
            protocol: (index > 0).then_some(Protocol::HttpJson),
            scheduled_delay: Some(Duration::from_millis(50)),
            max_queue_size: Some(QUEUE),
            timeout: Some(Duration::from_secs(60)),
            explain: Explain {
                max_traces: Some(EXPLAINED),
                keep: None,
            },
            ..Export::default()
        };
        let secrets = move |name: &str| match keys.get(name) {
            Some(key) => Ok(SecretString::from(key.clone())),
            None => Err(SecretError::refused("not a member of the cast")),
        };
        let builder = TracerRegistry::builder()
            .fingerprinter(fingerprinter.clone())
            .secret_source("verify", secrets)
            .defaults(Binding::new().backend(BackendName::Honeyhive))
            .export(export);
        registries.push(
            members()
                .fold(builder, |builder, member| bind(builder, member, collector))
                .build()?,
        );
    }
    Ok(registries)
}

fn bind(builder: RegistryBuilder, member: &Member, collector: &LocalCollector) -> RegistryBuilder {
    let (backend, path) = match member.backend {
        Backend::Honeyhive => (BackendName::Honeyhive, ""),
        Backend::Otlp => (BackendName::Otlp, "/v1/traces"),
    };
    let binding = Binding::new()
        .backend(backend)
        .endpoint(format!("{}{path}", collector.url()))
        .api_key(KeySource::provider("verify", &member.token))
        .source(&member.source)
        .header("x-project", member.own("project"))
        .metadata("plan", member.own("plan"))
        .resource("team", member.own("team"))
        .sessions(member.sessions)
        .sampling_ratio(member.ratio)
        .trust_remote_parent(member.trusts_parents)
        .propagate_session_id(member.takes_sessions);
    let binding = if member.redacts() {
        let emails = RedactRule::new().pattern(Pattern::Email);
        binding.redact(Redact::new().rule("planted", emails))
    } else {
        binding
    };
    let targets = member.also.iter().filter_map(|name| {
        let selector = SelectorBuilder::default().environment(name);
        Selector::try_from(selector).ok()
    });
    // A route inherits the copies of its tenant.
    let binding = targets.fold(binding.without_copies(), |binding, target| binding.also(&target));
    match member.parts.as_slice() {
        [(SelectorKind::Tenant, name)] => builder.tenant(name, binding),
        [(SelectorKind::Environment, name)] => builder.environment(name, binding),
        [(SelectorKind::Feature, name)] => builder.feature(name, binding),
        _ => builder.route(&member.selector_parts(), binding),
    }
}
