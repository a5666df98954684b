//! Sanitizes a command's standard error for messages.

use std::ffi::OsString;

use crate::util::printable::is_invisible;

/// Maximum bytes read.
pub(super) const MAX_BYTES: usize = 4096;
/// Maximum characters shown.
const MAX_CHARS: usize = 200;
/// Minimum length of a value to hide. Shorter values are not secrets, and hiding them would mangle
/// the text.
const MIN_HIDDEN_CHARS: usize = 4;

/// Returns the start of a text as one line, without terminal control characters and with `..` in
/// place of the variables' values. Returns `None` if nothing is left.
pub(super) fn sanitized<'n>(stderr: &[u8], variables: impl Iterator<Item = (&'n str, OsString)>) -> Option<String> {
    let values = variables.map(|(_, value)| one_line(&value.to_string_lossy()));
    let values: Vec<_> = values
        .filter(|value| value.chars().count() >= MIN_HIDDEN_CHARS)
        .collect();
    let mut line = one_line(&String::from_utf8_lossy(stderr));
    if stderr.len() == MAX_BYTES {
        // The read may have ended within a value.
        let longest = values.iter().map(|value| value.chars().count()).max();
        let known = line.chars().count().saturating_sub(longest.unwrap_or_default());
        truncate(&mut line, known);
    }
    for value in values {
        line = line.replace(&value, "..");
    }
    if truncate(&mut line, MAX_CHARS) {
        line.push_str("..");
    }
    (!line.is_empty()).then_some(line)
}

/// Shortens the text to `chars` characters. Returns whether it was longer.
fn truncate(text: &mut String, chars: usize) -> bool {
    let end = text.char_indices().nth(chars);
    if let Some((end, _)) = end {
        text.truncate(end);
    }
    end.is_some()
}

fn one_line(text: &str) -> String {
    let shown: String = text
        .chars()
        .filter(|c| !is_invisible(*c))
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let words: Vec<&str> = shown.split_whitespace().collect();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(stderr: &str) -> Option<String> {
        let passed = [("VAULT_TOKEN", "hvs.canary token"), ("DEBUG", "1")];
        sanitized(
            stderr.as_bytes(),
            passed.into_iter().map(|(name, value)| (name, value.into())),
        )
    }

    #[test]
    fn terminal_controls_and_passed_values_are_removed() {
        for (stderr, expected) in [
            ("", None),
            ("\n \u{202e}\u{200b}\n", None),
            ("permission denied\n1 more\n", Some("permission denied 1 more")),
            (
                "\u{1b}[2J\u{7}red\u{202e}der\u{2069}\r\nx\u{9b}y",
                Some("[2J redder x y"),
            ),
            ("token hvs.canary token is old", Some("token .. is old")),
            ("token hvs.ca\u{200b}nary\n token is old", Some("token .. is old")),
        ] {
            assert_eq!(shown(stderr).as_deref(), expected, "{stderr:?}");
        }
    }

    #[test]
    fn the_text_is_bounded_and_a_truncated_value_at_its_end_is_removed() {
        let long = shown(&"é".repeat(5000)).expect("shown");
        assert_eq!(long.chars().count(), MAX_CHARS + 2);
        for kept in ["hvs", "hvs.canary", "hvs.canary tok"] {
            let blanks = " ".repeat(MAX_BYTES - "error".len() - kept.len());
            let cut = shown(&format!("error{blanks}{kept}")).unwrap_or_default();
            assert!(!cut.contains("hvs"), "{cut}");
        }
        let full = "error ".repeat(MAX_BYTES / 6 + 1);
        assert!(shown(&full[..MAX_BYTES]).is_some_and(|cut| cut.starts_with("error error")));
    }
}
