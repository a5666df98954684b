//! Detects selectors whose spans land in the same project at their backend.
//!
//! Each selector still has its own tracer. But users with access to the project see the spans of
//! both. Some backends have keys that select no project and silently put spans without a project
//! name into a default one. So the look-up that creates such a tracer warns.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use foldhash::fast::RandomState;

use crate::backend::ProjectId;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// Maximum number of projects remembered. When it is exceeded all are forgotten, and a warning may
/// repeat.
const MAX_PROJECTS: usize = 10_000;

/// The first selector of each project, and whether a shared use was reported.
#[derive(Default)]
pub(crate) struct SharedProjects(ForkLock<HashMap<ProjectId, ProjectUse, RandomState>>);

struct ProjectUse {
    first: Selector,
    is_reported: bool,
}

impl SharedProjects {
    /// Records that a selector sends to a project. Returns the other selector that sends there,
    /// once per project.
    pub(crate) fn note(&self, project: ProjectId, selector: &Selector) -> Option<Selector> {
        let mut projects = self.0.lock();
        if projects.len() == MAX_PROJECTS && !projects.contains_key(&project) {
            projects.clear();
        }
        match projects.entry(project) {
            Entry::Vacant(entry) => {
                entry.insert(ProjectUse {
                    first: selector.clone(),
                    is_reported: false,
                });
                None
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let is_conflict = !known.is_reported && are_unrelated(&known.first, selector);
                known.is_reported |= is_conflict;
                is_conflict.then(|| known.first.clone())
            }
        }
    }

    /// Forgets the projects of selectors whose binding changed, because another selector may use
    /// them now.
    pub(crate) fn forget(&self, is_changed: impl Fn(&Selector) -> bool) {
        let mut projects = self.0.lock();
        projects.retain(|_, known| !is_changed(&known.first));
    }
}

/// Whether two selectors are expected to use different projects. A selector that contains all parts
/// of the other, such as a tenant's feature and the tenant, concerns the same data.
pub(crate) fn are_unrelated(one: &Selector, other: &Selector) -> bool {
    !one.contains(other) && !other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Fingerprinter;

    fn selector(text: &str) -> Selector {
        text.parse().expect("a selector")
    }

    #[test]
    fn the_second_selector_of_a_project_is_reported_once() {
        let projects = SharedProjects::default();
        let [one, other] = [b"one", b"two"].map(|key| ProjectId::of_key(Fingerprinter::new().fingerprint(key)));
        assert_eq!(projects.note(one, &selector("tenant:a")), None);
        assert_eq!(projects.note(one, &selector("tenant:a")), None, "same selector");
        assert_eq!(
            projects.note(one, &selector("feature:f,tenant:a")),
            None,
            "contains the first selector"
        );
        assert_eq!(projects.note(other, &selector("tenant:b")), None, "another project");
        assert_eq!(projects.note(one, &selector("tenant:b")), Some(selector("tenant:a")));
        assert_eq!(projects.note(one, &selector("tenant:c")), None, "once");
        projects.forget(|changed| *changed == selector("tenant:a"));
        assert_eq!(projects.note(one, &selector("tenant:c")), None);
        assert_eq!(projects.note(one, &selector("tenant:b")), Some(selector("tenant:c")));
        assert_eq!(projects.note(other, &selector("tenant:c")), Some(selector("tenant:b")));
    }

    #[test]
    fn the_number_of_remembered_projects_is_limited() {
        let projects = SharedProjects::default();
        let fingerprinter = Fingerprinter::new();
        for number in 0..=2 * MAX_PROJECTS {
            let project = ProjectId::of_key(fingerprinter.fingerprint(&number.to_le_bytes()));
            projects.note(project, &selector("tenant:a"));
            assert!(projects.0.lock().len() <= MAX_PROJECTS);
        }
    }
}
