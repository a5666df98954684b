//! A request's body: read up to a limit, decompressed up to the same limit.

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

/// How much of a body over the limit is read and thrown away, as a multiple of the limit. A client
/// that is still writing when the answer comes sees a broken connection instead of the answer.
const DISCARD_FACTOR: usize = 4;

/// How much longer than for a part of it a client may take for a body.
const WHOLE_BODY_FACTOR: u32 = 10;

/// Each member costs as much as thousands of bytes, so a body of empty ones would take many seconds.
const MAX_GZIP_MEMBERS: usize = 1000;

#[cfg(feature = "zstd")]
const SUPPORTED: &str = "gzip, deflate, zstd and identity";
#[cfg(not(feature = "zstd"))]
const SUPPORTED: &str = "gzip, deflate and identity";

/// Reads the body as it comes over the wire. What is read counts as held.
///
/// Each part must come within `patience`, and the whole within [`WHOLE_BODY_FACTOR`] times as much.
pub(crate) async fn collect(
    body: Body,
    limit_bytes: usize,
    patience: Duration,
    held: &mut Held,
) -> Result<Bytes, Refusal> {
    let whole = read(body, limit_bytes, patience, held);
    let whole = timeout(patience.saturating_mul(WHOLE_BODY_FACTOR), whole).await;
    whole.unwrap_or_else(|_| Err(Refusal::late()))
}

async fn read(body: Body, limit_bytes: usize, patience: Duration, held: &mut Held) -> Result<Bytes, Refusal> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut refusal = None;
    let mut discarded = 0;
    while let Some(chunk) = timeout(patience, stream.next()).await.map_err(|_| Refusal::late())? {
        let chunk = chunk.map_err(|error| Refusal::bad_request(format!("the body broke off: {error}")))?;
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

/// How a message is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    Deflate,
    #[cfg(feature = "zstd")]
    Zstd,
}

/// The message of a body, taken out of what gRPC has around it, and how it is packed.
pub(crate) fn message(headers: &HeaderMap, body: &Bytes) -> Result<(Coding, Bytes), Refusal> {
    let (coding, message) = if grpc::is_spoken(headers) {
        grpc::unframe(headers, body)?
    } else {
        (headers.get(CONTENT_ENCODING), body.clone())
    };
    let coding = Coding::called(coding.map_or(b"", HeaderValue::as_bytes))?;
    // An empty message is empty; not every client compresses it to twenty bytes.
    let coding = if message.is_empty() { Coding::Identity } else { coding };
    Ok((coding, message))
}

impl Coding {
    fn called(name: &[u8]) -> Result<Self, Refusal> {
        let name = name.trim_ascii();
        match name.to_ascii_lowercase().as_slice() {
            b"" | b"identity" => Ok(Self::Identity),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip),
            b"deflate" => Ok(Self::Deflate),
            #[cfg(feature = "zstd")]
            b"zstd" => Ok(Self::Zstd),
            _ => Err(Refusal::unsupported(format!(
                "content encoding {:?} is not supported; {SUPPORTED} are",
                String::from_utf8_lossy(name)
            ))),
        }
    }

    /// Unpacks a message. Takes a while if it is large.
    pub(crate) fn unpack(self, message: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
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

/// A body is one member, or a few of them one after another.
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
        "the body has more than {MAX_GZIP_MEMBERS} gzip members"
    )))
}

/// A frame says how much memory its decoder needs: no more is given than the limit may take, and no
/// less than every decoder should give (RFC 8878, 3.1.1.1.2).
#[cfg(feature = "zstd")]
fn zstd_decoder(body: &[u8], limit_bytes: usize) -> Result<impl Read, Refusal> {
    const LEAST_WINDOW_LOG: u32 = 23;
    const LARGEST_WINDOW_LOG: u32 = 27;
    let window = limit_bytes.checked_next_power_of_two().map_or(u32::MAX, usize::ilog2);
    let made = zstd::Decoder::with_buffer(body).and_then(|mut decoder| {
        decoder.window_log_max(window.clamp(LEAST_WINDOW_LOG, LARGEST_WINDOW_LOG))?;
        Ok(decoder)
    });
    made.map_err(|error| Refusal::bad_request(format!("the body cannot be read as zstd: {error}")))
}

/// Stops one byte over the limit, so that a small body that unpacks to gigabytes costs no more than the limit.
fn inflate(name: &str, decoder: impl Read, limit_bytes: usize, whole: &mut Vec<u8>) -> Result<(), Refusal> {
    let stop = limit_bytes.saturating_add(1).saturating_sub(whole.len());
    let fault = |error: io::Error| Refusal::bad_request(format!("the body is not valid {name}: {error}"));
    let stop = u64::try_from(stop).unwrap_or(u64::MAX);
    decoder.take(stop).read_to_end(whole).map_err(fault)?;
    if whole.len() > limit_bytes {
        Err(Refusal::too_large(limit_bytes))
    } else {
        Ok(())
    }
}

/// What the content type says the body is.
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

    /// The refusal of a type that is not one of `wanted`.
    pub(crate) fn unsupported(&self, wanted: &str) -> Refusal {
        Refusal::unsupported(match self {
            Self::Known(format) => format!("content type {format} is not supported here; {wanted}"),
            Self::Missing => format!("the content type is missing; {wanted}"),
            Self::Other(essence) => format!("content type {essence:?} is not supported; {wanted}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn unpack(headers: &HeaderMap, body: &Bytes, limit_bytes: usize) -> Result<Bytes, Refusal> {
        message(headers, body).and_then(|(coding, message)| coding.unpack(&message, limit_bytes))
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
    fn a_compressed_body_at_the_limit_is_taken_and_one_byte_more_is_not() {
        let body = gzip(&[7; 1000]);
        assert_eq!(unpack(&encoded("GZip"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(unpack(&encoded("gzip"), &body, 999).unwrap_err().status(), 413);
    }

    #[test]
    fn members_of_gzip_follow_one_another_but_not_without_end() {
        let two = [gzip(b"one "), gzip(b"two")].concat().into();
        assert_eq!(unpack(&encoded("gzip"), &two, 7).unwrap(), "one two");
        assert_eq!(unpack(&encoded("gzip"), &two, 6).unwrap_err().status(), 413);
        let behind = [&gzip(b"one")[..], b"x"].concat().into();
        assert_eq!(unpack(&encoded("gzip"), &behind, 100).unwrap_err().status(), 400);
        let most = gzip(b"").repeat(MAX_GZIP_MEMBERS);
        assert_eq!(unpack(&encoded("gzip"), &most.clone().into(), 100).unwrap(), "");
        let refusal = unpack(&encoded("gzip"), &[most, gzip(b"").to_vec()].concat().into(), 100).unwrap_err();
        assert_eq!(refusal.status(), 400);
    }

    #[cfg(feature = "zstd")]
    #[test]
    fn a_zstd_body_is_bounded_and_checked_as_a_gzip_body_is() {
        let body: Bytes = zstd::bulk::compress(&[7; 1000], 1).unwrap().into();
        assert_eq!(unpack(&encoded("zstd"), &body, 1000).unwrap(), vec![7; 1000]);
        assert_eq!(unpack(&encoded("zstd"), &body, 999).unwrap_err().status(), 413);
        let cut = body.slice(..body.len() - 1);
        for broken in [Bytes::from_static(b"plain"), cut] {
            assert_eq!(unpack(&encoded("zstd"), &broken, 1000).unwrap_err().status(), 400);
        }
        // A frame whose header asks for two gigabytes of memory.
        let greedy = Bytes::from_static(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0xa8, 0x01, 0x00, 0x00]);
        assert_eq!(unpack(&encoded("zstd"), &greedy, 1000).unwrap_err().status(), 400);
    }

    #[test]
    fn a_body_that_is_not_what_its_encoding_says_is_a_bad_request() {
        for encoding in ["gzip", "x-gzip", "deflate"] {
            let refusal = unpack(&encoded(encoding), &Bytes::from_static(b"plain"), 100).unwrap_err();
            assert_eq!(refusal.status(), 400, "{encoding}");
        }
        assert_eq!(unpack(&encoded("br"), &Bytes::new(), 100).unwrap_err().status(), 415);
        assert_eq!(
            unpack(&encoded("gzip, gzip"), &Bytes::new(), 100).unwrap_err().status(),
            415
        );
    }
}
