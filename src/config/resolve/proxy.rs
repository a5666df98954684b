//! What requests go through, with the variables of the process that say where that is.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use crate::config::fault::Faults;
use crate::config::read::variables::Variables;
use crate::config::rules::endpoint::Endpoint;
use crate::config::rules::template::{self, TemplateError};
use crate::config::settings::binding::Binding;
use crate::config::settings::document::Document;
use crate::config::settings::proxy::{Address, Proxy, parse};
use crate::secret::KeySource;
use crate::selector::Selector;

/// A proxy whose URL is known.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ResolvedProxy {
    /// Where it is.
    pub url: Endpoint,
    /// Where `user:password` comes from, if the proxy wants them.
    pub credentials: Option<KeySource>,
}

/// The URLs that variables of the process say, by variable; read once, with the configuration.
pub(crate) type OfVariables = BTreeMap<String, Endpoint>;

impl ResolvedProxy {
    pub(crate) fn resolve(
        proxy: &Proxy,
        of_variables: [&OfVariables; 2],
        selector: &Selector,
    ) -> Result<Option<ResolvedProxy>, TemplateError> {
        let url = match &proxy.address {
            Address::Url(url) => Some(parse(url).expect("the layers were checked")),
            Address::Env(name) => of_variables.into_iter().find_map(|known| known.get(name)).cloned(),
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
