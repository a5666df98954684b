//! A part of the configuration that the program reads itself, and that changes together with the
//! registry's own.

use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, ConfigError};

/// The program's own part of a newly read [`Config`], ready to be applied.
#[cfg_attr(
    not(feature = "gateway"),
    allow(unreachable_pub, reason = "public with this feature")
)]
pub struct PreparedReload {
    /// Further files and folders whose changes cause a reload, if `reload.watch` is set. Also
    /// watched if the configuration is refused.
    pub watch: BTreeSet<PathBuf>,
    /// Called after the registry has applied the configuration, or dropped if it applies another
    /// one. An error refuses the configuration, and nothing changes.
    pub commit: Result<Box<dyn FnOnce() + Send>, ConfigError>,
}

type Prepare = dyn Fn(&Config) -> PreparedReload + Send + Sync;

/// The function that prepares the program's part, if there is one.
#[derive(Clone, Default)]
pub(crate) struct ReloadExtension(Option<Arc<Prepare>>);

impl ReloadExtension {
    #[cfg(feature = "gateway")]
    pub(crate) fn new(prepare: impl Fn(&Config) -> PreparedReload + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(prepare)))
    }

    pub(crate) fn prepare(&self, config: &Config) -> PreparedReload {
        let nothing = || PreparedReload {
            watch: BTreeSet::new(),
            commit: Ok(Box::new(|| {})),
        };
        self.0.as_ref().map_or_else(nothing, |prepare| prepare(config))
    }
}

impl fmt::Debug for ReloadExtension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReloadExtension").field(&self.0.is_some()).finish()
    }
}

impl fmt::Debug for PreparedReload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let commit = self.commit.as_ref().map(drop);
        let mut shown = f.debug_struct("PreparedReload");
        shown.field("watch", &self.watch).field("commit", &commit).finish()
    }
}
