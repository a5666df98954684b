//! Frames of gRPC: one message, with its compression and length.

use bytes::Bytes;

use crate::answer::Refusal;

/// One byte for the compression, and four for the length.
pub(super) const PREFIX_BYTES: usize = 5;

/// Returns the length of the whole frame, once its prefix has arrived.
pub(super) fn announced(received: &[u8]) -> Option<usize> {
    let [_, length @ ..] = *received.first_chunk::<PREFIX_BYTES>()?;
    usize::try_from(u32::from_be_bytes(length))
        .ok()?
        .checked_add(PREFIX_BYTES)
}

/// Returns the only message of a body, and whether it is compressed.
///
/// # Errors
/// If the body is not exactly one frame.
pub(super) fn unframe(body: &Bytes) -> Result<(bool, Bytes), Refusal> {
    if announced(body) != Some(body.len()) {
        return Err(Refusal::malformed("the body is not exactly one gRPC message"));
    }
    let is_compressed = match body[0] {
        0 => false,
        1 => true,
        _ => {
            return Err(Refusal::malformed(
                "the compression flag of the gRPC message is neither 0 nor 1",
            ));
        }
    };
    Ok((is_compressed, body.slice(PREFIX_BYTES..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_one_frame_is_a_message() {
        let frame = |bytes: &'static [u8]| unframe(&Bytes::from_static(bytes));
        assert_eq!(frame(b"\x01\0\0\0\x02ab").unwrap(), (true, Bytes::from_static(b"ab")));
        assert_eq!(frame(b"\0\0\0\0\0").unwrap(), (false, Bytes::new()));
    }

    #[test]
    fn cut_several_and_unknown_frames_are_refused() {
        for body in [
            &b""[..],
            b"\0\0\0\0",
            b"\0\0\0\0\x03ab",
            b"\0\0\0\0\x01ab",
            b"\0\0\0\0\0\0\0\0\0\0",
            b"\x02\0\0\0\0",
            b"\0\xff\xff\xff\xff",
        ] {
            unframe(&Bytes::from_static(body)).unwrap_err();
        }
    }
}
