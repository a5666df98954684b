//! The owner that received data states, and whether it is that of the project.

use serde_json::Value;

use super::span::{Attributes, Span};

/// Attribute that the exporter of `tracer-registry` adds to each resource.
const SELECTOR: &str = "tracer_registry.selector";

/// Names of attributes that state an owner, the most specific first.
#[derive(Debug)]
pub(crate) struct OwnerAttributes(Vec<String>);

impl OwnerAttributes {
    pub(crate) fn new(mut names: Vec<String>) -> Self {
        names.push(SELECTOR.to_owned());
        Self(names)
    }

    /// Returns the owner that a span states, if the named project is not that owner's.
    pub(crate) fn foreign_span<'s>(&self, project: Option<&str>, span: &'s Span) -> Option<&'s str> {
        let stated = self
            .stated(&span.attributes)
            .or_else(|| self.stated(&span.resource.attributes));
        stated.filter(|owner| is_foreign(project, owner))
    }

    /// Returns the owner in the metadata of a session, if the named project is not that owner's.
    pub(crate) fn foreign_session<'s>(&self, project: Option<&str>, metadata: &'s Attributes) -> Option<&'s str> {
        self.stated(metadata).filter(|owner| is_foreign(project, owner))
    }

    fn stated<'a>(&self, attributes: &'a Attributes) -> Option<&'a str> {
        self.0
            .iter()
            .find_map(|name| attributes.get(name).and_then(Value::as_str))
    }
}

/// A project without a name may belong to anyone. A project named `acme` is that of `tenant:acme`.
fn is_foreign(project: Option<&str>, owner: &str) -> bool {
    project.is_some_and(|project| project != owner && owner.strip_prefix("tenant:") != Some(project))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_of_another_owner_is_foreign_in_a_named_project_alone() {
        let owners = OwnerAttributes::new(vec!["demo.owner".to_owned()]);
        let stated = |pairs: &[(&str, &str)]| -> Attributes {
            let pairs = pairs.iter();
            pairs
                .map(|(name, owner)| ((*name).to_owned(), Value::from(*owner)))
                .collect()
        };
        for (project, attributes, expected) in [
            (Some("acme"), stated(&[(SELECTOR, "tenant:acme")]), None),
            (Some("tenant:acme"), stated(&[(SELECTOR, "tenant:acme")]), None),
            (Some("acme"), stated(&[]), None),
            (None, stated(&[(SELECTOR, "tenant:acme")]), None),
            (
                Some("acme"),
                stated(&[(SELECTOR, "tenant:globex")]),
                Some("tenant:globex"),
            ),
            (
                Some("acme"),
                stated(&[(SELECTOR, "environment:acme")]),
                Some("environment:acme"),
            ),
            (
                Some("acme"),
                stated(&[(SELECTOR, "tenant:acme"), ("demo.owner", "globex")]),
                Some("globex"),
            ),
        ] {
            assert_eq!(owners.foreign_session(project, &attributes), expected, "{project:?}");
        }
    }
}
