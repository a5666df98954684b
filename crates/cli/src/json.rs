//! JSON for a terminal: the same values, with every character escaped that could steer it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};
use tracer_registry::text::printable;

use super::outcome::CliError;

/// Writes a document on one line.
pub(super) fn write(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    document(out, value, CompactFormatter)
}

/// Writes a document for people to read.
pub(super) fn write_pretty(out: &mut impl Write, value: &impl Serialize) -> Result<(), CliError> {
    document(out, value, PrettyFormatter::new())
}

fn document(out: &mut impl Write, value: &impl Serialize, layout: impl Formatter) -> Result<(), CliError> {
    value.serialize(&mut Serializer::with_formatter(&mut *out, Escaping(layout)))?;
    writeln!(out)?;
    Ok(())
}

/// A layout whose texts have escapes for what is not printable.
struct Escaping<F>(F);

impl<F: Formatter> Formatter for Escaping<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for c in fragment.chars() {
            let mut bytes = [0; 4];
            let text = &*c.encode_utf8(&mut bytes);
            if c.is_ascii_graphic() || c == ' ' || printable(text).to_string() == text {
                writer.write_all(text.as_bytes())?;
            } else {
                let units = c.encode_utf16(&mut [0; 2]).to_vec();
                units.iter().try_for_each(|unit| write!(writer, "\\u{unit:04x}"))?;
            }
        }
        Ok(())
    }

    fn begin_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_array(writer)
    }

    fn end_array<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array(writer)
    }

    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_array_value(writer, first)
    }

    fn end_array_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_array_value(writer)
    }

    fn begin_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object(writer)
    }

    fn end_object<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object(writer)
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        self.0.begin_object_key(writer, first)
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.begin_object_value(writer)
    }

    fn end_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        self.0.end_object_value(writer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn a_document_is_printable_and_reads_as_what_was_written() {
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
