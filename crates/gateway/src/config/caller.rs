//! A table `[gateway.callers.<name>]`.

use std::sync::Arc;

use http::HeaderName;
use serde::Deserialize;
use tracer_registry::KeySource;
use tracer_registry::config::Quota;
use tracer_registry::gateway::GatewayTable;
use tracer_registry::selector::Slug;

use super::allow::Allow;

const SLUG: &str = "a name of 1 to 64 of a-z 0-9 - _ .";

/// Maximum length of the name of a resource attribute in bytes.
const MAX_ATTRIBUTE_BYTES: usize = 255;

/// SHA-256 of no bytes.
const EMPTY_SHA256: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Headers that carry a credential. Their content is never a tenant.
const CREDENTIAL_HEADERS: [&str; 8] = [
    "api-key",
    "api_key",
    "authorization",
    "cookie",
    "proxy-authorization",
    "set-cookie",
    "x-api-key",
    "x-honeycomb-team",
];

/// Headers of one connection or of the request itself, which proxies change.
const REQUEST_HEADERS: [&str; 15] = [
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "forwarded",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "via",
];

/// A caller as configured. Contains no token.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CallerSettings {
    /// Sources of the tokens. Each of them identifies the caller.
    pub tokens: Vec<KeySource>,
    /// SHA-256 of further tokens.
    pub token_sha256: Vec<[u8; 32]>,
    /// Which part of a `Basic` credential is the token. Default: [`BasicPart::Pair`].
    pub basic: BasicPart,
    /// How a request's tenant is found.
    pub tenant: TenantRule,
    /// Environment of every request, if any.
    pub environment: Option<Slug>,
    /// Feature of every request, if any.
    pub feature: Option<Slug>,
    /// How much it may send.
    pub quota: Quota,
    /// Whether a token is written, valid or not.
    pub(crate) has_token: bool,
}

/// The part of a `Basic` credential that is the token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BasicPart {
    /// The decoded credential, `user:password`.
    #[default]
    Pair,
    /// The text before the first `:`.
    User,
    /// The text after the first `:`.
    Password,
}

/// How the tenant of a request is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TenantRule {
    /// Always this tenant, or none if the caller has an environment or a feature.
    Fixed(Option<Slug>),
    /// The value of a header.
    Header {
        /// Name of the header.
        name: HeaderName,
        /// Tenants that it may name.
        allow: Allow,
    },
    /// The value of a resource attribute. A request is split by resource.
    Resource {
        /// Name of the attribute.
        attribute: Arc<str>,
        /// Tenants that it may name.
        allow: Allow,
    },
    /// The segment after `/t/` in the path, as in `/t/acme/v1/traces`.
    Path {
        /// Tenants that it may name.
        allow: Allow,
    },
}

impl Default for TenantRule {
    fn default() -> Self {
        Self::Fixed(None)
    }
}

impl TenantRule {
    /// Returns the tenants and patterns that match none of these tenants.
    pub(super) fn unused<'a>(&'a self, tenants: &'a [Slug]) -> Vec<&'a str> {
        match self {
            Self::Fixed(tenant) => {
                let tenant = tenant.iter().filter(|tenant| !tenants.contains(tenant));
                tenant.map(Slug::as_str).collect()
            }
            Self::Header { allow, .. } | Self::Resource { allow, .. } | Self::Path { allow } => {
                allow.unused(tenants).collect()
            }
        }
    }
}

impl CallerSettings {
    /// Reads the fields of a layer over those of the layers below.
    pub(super) fn read(&mut self, table: &mut GatewayTable<'_, '_>) {
        self.has_token |= table.has("token") || table.has("token_sha256");
        if let Some(tokens) = table.key_sources("token") {
            self.tokens = tokens;
        }
        self.read_hashes(table);
        if let Some(part) = table.choose("basic") {
            self.basic = part;
        }
        if table.has("tenant") {
            let rule = if table.is_table("tenant") {
                table.table("tenant", read_rule).flatten()
            } else {
                slug(table, "tenant").map(|tenant| TenantRule::Fixed(Some(tenant)))
            };
            // An invalid rule is not a missing one, which would be a second problem.
            let invalid = TenantRule::Path {
                allow: Allow::default(),
            };
            self.tenant = rule.unwrap_or(invalid);
        }
        self.environment = slug(table, "environment").or_else(|| self.environment.take());
        self.feature = slug(table, "feature").or_else(|| self.feature.take());
        table.quota("quota", &mut self.quota);
    }

    fn read_hashes(&mut self, table: &mut GatewayTable<'_, '_>) {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum OneOrMore {
            One(String),
            More(Vec<String>),
        }
        let field = "token_sha256";
        let expected = "64 hexadecimal digits, or a list of them";
        let digests = match table.take::<OneOrMore>(field, expected) {
            None => return,
            Some(OneOrMore::One(digest)) => match serde_json::from_str(&digest) {
                Ok(digests) if table.is_of_variables() => digests,
                _ => vec![digest],
            },
            Some(OneOrMore::More(digests)) => digests,
        };
        self.token_sha256 = Vec::with_capacity(digests.len());
        for (index, digest) in digests.iter().enumerate() {
            match sha256(digest) {
                Some(_) if digest.eq_ignore_ascii_case(EMPTY_SHA256) => {
                    table.problem(field, format!("digest {index} is that of an empty token"));
                }
                Some(digest) => self.token_sha256.push(digest),
                None => table.problem(field, format!("digest {index} is not 64 hexadecimal digits")),
            }
        }
    }

    /// Returns the rule that the caller breaks as a whole.
    pub(super) fn problem(&self) -> Option<(&'static str, &'static str)> {
        if !self.has_token {
            return Some(("token", "missing; a caller needs a token or token_sha256"));
        }
        let is_fixed = self.tenant == TenantRule::default();
        (is_fixed && self.environment.is_none() && self.feature.is_none()).then_some((
            "tenant",
            "missing; a caller needs a tenant, an environment or a feature",
        ))
    }
}

/// Takes a slug.
pub(super) fn slug(table: &mut GatewayTable<'_, '_>, field: &'static str) -> Option<Slug> {
    table.parse(field, SLUG, |text| Slug::new(text).ok())
}

fn sha256(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (byte, at) in bytes.iter_mut().zip((0..text.len()).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Reads `{ header | resource | path, allow }`. Returns `None` after a problem.
fn read_rule(table: &mut GatewayTable<'_, '_>) -> Option<TenantRule> {
    let kinds = ["header", "resource", "path"].map(|kind| table.has(kind));
    if kinds.iter().filter(|is_there| **is_there).count() > 1 {
        table.table_problem("expected only one of header, resource and path");
    }
    let header = table.take::<String>("header", "the name of a header");
    let resource = table.take::<String>("resource", "the name of a resource attribute");
    let path = table.flag("path");
    let allow = read_allow(table);
    match kinds {
        [true, ..] => {
            let header = header?;
            match tenant_header(&header) {
                Ok(name) => Some(TenantRule::Header { name, allow: allow? }),
                Err(rule) => {
                    table.problem("header", rule);
                    None
                }
            }
        }
        [_, true, _] => {
            let attribute = resource?;
            if attribute.is_empty() || attribute.len() > MAX_ATTRIBUTE_BYTES || attribute.contains(char::is_control) {
                table.problem(
                    "resource",
                    "expected the name of a resource attribute, such as \"tenant.id\"",
                );
                return None;
            }
            let attribute = attribute.into();
            Some(TenantRule::Resource {
                attribute,
                allow: allow?,
            })
        }
        [.., true] => {
            if !path? {
                table.problem("path", "expected true; write the tenant itself if it is fixed");
                return None;
            }
            Some(TenantRule::Path { allow: allow? })
        }
        [false, false, false] => {
            table.table_problem(
                "expected a tenant, { header = \"x-tenant\", allow = [..] }, \
                 { resource = \"tenant.id\", allow = [..] } or { path = true, allow = [..] }",
            );
            None
        }
    }
}

fn read_allow(table: &mut GatewayTable<'_, '_>) -> Option<Allow> {
    if !table.has("allow") {
        table.problem("allow", "missing; list the tenants, or patterns such as \"team-*\"");
    }
    let entries: Vec<String> = table.take("allow", "a list of tenants and patterns such as \"team-*\"")?;
    if entries.is_empty() {
        table.problem("allow", "empty, so that no request would be accepted");
    }
    match Allow::new(&entries) {
        Ok(allow) => Some(allow),
        Err((index, rule)) => {
            table.problem("allow", format!("entry {index}: {rule}"));
            None
        }
    }
}

/// Returns the name of a header that may carry a tenant.
fn tenant_header(name: &str) -> Result<HeaderName, &'static str> {
    let header = HeaderName::try_from(name).map_err(|_| "invalid header name")?;
    let name = header.as_str();
    if CREDENTIAL_HEADERS.contains(&name) {
        return Err("this header carries credentials, and cannot name the tenant");
    }
    let is_of_request = REQUEST_HEADERS.contains(&name) || name.starts_with("x-forwarded-");
    if is_of_request || name.starts_with("grpc-") || name.ends_with("-bin") {
        return Err("this header belongs to the request or its connection, and cannot name the tenant");
    }
    Ok(header)
}
