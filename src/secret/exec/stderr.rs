//! What a message repeats of a command's standard error.

use std::ffi::OsString;

use crate::util::printable::is_invisible;

/// How much is read.
pub(super) const MAX_BYTES: usize = 4096;
/// How much is shown.
const MAX_CHARS: usize = 200;
/// Values that are shorter are no secrets, and hiding them would hide half of the text.
const MIN_HIDDEN_CHARS: usize = 4;

/// The start of a text as one line, without characters that steer a terminal, and with `..` for the values of variables. None if nothing is
/// left.
pub(super) fn harmless<'n>(stderr: &[u8], variables: impl Iterator<Item = (&'n str, OsString)>) -> Option<String> {
    let values = variables.map(|(_, value)| one_line(&value.to_string_lossy()));
    let values: Vec<_> = values
        .filter(|value| value.chars().count() >= MIN_HIDDEN_CHARS)
        .collect();
    let mut line = one_line(&String::from_utf8_lossy(stderr));
    if stderr.len() == MAX_BYTES {
        // What is read may end within a value.
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

/// Whether anything was cut off.
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
        harmless(
            stderr.as_bytes(),
            passed.into_iter().map(|(name, value)| (name, value.into())),
        )
    }

    #[test]
    fn characters_that_steer_a_terminal_and_values_that_were_passed_are_left_out() {
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
    fn it_is_bounded_and_the_beginning_of_a_value_at_its_end_is_left_out() {
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
