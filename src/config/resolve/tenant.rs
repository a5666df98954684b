//! A tenant's binding that is no table of the configuration.

use crate::config::read::shape::Shape;
use crate::config::resolve::proxy::OfVariables;
use crate::config::settings::binding::Binding;

/// A tenant's binding from outside the configuration, checked as one of its tables is.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TenantBinding {
    pub(crate) binding: Binding,
    /// What variables of the process say that it names.
    pub(crate) proxies: OfVariables,
    /// What an error names as the place that it is written in.
    pub(crate) file: String,
    /// Which tables and settings the tenant's file has; nothing if it has none.
    pub(crate) shape: Shape,
}
