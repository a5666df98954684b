//! Overlays bindings, and discards lower settings that a change invalidates.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::Value;

use crate::config::read::table::Table;
use crate::config::rules::endpoint::Endpoint;
use crate::config::settings::binding::{Binding, Change, DiscardedKey};
use crate::config::settings::setting::{Entry, Fields};
use crate::config::settings::tls::Tls;

impl Binding {
    /// Overlays `over`: replaces single values, and merges maps by key.
    ///
    /// A [`Change`] discards the lower key and `auth`, so that a key is sent only where it was
    /// written for. A change of backend also discards the endpoint and the certificates; a change
    /// of backend or endpoint also discards the project.
    pub(crate) fn overlay(&mut self, over: &Self) {
        let change = over.changes(self);
        if change == Some(Change::Backend) {
            *self.endpoint = None;
            self.tls = None;
        }
        if let Some(change) = change.or(over.discarded.map(|discarded| discarded.change)) {
            self.discard_key(change);
        }
        if over.discarded.is_some() {
            self.discarded = over.discarded;
        }
        if over.api_key.is_some() {
            self.discarded = None;
        }
        self.overlay_fields(over);
    }

    /// Returns the change that discards the key if this binding is overlaid on `below`.
    pub(crate) fn changes(&self, below: &Self) -> Option<Change> {
        let origin = |url: &str| Endpoint::new(url).ok().map(|endpoint| endpoint.origin().to_owned());
        let moves = |over: &str| {
            below
                .endpoint
                .as_deref()
                .is_none_or(|below| origin(below) != origin(over))
        };
        let ca = |tls: &Option<Tls>| tls.as_ref().and_then(|tls| tls.ca.clone());
        if self.backend.is_some() && self.backend != below.backend {
            Some(Change::Backend)
        } else if self.endpoint.as_deref().is_some_and(moves) {
            Some(Change::Endpoint)
        } else if self
            .proxy
            .as_ref()
            .is_some_and(|over| below.proxy.as_ref().is_none_or(|below| !over.has_same_address(below)))
        {
            Some(Change::Proxy)
        } else if ca(&self.tls).is_some() && ca(&self.tls) != ca(&below.tls) {
            Some(Change::Authority)
        } else {
            None
        }
    }

    fn discard_key(&mut self, change: Change) {
        if self.api_key.take().is_some() {
            self.discarded = Some(DiscardedKey { change, layer: None });
        }
        self.auth = None;
        if matches!(change, Change::Backend | Change::Endpoint) {
            self.project = None;
        }
    }

    /// Discards everything that an endpoint of an untrusted layer must not receive: key, `auth`,
    /// project, client certificate and additional headers.
    pub(crate) fn discard_operator_settings(&mut self) {
        self.discard_key(Change::Endpoint);
        self.headers.clear();
        if let Some(tls) = &mut self.tls {
            (tls.cert, tls.key) = (None, None);
        }
    }
}

/// Binding of tables without settings. Of many tables most have none.
static EMPTY: LazyLock<Arc<Binding>> = LazyLock::new(Arc::default);

impl Entry for Arc<Binding> {
    fn read(value: Value, path: String, table: &mut Table<'_>) -> Option<Self> {
        let mut table = Table::new(value, path, table.folder, table.problems)?;
        let binding = Binding::take_fields(&mut table);
        table.finish();
        Some(if binding == **EMPTY {
            Self::clone(&EMPTY)
        } else {
            Self::new(binding)
        })
    }

    fn overlay_onto(&self, name: &str, lower: &mut BTreeMap<String, Self>) {
        if let Some(below) = lower.get_mut(name) {
            Self::make_mut(below).overlay(self);
        } else {
            lower.insert(name.to_owned(), Self::clone(self));
        }
    }
}
