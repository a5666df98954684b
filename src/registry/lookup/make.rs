//! Creates a tracer from its binding.

use std::sync::Arc;
use std::time::Instant;

use crate::backend::{Destination, DestinationError};
use crate::config::{ExportMode, ResolvedBinding, ResolvedProxy};
#[cfg(feature = "redact")]
use crate::export::redact_attributes;
use crate::export::{ConnectionKey, Connections, CountedLane as _, Credentials, HEALTH, LaneParts, Proxy};
use crate::ledger::DropReason;
#[cfg(feature = "redact")]
use crate::policy::redaction::Redaction;
use crate::policy::{Policies, Sampling};
use crate::registry::bindings::CurrentBinding;
use crate::registry::error::LookupError;
use crate::registry::handle::Inner;
use crate::secret::{Fingerprint, KeyScheme, KeySource};
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl Inner {
    /// Reads the key and creates the tracer. A failure leaves nothing behind.
    pub(crate) fn make(&self, bound: &CurrentBinding, is_pooled: bool) -> Result<TracerHandle, LookupError> {
        let binding = &bound.binding;
        let selector = &binding.selector;
        self.check_not_erased(selector)?;
        let policies = self.policies(binding)?;
        let destination = self.redacted_destination(binding, &policies)?;
        let connections = self.connections(binding, &destination)?;
        let (keys, scheme) = (self.engine.keys(), destination.key_scheme);
        let key = keys.open(&binding.api_key, scheme)?;
        if self.engine.settings().mode == ExportMode::Inline {
            // No task evicts old totals between flushes.
            self.accounting.evict();
        }
        self.warn_of_shared_project(selector, &destination, key.fingerprint());
        let ledger = self.accounting.ledger(selector, &destination.traces_url);
        let parts = LaneParts {
            destination,
            connections,
            key,
            policies,
            copies: self.copies(binding),
        };
        let lane = self.engine.open_lane(&ledger, parts, is_pooled);
        // Again: a purge in the meantime may not have seen the lane.
        if let Err(error) = self.check_not_erased(selector) {
            lane.close(DropReason::Purged);
            return Err(error);
        }
        Ok(TracerHandle::new(
            binding,
            bound.defined_paths.clone(),
            bound.expires,
            lane,
        ))
    }

    /// Returns what may leave, and how much. Reads the key of hashes.
    #[cfg_attr(
        not(feature = "redact"),
        expect(clippy::unnecessary_wraps, reason = "no key is read")
    )]
    pub(crate) fn policies(&self, binding: &ResolvedBinding) -> Result<Policies, LookupError> {
        #[cfg(feature = "redact")]
        let key = {
            let read = |source| self.reader.read_hash_key(source).map_err(LookupError::RedactKey);
            binding.redact.key.as_ref().map(read).transpose()?
        };
        Ok(Policies {
            sampling: Sampling::new(binding.sampling.ratio),
            #[cfg(feature = "redact")]
            redaction: {
                let redactors = self.redactors.of(&binding.selector);
                if binding.redact.rules.is_empty() && redactors.is_empty() {
                    None
                } else {
                    let rules = self.redact_rules.get_or_compile(&binding.redact);
                    Redaction::with_rules(&binding.selector, rules, key, redactors)
                }
            },
            quota: self.state.quotas.of_selector(&binding.selector, &binding.quota),
        })
    }

    /// Returns the destination of a binding after its rules of redaction. It is shared with other
    /// tracers unless the rules change it.
    pub(crate) fn redacted_destination(
        &self,
        binding: &ResolvedBinding,
        policies: &Policies,
    ) -> Result<Arc<Destination>, LookupError> {
        let shared = self.destination(binding)?;
        #[cfg(not(feature = "redact"))]
        let _ = policies;
        #[cfg(feature = "redact")]
        if let Some(redaction) = &policies.redaction {
            let mut is_changed = false;
            let own = Destination::with(binding, self.engine.settings().protocol, &mut |attributes| {
                let before = attributes.clone();
                redact_attributes(redaction, attributes);
                is_changed |= *attributes != before;
            })?;
            if is_changed {
                return Ok(Arc::new(own));
            }
        }
        Ok(shared)
    }

    fn check_not_erased(&self, selector: &Selector) -> Result<(), LookupError> {
        let is_erased = self.state.erased.covers(selector);
        (!is_erased)
            .then_some(())
            .ok_or_else(|| LookupError::Erased(selector.clone()))
    }

    /// Warns, once per project, if another selector sends to the same project.
    fn warn_of_shared_project(&self, selector: &Selector, destination: &Destination, key: Fingerprint) {
        let project = &destination.project;
        let Some(other) = self.state.projects.note(project.id(key), selector) else {
            return;
        };
        if let Some(granted) = self.engine.lines().take(Instant::now()) {
            tracing::warn!(
                target: HEALTH,
                %selector,
                %other,
                endpoint = destination.traces_url,
                project = project.name.as_deref(),
                left_out = granted.left_out,
                "two selectors send to one project: {}",
                project.advice()
            );
        }
    }

    pub(crate) fn destination(&self, binding: &ResolvedBinding) -> Result<Arc<Destination>, LookupError> {
        let destination = self.destinations.get_or_create(binding)?;
        if cfg!(not(feature = "tls")) && destination.traces_url.starts_with("https:") {
            return Err(DestinationError::NoTls(destination.traces_url.clone()).into());
        }
        Ok(destination)
    }

    pub(crate) fn connections(
        &self,
        binding: &ResolvedBinding,
        destination: &Destination,
    ) -> Result<Arc<Connections>, LookupError> {
        let proxy = match &binding.proxy {
            Some(proxy) => Some(self.proxy(proxy)?),
            None => None,
        };
        let key = ConnectionKey::new(&destination.traces_url, &binding.tls, proxy, binding.untrusted.clone());
        Ok(self.engine.connections(&key)?)
    }

    fn proxy(&self, proxy: &ResolvedProxy) -> Result<Proxy, LookupError> {
        let read = |source: &KeySource| {
            // A proxy accepts credentials only in this scheme.
            let key = self.reader.read(source, KeyScheme::Basic);
            let key = key.map_err(LookupError::ProxyCredentials)?;
            Ok::<_, LookupError>(Credentials {
                source: source.clone(),
                fingerprint: key.fingerprint(&self.fingerprinter),
                key,
            })
        };
        let credentials = proxy.credentials.as_ref().map(read).transpose()?;
        Ok(Proxy::new(proxy.url.to_string(), credentials))
    }
}
