//! Bindings laid over one another, and what a change forgets of those below it.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::config::read::table::Table;
use crate::config::rules::endpoint::Endpoint;
use crate::config::settings::binding::{Binding, Change};
use crate::config::settings::setting::{Entry, Fields};
use crate::config::settings::tls::Tls;

impl Binding {
    /// Lays `over` on top of this one: single values are replaced, maps are merged by key.
    ///
    /// A [`Change`] forgets the key and the auth below it, so that a key is not sent elsewhere than it was written for. A change of the backend
    /// also forgets the endpoint and the certificates, and one of the backend or the endpoint the project.
    pub(crate) fn overlay(&mut self, over: &Self) {
        let change = over.changes(self);
        if change == Some(Change::Backend) {
            *self.endpoint = None;
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
        self.overlay_fields(over);
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

impl Entry for Binding {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self> {
        let mut table = Table::new(value, path, table.folder, table.faults)?;
        let binding = Self::take_fields(&mut table);
        table.finish();
        Some(binding)
    }

    fn lay_over(&self, name: &str, lower: &mut BTreeMap<String, Self>) {
        lower.entry(name.to_owned()).or_default().overlay(self);
    }
}
