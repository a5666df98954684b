//! Patterns of `untrusted.endpoints`.

use crate::config::rules::endpoint::Endpoint;

/// Allowed scheme, host and port of an endpoint, with any path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct EndpointPattern {
    scheme: String,
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Exact(String),
    /// One or more labels before this suffix, which starts with a dot.
    Below(String),
    Any,
}

impl EndpointPattern {
    /// Parses `https://collector.example:4318`, `https://*.example.com` or `https://*`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (host, checked) = if let Some(below) = rest.strip_prefix("*.") {
            (None, format!("{scheme}://{below}"))
        } else if let Some(port) = rest
            .strip_prefix('*')
            .filter(|port| port.is_empty() || port.starts_with(':'))
        {
            (Some(Host::Any), format!("{scheme}://any{port}"))
        } else {
            (None, text.to_owned())
        };
        // The rest must itself be an endpoint without a path.
        let endpoint = Endpoint::new(&checked)
            .ok()
            .filter(|endpoint| endpoint.path().is_empty())?;
        let (scheme, name, port) = endpoint.parts();
        let is_below = rest.starts_with("*.");
        if is_below && endpoint.address().is_some() {
            return None;
        }
        let named = || {
            if is_below {
                Host::Below(format!(".{name}"))
            } else {
                Host::Exact(name.to_owned())
            }
        };
        Some(Self {
            scheme: scheme.to_owned(),
            host: host.unwrap_or_else(named),
            port,
        })
    }

    pub(super) fn matches(&self, endpoint: &Endpoint) -> bool {
        let (scheme, name, port) = endpoint.parts();
        let host_matches = match &self.host {
            Host::Exact(host) => host == name,
            Host::Below(domain) => name.len() > domain.len() && name.ends_with(domain.as_str()),
            Host::Any => true,
        };
        scheme == self.scheme && port == self.port && host_matches
    }

    /// Returns whether it names a single host, so that a proxy reaches no other.
    pub(super) fn names_one_host(&self) -> bool {
        matches!(self.host, Host::Exact(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scheme_host_and_port_must_match_and_the_path_is_free() {
        for (pattern, endpoint, matches) in [
            ("https://a.example", "https://a.example/x/y", true),
            ("https://a.example", "https://A.Example:443", true),
            ("https://a.example", "https://a.example.", true),
            ("https://a.example", "http://a.example", false),
            ("https://a.example", "https://a.example:8443", false),
            ("https://a.example:8443", "https://a.example:8443", true),
            ("https://a.example", "https://b.a.example", false),
            ("https://*.example.com", "https://a.example.com", true),
            ("https://*.example.com", "https://a.b.example.com", true),
            ("https://*.example.com", "https://example.com", false),
            ("https://*.example.com", "https://badexample.com", false),
            ("https://*.example.com", "https://a.example.com.evil.com", false),
            ("https://*.example.com", "https://a.example.com:444", false),
            ("http://*.example.com:4318", "http://a.example.com:4318", true),
            ("https://*", "https://anything.at-all", true),
            ("https://*", "https://anything:444", false),
            ("http://*:4318", "http://10.0.0.1:4318", true),
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318", true),
            ("http://[::1]:4318", "http://[::1]:4318/v1", true),
        ] {
            let pattern_read = EndpointPattern::parse(pattern).expect("a pattern");
            let endpoint_read = Endpoint::new(endpoint).expect("an endpoint");
            assert_eq!(pattern_read.matches(&endpoint_read), matches, "{pattern} {endpoint}");
        }
    }

    #[test]
    fn ambiguous_patterns_are_refused() {
        for text in [
            "",
            "*",
            "example.com",
            "*://example.com",
            "ftp://example.com",
            "https://",
            "https://*example.com",
            "https://a.*.example.com",
            "https://a*.example.com",
            "https://*.*.example.com",
            "https://example.com/path",
            "https://user@example.com",
            "https://example.com?x",
            "https://example.com:*",
            "https://*.1.2.3",
            "https://*.10.0.0.1",
            "https://*.",
        ] {
            assert_eq!(EndpointPattern::parse(text), None, "{text}");
        }
    }
}
