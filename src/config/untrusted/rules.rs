//! Parsed rules of `[untrusted]`.

use std::sync::Arc;

use serde_json::Value;

use super::addresses::{Addresses, Network};
use super::endpoints::EndpointPattern;
use super::keys::{self, KeyRule};
use super::projects::{self, ProjectPattern};
use crate::config::problem::Problems;
use crate::config::rules::endpoint::Endpoint;
use crate::config::settings::untrusted::Untrusted;
use crate::secret::KeySource;
use crate::selector::Slug;

/// Parsed rules of `[untrusted]`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Rules {
    keys: Vec<KeyRule>,
    endpoints: Vec<EndpointPattern>,
    pub(crate) addresses: Arc<Addresses>,
    projects: Vec<ProjectPattern>,
    source: Untrusted,
}

impl Rules {
    /// Parses the patterns. Adds a problem for each invalid one.
    pub(crate) fn read(written: &Untrusted, problems: &mut Problems) -> Self {
        let endpoint = |text: &str| {
            EndpointPattern::parse(text)
                .ok_or("a pattern is a scheme, a host and optionally a port, as in \"https://*.example.com\"")
        };
        let network =
            |text: &str| Network::parse(text).ok_or("expected a network such as \"10.1.0.0/16\", or an address");
        Self {
            keys: parse_all(written.keys.as_deref(), "keys", KeyRule::parse, problems),
            endpoints: parse_all(written.endpoints.as_deref(), "endpoints", endpoint, problems),
            addresses: Arc::new(Addresses::new(parse_all(
                written.addresses.as_deref(),
                "addresses",
                network,
                problems,
            ))),
            projects: parse_all(written.projects.as_deref(), "projects", ProjectPattern::parse, problems),
            source: written.clone(),
        }
    }

    /// Returns the key source in the form to read if a tenant's layer may use it, or `None`.
    pub(crate) fn admit(&self, source: &KeySource, tenant: Option<&Slug>) -> Option<KeySource> {
        let patterns = self.keys.iter().filter_map(|rule| rule.for_tenant(tenant));
        patterns.into_iter().find_map(|pattern| pattern.admit(source))
    }

    /// Returns whether only this tenant's layer may use a key source.
    pub(crate) fn is_own(&self, source: &KeySource, tenant: Option<&Slug>) -> bool {
        let own = self.keys.iter().filter(|rule| rule.names_tenant());
        let patterns = own.filter_map(|rule| rule.for_tenant(tenant));
        patterns.into_iter().any(|pattern| pattern.admit(source).is_some())
    }

    /// Returns whether a tenant's layer may name a project with any key.
    pub(crate) fn allows_project(&self, project: &str, tenant: Option<&Slug>) -> bool {
        self.projects.iter().any(|pattern| pattern.matches(project, tenant))
    }

    pub(super) fn allows_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.endpoints.iter().any(|pattern| pattern.matches(endpoint))
    }

    /// Returns whether a pattern without a wildcard allows the endpoint.
    pub(crate) fn names_endpoint(&self, endpoint: &Endpoint) -> bool {
        self.endpoints
            .iter()
            .any(|pattern| pattern.names_one_host() && pattern.matches(endpoint))
    }

    /// Returns the setting that would allow a key source.
    pub(crate) fn line_for_key(&self, source: &KeySource, tenant: Option<&Slug>) -> Option<String> {
        let pattern = keys::pattern_for(source, tenant)?;
        Some(setting_line("keys", self.source.keys.as_deref(), pattern))
    }

    pub(crate) fn line_for_project(&self, project: &str, tenant: Option<&Slug>) -> String {
        let pattern = projects::pattern_for(project, tenant);
        setting_line("projects", self.source.projects.as_deref(), pattern)
    }

    pub(crate) fn line_for_endpoint(&self, endpoint: &Endpoint) -> String {
        setting_line(
            "endpoints",
            self.source.endpoints.as_deref(),
            endpoint.origin().to_owned(),
        )
    }
}

fn parse_all<T>(
    written: Option<&[String]>,
    list: &str,
    read: impl Fn(&str) -> Result<T, &'static str>,
    problems: &mut Problems,
) -> Vec<T> {
    let mut all = Vec::new();
    for (index, text) in written.unwrap_or_default().iter().enumerate() {
        match read(text) {
            Ok(one) => all.push(one),
            Err(message) => problems.add(format!("untrusted.{list}[{index}]"), message),
        }
    }
    all
}

/// Returns a list setting with its current values and one more.
fn setting_line(list: &str, current: Option<&[String]>, more: String) -> String {
    let all = current.unwrap_or_default().iter().cloned().chain([more]);
    let all: Vec<String> = all.map(|text| Value::String(text).to_string()).collect();
    format!("untrusted.{list} = [{}]", all.join(", "))
}

/// Returns the setting that would allow an address.
pub(crate) fn line_for_address(current: &Addresses, address: std::net::IpAddr) -> String {
    setting_line("addresses", Some(&current.texts()), address.to_string())
}
