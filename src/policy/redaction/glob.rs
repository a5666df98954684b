//! Globs on keys: `*` matches any characters.

/// A glob, in lower case. Keys are compared in lower case too.
#[derive(Debug)]
pub(super) struct Glob {
    first: Box<str>,
    /// What is between stars.
    between: Box<[Box<str>]>,
    /// `None` without a star.
    last: Option<Box<str>>,
}

impl Glob {
    pub(super) fn new(glob: &str) -> Self {
        let glob = glob.to_ascii_lowercase();
        let mut pieces = glob.split('*');
        let first = pieces.next().unwrap_or_default();
        let last = pieces.next_back();
        Self {
            first: first.into(),
            between: pieces.filter(|piece| !piece.is_empty()).map(Box::from).collect(),
            last: last.map(Box::from),
        }
    }

    /// Returns whether a comparison searches in the key, and not only at its ends.
    pub(super) fn has_pieces_between(&self) -> bool {
        !self.between.is_empty()
    }

    /// Returns whether the whole key matches. `key` is in lower case.
    pub(super) fn matches(&self, key: &str) -> bool {
        let Some(last) = &self.last else {
            return *key == *self.first;
        };
        let Some(mut rest) = key.strip_prefix(&*self.first) else {
            return false;
        };
        for piece in &self.between {
            let Some(at) = rest.find(&**piece) else { return false };
            rest = &rest[at + piece.len()..];
        }
        rest.ends_with(&**last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_star_matches_any_characters_of_the_whole_key() {
        for (glob, key, matches) in [
            ("password", "password", true),
            ("password", "PassWord", true),
            ("PassWord", "password", true),
            ("password", "user.password", false),
            ("password", "passwords", false),
            ("*", "", true),
            ("*", "a.b", true),
            ("gen_ai.prompt*", "gen_ai.prompt", true),
            ("gen_ai.prompt*", "gen_ai.prompt.0.content", true),
            ("gen_ai.prompt*", "xgen_ai.prompt", false),
            ("*.password", "user.password", true),
            ("*.password", "password", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("a**b", "a-b", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "a1c2b", false),
            ("*ab*abc", "abc", false),
            ("*é*", "caf\u{e9}s", true),
            ("", "", true),
            ("", "a", false),
        ] {
            let glob = Glob::new(glob);
            assert_eq!(glob.matches(&key.to_ascii_lowercase()), matches, "{glob:?} {key}");
        }
    }

    /// The definition, in exponential time.
    fn model(glob: &[u8], key: &[u8]) -> bool {
        match glob {
            [] => key.is_empty(),
            [b'*', rest @ ..] => (0..=key.len()).any(|at| model(rest, &key[at..])),
            [first, rest @ ..] => key.first() == Some(first) && model(rest, &key[1..]),
        }
    }

    proptest! {
        #[test]
        fn globs_match_as_defined(glob in "[ab*]{0,6}", key in "[ab]{0,8}") {
            prop_assert_eq!(Glob::new(&glob).matches(&key), model(glob.as_bytes(), key.as_bytes()));
        }
    }
}
