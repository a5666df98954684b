//! Where the tenant of a request is read.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use http::HeaderName;
use http::request::Parts;

use super::TenantError;
use super::authority::Authority;
use crate::selector::Selector;

/// Where the tenant of a request is read.
///
/// The source decides in which project the request's spans land, so only callers that may choose the project may be able to set it. A header, a
/// host or a path comes from the client: use them if something in front of this service sets or checks them (a gateway that replaces the
/// header, whatever the client sent), or if a client that names another tenant does no harm. If this process authenticates its requests, put
/// the layer inside the authentication and use [`extension`](Self::extension).
///
/// Names follow the rules of [`Slug`](crate::selector::Slug). Nothing is trimmed or folded, except the case of hosts.
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

/// What a request names.
pub(super) enum Requested<'p> {
    /// A tenant, by a slug that is not checked yet.
    Tenant(Cow<'p, str>),
    Selector(Selector),
}

impl TenantSource {
    /// The tenant's slug is the value of a header, which must be present exactly once.
    pub fn header(name: HeaderName) -> Self {
        Self(Kind::Header(name))
    }

    /// The tenant's slug is the host that the request is for, such as `acme.example.com`: without the port, in lower case, without a
    /// dot at its end.
    pub fn host() -> Self {
        Self(Kind::Host)
    }

    /// The tenant's slug is the first label of the host: `acme` of `acme.example.com`. An IP address, and a host of one label, name no tenant.
    ///
    /// The rest of the host is ignored: `acme.example.net` is the same tenant.
    pub fn first_host_label() -> Self {
        Self(Kind::FirstLabel)
    }

    /// The tenant's slug is a segment of the path, counted from 0: `acme` is segment 1 of `/tenants/acme/orders`.
    ///
    /// It is not decoded, so one with percent signs is refused. An empty segment, such as the first of `/`, is refused too. A router that
    /// nests this service may have cut the path before.
    pub fn path_segment(index: usize) -> Self {
        Self(Kind::Segment(index))
    }

    /// The tenant's slug is in a value that a layer further out, such as one that authenticates, put into the request's extensions.
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

    /// The program's own rule, which may return a selector of several parts. `None` is a request without a tenant identifier.
    ///
    /// Runs on the thread that serves, so it must not block.
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

    pub(super) fn read<'p>(&self, request: &'p Parts) -> Result<Requested<'p>, TenantError> {
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
                return selector(request)?.map(Requested::Selector).ok_or(TenantError::Missing);
            }
        };
        slug.map(Requested::Tenant).ok_or(TenantError::Missing)
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
