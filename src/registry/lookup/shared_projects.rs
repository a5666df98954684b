//! Selectors whose spans land in one project at their backend.
//!
//! Nothing is mixed here: each has a tracer of its own. But a user who may look at the project sees the spans of both, and a backend
//! whose keys choose no project silently puts what names none into its default one. So a look-up that makes such a tracer warns.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use crate::backend::ProjectId;
use crate::selector::Selector;
use crate::util::fork::ForkLock;

/// How many projects are remembered. Beyond that all are forgotten, and a warning may come again.
const REMEMBERED: usize = 10_000;

/// The first selector of each project, and whether another one was warned of.
#[derive(Default)]
pub(crate) struct SharedProjects(ForkLock<HashMap<ProjectId, Known>>);

struct Known {
    first: Selector,
    is_reported: bool,
}

impl SharedProjects {
    /// Notes that a selector sends to a project. Returns the selector that sends there too, once for each project.
    pub(crate) fn note(&self, project: ProjectId, selector: &Selector) -> Option<Selector> {
        let mut projects = self.0.lock();
        if projects.len() == REMEMBERED && !projects.contains_key(&project) {
            projects.clear();
        }
        match projects.entry(project) {
            Entry::Vacant(entry) => {
                entry.insert(Known {
                    first: selector.clone(),
                    is_reported: false,
                });
                None
            }
            Entry::Occupied(mut known) => {
                let known = known.get_mut();
                let meets = !known.is_reported && are_apart(&known.first, selector);
                known.is_reported |= meets;
                meets.then(|| known.first.clone())
            }
        }
    }

    /// Forgets the projects of selectors whose binding changed: another selector may have them now.
    pub(crate) fn forget(&self, is_changed: impl Fn(&Selector) -> bool) {
        let mut projects = self.0.lock();
        projects.retain(|_, known| !is_changed(&known.first));
    }
}

/// Whether two selectors are expected to have a project each. One that has all parts of the other, such as a tenant's feature beside the
/// tenant, is about the same data.
pub(crate) fn are_apart(one: &Selector, other: &Selector) -> bool {
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
    fn the_second_of_a_project_is_told_of_the_first_once() {
        let projects = SharedProjects::default();
        let [one, other] = [b"one", b"two"].map(|key| ProjectId::of_key(Fingerprinter::new().fingerprint(key)));
        assert_eq!(projects.note(one, &selector("tenant:a")), None);
        assert_eq!(projects.note(one, &selector("tenant:a")), None, "itself");
        assert_eq!(
            projects.note(one, &selector("feature:f,tenant:a")),
            None,
            "a part of it"
        );
        assert_eq!(projects.note(other, &selector("tenant:b")), None, "elsewhere");
        assert_eq!(projects.note(one, &selector("tenant:b")), Some(selector("tenant:a")));
        assert_eq!(projects.note(one, &selector("tenant:c")), None, "once");
        projects.forget(|changed| *changed == selector("tenant:a"));
        assert_eq!(projects.note(one, &selector("tenant:c")), None);
        assert_eq!(projects.note(one, &selector("tenant:b")), Some(selector("tenant:c")));
        assert_eq!(projects.note(other, &selector("tenant:c")), Some(selector("tenant:b")));
    }

    #[test]
    fn no_number_of_projects_takes_more_memory() {
        let projects = SharedProjects::default();
        let fingerprinter = Fingerprinter::new();
        for number in 0..=2 * REMEMBERED {
            let project = ProjectId::of_key(fingerprinter.fingerprint(&number.to_le_bytes()));
            projects.note(project, &selector("tenant:a"));
            assert!(projects.0.lock().len() <= REMEMBERED);
        }
    }
}
