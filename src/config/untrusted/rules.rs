//! `[untrusted]`, read.

use std::sync::Arc;

use serde_json::Value;

use super::addresses::{Addresses, Network};
use super::endpoints::EndpointPattern;
use super::keys::{self, KeyRule};
use super::projects::{self, ProjectPattern};
use crate::config::fault::Faults;
use crate::config::rules::endpoint::Endpoint;
use crate::config::settings::untrusted::Untrusted;
use crate::secret::KeySource;
use crate::selector::Slug;

/// `[untrusted]`, read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    keys: Vec<KeyRule>,
    endpoints: Vec<EndpointPattern>,
    pub(crate) addresses: Arc<Addresses>,
    projects: Vec<ProjectPattern>,
    written: Untrusted,
}

impl Rules {
    /// Reads the patterns. Adds a fault for each that is not valid.
    pub(crate) fn read(written: &Untrusted, faults: &mut Faults) -> Self {
        let endpoint = |text: &str| {
            EndpointPattern::parse(text)
                .ok_or("a pattern is a scheme, a host and perhaps a port, as in \"https://*.example.com\"")
        };
        let network =
            |text: &str| Network::parse(text).ok_or("a network such as \"10.1.0.0/16\", or an address, is expected");
        Self {
            keys: each(written.keys.as_deref(), "keys", KeyRule::parse, faults),
            endpoints: each(written.endpoints.as_deref(), "endpoints", endpoint, faults),
            addresses: Arc::new(Addresses::new(each(
                written.addresses.as_deref(),
                "addresses",
                network,
                faults,
            ))),
            projects: each(written.projects.as_deref(), "projects", ProjectPattern::parse, faults),
            written: written.clone(),
        }
    }

    /// A key source as a tenant's layer may have it; none if it may not.
    pub(crate) fn admit(&self, source: &KeySource, tenant: Option<&Slug>) -> Option<KeySource> {
        let patterns = self.keys.iter().filter_map(|rule| rule.for_tenant(tenant));
        patterns.into_iter().find_map(|pattern| pattern.admit(source))
    }

    /// Whether a key source is one that no other tenant's layer may have.
    pub(crate) fn is_own(&self, source: &KeySource, tenant: Option<&Slug>) -> bool {
        let own = self.keys.iter().filter(|rule| rule.names_tenant());
        let patterns = own.filter_map(|rule| rule.for_tenant(tenant));
        patterns.into_iter().any(|pattern| pattern.admit(source).is_some())
    }

    /// Whether a tenant's layer may name a project, whosever key it has.
    pub(crate) fn allows_project(&self, project: &str, tenant: Option<&Slug>) -> bool {
        self.projects.iter().any(|pattern| pattern.fits(project, tenant))
    }

    pub(super) fn allows_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.iter().any(|pattern| pattern.fits(endpoint))
    }

    /// Whether the endpoint is named by itself, without a wildcard.
    pub(crate) fn names_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.endpoints
            .iter()
            .any(|pattern| pattern.names_one_host() && pattern.fits(endpoint))
    }

    /// What would allow a key source.
    pub(crate) fn line_for_key(&self, source: &KeySource, tenant: Option<&Slug>) -> Option<String> {
        let pattern = keys::allowing(source, tenant)?;
        Some(line("keys", self.written.keys.as_deref(), pattern))
    }

    pub(crate) fn line_for_project(&self, project: &str, tenant: Option<&Slug>) -> String {
        let pattern = projects::allowing(project, tenant);
        line("projects", self.written.projects.as_deref(), pattern)
    }

    pub(crate) fn line_for_endpoint(&self, endpoint: &Endpoint) -> String {
        line(
            "endpoints",
            self.written.endpoints.as_deref(),
            endpoint.origin().to_owned(),
        )
    }
}

fn each<T>(
    written: Option<&[String]>,
    list: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
    faults: &mut Faults,
) -> Vec<T> {
    let mut all = Vec::new();
    for (index, text) in written.unwrap_or_default().iter().enumerate() {
        match read(text) {
            Ok(one) => all.push(one),
            Err(message) => faults.add(format!("untrusted.{list}[{index}]"), message),
        }
    }
    all
}

/// The line of a configuration that says what it says now, and one thing more.
fn line(list: &str, now: Option<&[String]>, more: String) -> String {
    let all = now.unwrap_or_default().iter().cloned().chain([more]);
    let all: Vec<String> = all.map(|text| Value::String(text).to_string()).collect();
    format!("untrusted.{list} = [{}]", all.join(", "))
}

/// The line that allows an address beside those that are allowed now.
pub(crate) fn line_for_address(now: &Addresses, address: std::net::IpAddr) -> String {
    line("addresses", Some(&now.texts()), address.to_string())
}
