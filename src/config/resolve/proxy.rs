//! Resolves proxies, including URLs from environment variables.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use crate::config::problem::Problems;
use crate::config::read::variables::Variables;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::Document;
use crate::config::settings::proxy::{Address, Proxy, parse};
use crate::secret::KeySource;
use crate::selector::Selector;

/// A proxy with its URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolvedProxy {
    /// URL of the proxy.
    pub url: Endpoint,
    /// Source of `user:password`, if the proxy requires them.
    pub credentials: Option<KeySource>,
}

/// Proxy URLs by the environment variable that holds them. Read once, with the configuration.
pub(crate) type ProxyUrls = BTreeMap<String, Endpoint>;

impl ResolvedProxy {
    pub(crate) fn resolve(
        proxy: &Proxy,
        urls: [&ProxyUrls; 2],
        selector: &Selector,
    ) -> Result<Option<ResolvedProxy>, TemplateError> {
        let url = match &proxy.address {
            Address::Url(url) => Some(parse(url).expect("a checked URL")),
            Address::Env(name) => urls.into_iter().find_map(|known| known.get(name)).cloned(),
        };
        let Some(url) = url else { return Ok(None) };
        let source = proxy.credentials.as_ref();
        let credentials = source
            .map(|source| template::fill_source(source, selector))
            .transpose()?;
        Ok(Some(ResolvedProxy { url, credentials }))
    }
}

/// Reads the variables that bindings name.
pub(crate) fn read_urls(document: &Document, variables: &Variables, problems: &mut Problems) -> ProxyUrls {
    let mut urls = ProxyUrls::new();
    for (path, binding) in document.bindings() {
        urls.extend(read_url(binding, &path, |name| variables.get(name), problems));
    }
    urls
}

/// Reads the variable that a binding names.
pub(crate) fn read_url<V: AsRef<OsStr>>(
    binding: &Binding,
    path: &str,
    variable: impl FnOnce(&str) -> Option<V>,
    problems: &mut Problems,
) -> Option<(String, Endpoint)> {
    let Some(Address::Env(name)) = binding.proxy.as_ref().map(|proxy| &proxy.address) else {
        return None;
    };
    let value = variable(name)?;
    match value.as_ref().to_str().ok_or("not valid UTF-8").and_then(parse) {
        Ok(url) => Some((name.clone(), url)),
        Err(message) => {
            let message = format!("the value of {}: {message}", name.escape_default());
            problems.add(format!("{path}.proxy.env"), message);
            None
        }
    }
}
