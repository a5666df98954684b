//! Attributes that are parts of data: `honeyhive_outputs.user.password.0`.
//!
//! This crate, and clients of some backends, write an object or a list as one attribute for each of
//! its values. The key of such an attribute is a path, and rules apply to each member on it.

use super::path::Member;

/// Starts of keys of flattened data. Those of every backend, because a copy has the
/// names of another tracer's backend, and a client of the gateway those of any.
const PREFIXES: [&str; 5] = [
    "honeyhive_",
    "tracer_registry.",
    "langfuse.trace.metadata.",
    "langfuse.observation.metadata.",
    "langsmith.metadata.",
];

/// Most members on the path of a key. Data is flattened to 16 levels, and names may have dots.
const MAX_MEMBERS: usize = 32;

/// Returns whether an attribute with this key may be a part of flattened data.
pub(crate) fn is_flattened(key: &str) -> bool {
    PREFIXES.iter().any(|prefix| {
        let start = key.as_bytes().get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix.as_bytes()))
    })
}

/// Returns whether the path of a key has too many members to compare each with rules.
pub(super) fn is_too_deep(key: &str) -> bool {
    key.len() > MAX_MEMBERS && is_flattened(key) && key.bytes().filter(|byte| *byte == b'.').count() >= MAX_MEMBERS
}

/// Returns the members on the path of a key in lower case, outermost first.
pub(super) fn members(key: &str) -> impl Iterator<Item = Member<'_>> {
    let mut start = 0;
    let ends = key.match_indices('.').map(|(at, _)| at).chain([key.len()]);
    ends.map(move |end| {
        let name = &key[start..end];
        let is_name = start > 0 && name.parse::<usize>().is_err();
        start = end + 1;
        Member {
            path: &key[..end],
            name: is_name.then_some(name),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_of_flattened_data_has_a_member_for_each_name_and_index() {
        let of: Vec<_> = members("honeyhive_outputs.user.0")
            .map(|member| (member.path, member.name))
            .collect();
        let expected = [
            ("honeyhive_outputs", None),
            ("honeyhive_outputs.user", Some("user")),
            ("honeyhive_outputs.user.0", None),
        ];
        assert_eq!(of, expected);
    }

    #[test]
    fn only_long_paths_of_flattened_data_are_too_deep() {
        let key = |prefix: &str, dots| format!("{prefix}{}", ".a".repeat(dots));
        assert!(!is_too_deep(&key("honeyhive_outputs", MAX_MEMBERS - 1)));
        assert!(is_too_deep(&key("honeyhive_outputs", MAX_MEMBERS)));
        assert!(!is_too_deep(&key("other", MAX_MEMBERS)));
    }
}
