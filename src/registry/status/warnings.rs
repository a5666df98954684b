//! Warnings of a check: bindings that work, and could be safer.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::backend::{Destination, Project, ProjectId};
use crate::config::ResolvedBinding;
use crate::registry::lookup::are_apart;
use crate::secret::{KeySource, open_to_every_user};
use crate::selector::Selector;
use crate::util::printable::printable_path;

/// Something about a binding that works and could be safer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CheckWarning {
    /// Another selector sends to the same project, so a user who may look at it sees the spans of both. Selectors of which one has all parts
    /// of the other, such as a tenant and a feature of it, are not warned of. A look-up logs it as well, once for each project.
    SharedProject {
        /// The first other selector; `None` if it is every tenant without a table of its own.
        other: Option<Selector>,
        /// How many selectors send there, with this one and those that are not warned of. 0 if it is every tenant without a table of its own.
        selectors: usize,
        /// The project's name, if it is known.
        project: Option<String>,
        /// What to do about it.
        advice: &'static str,
    },
    /// Every user of the machine may read or write a file with a key: that of the binding, the proxy's credentials, or the private key of a
    /// client certificate. Its group does not count. Nothing is logged about it at run time.
    OpenKeyFile {
        /// The file, as the configuration names it.
        file: PathBuf,
        /// Its mode, that of the file at the end of a link.
        mode: u32,
    },
}

/// Where the spans of a binding that is checked would land.
pub(crate) struct CheckedProject {
    /// The place of the binding in the list of those that are checked.
    pub(crate) index: usize,
    pub(crate) selector: Selector,
    pub(crate) id: ProjectId,
    pub(crate) destination: Arc<Destination>,
}

/// A warning for each binding whose spans land in a project with those of another one, by its place.
pub(crate) fn shared_projects(checked: &[CheckedProject]) -> Vec<(usize, CheckWarning)> {
    let mut by_project: HashMap<ProjectId, Vec<&Selector>> = HashMap::new();
    for of in checked {
        by_project.entry(of.id).or_default().push(&of.selector);
    }
    let warning = |of: &CheckedProject| {
        let all = &by_project[&of.id];
        let other = all.iter().find(|other| are_apart(&of.selector, other))?;
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

/// The warnings about the files of a binding. None on systems without modes of files.
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
