//! Reads and decompresses a request's body, both up to the same limit.

use std::io::{self, Read};
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use flate2::bufread::GzDecoder;
use flate2::read::ZlibDecoder;
use futures_util::StreamExt as _;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::time::timeout;

use super::answer::Refusal;
use super::grpc;
use crate::model::Format;
use crate::server::budget::Held;

/// Part of a too large body that is read and discarded, as a multiple of the limit. If the response
/// came while the client still writes, it would see a broken connection instead.
const DISCARD_FACTOR: usize = 4;

/// Time limit of a whole body, as a multiple of the limit of each part.
const WHOLE_BODY_FACTOR: u32 = 10;

/// A member costs as much time as thousands of bytes, so a body of empty ones would take many
/// seconds.
const MAX_GZIP_MEMBERS: usize = 1000;

#[cfg(feature = "zstd")]
const SUPPORTED: &str = "gzip, deflate, zstd or identity";
#[cfg(not(feature = "zstd"))]
const SUPPORTED: &str = "gzip, deflate or identity";

/// Reads the body without decompressing it. The bytes count against the budget.
///
/// Each part must arrive within `part_timeout`, and the whole body within [`WHOLE_BODY_FACTOR`]
/// times as much.
pub(crate) async fn collect(
    body: Body,
    limit_bytes: usize,
    part_timeout: Duration,
    held: &mut Held,
) -> Result<Bytes, Refusal> {
    let whole = read(body, limit_bytes, part_timeout, held);
    let whole = timeout(part_timeout.saturating_mul(WHOLE_BODY_FACTOR), whole).await;
    whole.unwrap_or_else(|_| Err(Refusal::late()))
}

async fn read(body: Body, limit_bytes: usize, part_timeout: Duration, held: &mut Held) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut refusal = None;
    let mut discarded = 0;
    while let Some(chunk) = timeout(part_timeout, stream.next())
        .await
        .map_err(|_| Refusal::late())?
    {
        let chunk = chunk.map_err(|error| Refusal::bad_request(format!("cannot read the body: {error}")))?;
        if refusal.is_none() {
            if whole.len() + chunk.len() > limit_bytes {
                refusal = Some(Refusal::too_large(limit_bytes));
            } else if held.grow(chunk.len()) {
                whole.extend_from_slice(&chunk);
                continue;
            } else {
                refusal = Some(Refusal::busy());
            }
            whole = BytesMut::new();
            held.release();
        }
        discarded += chunk.len();
        if discarded > limit_bytes.saturating_mul(DISCARD_FACTOR) {
            break;
        }
    }
    match refusal {
        Some(refusal) => Err(refusal),
        None => Ok(whole.freeze()),
    }
}

/// Compression of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// Returns the message of a body without its gRPC frame, and its compression.
pub(crate) fn message(headers: &HeaderMap, body: &Bytes) -> Result<(Coding, Bytes), Refusal> {
    let (coding, message) = if grpc::is_grpc(headers) {
        grpc::unframe(headers, body)?
    } else {
        (headers.get(CONTENT_ENCODING), body.clone())
    };
    let coding = Coding::named(coding.map_or(b"", HeaderValue::as_bytes))?;
    // Some clients do not compress an empty message.
    let coding = if message.is_empty() { Coding::Identity } else { coding };
    Ok((coding, message))
}

impl Coding {
    fn named(name: &[u8]) -> Result<Self, Refusal> {
        let name = name.trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            #[cfg(feature = "zstd")]
            b"zstd" => Ok(Self::Zstd),
            _ => Err(Refusal::unsupported(format!(
                "unsupported content encoding {:?}: use {SUPPORTED}",
                String::from_utf8_lossy(name)
            ))),
        }
    }

    /// Decompresses a message. Blocks the thread.
    pub(crate) fn decompress(self, message: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
        let mut whole = Vec::new();
        match self {
            Self::Identity => return Ok(message.clone()),
            Self::Gzip => gunzip(message, limit_bytes, &mut whole)?,
            Self::Deflate => inflate("deflate", ZlibDecoder::new(&message[..]), limit_bytes, &mut whole)?,
            #[cfg(feature = "zstd")]
            Self::Zstd => inflate("zstd", zstd_decoder(message, limit_bytes)?, limit_bytes, &mut whole)?,
        }
        Ok(whole.into())
    }
}

/// Decompresses one or several gzip members.
fn gunzip(message: &[u8], limit_bytes: usize, whole: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut rest = message;
    for _ in 0..MAX_GZIP_MEMBERS {
        let mut member = GzDecoder::new(rest);
        inflate("gzip", &mut member, limit_bytes, whole)?;
        rest = member.into_inner();
        if rest.is_empty() {
            return Ok(());
        }
    }
    Err(Refusal::bad_request(format!(
        "body has more than {MAX_GZIP_MEMBERS} gzip members"
    )))
}

/// Creates a zstd decoder. A frame requests memory for its window: the decoder allows as much as
/// the limit, and at least the minimum that RFC 8878, 3.1.1.1.2 recommends.
#[cfg(feature = "zstd")]
fn zstd_decoder(body: &[u8], limit_bytes: usize) -> Result<impl Read, Refusal> {
    const MIN_WINDOW_LOG: u32 = 23;
    const MAX_WINDOW_LOG: u32 = 27;
    let window = limit_bytes.checked_next_power_of_two().map_or(u32::MAX, usize::ilog2);
    let decoder = zstd::Decoder::with_buffer(body).and_then(|mut decoder| {
        decoder.window_log_max(window.clamp(MIN_WINDOW_LOG, MAX_WINDOW_LOG))?;
        Ok(decoder)
    });
    decoder.map_err(|error| Refusal::bad_request(format!("invalid zstd body: {error}")))
}

/// Reads from the decoder, and stops one byte over the limit.
fn inflate(name: &str, decoder: impl Read, limit_bytes: usize, whole: &mut Vec<u8>) -> Result<(), Refusal> {
    let stop = limit_bytes.saturating_add(1).saturating_sub(whole.len());
    let refusal = |error: io::Error| Refusal::bad_request(format!("invalid {name} body: {error}"));
    let stop = u64::try_from(stop).unwrap_or(u64::MAX);
    decoder.take(stop).read_to_end(whole).map_err(refusal)?;
    if whole.len() > limit_bytes {
        Err(Refusal::too_large(limit_bytes))
    } else {
        Ok(())
    }
}

/// Content type of a request.
#[derive(Clone)]
pub(crate) enum ContentType {
    Known(Format),
    Missing,
    Other(String),
}

impl ContentType {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let Some(value) = headers.get(CONTENT_TYPE) else {
            return Self::Missing;
        };
        let text = String::from_utf8_lossy(value.as_bytes());
        let essence = text.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "" => Self::Missing,
            "application/x-protobuf" | "application/protobuf" => Self::Known(Format::Protobuf),
            "application/json" => Self::Known(Format::Json),
            "application/grpc" | "application/grpc+proto" => Self::Known(Format::Grpc),
            _ => Self::Other(essence.to_owned()),
        }
    }

    pub(crate) fn format(&self) -> Option<Format> {
        if let Self::Known(format) = self {
            Some(*format)
        } else {
            None
        }
    }

    /// Returns the refusal of a content type that is not one of `supported`.
    pub(crate) fn unsupported(&self, supported: &str) -> Refusal {
        Refusal::unsupported(match self {
            Self::Known(format) => format!("unsupported content type {format}: use {supported}"),
            Self::Missing => format!("missing content type: use {supported}"),
            Self::Other(essence) => format!("unsupported content type {essence:?}: use {supported}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn decompress(headers: &HeaderMap, body: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
        message(headers, body).and_then(|(coding, message)| coding.decompress(&message, limit_bytes))
    }

    fn encoded(encoding: &str) -> HeaderMap {
        HeaderMap::from_iter([(CONTENT_ENCODING, encoding.parse().unwrap())])
    }

    fn gzip(bytes: &[u8]) -> Bytes {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap().into()
    }

    #[test]
    fn the_limit_applies_to_the_decompressed_body() {
        let body = gzip(&[7; 1000]);
        assert_eq!(decompress(&encoded("GZip"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(decompress(&encoded("gzip"), &body, 999).unwrap_err().status(), 413);
    }

    #[test]
    fn several_gzip_members_are_accepted_up_to_a_limit() {
        let two = [gzip(b"one "), gzip(b"two")].concat().into();
        assert_eq!(decompress(&encoded("gzip"), &two, 7).unwrap(), "one two");
        assert_eq!(decompress(&encoded("gzip"), &two, 6).unwrap_err().status(), 413);
        let trailing = [&gzip(b"one")[..], b"x"].concat().into();
        assert_eq!(decompress(&encoded("gzip"), &trailing, 100).unwrap_err().status(), 400);
        let most = gzip(b"").repeat(MAX_GZIP_MEMBERS);
        assert_eq!(decompress(&encoded("gzip"), &most.clone().into(), 100).unwrap(), "");
        let refusal = decompress(&encoded("gzip"), &[most, gzip(b"").to_vec()].concat().into(), 100).unwrap_err();
        assert_eq!(refusal.status(), 400);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn zstd_bodies_are_limited_and_validated() {
        let body: Bytes = zstd::bulk::compress(&[7; 1000], 1).unwrap().into();
        assert_eq!(decompress(&encoded("zstd"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(decompress(&encoded("zstd"), &body, 999).unwrap_err().status(), 413);
        let cut = body.slice(..body.len() - 1);
        for broken in [Bytes::from_static(b"plain"), cut] {
            assert_eq!(decompress(&encoded("zstd"), &broken, 1000).unwrap_err().status(), 400);
        }
        // A frame header that requests two gigabytes of memory.
        let greedy = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
        assert_eq!(decompress(&encoded("zstd"), &greedy, 1000).unwrap_err().status(), 400);
    }

    #[test]
    fn a_body_that_does_not_match_its_encoding_is_a_bad_request() {
        for encoding in ["gzip", "x-gzip", "deflate"] {
            let refusal = decompress(&encoded(encoding), &Bytes::from_static(b"plain"), 100).unwrap_err();
            assert_eq!(refusal.status(), 400, "{encoding}");
        }
        assert_eq!(
            decompress(&encoded("br"), &Bytes::new(), 100).unwrap_err().status(),
            415
        );
        assert_eq!(
            decompress(&encoded("gzip, gzip"), &Bytes::new(), 100)
                .unwrap_err()
                .status(),
            415
        );
    }
}
