//! JSON for a terminal: the same values, with every character escaped that could control it.

use std::io::Write;

use serde::Serialize;
use tracer_registry::text::printable;

use super::error::CliError;

/// Writes a document as one line.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    Ok(writeln!(out, "{}", escaped(&serde_json::to_string(value)?))?)
}

/// Writes an indented document.
pub(super) fn write_pretty(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    Ok(writeln!(out, "{}", escaped(&serde_json::to_string_pretty(value)?))?)
}

/// Escapes characters that are not printable. They occur only inside strings: outside of them JSON
/// has printable characters and line breaks, and a line break in a string is already escaped.
fn escaped(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        let is_printable = c == '\n' || c == ' ' || c.is_ascii_graphic();
        if is_printable || printable(c.encode_utf8(&mut [0; 4])).to_string().starts_with(c) {
            escaped.push(c);
        } else {
            let units = c.encode_utf16(&mut [0; 2]).to_vec();
            escaped.extend(units.iter().map(|unit| format!("\\u{unit:04x}")));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn written_documents_are_printable_and_parse_to_the_same_value() {
        let value = json!({
            "a\u{202e}\u{9b}": "\u{1b}[31m\r\n\u{7f}\u{200b}\u{e0041}", "plain": ["Grüße", 1, 1.5, null, true, {}], "quoted": "\"\\"
        });
        for pretty in [false, true] {
            let mut bytes = Vec::new();
            if pretty {
                write_pretty(&mut bytes, &value).unwrap();
            } else {
                write(&mut bytes, &value).unwrap();
            }
            let text = String::from_utf8(bytes).unwrap();
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
            let shown: Vec<&str> = text.lines().collect();
            assert!(
                shown.iter().all(|line| printable(line).to_string() == *line),
                "{text:?}"
            );
            assert!(text.contains("Grüße"), "{text}");
            let expected = if pretty {
                serde_json::to_string_pretty(&value["plain"])
            } else {
                serde_json::to_string(&value["plain"])
            };
            let flat = |text: &str| text.replace([' ', '\n'], "");
            assert!(flat(&text).contains(&flat(&expected.unwrap())), "{text}");
        }
    }
}
