//! JSON in texts: its tokens with their positions, in one pass with a bounded stack.

use std::borrow::Cow;
use std::ops::Range;

/// Deepest nesting of objects and lists.
pub(super) const MAX_DEPTH: usize = 64;

/// Files of some programs start with it, and readers skip it.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// How a text starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Not as JSON: `Hello`, `{name}`, `[INFO]`.
    Text,
    /// As a list of numbers or words, which prose also does: `[1] see below`. JSON if it reads to
    /// the end of the list, or to the first `"` or `{` in it.
    Unsure,
    /// As JSON: `{"`, `{}`, `["`, `[{`, `[[`, `[]`, also with blanks between.
    Json,
}

/// Returns how a text starts after a byte order mark and blanks.
pub(super) fn start(text: &str) -> Start {
    let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
    let mut bytes = text.bytes().filter(|byte| !is_blank(*byte));
    match (bytes.next(), bytes.next()) {
        (Some(b'{'), Some(b'"' | b'}')) | (Some(b'['), Some(b'"' | b'{' | b'[' | b']')) => Start::Json,
        (Some(b'['), Some(b'-' | b'0'..=b'9' | b't' | b'f' | b'n' | b'N' | b'I')) => Start::Unsure,
        _ => Start::Text,
    }
}

/// Returns the position and the content of a text that is one JSON string with JSON in it:
/// `"{\"a\":1}"`.
pub(super) fn in_string(text: &str) -> Option<(Range<usize>, Cow<'_, str>)> {
    const BLANKS: [char; 4] = [' ', '\t', '\n', '\r'];
    let string = text.trim_start_matches(BLANKS);
    let start = text.len() - string.len();
    let string = string.trim_end_matches(BLANKS);
    let content = string.strip_prefix('"')?.strip_suffix('"')?;
    let mut bytes = content.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => _ = bytes.next()?,
            b'"' => return None,
            _ => {}
        }
    }
    let content = decode(content).ok()?;
    (self::start(&content) != Start::Text).then_some((start..start + string.len(), content))
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// A part of a JSON text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Token {
    OpenObject,
    OpenList,
    Close,
    /// The name of a member, with its quotes.
    Name,
    /// A string, with its quotes.
    Text,
    /// A number, `true`, `false`, `null`, or what some programs write instead, such as `NaN`.
    Scalar,
}

/// The text is not JSON, is cut off, or is too deep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// What may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    Value,
    ValueOrEnd,
    Name,
    NameOrEnd,
    CommaOrEnd,
    Nothing,
}

/// Reads the tokens of one object or list.
pub(super) struct Reader<'t> {
    bytes: &'t [u8],
    at: usize,
    expected: Expected,
    /// Whether each open container is an object.
    open: Vec<bool>,
    /// Whether a string or an object was read, so that the text is meant as JSON.
    pub(super) is_sure: bool,
}

impl<'t> Reader<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        Self {
            bytes: text.as_bytes(),
            at: if text.starts_with(BYTE_ORDER_MARK) {
                BYTE_ORDER_MARK.len_utf8()
            } else {
                0
            },
            expected: Expected::Value,
            open: Vec::new(),
            is_sure: false,
        }
    }

    /// Returns the position after the last token.
    pub(super) fn end(&self) -> usize {
        self.at
    }

    /// Returns the next token, or `None` after the end of the object or list.
    pub(super) fn next(&mut self) -> Result<Option<(Token, Range<usize>)>, Malformed> {
        if self.expected == Expected::Nothing {
            return Ok(None);
        }
        self.skip_blanks();
        if self.expected == Expected::CommaOrEnd && self.byte() == Some(b',') {
            self.at += 1;
            self.skip_blanks();
            self.expected = if self.is_in_object() {
                Expected::Name
            } else {
                Expected::Value
            };
        }
        let start = self.at;
        let token = match (self.byte().ok_or(Malformed)?, self.expected) {
            (b'}' | b']', Expected::ValueOrEnd | Expected::NameOrEnd | Expected::CommaOrEnd) => self.close()?,
            (b'"', Expected::Name | Expected::NameOrEnd) => {
                self.string()?;
                self.skip_blanks();
                if self.byte() != Some(b':') {
                    return Err(Malformed);
                }
                let end = self.string_end(start);
                self.at += 1;
                self.expected = Expected::Value;
                return Ok(Some((Token::Name, start..end)));
            }
            (byte, Expected::Value | Expected::ValueOrEnd) => self.value(byte)?,
            _ => return Err(Malformed),
        };
        Ok(Some((token, start..self.at)))
    }

    fn value(&mut self, first: u8) -> Result<Token, Malformed> {
        let token = match first {
            b'{' | b'[' => {
                if self.open.len() == MAX_DEPTH {
                    self.is_sure = true;
                    return Err(Malformed);
                }
                let is_object = first == b'{';
                self.is_sure |= is_object;
                self.open.push(is_object);
                self.at += 1;
                self.expected = if is_object {
                    Expected::NameOrEnd
                } else {
                    Expected::ValueOrEnd
                };
                return Ok(if is_object { Token::OpenObject } else { Token::OpenList });
            }
            b'"' => {
                self.string()?;
                Token::Text
            }
            _ => {
                let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+' | b'.');
                let length = self.bytes[self.at..].iter().take_while(|byte| is_part(byte)).count();
                if length == 0 {
                    return Err(Malformed);
                }
                self.at += length;
                Token::Scalar
            }
        };
        self.expected = Expected::CommaOrEnd;
        Ok(token)
    }

    fn close(&mut self) -> Result<Token, Malformed> {
        let is_object = self.byte() == Some(b'}');
        if self.open.pop() != Some(is_object) {
            return Err(Malformed);
        }
        self.at += 1;
        self.expected = if self.open.is_empty() {
            Expected::Nothing
        } else {
            Expected::CommaOrEnd
        };
        Ok(Token::Close)
    }

    /// Reads a string. Its escapes are checked when it is decoded.
    fn string(&mut self) -> Result<(), Malformed> {
        self.is_sure = true;
        loop {
            self.at += 1;
            match self.byte().ok_or(Malformed)? {
                b'\\' => self.at += 1,
                b'"' => break,
                _ => {}
            }
        }
        self.at += 1;
        Ok(())
    }

    /// Returns the end of the string that was read last, before blanks.
    fn string_end(&self, start: usize) -> usize {
        let blanks = self.bytes[start..self.at]
            .iter()
            .rev()
            .take_while(|byte| is_blank(**byte));
        self.at - blanks.count()
    }

    fn skip_blanks(&mut self) {
        let blanks = self.bytes[self.at..].iter().take_while(|byte| is_blank(**byte));
        self.at += blanks.count();
    }

    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn is_in_object(&self) -> bool {
        self.open.last() == Some(&true)
    }
}

/// Decodes a string, given without its quotes. Half of a surrogate pair becomes `U+FFFD`.
pub(super) fn decode(string: &str) -> Result<Cow<'_, str>, Malformed> {
    let Some(first) = string.find('\\') else {
        return Ok(Cow::Borrowed(string));
    };
    let mut text = String::with_capacity(string.len());
    text.push_str(&string[..first]);
    let mut rest = &string[first..];
    while let Some(escape) = rest.strip_prefix('\\') {
        let (length, character) = decode_escape(escape.as_bytes())?;
        text.push(character);
        let tail = &escape[length..];
        let next = tail.find('\\').unwrap_or(tail.len());
        text.push_str(&tail[..next]);
        rest = &tail[next..];
    }
    Ok(Cow::Owned(text))
}

/// Returns the length and the character of an escape, given without its `\`.
fn decode_escape(escape: &[u8]) -> Result<(usize, char), Malformed> {
    let character = match escape.first().ok_or(Malformed)? {
        b'n' => '\n',
        b'r' => '\r',
        b't' => '\t',
        b'b' => '\u{8}',
        b'f' => '\u{c}',
        sign @ (b'"' | b'\\' | b'/') => char::from(*sign),
        b'u' => {
            let first = hex(&escape[1..]).ok_or(Malformed)?;
            let second = escape[5..].strip_prefix(b"\\u").and_then(hex);
            if let (0xd800..=0xdbff, Some(second @ 0xdc00..=0xdfff)) = (first, second) {
                let code = 0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff);
                return Ok((11, char::from_u32(code).ok_or(Malformed)?));
            }
            return Ok((5, char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER)));
        }
        _ => return Err(Malformed),
    };
    Ok((1, character))
}

/// Reads four hexadecimal digits.
fn hex(digits: &[u8]) -> Option<u32> {
    let value = |value, digit: &u8| Some(value * 16 + char::from(*digit).to_digit(16)?);
    digits.get(..4)?.iter().try_fold(0, value)
}

/// Returns the JSON string of a text.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens(text: &str) -> Result<Vec<(Token, &str)>, Malformed> {
        let mut reader = Reader::new(text);
        let mut tokens = Vec::new();
        while let Some((token, range)) = reader.next()? {
            tokens.push((token, &text[range]));
        }
        Ok(tokens)
    }

    #[test]
    fn json_starts_with_a_brace_and_a_quote_and_prose_does_not() {
        for (text, expected) in [
            (r#"{"a":1}"#, Start::Json),
            (" \n{ \"a", Start::Json),
            ("{}", Start::Json),
            ("[]", Start::Json),
            ("[[1]]", Start::Json),
            (r#"["a"]"#, Start::Json),
            ("[{", Start::Json),
            ("[1, 2]", Start::Unsure),
            ("[null]", Start::Unsure),
            ("[2026-01-01] started", Start::Unsure),
            ("[INFO] started", Start::Unsure),
            ("[info] started", Start::Text),
            ("[WARN] started", Start::Text),
            ("{name} is here", Start::Text),
            ("{{name}} is here", Start::Text),
            ("{'a': 1}", Start::Text),
            ("{", Start::Text),
            ("", Start::Text),
            (r#""a""#, Start::Text),
        ] {
            assert_eq!(start(text), expected, "{text}");
        }
    }

    #[test]
    fn tokens_have_their_positions() {
        use Token::{Close, Name, OpenList, OpenObject, Scalar, Text};
        let expected = vec![
            (OpenObject, "{"),
            (Name, r#""a""#),
            (OpenList, "["),
            (Scalar, "1.50"),
            (Text, r#""\"]""#),
            (Scalar, "null"),
            (Close, "]"),
            (Name, r#""a""#),
            (OpenObject, "{"),
            (Close, "}"),
            (Close, "}"),
        ];
        assert_eq!(tokens(r#" { "a" : [1.50,"\"]" , null] , "a":{}} tail"#), Ok(expected));
        for text in [
            "",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[1 2]",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,}",
            "{a:1}",
            "[}",
            "{]",
            "[\"",
            "[\"\\",
            "[\"\\\"",
            "{\"a\" 1}",
            "{,}",
            "[,]",
            "[:]",
            "[1}",
        ] {
            assert_eq!(tokens(text), Err(Malformed), "{text}");
        }
    }

    #[test]
    fn nesting_is_bounded() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(tokens(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(tokens(&nested(MAX_DEPTH + 1)), Err(Malformed));
    }

    #[test]
    fn strings_are_decoded() {
        assert_eq!(
            decode(r#"a\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00z"#).as_deref(),
            Ok("a\"\\/\u{8}\u{c}\n\r\té😀z")
        );
        assert_eq!(decode(r"\ud83dx\ude00").as_deref(), Ok("\u{fffd}x\u{fffd}"));
        for string in ["\\", r"\x41", r"\u12", r"\u12é", r"\ud83d\u12"] {
            assert!(decode(string).is_err() || string.starts_with(r"\ud83d"), "{string}");
        }
    }

    proptest! {
        #[test]
        fn a_decoded_string_is_the_text_that_was_quoted(text in any::<String>()) {
            let quoted = quoted(&text);
            let decoded = decode(&quoted[1..quoted.len() - 1]);
            prop_assert_eq!(decoded.as_deref(), Ok(&*text));
        }

        #[test]
        fn any_text_is_read_without_a_panic(text in r#"[\[\]{}":,\\u0-9a ]{0,40}"#) {
            let _ = tokens(&text);
            let _ = decode(&text);
        }

        #[test]
        fn what_serde_reads_is_json(text in r#"[\[{][\[\]{}":,1a]{0,12}"#) {
            if serde_json::from_str::<serde_json::Value>(&text).is_ok() {
                prop_assert!(tokens(&text).is_ok());
                prop_assert_ne!(start(&text), Start::Text);
            }
        }
    }
}
