//! Lays layers over one another for one selector, and decides whether its key may go where they lead.
//!
//! A key is sent to an endpoint only if both are the operator's, or both are allowed by `[untrusted]`:
//!
//! | endpoint set by | key set by | |
//! |---|---|---|
//! | the operator | the operator | sent |
//! | the operator | an untrusted layer | sent if `untrusted.keys` allows the key |
//! | an untrusted layer | that one, or an untrusted one above it | sent if `[untrusted]` allows both |
//! | an untrusted layer | an operator's table below it | forgotten: there is no key |
//! | an untrusted layer | an operator's table above it | sent if `untrusted.keys` allows the key too, else refused |
//!
//! A project is named to a backend whose keys do not choose it, so a layer that names one with another tenant's key reaches that tenant's projects. An
//! untrusted layer may name one that `untrusted.projects` allows, or any with a key of its own tenant's (`untrusted.keys` with `{tenant}`) in the
//! same layer. If a name means the same project with every key ([`BackendName::shares_projects`]), only at an endpoint of its own.

use std::sync::Arc;

use crate::config::fault::Faults;
use crate::config::resolve::error::ResolveError;
use crate::config::resolve::proxy::ResolvedProxy;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::TemplateError;
use crate::config::settings::binding::{Binding, Change};
use crate::config::untrusted::{self, Addresses, LayerPlace, Rules};
use crate::secret::KeySource;
use crate::selector::{Selector, SelectorKind};

/// The layers so far.
pub(crate) struct MergedLayers<'a> {
    selector: &'a Selector,
    rules: &'a Rules,
    pub(crate) binding: Binding,
    /// The untrusted layer that the endpoint is of.
    endpoint_of: Option<LayerPlace<'a>>,
    /// The untrusted layer that the backend is of, which says how the key is sent.
    backend_of: Option<LayerPlace<'a>>,
    key_is_untrusted: bool,
    /// The untrusted layer that the project is of, and whether the key is its own.
    project_of: Option<(LayerPlace<'a>, bool)>,
    /// What the last key was forgotten for, and where.
    forgotten: Option<(Change, String)>,
    faults: Faults,
}

impl<'a> MergedLayers<'a> {
    pub(crate) fn new(selector: &'a Selector, rules: &'a Rules) -> Self {
        Self {
            selector,
            rules,
            binding: Binding::default(),
            endpoint_of: None,
            backend_of: None,
            key_is_untrusted: false,
            project_of: None,
            forgotten: None,
            faults: Faults::default(),
        }
    }

    /// Lays a layer over those before it.
    pub(crate) fn lay(&mut self, layer: &Binding, place: LayerPlace<'a>) -> Result<(), TemplateError> {
        let is_trusted = !layer.untrusted;
        let mut key = None;
        let moves = untrusted::moves(layer, &self.binding);
        let changes_backend = layer.changes(&self.binding) == Some(Change::Backend);
        if is_trusted {
            // Not by a change of the backend, which forgets the endpoint: that it changes may be the untrusted layer's doing.
            if layer.endpoint.is_some() {
                self.endpoint_of = None;
            }
            if layer.backend.is_some() {
                self.backend_of = None;
            }
        } else {
            key = untrusted::check(layer, place, &self.binding, self.selector, self.rules, &mut self.faults)?;
            if moves {
                self.binding.forget_what_is_the_operators();
                self.endpoint_of = Some(place);
            }
            if changes_backend {
                self.backend_of = Some(place);
            }
        }
        let project_below = self.binding.project.clone();
        self.binding.overlay(layer);
        if layer.api_key.is_some() {
            self.key_is_untrusted = !is_trusted;
        }
        self.note_project(layer, place, project_below.as_deref(), moves);
        if key.is_some() {
            self.binding.api_key = key;
        }
        self.forgotten = match (self.binding.forgotten, self.forgotten.take()) {
            (None, _) => None,
            (Some(change), Some(earlier)) if earlier.0 == change => Some(earlier),
            (Some(change), _) => Some((change, place.to_string())),
        };
        Ok(())
    }

    /// Notes which layer named the project. `below` is what the tables below say of it, `moves` whether the layer sends elsewhere than they do.
    fn note_project(&mut self, layer: &Binding, place: LayerPlace<'a>, below: Option<&str>, moves: bool) {
        let is_trusted = !layer.untrusted;
        if self.binding.project.is_none() || (is_trusted && layer.project.is_some()) {
            self.project_of = None;
        } else if layer.project.as_deref().is_some_and(|project| Some(project) != below) {
            let backend = self.binding.backend.unwrap_or_default();
            let tenant = place.tenant(self.selector);
            let is_own = |source: &KeySource| {
                crate::config::rules::template::fill_source(source, self.selector)
                    .is_ok_and(|source| self.rules.is_own(&source, tenant))
            };
            let has_own_key = layer.api_key.as_ref().is_some_and(is_own) && (moves || !backend.shares_projects());
            self.project_of = Some((place, has_own_key));
        } else if let Some((_, has_own_key)) = &mut self.project_of
            && layer.api_key.is_some()
        {
            // Another key than that which the project was named with.
            *has_own_key = false;
        }
    }

    /// The source of the key, filled in.
    pub(crate) fn key(&self) -> Result<KeySource, ResolveError> {
        let Some(source) = &self.binding.api_key else {
            return Err(match &self.forgotten {
                Some((change, at)) => ResolveError::KeyForgotten {
                    change: *change,
                    at: at.clone(),
                },
                None => ResolveError::NoKey,
            });
        };
        Ok(crate::config::rules::template::fill_source(source, self.selector)?)
    }

    /// The addresses that may be reached although they are not public; none if the operator set the endpoint.
    ///
    /// # Errors
    /// [`ResolveError::Refused`] with everything that untrusted layers said and may not, and for a key that does not belong to the endpoint.
    pub(crate) fn judge(
        mut self,
        key: Option<&KeySource>,
        project: Option<&str>,
        proxy: Option<&ResolvedProxy>,
    ) -> Result<Option<Arc<Addresses>>, ResolveError> {
        let rules = self.rules;
        if let Some(place) = self.endpoint_of.or(self.backend_of) {
            self.faults.enter_untrusted(place.file());
            let path = format!("{}.endpoint", place.path());
            let tenant = self.selector.get(SelectorKind::Tenant);
            if !self.key_is_untrusted && key.is_some_and(|key| rules.admit(key, tenant).is_none()) {
                let message = "the key is of an operator's table above this layer, and is not sent where an untrusted layer leads; \
                               write backend and endpoint in that table too";
                self.faults.add(path, message);
            }
        }
        if let (Some((place, false)), Some(project)) = (self.project_of, project) {
            let tenant = place.tenant(self.selector);
            if !rules.allows_project(project, tenant) {
                self.faults.enter_untrusted(place.file());
                let line = rules.line_for_project(project, tenant);
                let message = format!(
                    "an untrusted layer may not name this project with a key that is not its own tenant's alone; to allow it: {line}"
                );
                self.faults.add(format!("{}.project", place.path()), message);
            }
        }
        if let Some(place) = self.endpoint_of {
            self.faults.enter_untrusted(place.file());
            let path = format!("{}.endpoint", place.path());
            if self.binding.tls.as_ref().is_some_and(|tls| tls.cert.is_some()) {
                let message = "the client certificate is of an operator's table above this layer, and is not shown where an untrusted \
                               layer leads; write endpoint in that table too";
                self.faults.add(path.clone(), message);
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
                self.faults.add(
                    path,
                    format!("behind a proxy an untrusted layer may send only to hosts that are named without a wildcard; to allow it: {line}"),
                );
            }
        }
        self.faults.into_result().map_err(ResolveError::Refused)?;
        Ok(self.endpoint_of.map(|_| Arc::clone(&rules.addresses)))
    }
}
