//! Checks a request in one walk over its bytes, without allocation.

use super::error::{PayloadError, Rule, Segment};
use super::schema::{ANY_VALUE, Content, FieldRule, KEY_VALUE, REQUEST, RESOURCE_SPANS, SPAN, Schema};
use super::wire;
use crate::backend::is_project_attribute;

/// Field of a resource block before OTLP 1.0.
const INSTRUMENTATION_LIBRARY_SPANS: u32 = 1000;
/// Levels of nested attribute values. A list or a table in an attribute's value is at level 2.
///
/// A table takes three messages a level, so a request nests at most 100 messages: the limit of most
/// protobuf libraries.
pub(super) const MAX_VALUE_LEVELS: u32 = 32;

/// Bytes of a request or a block besides its children. Each part of a split request repeats them.
pub(super) const MAX_OWN_BYTES: usize = 256 << 10;

/// Blocks without spans. All are walked for each part of a split request.
pub(super) const MAX_EMPTY_BLOCKS: usize = 1024;

/// What the walk notes of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Checked {
    pub(super) spans: usize,
    /// Whether a key anywhere in the request chooses a project at a known receiver.
    pub(super) has_project_attribute: bool,
}

/// Checks a request.
pub(super) fn check(request: &[u8]) -> Result<Checked, PayloadError> {
    let mut walk = Walk::default();
    walk.message::<true>(&REQUEST, request)?;
    // A span has at most two blocks of its own.
    if walk.blocks > 2 * walk.spans + MAX_EMPTY_BLOCKS {
        return Err(Rule::EmptyBlocks(MAX_EMPTY_BLOCKS).into());
    }
    Ok(Checked {
        spans: walk.spans,
        has_project_attribute: walk.has_project_attribute,
    })
}

#[derive(Default)]
struct Walk {
    spans: usize,
    /// Blocks with a resource or a scope.
    blocks: usize,
    has_project_attribute: bool,
    /// Level of the current attribute value.
    level: u32,
}

impl Walk {
    /// Checks a message, which may be a request or a block. Recursion is bounded by
    /// [`MAX_VALUE_LEVELS`].
    fn message<const IS_BLOCK: bool>(&mut self, schema: &'static Schema, message: &[u8]) -> Result<(), PayloadError> {
        let (mut seen, mut own_bytes) = (0, 0);
        let mut rest = message;
        while let [tag, after @ ..] = rest {
            let short = schema.of_short_tag(*tag);
            let field = match short_value(short, *tag, after) {
                Some((value, after)) => Ok((short, value, after)),
                None => long_field(schema, rest),
            };
            let (rule, value, after) = match field {
                Ok(field) => field,
                Err(error) => return Err(locate(error, schema, message, rest)),
            };
            let checked = if seen & rule.once == 0 {
                self.content(rule.content, value)
            } else {
                Err(Rule::Repeated.into())
            };
            if let Err(error) = checked {
                return Err(locate(error, schema, message, rest));
            }
            if IS_BLOCK && !matches!(rule.content, Content::Block(_) | Content::Span) {
                own_bytes += rest.len() - after.len();
            }
            seen |= rule.once;
            rest = after;
        }
        if IS_BLOCK && own_bytes > MAX_OWN_BYTES {
            return Err(Rule::OwnBytes(MAX_OWN_BYTES).into());
        }
        if seen & schema.required == schema.required {
            return Ok(());
        }
        Err(missing(schema, seen))
    }

    /// Checks the value of a field.
    #[expect(clippy::inline_always, reason = "a call takes as long as the check of most values")]
    #[inline(always)]
    fn content(&mut self, content: Content, value: &[u8]) -> Result<(), PayloadError> {
        match content {
            Content::Any => Ok(()),
            Content::Text => text(value),
            Content::Message(schema) => self.message::<false>(schema, value),
            Content::Block(schema) => {
                self.blocks += 1;
                self.message::<true>(schema, value)
            }
            Content::KeyValue => match plain_key(value) {
                Some(key) if self.level < MAX_VALUE_LEVELS => {
                    self.has_project_attribute |= is_project_attribute(key);
                    Ok(())
                }
                _ => self.message::<false>(&KEY_VALUE, value),
            },
            Content::Key => {
                self.has_project_attribute |= is_project_attribute(value);
                text(value)
            }
            Content::Value => self.value(value),
            Content::TraceId => id::<16>(value),
            Content::SpanId => id::<8>(value),
            Content::OptionalTraceId => optional_id(16, value),
            Content::OptionalSpanId => optional_id(8, value),
            Content::Span => {
                self.spans += 1;
                self.message::<false>(&SPAN, value)
            }
        }
    }

    fn value(&mut self, value: &[u8]) -> Result<(), PayloadError> {
        if self.level == MAX_VALUE_LEVELS {
            return Err(Rule::Nesting(MAX_VALUE_LEVELS).into());
        }
        self.level += 1;
        self.message::<false>(&ANY_VALUE, value)?;
        self.level -= 1;
        Ok(())
    }
}

/// Splits a field off the start: its rules, its value and the bytes after it.
#[inline(never)]
fn long_field<'a>(
    schema: &'static Schema,
    bytes: &'a [u8],
) -> Result<(&'static FieldRule, &'a [u8], &'a [u8]), PayloadError> {
    let (tag, after) = wire::tag(bytes)?;
    let (value, rest) = wire::value(tag & 7, after)?;
    // A receiver ignores them, so they would be lost although the client got a success.
    if tag >> 3 == INSTRUMENTATION_LIBRARY_SPANS && std::ptr::eq(schema, &raw const RESOURCE_SPANS) {
        return Err(Rule::OldSpans.into());
    }
    let rule = schema.field(tag >> 3);
    if rule.number > 0 && rule.wire != tag & 7 {
        return Err(Rule::WireType {
            expected: rule.wire,
            found: tag & 7,
        }
        .into());
    }
    Ok((rule, value, rest))
}

/// Splits off the value of a known field whose tag and length have one byte each.
#[inline]
fn short_value<'a>(rule: &FieldRule, tag: u8, after: &'a [u8]) -> Option<(&'a [u8], &'a [u8])> {
    if rule.short_tag != Some(tag) {
        return None;
    }
    match (rule.wire, after) {
        (wire::LENGTH, [length, after @ ..]) if *length < 0x80 => after.split_at_checked((*length).into()),
        (wire::VARINT, [number, after @ ..]) if *number < 0x80 => Some((&[], after)),
        (wire::FIXED_64, _) => after.split_at_checked(8),
        _ => None,
    }
}

/// Returns the key of an attribute that has a short key and a short text, boolean or number, in
/// ASCII and nothing else, as most have. Such an attribute is valid.
#[inline]
pub(super) fn plain_key(attribute: &[u8]) -> Option<&[u8]> {
    let [0x0a, length, rest @ ..] = attribute else {
        return None;
    };
    if *length >= 0x80 {
        return None;
    }
    let (key, [0x12, value_length, value @ ..]) = rest.split_at_checked((*length).into())? else {
        return None;
    };
    let is_valid = match value {
        [0x0a, length, text @ ..] if *length < 0x80 => usize::from(*length) == text.len() && is_ascii(attribute),
        [0x10 | 0x18, number] => *number < 0x80 && is_ascii(key),
        [0x18, low, high] => *low >= 0x80 && *high < 0x80 && is_ascii(key),
        [0x21, _, _, _, _, _, _, _, _] => is_ascii(key),
        _ => false,
    };
    (is_valid && usize::from(*value_length) == value.len()).then_some(key)
}

/// Returns whether bytes are ASCII. Takes half the time of the standard library's function for the
/// short texts of attributes, because it has no loop over the bytes that are left.
#[inline]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |all, byte| all | byte) < 0x80;
    };
    let (chunks, _) = bytes.as_chunks::<8>();
    let all = chunks
        .iter()
        .fold(u64::from_ne_bytes(*last), |all, chunk| all | u64::from_ne_bytes(*chunk));
    all & HIGH == 0
}

#[inline]
fn text(value: &[u8]) -> Result<(), PayloadError> {
    if is_ascii(value) || std::str::from_utf8(value).is_ok() {
        return Ok(());
    }
    Err(Rule::Utf8.into())
}

#[inline]
fn id<const N: usize>(value: &[u8]) -> Result<(), PayloadError> {
    match <[u8; N]>::try_from(value) {
        Ok(id) if id != [0; N] => Ok(()),
        Ok(_) => Err(Rule::Zero.into()),
        Err(_) => Err(length(N, value)),
    }
}

#[inline]
fn optional_id(bytes: usize, value: &[u8]) -> Result<(), PayloadError> {
    if value.is_empty() || value.len() == bytes {
        return Ok(());
    }
    Err(length(bytes, value))
}

#[cold]
fn length(expected: usize, value: &[u8]) -> PayloadError {
    let found = value.len();
    Rule::Bytes { expected, found }.into()
}

/// Returns the error of a message without one of its ids: an empty one is not written.
#[cold]
fn missing(schema: &Schema, seen: u32) -> PayloadError {
    let rule = schema.missing(seen).expect("a bit of a required field is missing");
    let expected = if matches!(rule.content, Content::TraceId) {
        16
    } else {
        8
    };
    length(expected, &[]).within(Segment::new(rule.name, None))
}

/// Adds the name of the field that starts at `rest` to its error.
#[cold]
fn locate(error: PayloadError, schema: &Schema, message: &[u8], rest: &[u8]) -> PayloadError {
    let Ok((tag, _)) = wire::tag(rest) else {
        return error;
    };
    let number = tag >> 3;
    let rule = schema.field(number);
    if rule.number == 0 {
        return error.within(Segment::new(format!("field {number}"), None));
    }
    let before = wire::fields(message, 0..message.len() - rest.len());
    let index = (rule.once == 0).then(|| before.filter(|field| field.number == number).count());
    error.within(Segment::new(rule.name, index))
}
