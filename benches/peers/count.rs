//! Parses an OTLP trace request just enough to count its spans and read their ids and end times.
//!
//! Field numbers of opentelemetry-proto 1: `resource_spans` 1, `scope_spans` 2, `spans` 2, and a
//! span's `span_id` 2 and `end_time_unix_nano` 8.

/// Calls `span` with the id and the end time (Unix time in nanoseconds) of each span of a request.
/// Stops at invalid bytes.
pub(crate) fn spans(request: &[u8], span: &mut impl FnMut(u64, u64)) {
    each(request, 1, &mut |resource| {
        each(resource, 2, &mut |scope| {
            each(scope, 2, &mut |one| {
                let (id, end) = read(one);
                span(id, end);
            });
        });
    });
}

enum Value<'a> {
    Bytes(&'a [u8]),
    Fixed64(u64),
    Other,
}

/// Calls `part` for each submessage with field number `wanted`.
fn each<'a>(mut message: &'a [u8], wanted: u64, part: &mut impl FnMut(&'a [u8])) {
    while let Some((number, value)) = field(&mut message) {
        if let Value::Bytes(bytes) = value
            && number == wanted
        {
            part(bytes);
        }
    }
}

/// Returns a span's id and end time.
fn read(mut span: &[u8]) -> (u64, u64) {
    let mut id = 0;
    while let Some((number, value)) = field(&mut span) {
        match (number, value) {
            (2, Value::Bytes(bytes)) => id = bytes.try_into().map_or(0, u64::from_be_bytes),
            (8, Value::Fixed64(nanos)) => return (id, nanos),
            _ => {}
        }
    }
    (id, 0)
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
