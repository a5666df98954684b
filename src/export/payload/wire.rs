//! Reads protobuf's wire format (<https://protobuf.dev/programming-guides/encoding/>).

use std::ops::Range;

use super::error::Rule;

pub(super) const VARINT: u32 = 0;
pub(super) const FIXED_64: u32 = 1;
pub(super) const LENGTH: u32 = 2;
pub(super) const FIXED_32: u32 = 5;

/// Field numbers are below this.
const END_OF_NUMBERS: u64 = 1 << 29;

/// Splits a varint off the start.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<(u64, &[u8]), Rule> {
    match bytes {
        [one, rest @ ..] if *one < 0x80 => Ok((u64::from(*one), rest)),
        [one, two, rest @ ..] if *two < 0x80 => Ok((u64::from(*one & 0x7f) | u64::from(*two) << 7, rest)),
        _ => long_varint(bytes),
    }
}

#[inline(never)]
fn long_varint(bytes: &[u8]) -> Result<(u64, &[u8]), Rule> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            let fits = index < 9 || *byte <= 1;
            return if fits {
                Ok((value, &bytes[index + 1..]))
            } else {
                Err(Rule::Varint)
            };
        }
    }
    Err(if bytes.len() < 10 {
        Rule::Truncated
    } else {
        Rule::Varint
    })
}

/// Splits the tag of a field off the start: its number and, in the last three bits, its wire type.
#[inline]
pub(super) fn tag(bytes: &[u8]) -> Result<(u32, &[u8]), Rule> {
    let (tag, rest) = varint(bytes)?;
    let number = tag >> 3;
    if number == 0 || number >= END_OF_NUMBERS {
        return Err(Rule::Number(number));
    }
    Ok((u32::try_from(tag).map_err(|_| Rule::Number(number))?, rest))
}

/// Splits the value of a field off the start, without its length.
#[inline]
pub(super) fn value(wire: u32, bytes: &[u8]) -> Result<(&[u8], &[u8]), Rule> {
    let length = match wire {
        LENGTH => {
            let (length, rest) = varint(bytes)?;
            let split = usize::try_from(length)
                .ok()
                .and_then(|length| rest.split_at_checked(length));
            return split.ok_or(Rule::Length {
                length,
                left: rest.len(),
            });
        }
        VARINT => bytes.len() - varint(bytes)?.1.len(),
        FIXED_64 => 8,
        FIXED_32 => 4,
        3 | 4 => return Err(Rule::Group),
        _ => return Err(Rule::UnknownWireType(wire)),
    };
    bytes.split_at_checked(length).ok_or(Rule::Truncated)
}

/// A field of a message: positions in the buffer with the whole request.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) number: u32,
    /// Tag, length and value.
    pub(super) whole: Range<usize>,
    /// The value, without its length.
    pub(super) value: Range<usize>,
}

/// Iterates over the fields of a message that was checked.
pub(super) fn fields(source: &[u8], message: Range<usize>) -> Fields<'_> {
    Fields {
        message: &source[..message.end],
        at: message.start,
    }
}

pub(super) struct Fields<'a> {
    /// The buffer, up to the end of the message.
    message: &'a [u8],
    at: usize,
}

impl Iterator for Fields<'_> {
    type Item = Field;

    #[inline]
    fn next(&mut self) -> Option<Field> {
        let start = self.at;
        // A message that was not checked ends at its first wrong field.
        let (tag, rest) = tag(&self.message[start..]).ok()?;
        let (value, rest) = value(tag & 7, rest).ok()?;
        self.at = self.message.len() - rest.len();
        Some(Field {
            number: tag >> 3,
            whole: start..self.at,
            value: self.at - value.len()..self.at,
        })
    }
}

/// Appends a varint in its shortest form.
#[expect(clippy::cast_possible_truncation, reason = "seven bits at a time")]
pub(super) fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends the tag and the length of a nested message.
pub(super) fn put_header(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number << 3 | LENGTH));
    put_varint(out, length as u64);
}
