//! `[..proxy]`: what requests go through, where they do not go straight.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;

use crate::config::fault::Faults;
use crate::config::read::variables::Variables;
use crate::config::rules::endpoint::{Endpoint, EndpointError};
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::Document;
use crate::secret::KeySource;
use crate::selector::Selector;

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
    /// A variable of the process; there is no proxy where it is not set.
    Env(String),
}

/// A proxy whose URL is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolvedProxy {
    /// Where it is.
    pub url: Endpoint,
    /// Where `user:password` comes from, where the proxy wants them.
    pub credentials: Option<KeySource>,
}

/// The URLs that variables of the process say, by variable; read once, with the configuration.
pub(crate) type OfVariables = BTreeMap<String, Endpoint>;

impl Proxy {
    /// The proxy at a URL such as `http://proxy.example:3128`; checked when the registry is built.
    pub fn url(url: impl Into<String>) -> Self {
        Self {
            address: Address::Url(url.into()),
            credentials: None,
        }
    }

    /// The proxy whose URL is in a variable of the process, such as `HTTPS_PROXY`; none where it is not set.
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

    /// Whether both are one proxy, whoever asks it.
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

    pub(crate) fn resolve(
        &self,
        of_variables: [&OfVariables; 2],
        selector: &Selector,
    ) -> Result<Option<ResolvedProxy>, TemplateError> {
        let url = match &self.address {
            Address::Url(url) => Some(parse(url).expect("the layers were checked")),
            Address::Env(name) => of_variables.into_iter().find_map(|known| known.get(name)).cloned(),
        };
        let Some(url) = url else { return Ok(None) };
        let source = self.credentials.as_ref();
        let credentials = source
            .map(|source| template::fill_source(source, selector))
            .transpose()?;
        Ok(Some(ResolvedProxy { url, credentials }))
    }
}

/// Reads the variables that bindings name.
pub(crate) fn of_variables(document: &Document, variables: &Variables, faults: &mut Faults) -> OfVariables {
    let mut urls = OfVariables::new();
    for (path, binding) in document.bindings() {
        urls.extend(of_variable(binding, &path, |name| variables.get(name), faults));
    }
    urls
}

/// Reads the variable that a binding names.
pub(crate) fn of_variable<V: AsRef<OsStr>>(
    binding: &Binding,
    path: &str,
    variable: impl FnOnce(&str) -> Option<V>,
    faults: &mut Faults,
) -> Option<(String, Endpoint)> {
    let Some(Address::Env(name)) = binding.proxy.as_ref().map(|proxy| &proxy.address) else {
        return None;
    };
    let value = variable(name)?;
    match value.as_ref().to_str().ok_or("not UTF-8 text").and_then(parse) {
        Ok(url) => Some((name.clone(), url)),
        Err(message) => {
            let message = format!("the value of {}: {message}", name.escape_default());
            faults.add(format!("{path}.proxy.env"), message);
            None
        }
    }
}

fn parse(url: &str) -> Result<Endpoint, &'static str> {
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
