//! `[..proxy]`: the proxy for requests.

use std::fmt;

use crate::config::read::table::{TEXT, Table};
use crate::config::rules::endpoint::{Endpoint, EndpointError};
use crate::config::settings::key_source;
use crate::secret::KeySource;

/// An HTTP proxy.
#[derive(Clone, PartialEq)]
pub struct Proxy {
    pub(crate) address: Address,
    pub(crate) credentials: Option<KeySource>,
}

/// Source of the proxy's URL.
#[derive(Clone, PartialEq)]
pub(crate) enum Address {
    Url(String),
    /// An environment variable. No proxy if it is unset.
    Env(String),
}

impl Proxy {
    /// Creates a proxy with a URL such as `http://proxy.example:3128`. Checked when the registry is
    /// built.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            address: Address::Url(url.into()),
            credentials: None,
        }
    }

    /// Creates a proxy with the URL in an environment variable such as `HTTPS_PROXY`. No proxy if
    /// it is unset.
    pub fn env(variable: impl Into<String>) -> Self {
        Self {
            address: Address::Env(variable.into()),
            credentials: None,
        }
    }

    /// Sets the source of `user:password`.
    pub fn credentials(mut self, source: KeySource) -> Self {
        self.credentials = Some(source);
        self
    }

    pub(crate) fn take(table: &mut Table<'_>, name: &'static str) -> Option<Self> {
        table.table(name, Self::fields).flatten()
    }

    fn fields(table: &mut Table<'_>) -> Option<Self> {
        let credentials = key_source::take(table, "credentials");
        let (url, env) = (table.take("url", "a URL"), table.take("env", TEXT));
        let address = match (url, env) {
            (Some(url), None) => Address::Url(url),
            (None, Some(env)) => Address::Env(env),
            _ => {
                let message = "expected { url = \"http://proxy.example:3128\" } or { env = \"HTTPS_PROXY\" }";
                table.problems.add(table.path.clone(), message);
                return None;
            }
        };
        Some(Self { address, credentials })
    }

    /// Returns whether both are the same proxy, ignoring credentials.
    pub(crate) fn has_same_address(&self, other: &Self) -> bool {
        self.address == other.address
    }

    /// Returns the problem of the address and its setting. Does not include the value, which may
    /// contain a password.
    pub(crate) fn problem(&self) -> Option<(&'static str, &'static str)> {
        match &self.address {
            Address::Url(url) => parse(url).err().map(|message| ("url", message)),
            Address::Env(name) if name.is_empty() || name.contains(['=', '\0', '/', ':']) => {
                Some(("env", "env must be the name of a variable"))
            }
            Address::Env(_) => None,
        }
    }
}

/// Parses the URL of a proxy.
pub(crate) fn parse(url: &str) -> Result<Endpoint, &'static str> {
    match Endpoint::new(url) {
        Ok(proxy) if proxy.to_string().starts_with("https:") => {
            Err("the URL of a proxy must start with http://; requests to https endpoints stay encrypted through it")
        }
        Ok(proxy) if !proxy.path().is_empty() => Err("the URL of a proxy must not have a path"),
        Ok(proxy) => Ok(proxy),
        Err(EndpointError::UserInfo) => Err("the URL contains a user or password; set them with credentials"),
        Err(_) => Err("invalid proxy URL; expected one such as \"http://proxy.example:3128\""),
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Proxy");
        match &self.address {
            Address::Url(url) => shown.field("url", &parse(url)),
            Address::Env(name) => shown.field("env", name),
        };
        shown.field("credentials", &self.credentials).finish()
    }
}
