//! `[untrusted]` as written.

use schemars::JsonSchema;

use crate::config::settings::units::replace;

/// What files of `tenants_dir` and bindings from [`Binding::from_json`](crate::config::Binding::from_json) may choose. By default they may choose
/// neither a key nor an endpoint, and send with what the tables below them say.
#[derive(Clone, Debug, Default, PartialEq, Eq, JsonSchema)]
#[schemars(deny_unknown_fields)]
#[non_exhaustive]
pub struct Untrusted {
    /// Where their keys may come from: `env:NAME`, `file:/path`, `credential:name`, `provider:name/secret`. `{tenant}` is the slug of the tenant
    /// that the layer is for, and `*` stands for letters, digits, `-`, `_` and `.`. A pattern without `{tenant}` is for every tenant. Never a command.
    /// Default: none.
    pub(crate) keys: Option<Vec<String>>,
    /// Scheme, host and port of endpoints that they may choose, such as `https://collector.example:4318`. `https://*.example.com` is all
    /// hosts below `example.com`. Default: none.
    pub(crate) endpoints: Option<Vec<String>>,
    /// Addresses, such as `10.1.0.0/16`, that these endpoints may have although they are not public. Default: none.
    pub(crate) addresses: Option<Vec<String>>,
    /// Projects that they may name with a key that is not their tenant's own, such as `{tenant}` or `{tenant}/*`, written as in `keys`. A
    /// pattern without `{tenant}` is for every tenant. Default: none.
    pub(crate) projects: Option<Vec<String>>,
}

impl Untrusted {
    /// Nothing is allowed yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A pattern of key sources, such as `file:/run/secrets/tenants/{tenant}`.
    pub fn key(mut self, pattern: impl Into<String>) -> Self {
        self.keys.get_or_insert_default().push(pattern.into());
        self
    }

    /// A pattern of endpoints, such as `https://*.example.com`.
    pub fn endpoint(mut self, pattern: impl Into<String>) -> Self {
        self.endpoints.get_or_insert_default().push(pattern.into());
        self
    }

    /// A network that endpoints may be in although it is not public, such as `10.1.0.0/16`.
    pub fn address(mut self, network: impl Into<String>) -> Self {
        self.addresses.get_or_insert_default().push(network.into());
        self
    }

    /// A pattern of projects that they may name with a key that is not their tenant's own, such as `{tenant}`.
    pub fn project(mut self, pattern: impl Into<String>) -> Self {
        self.projects.get_or_insert_default().push(pattern.into());
        self
    }

    /// Each list is replaced as one.
    pub(crate) fn overlay(&mut self, over: &Self) {
        replace(&mut self.keys, over.keys.as_ref());
        replace(&mut self.endpoints, over.endpoints.as_ref());
        replace(&mut self.addresses, over.addresses.as_ref());
        replace(&mut self.projects, over.projects.as_ref());
    }
}
