//! A tenant's binding from outside the configuration's tables.

use crate::config::read::defined_paths::DefinedPaths;
use crate::config::resolve::proxy::ProxyUrls;
use crate::config::settings::binding::Binding;

/// A tenant's binding from a file or the program, checked like a table.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TenantBinding {
    pub(crate) binding: Binding,
    /// URLs of the environment variables that its proxy names.
    pub(crate) proxies: ProxyUrls,
    /// File name in errors.
    pub(crate) file: String,
    /// Tables and settings that the tenant's file defines. Empty if there is no file.
    pub(crate) defined_paths: DefinedPaths,
}
