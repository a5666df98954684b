//! Checks a request in one walk over its bytes, without allocation.

use super::error::{PayloadError, Rule, Segment};
use super::schema::{ANY_VALUE, Content, FieldRule, REQUEST, SPAN, Schema};
use super::wire;

/// Levels of nested attribute values. A list or a table in an attribute's value is at level 2.
///
/// A table takes three messages a level, so a request nests at most 100 messages: the limit of most
/// protobuf libraries.
pub(super) const MAX_VALUE_LEVELS: u32 = 32;

/// Checks a request and returns the number of its spans.
pub(super) fn check(request: &[u8]) -> Result<usize, PayloadError> {
    let mut walk = Walk::default();
    walk.message(&REQUEST, request)?;
    Ok(walk.spans)
}

#[derive(Default)]
struct Walk {
    spans: usize,
    /// Level of the current attribute value.
    level: u32,
}

impl Walk {
    /// Recursion is bounded by [`MAX_VALUE_LEVELS`].
    fn message(&mut self, schema: &'static Schema, message: &[u8]) -> Result<(), PayloadError> {
        let mut seen = 0;
        let mut rest = message;
        while !rest.is_empty() {
            rest = match self.field(schema, rest, &mut seen) {
                Ok(rest) => rest,
                Err(error) => return Err(locate(error, schema, message, rest)),
            };
        }
        if seen & schema.required == schema.required {
            return Ok(());
        }
        Err(missing(schema, seen))
    }

    /// Checks the first field and returns the bytes after it.
    #[inline]
    fn field<'a>(
        &mut self,
        schema: &'static Schema,
        bytes: &'a [u8],
        seen: &mut u32,
    ) -> Result<&'a [u8], PayloadError> {
        let (tag, after) = wire::tag(bytes)?;
        let (value, rest) = wire::value(tag & 7, after)?;
        let Some(rule) = schema.field(tag >> 3) else {
            return Ok(rest);
        };
        if rule.wire != tag & 7 || *seen & rule.once != 0 {
            return Err(misplaced(rule, tag & 7));
        }
        *seen |= rule.once;
        match rule.content {
            Content::Any => {}
            Content::Text => text(value)?,
            Content::Message(schema) => self.message(schema, value)?,
            Content::Value => self.value(value)?,
            Content::TraceId => id::<16>(value)?,
            Content::SpanId => id::<8>(value)?,
            Content::ParentSpanId if value.is_empty() || value.len() == 8 => {}
            Content::ParentSpanId => return Err(length(8, value)),
            Content::Span => {
                self.message(&SPAN, value)?;
                self.spans += 1;
            }
        }
        Ok(rest)
    }

    fn value(&mut self, value: &[u8]) -> Result<(), PayloadError> {
        if self.level == MAX_VALUE_LEVELS {
            return Err(Rule::Nesting(MAX_VALUE_LEVELS).into());
        }
        self.level += 1;
        self.message(&ANY_VALUE, value)?;
        self.level -= 1;
        Ok(())
    }
}

#[inline]
fn text(value: &[u8]) -> Result<(), PayloadError> {
    if value.is_ascii() || std::str::from_utf8(value).is_ok() {
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

#[cold]
fn length(expected: usize, value: &[u8]) -> PayloadError {
    let found = value.len();
    Rule::Bytes { expected, found }.into()
}

/// Returns the error of a known field that has a wrong wire type or is set again.
#[cold]
fn misplaced(rule: &FieldRule, found: u32) -> PayloadError {
    let expected = rule.wire;
    if found == expected {
        return Rule::Repeated.into();
    }
    Rule::WireType { expected, found }.into()
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
    let Some(rule) = schema.field(number) else {
        return error.within(Segment::new(format!("field {number}"), None));
    };
    let before = wire::fields(message, 0..message.len() - rest.len());
    let index = (rule.once == 0).then(|| before.filter(|field| field.number == number).count());
    error.within(Segment::new(rule.name, index))
}
