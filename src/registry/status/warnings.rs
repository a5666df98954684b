//! Warnings of a check: bindings that work but could be safer.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::backend::{Destination, Project, ProjectId};
use crate::config::ResolvedBinding;
use crate::registry::lookup::are_unrelated;
use crate::secret::{KeySource, open_to_every_user};
use crate::selector::Selector;
use crate::util::printable::printable_path;

/// A property of a working binding that could be safer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckWarning {
    /// Another selector sends to the same project, so users with access to it see the spans of
    /// both. Look-ups also log it, once per project.
    ///
    /// Not reported if one selector contains all parts of the other, as `tenant:acme` and
    /// `feature:search,tenant:acme`.
    SharedProject {
        /// The first other selector. `None` in the warning of `tenant:*`, which means that all
        /// tenants without their own table share the project.
        other: Option<Selector>,
        /// Number of all selectors that send to the project, including this one. 0 in the warning
        /// of `tenant:*`, because the number of tenants is unknown.
        selectors: usize,
        /// The project's name, if known.
        project: Option<String>,
        /// How to separate the projects.
        advice: &'static str,
    },
    /// Every user of the machine may read or write a key file: the binding's key, the proxy
    /// credentials, or the private key of a client certificate. Ignores the permissions of the
    /// group. Reported only by checks, not by look-ups.
    OpenKeyFile {
        /// The file, as named in the configuration.
        file: PathBuf,
        /// Mode of the file. For a link, that of its target.
        mode: u32,
    },
    /// A tracer of `also` gets no copies.
    LostCopies {
        /// Its selector.
        target: Selector,
        /// Why it gets none.
        reason: String,
    },
}

/// The project of a checked binding.
pub(crate) struct CheckedProject {
    /// Index of the binding in the list of checked bindings.
    pub(crate) index: usize,
    pub(crate) selector: Selector,
    pub(crate) id: ProjectId,
    pub(crate) destination: Arc<Destination>,
}

/// Returns a warning for each binding that shares its project with another one, by index.
pub(crate) fn shared_projects(checked: &[CheckedProject]) -> Vec<(usize, CheckWarning)> {
    let mut by_project: HashMap<ProjectId, Vec<&Selector>> = HashMap::new();
    for of in checked {
        by_project.entry(of.id).or_default().push(&of.selector);
    }
    let warning = |of: &CheckedProject| {
        let all = &by_project[&of.id];
        let other = all.iter().find(|other| are_unrelated(&of.selector, other))?;
        let warning = CheckWarning::of_project(Some((*other).clone()), all.len(), &of.destination.project);
        Some((of.index, warning))
    };
    checked.iter().filter_map(warning).collect()
}

impl CheckWarning {
    pub(crate) fn of_project(other: Option<Selector>, selectors: usize, project: &Project) -> Self {
        Self::SharedProject {
            other,
            selectors,
            project: project.name.clone(),
            advice: project.advice(),
        }
    }
}

/// Returns warnings about the files of a binding. Empty on systems without file modes.
pub(crate) fn of(binding: &ResolvedBinding) -> Vec<CheckWarning> {
    let credentials = binding.proxy.as_ref().and_then(|proxy| proxy.credentials.as_ref());
    let sources = [Some(&binding.api_key), credentials].into_iter().flatten();
    let files = sources.filter_map(KeySource::path).chain(binding.tls.key.clone());
    let open = files.filter_map(|file| {
        let mode = open_to_every_user(&file.metadata().ok()?)?;
        Some(CheckWarning::OpenKeyFile { file, mode })
    });
    open.collect()
}

impl fmt::Display for CheckWarning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SharedProject {
                other,
                selectors,
                project,
                advice,
            } => {
                f.write_str("its spans land in the same project as those of ")?;
                match (other, selectors) {
                    (None, _) => f.write_str("every other tenant without a table of its own")?,
                    (Some(other), 2) => write!(f, "{other}")?,
                    (Some(other), all) => write!(f, "{other}, {all} selectors in all")?,
                }
                match project {
                    Some(name) => write!(f, " ({name:?}): {advice}"),
                    None => write!(f, ": {advice}"),
                }
            }
            Self::LostCopies { target, reason } => write!(f, "its spans are not copied to {target}: {reason}"),
            Self::OpenKeyFile { file, mode } => {
                write!(
                    f,
                    "key file {} is open to every user (mode {mode:04o}); close it with chmod o-rw",
                    printable_path(file)
                )
            }
        }
    }
}

impl Serialize for CheckWarning {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
