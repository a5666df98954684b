//! Patterns with `*`, which matches any ASCII letters, digits, `-`, `_` and `.`.

/// Returns whether a text matches a pattern, component by component between `/`.
pub(crate) fn wildcard_matches(pattern: &str, text: &str) -> bool {
    let (patterns, parts) = (pattern.split('/'), text.split('/'));
    patterns.clone().count() == parts.clone().count()
        && patterns
            .zip(parts)
            .all(|(pattern, part)| component_matches(pattern, part))
}

fn component_matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first).filter(|_| text != "." && text != "..") else {
        return false;
    };
    let (between, last) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in between.split('*') {
        let Some(at) = text.find(piece).filter(|at| is_plain(&text[..*at])) else {
            return false;
        };
        text = &text[at + piece.len()..];
    }
    text.strip_suffix(last).is_some_and(is_plain)
}

/// Returns whether `*` may match a text. Excludes characters that a log renders differently, or
/// that change the meaning of a URL that a secret manager builds.
fn is_plain(text: &str) -> bool {
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_matches_plain_characters_of_one_component() {
        for (pattern, text, matches) in [
            ("ACME_KEY", "ACME_KEY", true),
            ("ACME_KEY", "ACME_KEY2", false),
            ("ACME_*", "ACME_KEY", true),
            ("ACME_*", "ACME_", true),
            ("ACME_*", "GLOBEX_KEY", false),
            ("*_KEY", "ACME_KEY", true),
            ("A*B*C", "AxBxC", true),
            ("A*B*C", "AxCxB", false),
            ("A*B*B", "AB", false),
            ("AB*BC", "ABC", false),
            ("a/*/c", "a/b/c", true),
            ("a/*", "a/b/c", false),
            ("*", "a/b", false),
            ("*", "", true),
            ("*", "a\u{1b}[2J", false),
            ("*", "..", false),
            ("a/*", "a/..", false),
            ("a/*/*", "a/b/.", false),
            ("a/*", "a/..%2Fb", false),
            ("a/*", "a/b?c", false),
            ("a:*-*", "a:b-c", true),
            ("*", "\u{e4}", false),
        ] {
            assert_eq!(wildcard_matches(pattern, text), matches, "{pattern} {text}");
        }
    }
}
