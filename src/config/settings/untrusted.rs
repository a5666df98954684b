//! `[untrusted]` as written.

use crate::config::read::table::Table;
use crate::config::settings::declare::table;
use crate::config::settings::setting::Setting;

table! {
    /// What files of `tenants_dir` and bindings from [`Binding::from_json`](crate::config::Binding::from_json) may choose. By default they may choose
    /// neither a key nor an endpoint, and send with what the tables below them say.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    pub struct Untrusted {
        /// Where their keys may come from: `env:NAME`, `file:/path`, `credential:name`, `provider:name/secret`. `{tenant}` is the slug of the tenant
        /// that the layer is for, and `*` stands for letters, digits, `-`, `_` and `.`. A pattern without `{tenant}` is for every tenant. Never a command.
        /// Default: none.
        #[take(in_folder)]
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
}

/// Patterns of files whose paths begin at the folder if they are relative.
fn in_folder(table: &mut Table<'_>, name: &'static str) -> Option<Vec<String>> {
    let patterns = Vec::<String>::take(table, name)?;
    let absolute = |pattern: String| {
        let path = pattern.strip_prefix("file:").filter(|path| !path.is_empty());
        let path = path.and_then(|path| table.folder.join(path).to_str().map(str::to_owned));
        path.map_or(pattern, |path| format!("file:{path}"))
    };
    Some(patterns.into_iter().map(absolute).collect())
}
