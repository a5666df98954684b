//! `[untrusted]` as written.

use crate::config::read::table::Table;
use crate::config::settings::declare::table;
use crate::config::settings::setting::Setting;

table! {
    /// What files of `tenants_dir` and bindings from
    /// [`Binding::from_json`](crate::config::Binding::from_json) may set. By default they may set
    /// neither a key nor an endpoint, and use those of the lower tables.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Untrusted {
        /// Allowed key sources: `env:NAME`, `file:/path`, `credential:name`,
        /// `provider:name/secret`. `{tenant}` is the slug of the layer's tenant, and `*` matches
        /// letters, digits, `-`, `_` and `.`. A pattern without `{tenant}` applies to every tenant.
        /// Commands are never allowed. Default: none.
        #[take(in_folder)]
        pub(crate) keys: Option<Vec<String>>,
        /// Allowed scheme, host and port of endpoints, such as `https://collector.example:4318`.
        /// `https://*.example.com` matches all hosts below `example.com`. Default: none.
        pub(crate) endpoints: Option<Vec<String>>,
        /// Non-public addresses that these endpoints may have, such as `10.1.0.0/16`. Default:
        /// none.
        pub(crate) addresses: Option<Vec<String>>,
        /// Projects allowed with a key that is not the tenant's own, such as `{tenant}` or
        /// `{tenant}/*`, with the placeholders of `keys`. A pattern without `{tenant}` applies to
        /// every tenant. Default: none.
        pub(crate) projects: Option<Vec<String>>,
    }
}

impl Untrusted {
    /// Creates a set of rules that allows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Allows key sources that match a pattern, such as `file:/run/secrets/tenants/{tenant}`.
    pub fn key(mut self, pattern: impl Into<String>) -> Self {
        self.keys.get_or_insert_default().push(pattern.into());
        self
    }

    /// Allows endpoints that match a pattern, such as `https://*.example.com`.
    pub fn endpoint(mut self, pattern: impl Into<String>) -> Self {
        self.endpoints.get_or_insert_default().push(pattern.into());
        self
    }

    /// Allows endpoints in a non-public network, such as `10.1.0.0/16`.
    pub fn address(mut self, network: impl Into<String>) -> Self {
        self.addresses.get_or_insert_default().push(network.into());
        self
    }

    /// Allows projects that match a pattern, such as `{tenant}`, with a key that is not the
    /// tenant's own.
    pub fn project(mut self, pattern: impl Into<String>) -> Self {
        self.projects.get_or_insert_default().push(pattern.into());
        self
    }
}

/// Takes patterns, and resolves relative paths of files against the folder.
fn in_folder(table: &mut Table<'_>, name: &'static str) -> Option<Vec<String>> {
    let patterns = Vec::<String>::take(table, name)?;
    let absolute = |pattern: String| {
        let path = pattern.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = path.and_then(|path| table.folder.join(path).to_str().map(str::to_owned));
        path.map_or(pattern, |path| format!("file:{path}"))
    };
    Some(patterns.into_iter().map(absolute).collect())
}
