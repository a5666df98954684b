//! The path of a value in an attribute.

use std::fmt::Write as _;

/// The key of an attribute, and the names and indices of members in it with dots between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Path {
    text: String,
    /// The same in lower case.
    lower: String,
    steps: Vec<Step>,
}

/// One member on the path.
#[derive(Clone, Copy, Debug)]
struct Step {
    /// Length of the path to its parent.
    parent: usize,
    /// Offset of its own name. `None` for an element of a list.
    name: Option<usize>,
}

impl Path {
    /// Creates the path of an attribute. An empty key is that of a text that is no attribute.
    pub(crate) fn new(key: &str) -> Self {
        Self {
            text: key.to_owned(),
            lower: key.to_ascii_lowercase(),
            steps: Vec::new(),
        }
    }

    /// Starts again with the key of an attribute, in the same memory.
    #[cfg(feature = "encoded")]
    pub(crate) fn start(&mut self, key: &str) {
        self.text.clear();
        self.lower.clear();
        self.steps.clear();
        self.extend(key);
    }

    /// Goes to the member of a map.
    pub(crate) fn push(&mut self, name: &str) {
        let parent = self.text.len();
        self.extend(name);
        self.steps.push(Step {
            parent,
            name: Some(self.text.len() - name.len()),
        });
    }

    /// Goes to the element of a list.
    pub(crate) fn push_index(&mut self, index: usize) {
        let parent = self.text.len();
        self.extend("");
        for text in [&mut self.text, &mut self.lower] {
            write!(text, "{index}").expect("written to memory");
        }
        self.steps.push(Step { parent, name: None });
    }

    /// Goes back to the map or list. Does nothing at the attribute.
    pub(crate) fn pop(&mut self) {
        if let Some(step) = self.steps.pop() {
            self.text.truncate(step.parent);
            self.lower.truncate(step.parent);
        }
    }

    /// Returns the number of members on the path.
    pub(super) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// Goes back to a depth.
    pub(super) fn truncate(&mut self, depth: usize) {
        while self.steps.len() > depth {
            self.pop();
        }
    }

    /// Returns the keys with dots between them.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Returns the key of the attribute.
    pub(super) fn key(&self) -> &str {
        &self.text[..self.steps.first().map_or(self.text.len(), |step| step.parent)]
    }

    /// Returns the path and the own name of each member, outermost first, in lower case.
    pub(super) fn members(&self) -> impl Iterator<Item = Member<'_>> {
        (0..self.steps.len()).map(|index| self.member(index))
    }

    /// Returns the innermost member.
    pub(super) fn last(&self) -> Option<Member<'_>> {
        Some(self.member(self.steps.len().checked_sub(1)?))
    }

    fn member(&self, index: usize) -> Member<'_> {
        let end = self.steps.get(index + 1).map_or(self.lower.len(), |step| step.parent);
        Member {
            path: &self.lower[..end],
            name: self.steps[index].name.map(|start| &self.lower[start..end]),
        }
    }

    fn extend(&mut self, name: &str) {
        if !self.text.is_empty() {
            self.text.push('.');
            self.lower.push('.');
        }
        self.text.push_str(name);
        self.lower
            .extend(name.chars().map(|character| character.to_ascii_lowercase()));
    }
}

/// A member in a map or list, in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) path: &'a str,
    pub(super) name: Option<&'a str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_has_names_and_indices_with_dots_between() {
        let mut path = Path::new("Prompt.Text");
        path.push("User");
        path.push_index(0);
        path.push("a.b");
        assert_eq!((path.text(), path.key()), ("Prompt.Text.User.0.a.b", "Prompt.Text"));
        let members: Vec<_> = path.members().map(|member| (member.path, member.name)).collect();
        assert_eq!(
            members,
            [
                ("prompt.text.user", Some("user")),
                ("prompt.text.user.0", None),
                ("prompt.text.user.0.a.b", Some("a.b")),
            ]
        );
        path.pop();
        path.pop();
        path.pop();
        path.pop();
        assert_eq!((path.text(), path.last()), ("Prompt.Text", None));
    }
}
