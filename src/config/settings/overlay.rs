//! Bindings laid over one another, and what a change forgets of those below it.

use crate::config::rules::endpoint::Endpoint;
use crate::config::settings::binding::{Binding, Change};
use crate::config::settings::tls::Tls;
use crate::config::settings::units::replace;

impl Binding {
    /// Lays `over` on top of this one: single values are replaced, maps are merged by key.
    ///
    /// A [`Change`] forgets the key and the auth below it, so that a key is not sent elsewhere than it was written for. A change of the backend
    /// also forgets the endpoint and the certificates, and one of the backend or the endpoint the project.
    pub(crate) fn overlay(&mut self, over: &Self) {
        let change = over.changes(self);
        if change == Some(Change::Backend) {
            self.endpoint = None;
            self.tls = None;
        }
        if let Some(change) = change.or(over.forgotten) {
            self.forget(change);
        }
        if over.forgotten.is_some() {
            self.forgotten = over.forgotten;
        }
        if over.api_key.is_some() {
            self.forgotten = None;
        }
        replace(&mut self.api_key, over.api_key.as_ref());
        replace(&mut self.backend, over.backend.as_ref());
        replace(&mut self.endpoint, over.endpoint.as_ref());
        replace(&mut self.project, over.project.as_ref());
        replace(&mut self.auth, over.auth.as_ref());
        // As one: the credentials are for the proxy that they were written with.
        replace(&mut self.proxy, over.proxy.as_ref());
        replace(&mut self.source, over.source.as_ref());
        replace(&mut self.sampling, over.sampling.as_ref());
        replace(&mut self.sessions, over.sessions.as_ref());
        replace(&mut self.weight, over.weight.as_ref());
        if let Some(over) = &over.tls {
            self.tls.get_or_insert_default().overlay(over);
        }
        self.headers.extend(over.headers.clone());
        self.metadata.extend(over.metadata.clone());
        self.resource.extend(over.resource.clone());
        if let Some(over) = over.limits {
            let limits = self.limits.get_or_insert_default();
            replace(&mut limits.attributes, over.attributes.as_ref());
            replace(&mut limits.events, over.events.as_ref());
            replace(&mut limits.links, over.links.as_ref());
            replace(&mut limits.attributes_per_event, over.attributes_per_event.as_ref());
            replace(&mut limits.attributes_per_link, over.attributes_per_link.as_ref());
        }
        if let Some(over) = over.propagation {
            let propagation = self.propagation.get_or_insert_default();
            replace(&mut propagation.trust_remote_parent, over.trust_remote_parent.as_ref());
            replace(&mut propagation.session_id, over.session_id.as_ref());
        }
    }

    /// What it changes when it is laid over `below`, if that forgets the key.
    pub(crate) fn changes(&self, below: &Self) -> Option<Change> {
        let origin = |url: &str| Endpoint::new(url).ok().map(|endpoint| endpoint.origin().to_owned());
        let moves = |over: &str| {
            below
                .endpoint
                .as_deref()
                .is_none_or(|below| origin(below) != origin(over))
        };
        let of_ca = |tls: &Option<Tls>| tls.as_ref().and_then(|tls| tls.ca.clone());
        if self.backend.is_some() && self.backend != below.backend {
            Some(Change::Backend)
        } else if self.endpoint.as_deref().is_some_and(moves) {
            Some(Change::Endpoint)
        } else if self
            .proxy
            .as_ref()
            .is_some_and(|over| below.proxy.as_ref().is_none_or(|below| !over.is_at(below)))
        {
            Some(Change::Proxy)
        } else if of_ca(&self.tls).is_some() && of_ca(&self.tls) != of_ca(&below.tls) {
            Some(Change::Authority)
        } else {
            None
        }
    }

    fn forget(&mut self, change: Change) {
        if self.api_key.take().is_some() {
            self.forgotten = Some(change);
        }
        self.auth = None;
        if matches!(change, Change::Backend | Change::Endpoint) {
            self.project = None;
        }
    }

    /// What no destination gets that an untrusted layer chose: the key, how it is sent, the project, the client certificate and further headers.
    pub(crate) fn forget_what_is_the_operators(&mut self) {
        self.forget(Change::Endpoint);
        self.headers.clear();
        if let Some(tls) = &mut self.tls {
            (tls.cert, tls.key) = (None, None);
        }
    }
}
