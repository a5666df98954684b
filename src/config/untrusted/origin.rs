//! Origin of a layer.

use std::fmt;

use crate::config::problem::quoted;
use crate::config::settings::document::WILDCARD;
use crate::selector::{Selector, SelectorKind, Slug};

/// Where a layer is written.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LayerOrigin<'a> {
    Defaults,
    Table(SelectorKind, &'a str),
    Route(usize),
    /// A tenant's own binding, from a file or the program's binding source.
    Tenant {
        tenant: &'a Slug,
        file: &'a str,
    },
}

impl LayerOrigin<'_> {
    /// Returns the file name for problems.
    pub(crate) fn file(&self) -> &str {
        match self {
            Self::Tenant { file, .. } => file,
            Self::Defaults | Self::Table(..) | Self::Route(_) => "the builder",
        }
    }

    /// Returns the tenant that the layer belongs to, or `None` if it is not a tenant's.
    pub(crate) fn tenant<'s>(&self, selector: &'s Selector) -> Option<&'s Slug> {
        selector.get(SelectorKind::Tenant).filter(|tenant| match *self {
            Self::Tenant { .. } => true,
            Self::Table(part, name) => part == SelectorKind::Tenant && (name == tenant.as_str() || name == WILDCARD),
            Self::Defaults | Self::Route(_) => false,
        })
    }

    /// Returns the key path of the table.
    pub(crate) fn path(&self) -> String {
        match self {
            Self::Defaults => "defaults".to_owned(),
            Self::Table(part, name) => format!("{part}s.{}", quoted(name)),
            Self::Route(index) => format!("routes[{index}]"),
            Self::Tenant { tenant, .. } => format!("tenants.{}", quoted(tenant)),
        }
    }
}

/// As shown in errors.
impl fmt::Display for LayerOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tenant { file, .. } => f.write_str(file),
            Self::Route(index) => write!(f, "routes[{index}]"),
            Self::Defaults | Self::Table(..) => write!(f, "[{}]", self.path()),
        }
    }
}
