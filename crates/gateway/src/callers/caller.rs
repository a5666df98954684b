//! A caller, and the selectors that its requests may address.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::HeaderMap;
use tracer_registry::gateway::{Amount, Charge, Limiter};
use tracer_registry::selector::{SelectorBuilder, Slug};
use tracer_registry::{Selector, TracerRegistry};

use super::counts::{CallerSnapshot, Counts};
use super::path;
use super::refusal::Refusal;
use crate::config::{Allow, BasicPart, CallerSettings, TenantRule};

/// A program that sends to the gateway. `Debug` shows its name.
pub struct Caller {
    name: Slug,
    settings: Arc<CallerSettings>,
    counts: Arc<Counts>,
    /// Set at the first request. `None` in it without a limit.
    limiter: OnceLock<Option<Arc<Limiter>>>,
}

/// What a request addresses.
#[derive(Debug)]
pub enum Target<'c> {
    /// One selector.
    Selector(Selector),
    /// Each resource names its tenant.
    Resources(ByResource<'c>),
}

/// Finds the selector of each resource of a request.
#[derive(Debug)]
pub struct ByResource<'c> {
    caller: &'c Caller,
    attribute: &'c str,
    /// Tenant that the path names.
    in_path: Option<Slug>,
}

impl Caller {
    pub(super) fn new(name: Slug, settings: Arc<CallerSettings>, counts: Arc<Counts>) -> Self {
        Self {
            name,
            settings,
            counts,
            limiter: OnceLock::new(),
        }
    }

    /// Takes an amount of the caller's quota. It is given back unless the charge is kept.
    ///
    /// # Errors
    /// Returns the time after which it may fit.
    pub(crate) fn charge(&self, registry: &TracerRegistry, amount: Amount) -> Result<Option<Charge>, Duration> {
        let limiter = || registry.caller_limiter(&self.name, &self.settings.quota);
        let limiter = self.limiter.get_or_init(limiter).as_ref();
        limiter.map(|limiter| limiter.charge(amount)).transpose()
    }

    /// Returns the name.
    pub fn name(&self) -> &Slug {
        &self.name
    }

    pub(crate) fn settings(&self) -> &CallerSettings {
        &self.settings
    }

    /// Returns the counts. A later configuration with a caller of this name continues them.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }

    /// Returns the counts at this moment.
    pub fn snapshot(&self) -> CallerSnapshot {
        self.counts.snapshot(&self.name)
    }

    pub(super) fn basic(&self) -> BasicPart {
        self.settings.basic
    }

    /// Returns what a request addresses. `in_path` is the result of
    /// [`tenant_in_path`](super::tenant_in_path). Counts a refusal.
    ///
    /// A name is compared as it is written; in a path, after percent-decoding it once. If both the
    /// path and another part name a tenant, they must agree.
    ///
    /// # Errors
    /// [`Refusal::TenantNotAllowed`] for a tenant that the caller may not address, also if only the
    /// path names it; [`Refusal::NoTenant`], [`Refusal::RepeatedTenant`] and
    /// [`Refusal::InvalidTenant`] for a header that names none or several.
    pub fn target(&self, in_path: Option<&str>, headers: &HeaderMap) -> Result<Target<'_>, Refusal> {
        self.counted(self.uncounted_target(in_path, headers))
    }

    /// Returns the selector that a request addresses, or `None` if it names no tenant, as clients do
    /// that only check their credential. Counts a refusal.
    ///
    /// # Errors
    /// As [`target`](Self::target), except [`Refusal::NoTenant`].
    pub(crate) fn named_selector(
        &self,
        in_path: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Option<Selector>, Refusal> {
        match self.uncounted_target(in_path, headers) {
            Ok(Target::Selector(selector)) => Ok(Some(selector)),
            Ok(Target::Resources(_)) | Err(Refusal::NoTenant) => Ok(None),
            Err(refusal) => self.counted(Err(refusal)),
        }
    }

    fn uncounted_target(&self, in_path: Option<&str>, headers: &HeaderMap) -> Result<Target<'_>, Refusal> {
        let in_path = in_path
            .map(|written| self.permitted(path::decoded(written)))
            .transpose();
        self.find(in_path?, headers)
    }

    fn find(&self, in_path: Option<Slug>, headers: &HeaderMap) -> Result<Target<'_>, Refusal> {
        let tenant = match &self.settings.tenant {
            TenantRule::Fixed(tenant) => tenant.clone(),
            TenantRule::Header { name, .. } => {
                let mut values = headers.get_all(name).iter();
                let value = values.next().ok_or(Refusal::NoTenant)?;
                if values.next().is_some() {
                    return Err(Refusal::RepeatedTenant);
                }
                let value = str::from_utf8(value.as_bytes()).map_err(|_| Refusal::InvalidTenant)?;
                let tenant = self.permitted(Slug::new(value).ok())?;
                Some(agreed(tenant, in_path.as_ref())?)
            }
            TenantRule::Path { .. } => Some(in_path.ok_or(Refusal::NoTenant)?),
            TenantRule::Resource { attribute, .. } => {
                return Ok(Target::Resources(ByResource {
                    caller: self,
                    attribute,
                    in_path,
                }));
            }
        };
        self.selector(tenant).map(Target::Selector)
    }

    /// Returns a tenant if the caller may address it.
    fn permitted(&self, tenant: Option<Slug>) -> Result<Slug, Refusal> {
        let is_permitted = |tenant: &Slug| match &self.settings.tenant {
            TenantRule::Fixed(own) => own.as_ref() == Some(tenant),
            TenantRule::Header { allow, .. } | TenantRule::Resource { allow, .. } | TenantRule::Path { allow } => {
                Allow::permits(allow, tenant)
            }
        };
        tenant.filter(is_permitted).ok_or(Refusal::TenantNotAllowed)
    }

    fn selector(&self, tenant: Option<Slug>) -> Result<Selector, Refusal> {
        let mut selector = SelectorBuilder::default();
        if let Some(tenant) = tenant {
            selector = selector.tenant(&tenant);
        }
        if let Some(environment) = &self.settings.environment {
            selector = selector.environment(environment);
        }
        if let Some(feature) = &self.settings.feature {
            selector = selector.feature(feature);
        }
        // Cannot fail: all names are slugs, and the settings require one of them.
        Selector::try_from(selector).map_err(|_| Refusal::NoTenant)
    }

    fn counted<T>(&self, result: Result<T, Refusal>) -> Result<T, Refusal> {
        result.inspect_err(|refusal| self.counts.refuse(refusal.reason()))
    }
}

fn agreed(tenant: Slug, in_path: Option<&Slug>) -> Result<Slug, Refusal> {
    if in_path.is_none_or(|in_path| *in_path == tenant) {
        Ok(tenant)
    } else {
        Err(Refusal::TenantNotAllowed)
    }
}

impl<'c> ByResource<'c> {
    /// Returns the name of the resource attribute that names the tenant.
    pub fn attribute(&self) -> &'c str {
        self.attribute
    }

    /// Returns the selector of a resource by the value of its attribute. Counts a refusal, so the
    /// caller of this function refuses the request at the first one. A resource that has the
    /// attribute twice, or not as a string, has no value.
    ///
    /// # Errors
    /// [`Refusal::NoTenant`] without a value, and [`Refusal::TenantNotAllowed`] for a tenant that
    /// the caller may not address or that is not the one in the path.
    pub fn selector(&self, value: Option<&str>) -> Result<Selector, Refusal> {
        let caller = self.caller;
        let tenant = value.ok_or(Refusal::NoTenant);
        let tenant = tenant.and_then(|value| caller.permitted(Slug::new(value).ok()));
        let tenant = tenant.and_then(|tenant| agreed(tenant, self.in_path.as_ref()));
        caller.counted(tenant.and_then(|tenant| caller.selector(Some(tenant))))
    }
}

impl fmt::Debug for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Caller").field(&self.name).finish()
    }
}
