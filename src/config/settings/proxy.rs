//! `[..proxy]`: what requests go through, if they do not go straight.

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

/// Where the proxy's URL is from.
#[derive(Clone, PartialEq)]
pub(crate) enum Address {
    Url(String),
    /// A variable of the process; there is no proxy if it is not set.
    Env(String),
}

impl Proxy {
    /// The proxy at a URL such as `http://proxy.example:3128`; checked when the registry is built.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            address: Address::Url(url.into()),
            credentials: None,
        }
    }

    /// The proxy whose URL is in a variable of the process, such as `HTTPS_PROXY`; none if it is not set.
    pub fn env(variable: impl Into<String>) -> Self {
        Self {
            address: Address::Env(variable.into()),
            credentials: None,
        }
    }

    /// Where `user:password` comes from.
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
                let message = "a proxy is { url = \"http://proxy.example:3128\" } or { env = \"HTTPS_PROXY\" }";
                table.faults.add(table.path.clone(), message);
                return None;
            }
        };
        Some(Self { address, credentials })
    }

    /// Whether both are one proxy, with any credentials.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.address == other.address
    }

    /// What is wrong with the address, by setting. It is not repeated: a password may be in it.
    pub(crate) fn fault(&self) -> Option<(&'static str, &'static str)> {
        match &self.address {
            Address::Url(url) => parse(url).err().map(|message| ("url", message)),
            Address::Env(name) if name.is_empty() || name.contains(['=', '\0', '/', ':']) => {
                Some(("env", "env is the name of a variable"))
            }
            Address::Env(_) => None,
        }
    }
}

/// Reads the URL of a proxy.
pub(crate) fn parse(url: &str) -> Result<Endpoint, &'static str> {
    match Endpoint::new(url) {
        Ok(proxy) if proxy.to_string().starts_with("https:") => {
            Err("a proxy is spoken to by http://; what goes to an https endpoint is encrypted all the way through it")
        }
        Ok(proxy) if !proxy.path().is_empty() => Err("the URL of a proxy has no path"),
        Ok(proxy) => Ok(proxy),
        Err(EndpointError::UserInfo) => {
            Err("the URL has a user or password in it; say where they come from with credentials")
        }
        Err(_) => Err("no URL of a proxy such as \"http://proxy.example:3128\""),
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
