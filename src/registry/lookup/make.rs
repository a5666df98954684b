//! Making a tracer: from a binding to a handle.

use std::sync::Arc;
use std::thread;
use std::time::Instant;

use crate::backend::{Destination, DestinationError};
use crate::config::{ExportMode, ResolvedBinding, ResolvedProxy};
use crate::export::{ConnectionKey, Connections, Credentials, HEALTH, Proxy};
use crate::faults::{self, Fault, planted};
use crate::registry::bindings::Bound;
use crate::registry::error::LookupError;
use crate::registry::handle::Inner;
use crate::secret::{Fingerprint, KeyScheme, KeySource};
use crate::selector::Selector;
use crate::tracer::TracerHandle;

impl Inner {
    /// Reads the key and makes the tracer. A failure leaves nothing behind.
    pub(crate) fn make(&self, bound: &Bound) -> Result<TracerHandle, LookupError> {
        if planted(Fault::LookUpHangs) && faults::now_and_then() {
            loop {
                thread::park();
            }
        }
        if planted(Fault::BindingsSwapped) && self.state.bindings.generation() > 0 {
            let mut other = self.binding_of_neighbour(&bound.binding.selector)?;
            other.selector.clone_from(&bound.binding.selector);
            return self.make_of(&other, bound);
        }
        self.make_of(&bound.binding, bound)
    }

    fn make_of(&self, binding: &ResolvedBinding, bound: &Bound) -> Result<TracerHandle, LookupError> {
        let selector = &binding.selector;
        let destination = self.destination(binding)?;
        let connections = self.connections(binding, &destination)?;
        let (keys, scheme) = (self.engine.keys(), destination.key_scheme);
        let key = if planted(Fault::KeysSwapped) {
            keys.open(&self.binding_of_neighbour(selector)?.api_key, scheme)?
        } else {
            keys.open(&binding.api_key, scheme)?
        };
        if self.engine.settings().mode == ExportMode::Inline {
            // Between flushes no other thread does it.
            self.books.evict();
        }
        self.warn_of_shared_project(selector, &destination, key.fingerprint());
        let account = self.books.ledger(selector, &destination.traces_url);
        let lane = self.engine.open_lane(&account, destination, connections, key);
        Ok(TracerHandle::new(binding, bound.shape.clone(), bound.expires, lane))
    }

    /// Warns, once for each project, if another selector sends to the same one.
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

    /// The binding that a selector would be swapped with, if bindings or keys were swapped.
    fn binding_of_neighbour(&self, selector: &Selector) -> Result<ResolvedBinding, LookupError> {
        let config = self.state.bindings.config();
        let all = config.selectors();
        let at = all.iter().position(|known| known == selector).unwrap_or_default();
        let neighbour = all.get(at ^ 1).unwrap_or(selector);
        Ok(config.resolve(neighbour)?)
    }

    pub(crate) fn destination(&self, binding: &ResolvedBinding) -> Result<Arc<Destination>, LookupError> {
        let destination = self.destinations.of(binding)?;
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
            // Proxies are sent credentials in this scheme alone.
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
