//! Encodings of messages, and bounded inflation.

use std::io::{self, Read};

use bytes::Bytes;
use flate2::bufread::GzDecoder;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, HeaderName};
use tokio::task::yield_now;

use super::buffer::Buffer;
use crate::answer::{Format, Refusal};
use crate::budget::Reserved;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");

/// Bytes that are inflated without a pause: a fraction of a millisecond.
const SLICE_BYTES: usize = 64 * 1024;
/// A member costs as much time as thousands of bytes, so a body of empty ones would take seconds.
const MAX_MEMBERS: usize = 1000;
/// Largest window of a zstd frame, as RFC 8878, 3.1.1.1.2 recommends: 8 MiB.
const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Encoding of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// A message without its encoding.
#[derive(Debug)]
pub(super) struct Inflated {
    pub(super) message: Bytes,
    /// The message as one gzip member, if it came so.
    pub(super) gzip: Option<Bytes>,
}

impl Encoding {
    /// Returns the encoding that the headers state. In gRPC it holds for compressed messages.
    ///
    /// # Errors
    /// If it is unknown, or if there are several.
    pub(super) fn of(format: Format, headers: &HeaderMap) -> Result<Self, Refusal> {
        let name = if format == Format::Grpc {
            GRPC_ENCODING
        } else {
            CONTENT_ENCODING
        };
        let mut values = headers.get_all(name).iter();
        let (first, second) = (values.next(), values.next());
        if second.is_some() {
            return Err(Refusal::unsupported(
                "the body has several encodings: use one of gzip and zstd",
            ));
        }
        match first.map(|value| value.as_bytes().trim_ascii()) {
            None | Some(b"") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case(b"identity") => Ok(Self::Identity),
            Some(name) if name.eq_ignore_ascii_case(b"gzip") || name.eq_ignore_ascii_case(b"x-gzip") => Ok(Self::Gzip),
            Some(name) if name.eq_ignore_ascii_case(b"zstd") => Ok(Self::Zstd),
            Some(_) => Err(Refusal::unsupported("unsupported encoding: use gzip, zstd or identity")),
        }
    }

    /// Returns the encoding of a gRPC message, whose frame states whether it is compressed.
    ///
    /// # Errors
    /// If it is compressed and the headers state no encoding.
    pub(super) fn of_message(self, is_compressed: bool) -> Result<Self, Refusal> {
        match (is_compressed, self) {
            (false, _) => Ok(Self::Identity),
            (true, Self::Identity) => Err(Refusal::malformed(
                "the message is compressed, but grpc-encoding is missing",
            )),
            (true, encoding) => Ok(encoding),
        }
    }

    /// Inflates a message. Pauses often, so that a large message does not delay other requests.
    ///
    /// # Errors
    /// If the message is malformed or too large, or if there is no memory for it.
    pub(super) async fn inflate(
        self,
        message: Bytes,
        limit: usize,
        reserved: &mut Reserved,
    ) -> Result<Inflated, Refusal> {
        // Some clients do not encode an empty message.
        if self == Self::Identity || message.is_empty() {
            return Ok(Inflated { message, gzip: None });
        }
        let mut buffer = Buffer::new(limit, reserved);
        if self == Self::Zstd {
            // The decoder's window repeats what it wrote.
            buffer = buffer.doubly_reserved();
        }
        let (mut rest, mut members) = (&message[..], 0);
        while !rest.is_empty() {
            if members == MAX_MEMBERS {
                return Err(Refusal::malformed(format!(
                    "the body has more than {MAX_MEMBERS} compressed members"
                )));
            }
            members += 1;
            rest = match self {
                Self::Zstd => inflate_member(zstd_decoder(rest)?, zstd::Decoder::finish, &mut buffer).await?,
                _ => inflate_member(GzDecoder::new(rest), GzDecoder::into_inner, &mut buffer).await?,
            };
        }
        let inflated = buffer.into_bytes();
        let gzip = (self == Self::Gzip && members == 1).then_some(message);
        Ok(Inflated {
            message: inflated,
            gzip,
        })
    }
}

/// Appends a member to the buffer, and returns what follows it.
async fn inflate_member<'m, D: Read>(
    mut decoder: D,
    rest: impl FnOnce(D) -> &'m [u8],
    buffer: &mut Buffer<'_>,
) -> Result<&'m [u8], Refusal> {
    let mut slice = vec![0; SLICE_BYTES];
    loop {
        let read =
            fill(&mut decoder, &mut slice).map_err(|_| Refusal::malformed("the compressed body is malformed"))?;
        buffer.append(&slice[..read])?;
        if read < SLICE_BYTES {
            return Ok(rest(decoder));
        }
        yield_now().await;
    }
}

/// Reads until the slice is full or the member ends.
fn fill(decoder: &mut impl Read, slice: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < slice.len() {
        match decoder.read(&mut slice[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn zstd_decoder(frames: &[u8]) -> Result<zstd::Decoder<'static, &[u8]>, Refusal> {
    let decoder = zstd::Decoder::with_buffer(frames).and_then(|mut decoder| {
        decoder.window_log_max(MAX_ZSTD_WINDOW_LOG)?;
        Ok(decoder.single_frame())
    });
    decoder.map_err(|_| Refusal::unavailable("the gateway has no memory for this request now"))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::sync::Arc;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;
    use crate::answer::RefusalKind;
    use crate::budget::Budget;

    const LIMIT: usize = 1 << 20;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn inflate(encoding: Encoding, message: &[u8]) -> Result<Inflated, Refusal> {
        let mut reserved = Budget::new(4 * LIMIT).reservation(&Arc::default());
        encoding
            .inflate(Bytes::copy_from_slice(message), LIMIT, &mut reserved)
            .await
    }

    #[tokio::test]
    async fn each_encoding_returns_the_bytes_that_were_encoded() {
        let text = b"some spans".repeat(20_000);
        let encoded = [
            (Encoding::Identity, text.clone()),
            (Encoding::Gzip, gzip(&text)),
            (Encoding::Zstd, zstd::encode_all(&text[..], 3).unwrap()),
        ];
        for (encoding, message) in encoded {
            let inflated = inflate(encoding, &message).await.unwrap();
            assert!(inflated.message == text, "{encoding:?}");
            assert_eq!(inflated.gzip.is_some(), encoding == Encoding::Gzip);
        }
    }

    #[tokio::test]
    async fn several_members_are_joined_and_not_kept_as_gzip() {
        let members = [gzip(b"one"), gzip(b""), gzip(b"two")].concat();
        let inflated = inflate(Encoding::Gzip, &members).await.unwrap();
        assert_eq!(inflated.message, "onetwo");
        assert!(inflated.gzip.is_none());
        let frames = [
            zstd::encode_all(&b"one"[..], 1).unwrap(),
            zstd::encode_all(&b"two"[..], 1).unwrap(),
        ]
        .concat();
        assert_eq!(inflate(Encoding::Zstd, &frames).await.unwrap().message, "onetwo");
    }

    #[tokio::test]
    async fn cut_changed_and_trailing_bytes_are_malformed() {
        let whole = gzip(b"some spans");
        let mut checksum = whole.clone();
        *checksum.iter_mut().nth_back(5).unwrap() ^= 1;
        let zstd = zstd::encode_all(&b"some spans"[..], 1).unwrap();
        let cases = [
            (Encoding::Gzip, whole[..whole.len() - 1].to_vec()),
            (Encoding::Gzip, checksum),
            (Encoding::Gzip, [&whole[..], b"x"].concat()),
            (Encoding::Gzip, [&whole[..], b"\0\0\0"].concat()),
            (Encoding::Gzip, b"plain".to_vec()),
            (Encoding::Zstd, zstd[..zstd.len() - 1].to_vec()),
            (Encoding::Zstd, [&zstd[..], b"x"].concat()),
            (Encoding::Zstd, b"plain".to_vec()),
        ];
        for (encoding, message) in cases {
            let refusal = inflate(encoding, &message).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed, "{encoding:?} {message:?}");
        }
    }

    #[tokio::test]
    async fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; 64 * LIMIT];
        for (encoding, bomb) in [
            (Encoding::Gzip, gzip(&zeros)),
            (Encoding::Zstd, zstd::encode_all(&zeros[..], 3).unwrap()),
        ] {
            assert!(bomb.len() < LIMIT / 4);
            assert_eq!(
                inflate(encoding, &bomb).await.unwrap_err().kind,
                RefusalKind::TooLarge,
                "{encoding:?}"
            );
        }
    }

    #[tokio::test]
    async fn a_body_of_empty_members_is_refused() {
        for (encoding, empty) in [
            (Encoding::Gzip, gzip(b"")),
            (Encoding::Zstd, zstd::encode_all(&b""[..], 1).unwrap()),
        ] {
            inflate(encoding, &empty.repeat(MAX_MEMBERS)).await.unwrap();
            let refusal = inflate(encoding, &empty.repeat(MAX_MEMBERS + 1)).await.unwrap_err();
            assert_eq!(refusal.kind, RefusalKind::Malformed);
        }
    }

    #[tokio::test]
    async fn inflated_bytes_are_reserved() {
        let budget = Budget::new(10_000);
        let mut reserved = budget.reservation(&Arc::default());
        let message = Bytes::from(gzip(&vec![0; 20_000]));
        let refusal = Encoding::Gzip.inflate(message, LIMIT, &mut reserved).await.unwrap_err();
        assert_eq!(refusal, Refusal::no_memory());
    }

    #[test]
    fn several_and_unknown_encodings_are_unsupported() {
        let headers = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_ENCODING, value.parse().unwrap());
            }
            headers
        };
        let of = |values: &[&str]| Encoding::of(Format::Protobuf, &headers(values));
        assert_eq!(of(&[]), Ok(Encoding::Identity));
        assert_eq!(of(&["GZip"]), Ok(Encoding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Encoding::Zstd));
        for unsupported in [
            &["gzip, gzip"][..],
            &["gzip", "gzip"],
            &["deflate"],
            &["br"],
            &["snappy"],
        ] {
            assert_eq!(
                of(unsupported).unwrap_err().kind,
                RefusalKind::UnsupportedType,
                "{unsupported:?}"
            );
        }
    }
}
