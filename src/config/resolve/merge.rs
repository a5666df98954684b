//! Overlays the layers for one selector, and decides whether the key may be sent to the resulting
//! endpoint.
//!
//! A key is sent to an endpoint only if both belong to the operator, or if `[untrusted]` allows
//! both:
//!
//! | endpoint set by | key set by | result |
//! |---|---|---|
//! | the operator | the operator | sent |
//! | the operator | an untrusted layer | sent if `untrusted.keys` allows the key |
//! | an untrusted layer | the same or a higher untrusted layer | sent if `[untrusted]` allows both |
//! | an untrusted layer | an operator's lower table | discarded: there is no key |
//! | an untrusted layer | an operator's higher table | sent if `untrusted.keys` also allows the key, else refused |
//!
//! If the backend's keys do not select the project, a layer that names a project with another
//! tenant's key reaches that tenant's projects. An untrusted layer may therefore name a project
//! that `untrusted.projects` allows, or any project together with a key of its own tenant
//! (`untrusted.keys` with `{tenant}`) in the same layer. If a name selects the same project under
//! every key ([`BackendName::shares_projects`]), the layer must also set its own endpoint.

use std::sync::Arc;

use crate::config::problem::Problems;
use crate::config::resolve::error::ResolveError;
use crate::config::resolve::proxy::ResolvedProxy;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::TemplateError;
use crate::config::settings::binding::{Binding, Change, DiscardedKey};
use crate::config::settings::redact::RedactRule;
use crate::config::untrusted::{self, Addresses, LayerOrigin, Rules};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorKind};

/// Layers merged so far.
pub(crate) struct MergedLayers<'a> {
    selector: &'a Selector,
    rules: &'a Rules,
    pub(crate) binding: Binding,
    /// Untrusted layer that set the endpoint.
    endpoint_layer: Option<LayerOrigin<'a>>,
    /// Untrusted layer that set the backend, which defines how the key is sent.
    backend_layer: Option<LayerOrigin<'a>>,
    key_is_untrusted: bool,
    /// Untrusted layer that set the project, and whether it also set its own key.
    project_layer: Option<(LayerOrigin<'a>, bool)>,
    /// The last discarded key, and the table with the change.
    discarded: Option<(DiscardedKey, LayerOrigin<'a>)>,
    /// Rules of redaction, which add up: no layer replaces those of a lower one.
    redact_rules: Vec<(String, RedactRule)>,
    problems: Problems,
}

impl<'a> MergedLayers<'a> {
    pub(crate) fn new(selector: &'a Selector, rules: &'a Rules) -> Self {
        Self {
            selector,
            rules,
            binding: Binding::default(),
            endpoint_layer: None,
            backend_layer: None,
            key_is_untrusted: false,
            project_layer: None,
            discarded: None,
            redact_rules: Vec::new(),
            problems: Problems::default(),
        }
    }

    /// Overlays a layer on the previous ones.
    pub(crate) fn overlay(&mut self, layer: &Binding, origin: LayerOrigin<'a>) -> Result<(), TemplateError> {
        let is_trusted = !layer.untrusted;
        let mut key = None;
        let moves = untrusted::moves(layer, &self.binding);
        let changes_backend = layer.changes(&self.binding) == Some(Change::Backend);
        if is_trusted {
            // A change of the backend alone does not count: it discards the endpoint, and an
            // untrusted layer may have caused it.
            if layer.endpoint.is_some() {
                self.endpoint_layer = None;
            }
            if layer.backend.is_some() {
                self.backend_layer = None;
            }
        } else {
            key = untrusted::check(
                layer,
                origin,
                &self.binding,
                self.selector,
                self.rules,
                &mut self.problems,
            )?;
            if moves {
                self.binding.discard_operator_settings();
                self.endpoint_layer = Some(origin);
            }
            if changes_backend {
                self.backend_layer = Some(origin);
            }
        }
        let lower_project = self.binding.project.clone();
        self.binding.overlay(layer);
        let rules = layer.redact.iter().flat_map(|redact| &redact.rules);
        self.redact_rules
            .extend(rules.map(|(name, rule)| (name.clone(), rule.clone())));
        if layer.api_key.is_some() {
            self.key_is_untrusted = !is_trusted;
        }
        self.record_project(layer, origin, lower_project.as_deref(), moves);
        if key.is_some() {
            self.binding.api_key = key;
        }
        self.discarded = match (self.binding.discarded, self.discarded.take()) {
            (None, _) => None,
            (Some(key), Some(earlier)) if earlier.0 == key => Some(earlier),
            (Some(key), _) => Some((key, origin)),
        };
        Ok(())
    }

    /// Records which layer named the project. `lower` is the project of lower tables; `moves`
    /// states whether the layer changes the destination.
    fn record_project(&mut self, layer: &Binding, origin: LayerOrigin<'a>, lower: Option<&str>, moves: bool) {
        let is_trusted = !layer.untrusted;
        if self.binding.project.is_none() || (is_trusted && layer.project.is_some()) {
            self.project_layer = None;
        } else if layer.project.as_deref().is_some_and(|project| Some(project) != lower) {
            let backend = self.binding.backend.unwrap_or_default();
            let tenant = origin.tenant(self.selector);
            let is_own = |source: &KeySource| {
                crate::config::rules::template::fill_source(source, self.selector)
                    .is_ok_and(|source| self.rules.is_own(&source, tenant))
            };
            let has_own_key = layer.api_key.as_ref().is_some_and(is_own) && (moves || !backend.shares_projects());
            self.project_layer = Some((origin, has_own_key));
        } else if let Some((_, has_own_key)) = &mut self.project_layer
            && layer.api_key.is_some()
        {
            // Not the key that the project was named with.
            *has_own_key = false;
        }
    }

    /// Returns the rules of redaction of all layers with their names, lowest layer first.
    pub(crate) fn take_redact_rules(&mut self) -> Vec<(String, RedactRule)> {
        std::mem::take(&mut self.redact_rules)
    }

    /// Returns the key source, with placeholders filled in.
    pub(crate) fn key(&self) -> Result<KeySource, ResolveError> {
        let Some(source) = &self.binding.api_key else {
            return Err(match self.discarded {
                Some((key, origin)) => ResolveError::discarded(key, origin),
                None => ResolveError::NoKey,
            });
        };
        Ok(crate::config::rules::template::fill_source(source, self.selector)?)
    }

    /// Checks that the key, project and proxy may be used with the endpoint. Returns the merged
    /// binding, and the non-public addresses that an untrusted endpoint may have (`None` if the
    /// operator set the endpoint).
    ///
    /// # Errors
    /// Returns [`ResolveError::Refused`] with every setting of untrusted layers that is not
    /// allowed, and for a key that does not belong to the endpoint.
    pub(crate) fn check(
        mut self,
        key: Option<&KeySource>,
        project: Option<&str>,
        proxy: Option<&ResolvedProxy>,
    ) -> Result<(Binding, Option<Arc<Addresses>>), ResolveError> {
        let rules = self.rules;
        if let Some(origin) = self.endpoint_layer.or(self.backend_layer) {
            self.problems.enter_untrusted(origin.file());
            let path = format!("{}.endpoint", origin.path());
            let tenant = self.selector.get(SelectorKind::Tenant);
            if !self.key_is_untrusted && key.is_some_and(|key| rules.admit(key, tenant).is_none()) {
                let message = "the key belongs to an operator's table above this layer, and is not sent to an untrusted endpoint; \
                               set backend and endpoint in that table too";
                self.problems.add(path, message);
            }
        }
        if let (Some((origin, false)), Some(project)) = (self.project_layer, project) {
            let tenant = origin.tenant(self.selector);
            if !rules.allows_project(project, tenant) {
                self.problems.enter_untrusted(origin.file());
                let line = rules.line_for_project(project, tenant);
                let message = format!(
                    "an untrusted layer may name this project only with its own tenant's key; to allow it: {line}"
                );
                self.problems.add(format!("{}.project", origin.path()), message);
            }
        }
        if let Some(origin) = self.endpoint_layer {
            self.problems.enter_untrusted(origin.file());
            let path = format!("{}.endpoint", origin.path());
            if self.binding.tls.as_ref().is_some_and(|tls| tls.cert.is_some()) {
                let message = "the client certificate belongs to an operator's table above this layer, and is not sent to an \
                               untrusted endpoint; set endpoint in that table too";
                self.problems.add(path.clone(), message);
            }
            let endpoint = self
                .binding
                .endpoint
                .as_deref()
                .and_then(|text| Endpoint::new(text).ok());
            if let (Some(_), Some(endpoint)) = (proxy, endpoint)
                && !rules.names_endpoint(&endpoint)
            {
                let line = rules.line_for_endpoint(&endpoint);
                self.problems.add(
                    path,
                    format!("with a proxy, an untrusted layer may send only to hosts that are allowed without a wildcard; to allow it: {line}"),
                );
            }
        }
        self.problems.into_result().map_err(ResolveError::Refused)?;
        let addresses = self.endpoint_layer.map(|_| Arc::clone(&rules.addresses));
        Ok((self.binding, addresses))
    }
}
