//! Reads the tenant of a request.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

use super::TenantError;
use super::authority::Authority;
use crate::selector::Selector;

/// Part of a request that names its tenant.
///
/// # Security
/// The source decides which project receives the request's spans. A client controls headers, host
/// and path. Use them only if a gateway in front of this service sets or checks them, or if a
/// client that names another tenant does no harm. If this process authenticates requests, put the
/// layer inside the authentication and use [`extension`](Self::extension).
///
/// Names follow the rules of [`Slug`](crate::selector::Slug). Nothing is trimmed. Only hosts are
/// converted to lower case.
#[derive(Clone)]
pub struct TenantSource(Kind);

#[derive(Clone)]
enum Kind {
    Header(HeaderName),
    Host,
    FirstLabel,
    Segment(usize),
    Extension(Arc<SlugOf>),
    Selector(Arc<SelectorOf>),
}

type SlugOf = dyn for<'p> Fn(&'p Parts) -> Option<&'p str> + Send + Sync;
type SelectorOf = dyn Fn(&Parts) -> Result<Option<Selector>, TenantError> + Send + Sync;

/// The tenant that a request names.
pub(super) enum RequestedTenant<'p> {
    /// An unchecked slug.
    Slug(Cow<'p, str>),
    Selector(Selector),
}

impl TenantSource {
    /// Reads the tenant's slug from a header, which must be present exactly once.
    pub fn header(name: HeaderName) -> Self {
        Self(Kind::Header(name))
    }

    /// Uses the request's host as the tenant's slug, such as `acme.example.com`: in lower case,
    /// without port and trailing dot.
    pub fn host() -> Self {
        Self(Kind::Host)
    }

    /// Uses the first label of the request's host as the tenant's slug: `acme` of
    /// `acme.example.com`. An IP address or a host with one label names no tenant.
    ///
    /// Ignores the rest of the host: `acme.example.net` is the same tenant.
    pub fn first_host_label() -> Self {
        Self(Kind::FirstLabel)
    }

    /// Uses a path segment, counted from 0, as the tenant's slug: `acme` is segment 1 of
    /// `/tenants/acme/orders`.
    ///
    /// The segment is not percent-decoded. A segment that contains a percent sign or is empty, such
    /// as the first of `/`, is refused. A router that nests this service may have stripped a
    /// prefix.
    pub fn path_segment(index: usize) -> Self {
        Self(Kind::Segment(index))
    }

    /// Reads the tenant's slug from a request extension, which an outer layer has set, such as an
    /// authenticating one.
    ///
    /// ```
    /// # use tracer_registry::tower::TenantSource;
    /// #[derive(Clone)]
    /// struct User { tenant: String }
    ///
    /// let source = TenantSource::extension(|user: &User| user.tenant.as_str());
    /// ```
    pub fn extension<T, F>(slug: F) -> Self
    where
        T: Send + Sync + 'static,
        F: Fn(&T) -> &str + Send + Sync + 'static,
    {
        Self(Kind::Extension(Arc::new(move |request: &Parts| {
            request.extensions.get::<T>().map(&slug)
        })))
    }

    /// Uses a function, which may return a selector of several parts. `None` means that the request
    /// has no tenant identifier.
    ///
    /// The function runs on the serving thread, so it must not block.
    ///
    /// ```
    /// # use tracer_registry::Selector;
    /// # use tracer_registry::tower::{TenantError, TenantSource};
    /// let source = TenantSource::from_fn(|request| match request.headers.get("x-tenant") {
    ///     Some(slug) => {
    ///         let slug = slug.to_str().map_err(|_| TenantError::NotText)?;
    ///         Ok(Some(Selector::tenant(slug).feature("search").try_into()?))
    ///     }
    ///     None => Ok(None),
    /// });
    /// ```
    pub fn from_fn<F>(selector: F) -> Self
    where
        F: Fn(&Parts) -> Result<Option<Selector>, TenantError> + Send + Sync + 'static,
    {
        Self(Kind::Selector(Arc::new(selector)))
    }

    pub(super) fn read<'p>(&self, request: &'p Parts) -> Result<RequestedTenant<'p>, TenantError> {
        let slug = match &self.0 {
            Kind::Header(name) => header(name, request)?.map(Cow::Borrowed),
            Kind::Host => Authority::of(request)?.map(|authority| host(authority.host)),
            Kind::FirstLabel => Authority::of(request)?.and_then(|authority| first_label(authority.host)),
            Kind::Segment(index) => {
                let path = request.uri.path();
                let path = path.strip_prefix('/').unwrap_or(path);
                path.split('/').nth(*index).map(Cow::Borrowed)
            }
            Kind::Extension(slug) => slug(request).map(Cow::Borrowed),
            Kind::Selector(selector) => {
                return selector(request)?
                    .map(RequestedTenant::Selector)
                    .ok_or(TenantError::Missing);
            }
        };
        slug.map(RequestedTenant::Slug).ok_or(TenantError::Missing)
    }
}

fn header<'p>(name: &HeaderName, request: &'p Parts) -> Result<Option<&'p str>, TenantError> {
    let mut values = request.headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    if values.next().is_some() {
        return Err(TenantError::Repeated);
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map(Some).map_err(|_| TenantError::NotText)
}

fn host(host: &str) -> Cow<'_, str> {
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

fn first_label(of: &str) -> Option<Cow<'_, str>> {
    if of.parse::<IpAddr>().is_ok() {
        return None;
    }
    let (label, rest) = of.split_once('.')?;
    (!rest.is_empty()).then(|| host(label))
}

impl fmt::Debug for TenantSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Header(name) => write!(f, "Header({name})"),
            Kind::Host => f.write_str("Host"),
            Kind::FirstLabel => f.write_str("FirstHostLabel"),
            Kind::Segment(index) => write!(f, "PathSegment({index})"),
            Kind::Extension(_) => f.write_str("Extension"),
            Kind::Selector(_) => f.write_str("Function"),
        }
    }
}
