//! An OTLP trace request, read just far enough to count its spans and see when they ended.
//!
//! Fields by number, as opentelemetry-proto 1 has them: the request's `resource_spans` 1, their `scope_spans` 2, their `spans` 2, a span's
//! `end_time_unix_nano` 8.

/// Calls `span` with the end of each span of a request, in nanoseconds of the clock. Stops where the bytes make no sense.
pub(crate) fn spans(request: &[u8], span: &mut impl FnMut(u64)) {
    each(request, 1, &mut |resource| {
        each(resource, 2, &mut |scope| {
            each(scope, 2, &mut |one| span(end(one).unwrap_or_default()));
        });
    });
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Fixed64(u64),
    Other,
}

/// The parts of a message that are messages themselves, with a given number.
fn each<'a>(mut message: &'a [u8], wanted: u64, part: &mut impl FnMut(&'a [u8])) {
    while let Some((number, value)) = field(&mut message) {
        if let Value::Bytes(bytes) = value
            && number == wanted
        {
            part(bytes);
        }
    }
}

fn end(mut span: &[u8]) -> Option<u64> {
    while let Some((number, value)) = field(&mut span) {
        if let (8, Value::Fixed64(nanos)) = (number, value) {
            return Some(nanos);
        }
    }
    None
}

fn field<'a>(rest: &mut &'a [u8]) -> Option<(u64, Value<'a>)> {
    let tag = varint(rest)?;
    let value = match tag & 7 {
        0 => {
            varint(rest)?;
            Value::Other
        }
        1 => {
            let (bytes, after) = rest.split_first_chunk::<8>()?;
            *rest = after;
            Value::Fixed64(u64::from_le_bytes(*bytes))
        }
        2 => {
            let len = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(len)?;
            *rest = after;
            Value::Bytes(bytes)
        }
        5 => {
            *rest = rest.get(4..)?;
            Value::Other
        }
        _ => return None,
    };
    Some((tag >> 3, value))
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
